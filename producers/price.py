"""What a row and a batch cost and take, before anything is bought: *expected* and *at most*.

Expected is what is shown, at most is what is reserved. Where a picture's size is not known (`s3://` and `https://`
are not opened while planning), expected takes it for 1 megapixel and at most for the largest that the model takes.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.models import MICROS_PER_USD, PIXELS_PER_MP, Catalogue, Model
from jobs.outcome import usd
from jobs.pictures import size_within
from jobs.row import Row

ANY_SIZE, UNKNOWN_SIZE = -1, 0
MOST_ALLOWANCE = 1 * MICROS_PER_USD
_GRID = 16
"""FLUX.2 rounds the sides of a result to multiples of 16 (docs)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowPrice:
    """The price of one submission, in micro-dollars."""

    expected: int
    at_most: int
    megapixels: int = ANY_SIZE
    """Of the likely result, rounded up; UNKNOWN_SIZE where an input's is not known, ANY_SIZE where all cost alike."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One part of an estimate, in micro-dollars. `kind` is edits, unknown_size, new_attempts, moderation or doubts."""

    kind: str
    title: str
    rows: int
    expected: int
    at_most: int
    note: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the item as documents show it and `batch.json` keeps it."""
        return {
            "item": self.kind,
            "title": self.title,
            "rows": self.rows,
            "expected_usd": usd(self.expected),
            "at_most_usd": usd(self.at_most),
            "note": self.note,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelLine:
    """What the rows of one model come to, in micro-dollars."""

    model: str
    title: str
    rows: int
    expected: int
    at_most: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a batch comes to. `at_most` includes `allowance`, what resubmitting doubts may cost; `seconds` is the
    time for submitting and waiting, with every slot free."""

    rows: int
    expected: int
    at_most: int
    allowance: int
    seconds: float
    models: tuple[ModelLine, ...]
    items: tuple[Item, ...] = ()
    """What the two sums are made of; the items add up to them."""


def row_price(
    model: Model,
    sizes: Sequence[tuple[int, int] | None],
    *,
    width: int | None = None,
    height: int | None = None,
) -> RowPrice:
    """Return the price of one edit.

    Args:
        model: the model, with its price rule.
        sizes: (width, height) in pixels of each input in order, None where it is not known.
        width: of the result, where the row asks for it.
        height: of the result, where the row asks for it.
    """
    fitted = [size_within(*size, model.max_input_pixels) if size is not None else None for size in sizes]
    likely = [size[0] * size[1] if size else PIXELS_PER_MP for size in fitted]
    most = [size[0] * size[1] if size else model.max_input_pixels for size in fitted]
    out_likely, out_most = _output_pixels(model, fitted[0] if fitted else None, width, height)
    expected = model.price.expected(sum(likely) / PIXELS_PER_MP, out_likely / PIXELS_PER_MP)
    at_most = model.price.at_most(tuple(p / PIXELS_PER_MP for p in most), out_most / PIXELS_PER_MP)
    if not (model.price.more_output or model.price.input):
        return RowPrice(expected=expected, at_most=at_most)
    known = UNKNOWN_SIZE if None in sizes else math.ceil(out_likely / PIXELS_PER_MP)
    return RowPrice(expected=expected, at_most=at_most, megapixels=known)


def _output_pixels(
    model: Model, first: tuple[int, int] | None, width: int | None, height: int | None
) -> tuple[int, int]:
    """Return the result's pixels: likely, and at most. `first` is the edited picture as it is sent."""
    cap = model.max_output_pixels
    if model.output_pixels is not None:
        return model.output_pixels, model.output_pixels
    if width and height:
        return min(width * height, cap), min(_up(width) * _up(height), cap)
    if width or height:
        # The other side is the API's to choose: likely the input's ratio, at most the largest result.
        given = width or height or 0
        ratio = first[1] / first[0] if first else 1.0
        likely = given * given * ratio if width else given * given / ratio
        return min(round(likely), cap), cap
    if first is None:
        return PIXELS_PER_MP, cap
    w, h = first
    return min(w * h, cap), min(_up(w) * _up(h), cap)


