"""What Retouch knows about a model of the API: its fields, limits, price and pace, as plain values.

The figures themselves are data (`config/models.toml`, read by `config.catalogue`); this module only gives
them types, so that the core can reason about a model without knowing where it was written down.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from jobs.accounts import MAIN

MICROS_PER_USD = 1_000_000
MICROS_PER_CREDIT = 10_000
"""One credit is $0.01 (the API's price page); money is counted in whole micro-dollars everywhere."""

PIXELS_PER_MP = 1_048_576
"""The API reports 1024 x 1024 as 1.0 MP."""

FieldType = Literal["string", "integer", "number", "boolean"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One parameter of a model: its JSON type and the values that it takes."""

    name: str
    type: FieldType
    nullable: bool = False
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    pattern: str = ""
    default: str | int | float | bool | None = None
    about: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What an edit costs, in credits (1 credit = $0.01), with the page and day it was read.

    A flat price has `first` only. A price by size is `first` for the first output megapixel, `more_output` for
    each further one and `input` for each input megapixel, references included. `ceiling_factor` covers sources
    that disagree about the figure: the reserve is multiplied by it, the estimate is not.
    """

    first: float
    more_output: float = 0.0
    input: float = 0.0
    ceiling_factor: float = 1.0
    source: str
    dated: str

    def expected(self, input_mp: float, output_mp: float) -> int:
        """Return the likeliest price in micro-dollars for these megapixels (2**20 pixels each)."""
        credits_ = self.first + max(output_mp - 1.0, 0.0) * self.more_output + input_mp * self.input
        return round(credits_ * MICROS_PER_CREDIT)

    def at_most(self, input_mps: tuple[float, ...], output_mp: float) -> int:
        """Return the most that the rule can charge in micro-dollars: every picture rounded up to a whole MP.

        Resellers round up per picture and the API's own rounding is not documented, so the reserve assumes it.
        """
        inputs = sum(math.ceil(mp * PIXELS_PER_MP / 1_000_000) for mp in input_mps)
        outputs = math.ceil(output_mp * PIXELS_PER_MP / 1_000_000)
        credits_ = self.first + max(outputs - 1, 0) * self.more_output + inputs * self.input
        return math.ceil(credits_ * self.ceiling_factor * MICROS_PER_CREDIT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """How long a task takes, in seconds, until Retouch has seen enough of them to know better."""

    median_s: float
    p999_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitGroup:
    """A number of in-flight places that models share; `inside` names the group whose places they also take.

    Each of `accounts` accounts has `size` places of its own.
    """

    name: str
    size: int
    inside: str | None = None
    accounts: int = 1

    @property
    def places(self) -> int:
        """How many places all accounts have."""
        return self.accounts * self.size

    @property
    def window(self) -> int:
        """How many hot jobs keep it full: its places and a few that wait at the gate of each account."""
        return self.accounts * (self.size + self.waiting)

    @property
    def waiting(self) -> int:
        """How many jobs wait for an account's places, so that those freed at once find as many bodies there."""
        return max(4, self.size // 4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One editing endpoint of the API."""

    name: str
    title: str
    path: str
    fields: Mapping[str, Field]
    inputs: int
    """How many pictures it takes, the edited one included."""
    limit_group: str
    output_format: str
    """The format it answers with when none is asked for: jpeg or png."""
    output_pixels: int | None
    """Pixels of every result where the model alone decides; None where the result follows the input."""
    max_input_bytes: int
    max_input_pixels: int
    """Pixels above which Retouch shrinks an input before it is sent."""
    max_output_pixels: int
    price: Price
    latency: Latency
    give_up_s: float
    """Seconds without a terminal status after which a task counts as lost."""
    note: str = ""

    @property
    def largest_result(self) -> int:
        """The bytes of the largest result to be reckoned with: four bytes a pixel, as a PNG of noise, and some more."""
        return 4 * self.max_output_pixels + 1024 * 1024

    def input_field(self, position: int) -> str:
        """Return the request field of the picture at `position` (0 is the edited one)."""
        return "input_image" if position == 0 else f"input_image_{position + 1}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """Every model that Retouch can use, as known on `dated`."""

    dated: str
    default: str
    models: Mapping[str, Model]
    groups: Mapping[str, LimitGroup]
    accounts: tuple[str, ...] = (MAIN,)

    @property
    def holders(self) -> tuple[str, ...]:
        """The accounts that may hold places: until any is named `main` holds all, and its tasks may run on."""
        return tuple(dict.fromkeys((*self.accounts, MAIN)))

    def lineage(self, group: str) -> tuple[LimitGroup, ...]:
        """Return `group` and every group that it lies inside, innermost first."""
        found: list[LimitGroup] = []
        name: str | None = group
        while name is not None:
            found.append(self.groups[name])
            name = self.groups[name].inside
        return tuple(found)

    def with_limit(self, size: int | None) -> Catalogue:
        """Return a catalogue whose outermost groups have `size` places and whose inner ones no more than that."""
        if size is None:
            return self
        groups = {
            name: replace(group, size=size if group.inside is None else min(group.size, size))
            for name, group in self.groups.items()
        }
        return replace(self, groups=groups)

    def with_accounts(self, accounts: Sequence[str]) -> Catalogue:
        """Return a catalogue whose groups have their places once for each of these accounts."""
        groups = {name: replace(group, accounts=len(accounts)) for name, group in self.groups.items()}
        return replace(self, groups=groups, accounts=tuple(accounts))
