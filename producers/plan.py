"""Makes the plan of a manifest: every row checked and priced, in one pass over a stream.

Nothing is bought, staged or enqueued here. Accepted rows go to the caller's `sink` as they come, so a plan of a
million rows holds only its counts and the first problems; the rest of the problems is in `errors.csv`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path

from jobs.batch import Table
from jobs.bounds import Bounds
from jobs.models import Catalogue
from jobs.row import IdleRow, Row
from producers.manifest.checking import RowChecker, everything
from producers.manifest.columns import speaking
from producers.manifest.learnt import Terms
from producers.manifest.listing import Objects, s3_place
from producers.manifest.opened import open_manifest
from producers.manifest.options import PlanOptions
from producers.manifest.output import batch_name
from producers.manifest.plain import Kind, Plain
from producers.manifest.problems import ErrorsFile, ManifestError, RowProblem
from producers.manifest.rows import MAX_ROWS, AnyRow, BrokenRow, Manifest, RawRow
from producers.price import Estimate, Tally
from producers.sources.mapping import Mapped
from producers.sources.profile import read_profile

__all__ = ["ManifestError", "Plan", "PlanOptions", "RowProblem", "make_plan"]

SHOWN_PROBLEMS = 50
EXPECTED_AFTER = 50_000
"""Rows after which it can be said how many will come, and room is made for what is remembered of them."""
KINDS = 1_000
"""Rows of so many kinds are counted together."""
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
    bounds: Bounds = field(default_factory=Bounds)
    lone: bool = False
    """No column and no profile makes groups, and all rows are of one model: what stops the group stops the batch."""
    ceiling: int
    """What the batch may cost: --max-cost, else the most that the estimate allows."""


Idle = Callable[[IdleRow], object]
Line = Callable[[str, str, bool], object]
OnProgress = Callable[[int, float | None], object]


def make_plan(
    path: Path,
    options: PlanOptions,
    catalogue: Catalogue,
    *,
    errors_csv: Path,
    sink: Callable[[Row], object] | None = None,
    lines: Line | None = None,
    aside: Idle = lambda _: None,
    settle: Callable[[Row], bool] | None = None,
    settles: Callable[[], bool] = lambda: True,
    on_progress: OnProgress | None = None,
    objects: Objects | None = None,
) -> Plan:
    """Return the plan of the manifest at `path`.

    Where nobody needs the rows themselves (there is no `sink`, and none can be settled) plain ones are not made at all
    (`producers.manifest.plain`). Nothing that is returned, written or told depends on it.

    Args:
        path: the manifest: a file, a folder, or `s3://bucket/prefix/` as a path.
        options: the batch-wide values.
        catalogue: the models, their limits and prices.
        errors_csv: where to write the problems; written only if there are any.
        sink: gets each accepted row that is not settled, in order.
        lines: gets of each accepted row that is not settled, in order, the limit group, the row's line, and whether a
            picture is local.
        aside: gets each row that is none: blank, without a picture, or with something wrong; in order as well.
        settle: gets each accepted row first; True if it is unchanged and taken care of.
        settles: whether `settle` can say yes at all; asked once, when there is a row.
        on_progress: told the number of rows read so far, and what part of the manifest that is (from 0 to 1; None where
            nobody can tell), now and then.
        objects: lists what lies under (bucket, prefix); needed where the manifest is a prefix.

    Raises:
        ManifestError: the manifest as a whole cannot be used; nothing was written then.
    """
    try:
        manifest = open_manifest(path, options, objects)
        mapped = None
        if options.source is not None:
            profile = read_profile(options.source, catalogue)
            options = replace(options, date_ids=options.date_ids or profile.date_ids)
            manifest = mapped = Mapped(manifest, replace(profile, date_ids=options.date_ids))
        terms = Terms(
            columns=manifest.table.columns,
            options=options,
            catalogue=catalogue,
            folder=manifest.folder,
            name=batch_name(path, options.name),
            decimal_comma=manifest.decimal_comma,
            made=tuple(mapped.made) if mapped is not None else (),
            rules=frozenset(mapped.rules) if mapped is not None else frozenset(),
        )
        with ErrorsFile(errors_csv) as errors:
            making = _Making(manifest, terms, errors, sink, lines, aside, settle, on_progress)
            making.take_all(settles)
        return making.plan(path, mapped, errors_csv)
    except ManifestError as error:
        error.file = error.file or s3_place(path) or path.name
        raise


class _Making:
    """A plan that is being made: what has been counted so far."""

    def __init__(
        self,
        manifest: Manifest,
        terms: Terms,
        errors: ErrorsFile,
        sink: Callable[[Row], object] | None,
        lines: Line | None,
        aside: Idle,
        settle: Callable[[Row], bool] | None,
        on_progress: OnProgress | None,
    ) -> None:
        self._manifest = manifest
        self._terms = terms
        self._errors = errors
        self._sink = sink
        self._lines = lines
        self._aside = aside
        self._settle = settle
        self._on_progress = on_progress
        self._checker = RowChecker(terms)
        self._tally = Tally(terms.catalogue)
        self._first: list[RowProblem] = []
        self._accepted = self._unchanged = self._invalid = self._problems = self._unmatched = 0
        self._local = False

    def take_all(self, settles: Callable[[], bool]) -> None:
        """Take every row of the manifest."""
        rows = self._manifest.rows()
        first = list(islice(rows, 1))
        known = bool(first and self._settle is not None and settles())
        if known or self._sink is not None or not self._terms.columns:
            for raw in chain(first, rows):
                self._take(raw)
        else:
            self._take_plain_ones_quickly(chain(first, rows))
        self._checker.judge.finish()
        for problem in self._manifest.unmatched():
            self._unmatched += 1
            self._errors.write(problem)
            self._first.extend([problem] if len(self._first) < SHOWN_PROBLEMS else [])

    def _take_plain_ones_quickly(self, rows: Iterator[AnyRow]) -> None:
        judge, clashes, lines = self._checker.judge, self._checker.apart.clashes, self._lines
        plain = Plain(judge, lines=lines is not None)
        verdict_of, kinds = plain.verdict, Counter[Kind]()
        for count, raw in enumerate(rows, 1):
            if count == EXPECTED_AFTER:
                self._expect_rest()
            if not plain.any or not isinstance(raw, RawRow) or (verdict := verdict_of(raw)) is None:
                self._take(raw)
                continue
            id_, key, place, pictures, kind, line = verdict
            clash = clashes(raw.line, id_, key, place, pictures)
            if clash is not None:
                self._refuse(raw, everything((), (), clash, raw.line, judge.column_of(raw)))
            else:
                kinds[kind] += 1
                if len(kinds) > KINDS:
                    self._count(kinds)
                if lines is not None:
                    lines(kind[0], line, False)
            self._tell(raw.number)
        self._count(kinds)

    def _expect_rest(self) -> None:
        share = self._manifest.read_so_far
        if share:
            self._checker.apart.expect(min(round(self._manifest.rows_read / share), MAX_ROWS))

    def _count(self, kinds: Counter[Kind]) -> None:
        for (_, model, references, megapixels, expected, at_most), count in kinds.items():
            self._accepted += count
            self._tally.count(model, references, megapixels, expected, at_most, rows=count)
        kinds.clear()

    def _take(self, raw: AnyRow) -> None:
        if isinstance(raw, IdleRow):
            self._aside(raw)
            return
        found = [raw.problem] if isinstance(raw, BrokenRow) else self._checker.check(raw)
        if isinstance(found, Row):
            self._accepted += 1
            if self._settle is not None and self._settle(found):
                self._unchanged += 1
            else:
                self._local = self._local or bool(found.sizes)
                self._tally.add(found)
                if self._sink is not None:
                    self._sink(found)
                if self._lines is not None:
                    self._lines(found.limit_group, found.as_line(), found.local)
        else:
            self._refuse(raw, found)
        self._tell(raw.number)

    def _refuse(self, raw: RawRow | BrokenRow, found: list[RowProblem]) -> None:
        self._invalid += 1
        self._problems += len(found)
        self._first.extend(found[: SHOWN_PROBLEMS - len(self._first)])
        for problem in found:
            self._errors.write(problem)
        if raw.cells is not None:
            record = raw.record or raw.number
            self._aside(IdleRow(record=record, cells=raw.cells, number=raw.number, reason=found[0].code))

    def _tell(self, number: int) -> None:
        if number % _PROGRESS_ROWS == 0 and self._on_progress is not None:
            self._on_progress(number, self._manifest.read_so_far)

    def plan(self, path: Path, mapped: Mapped | None, errors_csv: Path) -> Plan:
        """Return what was made."""
        options = self._terms.options
        estimate = self._tally.estimate(options.allowance)
        table, used = self._manifest.table, self._checker.judge.used
        data_columns = tuple(sorted(options.data_columns))
        if mapped is not None:
            used |= mapped.used
            data_columns = speaking(table.columns, self._terms.catalogue)  # `failed.csv` is read without the profile
        count = self._problems + self._unmatched
        return Plan(
            manifest=s3_place(path) or str(path),
            name=self._terms.name,
            table=replace(table, data_columns=data_columns),
            understood=self._manifest.understood(len(used)),
            rows=self._accepted,
            unchanged=self._unchanged,
            groups=self._tally.groups,
            invalid=self._invalid,
            problems=tuple(self._first),
            problem_count=count,
            unmatched=self._unmatched,
            errors_csv=errors_csv if count else None,
            estimate=estimate,
            local=self._local,
            bounds=options.shares.of(estimate.expected),
            lone=options.group is None and mapped is None and len(estimate.models) == 1,
            ceiling=options.ceiling if options.ceiling is not None else estimate.at_most,
        )
