"""Puts a batch right when Redis was emptied or went back in time: the ledger is built anew from the bucket.

What is known without Redis: the plan, the outcomes, with RETOUCH_SUBMIT__INTENTS_IN_BUCKET every submission, and what
the old ledger still says, where there is one. A row that may have been submitted and has no receipt is a doubt; a row
of which nothing is known runs again only where no submission can leave without a trace.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from jobs.accounts import MAIN
from jobs.batch import Batch, BatchState
from jobs.bucket.layout import Layout
from jobs.bucket.port import Bucket
from jobs.events import Accepted, Begun, Doubted, Event
from jobs.intent import Intent
from jobs.job import FINAL, Order, Receipt, State
from jobs.ledger.change import counted_reason
from jobs.ledger.port import Ledger, Restored
from jobs.models import MICROS_PER_USD, Catalogue
from jobs.money import PROOF_EDITS, Days, over_estimate
from jobs.outcome import FOUND, LATE
from jobs.report.parts import read_parts, write_parts
from jobs.retry import doubt_wait
from jobs.row import Row
from jobs.spend import charges_of
from jobs.states import apply
from producers.numbers import RowNumbers

UNKNOWN_P999_S = 120.0
"""How long the tasks of a model may take that is in no catalogue any more."""

DETAIL = "the ledger was lost while this submission may have been under way"


@dataclass(slots=True)
class Known:
    """What the bucket and the old ledger say of a batch's present round."""

    ended: RowNumbers = field(default_factory=RowNumbers)
    counts: Counter[str] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)
    costs: Counter[str] = field(default_factory=Counter)
    """By reason code: rows that did not make it, and what they cost."""
    settled: int = 0
    doubts: dict[int, int] = field(default_factory=dict)
    """By row: how often it was in doubt."""
    intents: dict[int, Intent] = field(default_factory=dict)
    """By row: its latest submission."""
    charges: Counter[int] = field(default_factory=Counter)
    """By row: how many of its submissions have cost something."""
    paid: Counter[str] = field(default_factory=Counter)
    """By model: what they have cost."""
    first: list[tuple[float, int, int]] = field(default_factory=list)
    """The first of them: when their row ended, what they cost and were expected to."""
    filed: dict[int, int] = field(default_factory=dict)
    """By row: the attempt whose result a worker has filed from its disk, so that to run it again buys nothing."""

    def of(self, row: int) -> Intent | None:
        """Return a row's latest submission, if its end is not known."""
        intent = self.intents.get(row)
        return None if intent is not None and intent.attempt <= self.filed.get(row, 0) else intent

    def bought(self, line: Mapping[str, Any]) -> None:
        """Take what the submissions of a row that has ended have cost, the first edits apart."""
        for charge in charges_of(line):
            cost = round(charge["cost_usd"] * MICROS_PER_USD)
            if cost <= 0:
                continue
            self.charges[line["row"]] += 1
            self.paid[line.get("model", "")] += cost
            entry = (
                line.get("at", {}).get("ended") or 0.0,
                cost,
                round(line.get("expected_usd", 0.0) * MICROS_PER_USD),
            )
            if len(self.first) < PROOF_EDITS or entry < self.first[-1]:
                self.first = sorted([*self.first, entry])[:PROOF_EDITS]

    def saw(self, intent: Intent) -> None:
        """Take the later attempt, and of one attempt what has a receipt."""
        before = self.intents.get(intent.row)
        if before is None or _rank(intent) > _rank(before):
            self.intents[intent.row] = intent


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What putting a batch right would do."""

    batch: Batch
    restored: Restored
    bought: Sequence[tuple[Order, Intent]]
    """Their task is known: it is followed to its end."""
    doubtful: Sequence[tuple[Order, Intent]]
    """They may have been submitted, and nobody knows the task."""
    proved: bool
    """Every submission left an intent, so a row without one was not submitted."""

    @property
    def again(self) -> int:
        """How many rows were fed and certainly not submitted: they are queued again."""
        return len(self.restored.orders) - len(self.bought) - len(self.doubtful)


def examine(
    batch: Batch, *, bucket: Bucket, layout: Layout, ledger: Ledger, catalogue: Catalogue, intents: bool
) -> Finding:
    """Return what is known of a batch without trusting the ledger. Changes nothing.

    Args:
        batch: its latest round, as it was agreed.
        bucket: where it lies.
        layout: under which keys.
        ledger: which may still hold an older state of it.
        catalogue: the models, for windows.
        intents: whether every submission wrote its intent to the bucket.

    Raises:
        StorageError, LedgerError: it cannot be read.
    """
    known = Known()
    _read_outcomes(batch, known, bucket, layout)
    _read_intents(batch, known, bucket, layout)
    _ask_the_ledger(batch, known, ledger)
    cursors: dict[str, int] = {}
    staged: dict[str, int] = {}
    open_rows: list[Row] = []
    exposed = 0
    due: Counter[str] = Counter()
    for group, rows in batch.groups.items():
        staged[group] = _staged(batch, group, bucket, layout)
        plan = _Plan(batch, group, staged[group], bucket, layout)
        places = catalogue.groups.get(group)
        unsure = 0 if intents else places.window if places else rows
        cursors[group] = min(_last_trace(plan, known) + unsure, staged[group])
        for row in plan.rows(cursors[group]):
            exposed += known.doubts.get(row.number, 0) * row.at_most
            due[row.request.model] += known.charges[row.number] * row.at_most
            if row.number not in known.ended:
                open_rows.append(row)
    found = [(row.order(batch.id), known.of(row.number)) for row in open_rows]
    return Finding(
        batch=batch,
        restored=Restored(
            cursors=cursors,
            staged=staged,
            counts=dict(known.counts),
            settled=known.settled,
            doubts=sum(known.doubts.values()),
            doubt_used=exposed,
            reasons={code: (count, known.costs[code]) for code, count in known.rows.items()},
            orders=[order for order, _ in found],
            first=len(known.first),
            first_cost=sum(cost for _, cost, _ in known.first),
            first_expected=sum(expected for _, _, expected in known.first),
            price_paid=dict(known.paid),
            price_due=dict(due),
        ),
        bought=[(order, intent) for order, intent in found if intent is not None and intent.receipt is not None],
        doubtful=[
            (order, intent or _untold(order, batch))
            for order, intent in found
            if (intent is None and not intents and order.row not in known.filed)
            or (intent is not None and intent.receipt is None)
        ],
        proved=intents,
    )


def put_right(
    finding: Finding,
    *,
    bucket: Bucket,
    layout: Layout,
    ledger: Ledger,
    catalogue: Catalogue,
    doubt_wait_s: float,
    days: Days,
) -> bool:
    """Build a batch anew in the ledger, and let it go on; False if somebody else has done so meanwhile.

    Where its first edits were too dear it waits for a yes, because nobody knows whether there was one. Money of which
    no day is known is reserved on this one.

    What the ledger held of it is written to the bucket where it was an outcome, and forgotten where it was not.

    Raises:
        StorageError, LedgerError: it was not done, or half of it: then the batch is paused, and this may run again.
    """
    batch = finding.batch
    write_parts(batch.id, ledger, bucket, layout)
    ledger.forget(batch.id)
    if not ledger.restore(batch, finding.restored):
        return False
    today = days.book(ledger.now(), simulated=batch.simulated)
    for order, intent in finding.bought:
        if intent.receipt is not None:
            _moved(order, intent, Accepted(receipt=intent.receipt), ledger, today)
    for order, intent in finding.doubtful:
        model = catalogue.models.get(order.request.model)
        wait = doubt_wait(model.latency.p999_s if model else UNKNOWN_P999_S, doubt_wait_s)
        _moved(order, intent, Doubted(detail=DETAIL, wait=max(intent.at + wait - ledger.now(), 0.0)), ledger, today)
    first = finding.restored
    if over_estimate(first.first, first.first_cost, first.first_expected):
        ledger.set_state(batch.id, BatchState.PAUSED, "proof", only_from=(BatchState.PAUSED,))
    else:
        ledger.set_state(batch.id, BatchState.OPEN, "", only_from=(BatchState.PAUSED,))
    return True


def _moved(order: Order, intent: Intent, event: Event, ledger: Ledger, today: str) -> None:
    """Bring a queued job to where its submission had come to."""
    job = ledger.load(order.job)
    if job is None:
        return
    begun = apply(
        replace(job, attempt=intent.attempt, doubts=intent.doubts),
        Begun(fingerprint=intent.fingerprint, key_id=intent.key_id, account=intent.account, day=intent.day or today),
        intent.at or ledger.now(),
    )
    ledger.record(job, begun)
    ledger.record(begun, apply(begun, event, ledger.now()))


def _read_outcomes(batch: Batch, known: Known, bucket: Bucket, layout: Layout) -> None:
    late: dict[str, int] = {}
    for line in read_parts(batch.id, bucket, layout):
        if line["round"] != batch.round:
            continue
        row, cost = line["row"], round(line["cost_usd"] * MICROS_PER_USD)
        if line["state"] == LATE:
            receipt = Receipt(task_id=line["task_id"], polling_url=line["polling_url"], cost=cost)
            known.saw(_untraced(line, receipt))
            late[line["task_id"]] = cost
        elif line["state"] == FOUND:
            known.filed[row] = max(line["attempt"], known.filed.get(row, 0))
            known.settled += round(line["paid_usd"] * MICROS_PER_USD)
        elif State(line["state"]) in FINAL and row not in known.ended:
            known.ended.add(row)
            known.counts[line["state"]] += 1
            known.settled += cost
            known.bought(line)
            known.doubts[row] = line["doubts"]
            late.pop(line["task_id"], None)
            if code := counted_reason(line["state"], line["reason"]):
                known.rows[code] += 1
                known.costs[code] += cost
        elif row not in known.ended:  # held: a doubt until somebody decides
            known.saw(_untraced(line, None))
    known.doubts = {row: count for row, count in known.doubts.items() if count}


def _read_intents(batch: Batch, known: Known, bucket: Bucket, layout: Layout) -> None:
    for head in bucket.keys(layout.intents(batch.id, batch.round)):
        row = int(head.key.rpartition("/")[2].partition(".")[0])
        if row not in known.ended:
            known.saw(Intent.from_json(bucket.get(head.key)))


def _ask_the_ledger(batch: Batch, known: Known, ledger: Ledger) -> None:
    """Take what an old ledger still knows: a receipt there is as good as any, and so is a mark that something left."""
    found = ledger.batch(batch.id)
    if found is None or found[0].round != batch.round:
        return
    for name in ledger.jobs_of(batch.id):
        job = ledger.load(name)
        if job is None or job.order.row in known.ended:
            continue
        if job.receipt is not None or job.state in (State.SUBMITTING, State.IN_DOUBT):
            known.saw(Intent.of(job, ""))


@dataclass(frozen=True, slots=True)
class _Plan:
    """One limit group's rows in the order in which they are fed."""

    batch: Batch
    group: str
    staged: int
    bucket: Bucket
    layout: Layout

    def rows(self, count: int) -> Iterator[Row]:
        """Yield the first `count` rows, as they were staged where they were."""
        size = self.batch.chunk_rows
        for chunk in range(-(-count // size)):
            make = self.layout.plan
            if self.batch.local and chunk * size < self.staged:
                make = self.layout.staged_plan
            text = self.bucket.get(make(self.batch.id, self.batch.round, self.group, chunk)).decode("utf-8")
            for position, line in enumerate(filter(None, text.split("\n")), chunk * size):
                if position < count:
                    yield Row.from_line(line)


def _last_trace(plan: _Plan, known: Known) -> int:
    """Return how many rows had been fed at least: up to the last one of which anything is known."""
    traces = len(known.ended | known.intents.keys() | known.filed.keys())
    last = 0
    for position, row in enumerate(plan.rows(plan.batch.groups[plan.group]), 1):
        if row.number in known.ended or row.number in known.intents or row.number in known.filed:
            last = position
            traces -= 1
            if traces == 0:
                break
    return last


def _staged(batch: Batch, group: str, bucket: Bucket, layout: Layout) -> int:
    """Return how many rows of a group can be read by workers."""
    if not batch.local:
        return batch.groups[group]
    chunks = 0
    for chunk in range(-(-batch.groups[group] // batch.chunk_rows)):
        if bucket.head(layout.staged_plan(batch.id, batch.round, group, chunk)) is None:
            break
        chunks += 1
    return min(chunks * batch.chunk_rows, batch.groups[group])


def _rank(intent: Intent) -> tuple[int, bool, bool]:
    return intent.attempt, intent.receipt is not None, bool(intent.fingerprint)


def _untraced(line: Mapping[str, Any], receipt: Receipt | None) -> Intent:
    """Return the intent of a submission that is known by a line of the outcomes, or by its place alone."""
    return Intent(
        row=line["row"],
        round=line["round"],
        attempt=line["attempt"],
        epoch="",
        number=0,
        owner="",
        fingerprint=line.get("fingerprint", ""),
        key_id=line.get("key", ""),
        day=line.get("day", ""),
        account=line.get("account", MAIN),
        at=0.0,
        receipt=receipt,
    )


def _untold(order: Order, batch: Batch) -> Intent:
    return _untraced({"row": order.row, "round": batch.round, "attempt": 1}, None)
