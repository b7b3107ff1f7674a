"""Another round of a batch that has ended: what did not make it is planned again under the batch's own name.

Everything is read from the bucket, so it does not matter what Redis still knows. The rows are those of the first
round; which of them run again is read from the outcomes. A round's number is taken by a conditional write, so two
commands at once cannot write one plan.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from jobs.batch import Batch, BatchState
from jobs.bounds import DEFAULT_SHARES, Bounds, Shares
from jobs.bucket.layout import Layout
from jobs.bucket.port import Bucket
from jobs.bucket.rows import FIRST, first_round, rows_of
from jobs.errors import NotFound, PreconditionFailed, Refused, RetouchError, StorageError
from jobs.job import MADE_IT, State
from jobs.ledger.port import Ledger
from jobs.models import Catalogue
from jobs.pictures import PictureError, inspect
from jobs.reasons import REASONS
from jobs.report.build import OUTCOMES, SUMMARY
from jobs.row import Row
from producers.messages import Hints
from producers.numbers import RowNumbers
from producers.price import Estimate, Tally, row_price
from producers.staging import path_of
from producers.submit import PlanWriter

CLOSING_S = 10.0
"""A batch that has just ended leaves Redis within moments of its report."""
_LOOK_S = 0.2
_TRIES = 50
_JSON = "application/json"


class NoRound(RetouchError):
    """No other round can be run now."""

    def __init__(self, code: str, message: str, remedy: str) -> None:
        super().__init__(message)
        self.code = code
        self.remedy = remedy


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """Which rows to run again: those with one of these reasons, and of one of these groups; empty means any.

    Without `reasons`, rows to which asking again cannot help are left out. Rows in doubt are, unless they alone are
    wanted (`in_doubt`): whether they were paid for is not known.
    """

    reasons: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    in_doubt: bool = False


@dataclass(slots=True)
class Choice:
    """The rows that run again, by number, and how many others did not make it, by reason."""

    rows: RowNumbers = field(default_factory=RowNumbers)
    hopeless: Counter[str] = field(default_factory=Counter)
    doubtful: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    """Of every row that did not make it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """A round that is planned and waits for its yes. Money in micro-dollars."""

    number: int
    first: Batch
    estimate: Estimate
    bounds: Bounds
    ceiling: int
    writer: PlanWriter


def ended(batch: str, ledger: Ledger, *, sleep: Callable[[float], None] = time.sleep) -> None:
    """Return if a batch has ended and Redis has let go of it, which may take a moment.

    Raises:
        NoRound: it runs, or rows of it are held in doubt.
    """
    waited = 0.0
    while (found := ledger.batch(batch)) is not None:
        progress = found[1]
        over = progress.state in (BatchState.DONE, BatchState.CANCELLED)
        if progress.held and (progress.finished_at if over else progress.reason == "doubt"):
            message = f"{progress.held:,} rows of {batch} are held in doubt: they may have been paid for."
            remedy = (
                f"`retouch retry {batch} --in-doubt` buys them again, `retouch cancel {batch} --in-doubt` does not."
            )
            raise NoRound("in_doubt", message, remedy)
        if not over or waited >= CLOSING_S:
            remedy = f"`retouch status {batch} --watch` follows it to its end, `retouch cancel {batch}` ends it."
            raise NoRound("running", f"The batch {batch} has not ended ({progress.state}).", remedy)
        sleep(_LOOK_S)
        waited += _LOOK_S


def choose(batch: str, wish: Wish, *, bucket: Bucket, layout: Layout) -> Choice:
    """Return which rows of a batch that has ended run again.

    Raises:
        NoRound: the batch has no report.
        StorageError: the outcomes cannot be read.
    """
    choice = Choice()
    for line in _outcomes(batch, bucket, layout):
        if line["state"] in MADE_IT or (wish.groups and line["group"] not in wish.groups):
            continue
        reason = line["reason"] or line["state"]
        choice.reasons[reason] += 1
        if wish.reasons and reason not in wish.reasons:
            continue
        doubtful = line["state"] == State.IN_DOUBT or reason == "in_doubt"
        if doubtful and not wish.in_doubt:
            choice.doubtful += 1
        elif wish.in_doubt:
            if doubtful:
                choice.rows.add(line["row"])
        elif not wish.reasons and reason in REASONS and not REASONS[reason].retry:
            choice.hopeless[reason] += 1
        else:
            choice.rows.add(line["row"])
    return choice


@contextmanager
def planned_round(
    agreed: Batch,
    rows: Collection[int],
    *,
    bucket: Bucket,
    layout: Layout,
    catalogue: Catalogue,
    allowance: int | None = None,
    shares: Shares = DEFAULT_SHARES,
    ceiling: int | None = None,
) -> Iterator[Round]:
    """Plan these rows as the next round, and remove the plan again unless `begin` was called with it.

    Args:
        agreed: the batch's latest round.
        rows: their numbers.
        bucket: where the batch lies.
        layout: under which keys.
        catalogue: the models, for prices.
        allowance: what doubts of the round may cost, else as for any batch.
        shares: how many of its rows may fail before it stops.
        ceiling: what the round may cost, else the most that its estimate allows.

    Raises:
        StorageError: the first plan cannot be read, or the new one not written.
    """
    first = first_round(agreed, bucket, layout)
    number = _take_number(agreed, first, bucket, layout)
    writer = PlanWriter(bucket, layout, agreed.id, round_=number)
    try:
        with writer:
            tally = Tally(catalogue)
            for row in rows_of(first, bucket, layout):
                if row.number in rows:
                    again = _as_it_is_now(row, catalogue)
                    tally.add(again)
                    writer.write(again)
            writer.close()
            estimate = tally.estimate(allowance)
            most = estimate.at_most if ceiling is None else ceiling
            bounds = shares.of(estimate.expected)
            yield Round(number=number, first=first, estimate=estimate, bounds=bounds, ceiling=most, writer=writer)
    finally:
        if not writer.kept:
            _give_number_back(agreed.id, number, bucket, layout)


