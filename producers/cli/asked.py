"""What a user asks for with `plan`, `run` and `submit`: the same options, as one value.

`taking_asked` gives a command all these options without repeating them in its signature.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, get_type_hints
from zoneinfo import ZoneInfo

from config.parts import shares_of
from config.settings import Settings
from jobs.models import MICROS_PER_USD
from jobs.shares import Priority
from producers.cli import options as o
from producers.cli.voice import Stop
from producers.deadline import DeadlineError, deadline
from producers.manifest.options import PlanOptions
from producers.manifest.output import batch_name

P = ParamSpec("P")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


@dataclass(frozen=True, slots=True)
class Asked:
    """The options that say what a batch is."""

    manifest: o.Manifest
    prompt: o.Prompt = None
    model: o.Model = None
    name: o.Name = None
    output: o.Output = None
    field: o.Fields = None
    seed: o.Seed = None
    output_format: o.OutputFormat = None
    ref: o.References = None
    group: o.Group = None
    data_column: o.DataColumns = None
    pattern: o.Pattern = None
    source: o.Source = None
    date_ids: o.DateIds = False
    pass_urls: o.PassUrls = False
    overwrite: o.Overwrite = False
    fresh: o.Fresh = False
    skip_invalid: o.SkipInvalid = False
    max_cost: o.MaxCost = None
    priority: o.Priority = Priority.NORMAL
    by: o.By = None
    simulate: o.Simulate = False

    def batch_name(self) -> str:
        """Return the name that the batch will have.

        Raises:
            ManifestError: the given name is not safe.
        """
        return batch_name(self.manifest, self.name)

    def plan_options(self, settings: Settings) -> PlanOptions:
        """Return the options as the planner takes them.

        Raises:
            Stop: a `--field` has no value.
        """
        s3, allowance = settings.s3, settings.submit.doubt_allowance_usd
        own = {s3.bucket} if s3.bucket else set()
        return PlanOptions(
            prompt=self.prompt,
            model=self.model,
            name=self.name,
            output=self.output,
            fields=self._fields(),
            references=tuple(map(_absolute, self.ref or ())),
            pass_urls=self.pass_urls,
            group=self.group,
            data_columns=frozenset(self.data_column or ()),
            pattern=self.pattern,
            source=self.source,
            date_ids=self.date_ids,
            bucket=s3.bucket or "",
            buckets=frozenset(s3.input_buckets or own),
            trusted_hosts=frozenset(settings.api.trusted_hosts),
            prefix=s3.prefix,
            allowance=None if allowance is None else round(allowance * MICROS_PER_USD),
            shares=shares_of(settings),
            ceiling=None if self.max_cost is None else round(self.max_cost * MICROS_PER_USD),
        )

    def _fields(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for text in self.field or ():
            name, sign, value = text.partition("=")
            if not sign or not name.strip():
                raise Stop("usage", f"--field {text!r} has no value.", "Write it as --field NAME=VALUE.")
            found[name.strip()] = value
        if self.seed is not None:
            found["seed"] = str(self.seed)
        if self.output_format is not None:
            found["output_format"] = self.output_format
        return found


def due_at(by: str | None, now: float, settings: Settings) -> float:
    """Return the deadline that `--by` names in epoch seconds, 0 for none.

    Raises:
        Stop: it names none, or one that has passed.
    """
    if by is None:
        return 0.0
    try:
        return deadline(by, now, ZoneInfo(settings.money.timezone))
    except DeadlineError as error:
        message, _, remedy = str(error).partition(". ")
        raise Stop("usage", f"--by: {message}.", remedy) from None


def taking_asked(command: Callable[Concatenate[Asked, P], int]) -> Callable[..., int]:
    """Return `command` as Typer wants it: with every field of Asked as a parameter of its own."""
    of_asked = get_type_hints(Asked, include_extras=True)
    own = [
        parameter
        for parameter in inspect.signature(command, eval_str=True).parameters.values()
        if parameter.annotation is not Asked
    ]
    taken = [
        inspect.Parameter(
            f.name,
            inspect.Parameter.KEYWORD_ONLY,
            annotation=of_asked[f.name],
            default=inspect.Parameter.empty if f.name == "manifest" else f.default,
        )
        for f in fields(Asked)
    ]
    parameters = taken + [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]

    @functools.wraps(command)
    def taking(**given: Any) -> int:
        asked = Asked(**{f.name: given.pop(f.name) for f in fields(Asked)})
        return command(asked, **given)  # type: ignore[call-arg]  # the rest is what the command itself declares

    taking.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    taking.__annotations__ = {p.name: p.annotation for p in parameters}
    return taking


def _absolute(reference: str) -> str:
    """A path on the command line starts where the command is given, one in a manifest at the manifest."""
    return reference if _SCHEME.match(reference) else str(Path(reference).absolute())
