"""Makes the plan of a manifest: every row checked and priced, in one pass over a stream.

Nothing is bought, staged or enqueued here. Accepted rows go to the caller's `sink` as they come, so a plan of a
million rows holds only its counts and the first problems; the rest of the problems is in `errors.csv`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from jobs.batch import Table
from jobs.models import Catalogue
from jobs.row import IdleRow, Row
from producers.manifest.checking import RowChecker
from producers.manifest.columns import speaking
from producers.manifest.judging import Terms
from producers.manifest.listing import Objects, s3_place
from producers.manifest.opened import open_manifest
from producers.manifest.options import PlanOptions
from producers.manifest.output import batch_name
from producers.manifest.problems import ErrorsFile, ManifestError, RowProblem
from producers.manifest.rows import BrokenRow
from producers.price import Estimate, Tally
from producers.sources.mapping import Mapped
from producers.sources.profile import read_profile

__all__ = ["ManifestError", "Plan", "PlanOptions", "RowProblem", "make_plan"]

SHOWN_PROBLEMS = 50
_PROGRESS_ROWS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What would run, and what is wrong. Money in micro-dollars.

    `rows` are the accepted ones; of these, `unchanged` were settled and cost nothing, and `groups` counts the others by
    limit group. `invalid` rows have `problems`, of which the first are here and all are in `errors_csv` (None where
    there are none).
    """

    manifest: str
    name: str
    table: Table
    understood: str
    rows: int
    unchanged: int
    groups: Mapping[str, int]
    invalid: int
    problems: tuple[RowProblem, ...]
    problem_count: int
    unmatched: int
    """How many of the problems are of no row of the manifest: rows of a joined table without a picture."""
    errors_csv: Path | None
    estimate: Estimate
    local: bool
    """Some inputs of rows to be edited lie on this machine and must be staged."""
    ceiling: int
    """What the batch may cost: --max-cost, else the most that the estimate allows."""


def make_plan(
    path: Path,
    options: PlanOptions,
    catalogue: Catalogue,
    *,
    errors_csv: Path,
    sink: Callable[[Row], object] | None = None,
    aside: Callable[[IdleRow], object] = lambda _: None,
    settle: Callable[[Row], bool] = lambda _: False,
    on_progress: Callable[[int], None] | None = None,
    objects: Objects | None = None,
) -> Plan:
    """Return the plan of the manifest at `path`.

    Args:
        path: the manifest: a file, a folder, or `s3://bucket/prefix/` as a path.
        options: the batch-wide values.
        catalogue: the models, their limits and prices.
        errors_csv: where to write the problems; written only if there are any.
        sink: gets each accepted row that is not settled, in order.
        aside: gets each row that is none: blank, without a picture, or with something wrong; in order as well.
        settle: gets each accepted row first; True if it is unchanged and taken care of.
        on_progress: told the number of rows read so far, now and then.
        objects: lists what lies under (bucket, prefix); needed where the manifest is a prefix.

    Raises:
        ManifestError: the manifest as a whole cannot be used; nothing was written then.
    """
    try:
        return _make_plan(path, options, catalogue, errors_csv, sink, aside, settle, on_progress, objects)
    except ManifestError as error:
        error.file = error.file or s3_place(path) or path.name
        raise


def _make_plan(
    path: Path,
    options: PlanOptions,
    catalogue: Catalogue,
    errors_csv: Path,
    sink: Callable[[Row], object] | None,
    aside: Callable[[IdleRow], object],
    settle: Callable[[Row], bool],
    on_progress: Callable[[int], None] | None,
    objects: Objects | None,
) -> Plan:
    manifest = open_manifest(path, options, objects)
    mapped = None
    if options.source is not None:
        profile = read_profile(options.source, catalogue)
        options = replace(options, date_ids=options.date_ids or profile.date_ids)
        manifest = mapped = Mapped(manifest, replace(profile, date_ids=options.date_ids))
    name = batch_name(path, options.name)
    terms = Terms(
        columns=manifest.table.columns,
        options=options,
        catalogue=catalogue,
        folder=manifest.folder,
        name=name,
        decimal_comma=manifest.decimal_comma,
        made=tuple(mapped.made) if mapped is not None else (),
        rules=frozenset(mapped.rules) if mapped is not None else frozenset(),
    )
    checker = RowChecker(terms)
    tally = Tally(catalogue)
    first: list[RowProblem] = []
    accepted = invalid = count = unchanged = unmatched = 0
    local = False
    with ErrorsFile(errors_csv) as errors:
        for raw in manifest.rows():
            if isinstance(raw, IdleRow):
                aside(raw)
                continue
            found = [raw.problem] if isinstance(raw, BrokenRow) else checker.check(raw)
            if isinstance(found, Row):
                accepted += 1
                if settle(found):
                    unchanged += 1
                else:
                    local = local or bool(found.sizes)
                    tally.add(found)
                    if sink is not None:
                        sink(found)
            else:
                invalid += 1
                count += len(found)
                first.extend(found[: SHOWN_PROBLEMS - len(first)])
                for problem in found:
                    errors.write(problem)
                if raw.cells is not None:
                    record = raw.record or raw.number
                    aside(IdleRow(record=record, cells=raw.cells, number=raw.number, reason=found[0].code))
            if on_progress is not None and raw.number % _PROGRESS_ROWS == 0:
                on_progress(raw.number)
        checker.judge.finish()
        for problem in manifest.unmatched():
            unmatched += 1
            errors.write(problem)
            first.extend([problem] if len(first) < SHOWN_PROBLEMS else [])
    estimate = tally.estimate(options.allowance)
    table, used = manifest.table, checker.judge.used
    data_columns = tuple(sorted(options.data_columns))
    if mapped is not None:
        used |= mapped.used
        data_columns = speaking(table.columns, catalogue)  # `failed.csv` is read without the profile
    return Plan(
        manifest=s3_place(path) or str(path),
        name=name,
        table=replace(table, data_columns=data_columns),
        understood=manifest.understood(len(used)),
        rows=accepted,
        unchanged=unchanged,
        groups=tally.groups,
        invalid=invalid,
        problems=tuple(first),
        problem_count=count + unmatched,
        unmatched=unmatched,
        errors_csv=errors_csv if count + unmatched else None,
        estimate=estimate,
        local=local,
        ceiling=options.ceiling if options.ceiling is not None else estimate.at_most,
    )