def begin(planned: Round, *, bucket: Bucket, layout: Layout, ledger: Ledger, hints: Hints) -> Batch:
    """Open a planned round: its price was accepted.

    Raises:
        NoRound: somebody else has opened the batch meanwhile.
        StorageError: it could not be written down; nothing has begun.
        LedgerError: the ledger could not be reached; if it took the round, `retouch status` shows it.
    """
    writer, estimate, now = planned.writer, planned.estimate, ledger.now()
    batch = replace(
        planned.first,
        round=planned.number,
        created_at=now,
        rows=estimate.rows,
        groups=dict(writer.groups),
        ahead={},
        chunk_rows=writer.chunk_rows,
        local=writer.local,
        expected=estimate.expected,
        at_most=estimate.at_most,
        ceiling=planned.ceiling,
        bounds=planned.bounds,
        allowance=estimate.allowance,
        by=planned.first.by if planned.first.by > now else 0.0,  # it is no use to hurry for what has passed
        estimate=tuple(item.as_json() for item in estimate.items),
        skipped=0,
        unchanged=0,
    )
    if ledger.batch(batch.id) is not None:
        raise _taken(batch.id)
    bucket.put(layout.batch(batch.id, "batch.json"), batch.as_json().encode(), content_type=_JSON)
    writer.keep()
    if not ledger.open_batch(batch):
        raise _taken(batch.id)
    hints.feed(batch.id, batch.groups)
    return batch


def _take_number(agreed: Batch, first: Batch, bucket: Bucket, layout: Layout) -> int:
    """Take the next round's number, and write down beside it what is known before it."""
    before = bucket.get(layout.batch(agreed.id, SUMMARY))
    for number in range(agreed.round + 1, agreed.round + _TRIES):
        key, data = layout.before_round(agreed.id, number, FIRST), first.as_json().encode()
        try:
            bucket.put(key, data, content_type=_JSON, if_absent=True)
        except PreconditionFailed:  # another command plans it, or was broken off
            continue
        except Refused:  # by a store that knows no conditions: then by looking, which is nearly as good
            if bucket.head(key) is not None:
                continue
            bucket.put(key, data, content_type=_JSON)
        bucket.put(layout.before_round(agreed.id, number, SUMMARY), before, content_type=_JSON)
        return number
    remedy = "Wait until the other commands have ended."
    raise NoRound("busy", f"{_TRIES} rounds of {agreed.id} were planned and not begun.", remedy)


def _give_number_back(batch: str, number: int, bucket: Bucket, layout: Layout) -> None:
    with suppress(StorageError):  # a number that is lost is only skipped
        bucket.delete(layout.before_round(batch, number, SUMMARY))
        bucket.delete(layout.before_round(batch, number, FIRST))


def _as_it_is_now(row: Row, catalogue: Catalogue) -> Row:
    """Return a row for another try: pictures that never came to the bucket are taken as they lie there today.

    One that cannot be read stays as it was, and ends as it did before.
    """
    sizes: dict[str, tuple[int, int]] = {}
    pixels: list[tuple[int, int] | None] = []
    for uri in row.request.inputs:
        seen = _seen(path_of(uri)) if uri.startswith("file://") else None
        pixels.append(seen[0] if seen else None)
        if uri.startswith("file://"):
            sizes[uri] = seen[1] if seen else row.sizes.get(uri, (-1, -1))
    if not sizes:
        return row._replace(sizes={})
    wanted: Mapping[str, Any] = row.request.params
    model = catalogue.models[row.request.model]
    price = row_price(model, pixels, width=wanted.get("width"), height=wanted.get("height"))
    row = row._replace(sizes=sizes, megapixels=price.megapixels)
    return row._replace(expected=price.expected, at_most=price.at_most)


def _seen(path: Path) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """Return (width, height) and (bytes, mtime in ns) of a picture, None where there is none."""
    try:
        with path.open("rb") as file:
            stat = path.stat()
            picture = inspect(file.read())
    except (OSError, PictureError):
        return None
    return (picture.width, picture.height), (stat.st_size, stat.st_mtime_ns)


def _outcomes(batch: str, bucket: Bucket, layout: Layout) -> Iterator[dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="retouch-") as scratch:
        path = Path(scratch) / OUTCOMES
        try:
            bucket.download(layout.batch(batch, OUTCOMES), path)
        except NotFound:
            remedy = f"`retouch status {batch}` shows how far it is."
            message = f"The batch {batch} has no report, so it is not known what did not make it."
            raise NoRound("no_report", message, remedy) from None
        with path.open(encoding="utf-8", newline="\n") as file:
            for line in file:
                if line.strip():
                    yield json.loads(line)


def reasons_listed(reasons: Sequence[tuple[str, int]]) -> str:
    """Return reasons with their numbers for a sentence: `api_error 40, url_not_found 2`."""
    return ", ".join(f"{code} {rows:,}" for code, rows in reasons)


def _taken(batch: str) -> NoRound:
    remedy = f"`retouch status {batch} --watch` follows it."
    return NoRound("running", f"Somebody else has opened {batch} meanwhile.", remedy)