def _up(side: int) -> int:
    return -(-side // _GRID) * _GRID


class Tally:
    """Adds up rows while a plan streams by; memory does not grow with them."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._models: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
        self._kinds: defaultdict[tuple[str, int, int], list[int]] = defaultdict(lambda: [0, 0, 0])
        self._dearest = 0

    @property
    def groups(self) -> dict[str, int]:
        """How many rows each limit group has."""
        found: dict[str, int] = {}
        for name, (rows, _, _) in self._models.items():
            group = self._catalogue.models[name].limit_group
            found[group] = found.get(group, 0) + rows
        return found

    def add(self, row: Row) -> None:
        """Count one accepted row."""
        self.count(row.request.model, len(row.request.inputs) - 1, row.megapixels, row.expected, row.at_most)

    def count(
        self, model: str, references: int, megapixels: int, expected: int, at_most: int, *, rows: int = 1
    ) -> None:
        """Count accepted rows of one kind, of which only this is known."""
        for sums in (self._models[model], self._kinds[model, megapixels, references]):
            sums[0] += rows
            sums[1] += rows * expected
            sums[2] += rows * at_most
        if at_most > self._dearest:
            self._dearest = at_most

    def estimate(self, allowance: int | None = None) -> Estimate:
        """Return the estimate; `allowance` overrides what doubts may cost (micro-dollars, 0: never)."""
        models = self._catalogue.models
        lines = tuple(
            ModelLine(model=name, title=models[name].title, rows=rows, expected=expected, at_most=at_most)
            for name, (rows, expected, at_most) in sorted(self._models.items(), key=lambda item: (-item[1][0], item[0]))
        )
        expected = sum(line.expected for line in lines)
        doubts = default_allowance(expected, self._dearest) if allowance is None else allowance
        return Estimate(
            rows=sum(line.rows for line in lines),
            expected=expected,
            at_most=sum(line.at_most for line in lines) + doubts,
            allowance=doubts,
            seconds=duration({line.model: line.rows for line in lines}, self._catalogue),
            models=lines,
            items=(*self._edits(), *_beside(sum(line.rows for line in lines), doubts)),
        )

    def _edits(self) -> Iterator[Item]:
        """Yield the edits by model, size and number of references; rows of unknown size are items of their own."""
        for (name, megapixels, references), (rows, expected, at_most) in sorted(self._kinds.items()):
            unknown = megapixels == UNKNOWN_SIZE
            size = {ANY_SIZE: "", UNKNOWN_SIZE: ", unknown size"}.get(megapixels, f", up to {megapixels} MP")
            title = self._catalogue.models[name].title + size
            if references:
                title += f", {references} reference{'s' if references > 1 else ''}"
            yield Item(
                kind="unknown_size" if unknown else "edits",
                title=title,
                rows=rows,
                expected=expected,
                at_most=at_most,
                note="Expected is 1 megapixel, at most the largest that the model takes." if unknown else "",
            )


def _beside(rows: int, doubts: int) -> Iterator[Item]:
    """Yield what may be charged beside the edits themselves."""
    attempts = "Nothing is set aside: where the API charges a failed attempt, it counts under the same ceiling."
    moderated = "A moderated row may be charged like an edit, and is not edited again: the edits have it."
    yield Item(kind="new_attempts", title="new attempts", rows=rows, expected=0, at_most=0, note=attempts)
    yield Item(kind="moderation", title="moderation", rows=rows, expected=0, at_most=0, note=moderated)
    yield Item(
        kind="doubts",
        title="doubts asked again",
        rows=rows,
        expected=0,
        at_most=doubts,
        note="The doubt allowance: the most that is risked where an answer was lost.",
    )


def default_allowance(expected: int, dearest: int) -> int:
    """Return what resubmitting doubts may cost unless somebody says otherwise, in micro-dollars.

    1 % of the estimate, but at least two edits (`dearest` is the most that one can cost), and never over $1.00.
    """
    return min(max(expected // 100, 2 * dearest), MOST_ALLOWANCE)


def duration(rows: dict[str, int], catalogue: Catalogue) -> float:
    """Return about how many seconds these rows (by model) take: the slowest limit group decides.

    A group's places are taken by its own models and by those of the groups inside it.
    """
    work: dict[str, float] = {}
    longest = 0.0
    for name, count in rows.items():
        model = catalogue.models[name]
        if count:
            longest = max(longest, model.latency.median_s)
        for group in catalogue.lineage(model.limit_group):
            work[group.name] = work.get(group.name, 0.0) + count * model.latency.median_s
    return max([longest, *(seconds / catalogue.groups[name].places for name, seconds in work.items())])
