"""What has to come of a batch whose worker dies at each place: the table that `test_crash_points.py` carries out.

The rule behind it: knowledge that was recorded is used, work that was not is done again for nothing, and only a death
between the `sent` mark and the record of the answer leaves a doubt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from config.catalogue import shipped_catalogue
from jobs.batch import BatchState
from jobs.events import Doubted
from jobs.ledger.redis import RedisLedger
from jobs.states import apply
from running.programs import Program, eventually
from tests.acceptance.harness import House, picture
from tests.chaos.rig import Rig

Rows = list[dict[str, str]]
NEVER, AMPLE = "0", "5"
"""Allowances: no doubt is ever asked again; every one is."""


UNPROVED, PROVED = ({"RETOUCH_SUBMIT__SETTLE_BY_CREDITS": each} for each in ("false", "true"))


def one(house: House) -> Rows:
    """Return a manifest's one row."""
    return house.rows(1)


def nothing(rig: Rig, worker: Program, batch: str) -> None:
    """Let the worker come there by itself."""


def nobody(rig: Rig, batch: str) -> None:
    """Let no person do anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Crash:
    """A death, how the worker comes there, and what has to come of the batch where Redis keeps all it was told."""

    at: str
    api: Mapping[str, float] = field(default_factory=dict)
    """Faults of the API until the death."""
    rows: Callable[[House], Rows] = one
    latency: float = 0.05
    do: Callable[[Rig, Program, str], None] = nothing
    env: Mapping[str, str] = field(default_factory=lambda: UNPROVED)
    """A doubt that was never charged stays one, unless it says otherwise."""
    do_before: Callable[[Rig, Program, str], None] = nothing
    """How the first worker comes to where it died."""
    between: Callable[[Rig, str], None] = nobody
    """What a person does when the first worker has died."""
    before: str = ""
    """A first worker died here, a while ago."""
    elsewhere: bool = False
    """That one had another disk: nothing proves its death, and its lease has to lapse."""
    ends: Mapping[str, int] = field(default_factory=lambda: {"stored": 1})
    charges: int = 1
    """What the API has charged at the end, where no doubt was asked again."""
    doubt: bool = False
    """The row ends in doubt: held for a person, or bought (again, if it was bought) out of the allowance."""
    own_store: bool = False
    """The store is stopped on the way, so it must be nobody else's."""
    doubts: int | None = None
    """How many doubts are counted; one where the row ends in doubt, else none."""
    known: bool = False
    """The API has said that it took the edit, and that was written down: nothing of Redis is needed to fetch it."""
    allowances: tuple[str, ...] = ()
    """The allowances under which this place can be reached."""

    @property
    def under(self) -> tuple[str, ...]:
        """The allowances to try: a doubt has two ways to end."""
        return self.allowances or ((NEVER, AMPLE) if self.doubt else (NEVER,))


def _taken_output(house: House) -> Rows:
    key = f"{house.name}/taken.png"
    house.servers.bucket.put(key, picture(1), content_type="image/png")
    return house.rows(1, output=key)


def _stopped(rig: Rig, worker: Program, batch: str) -> None:
    api = rig.house.api
    assert api is not None
    eventually(lambda: api.totals()["polls"], 30, "the task is looked at")
    worker.terminate()


def _redis_away(rig: Rig, worker: Program, batch: str) -> None:
    api = rig.house.api
    assert api is not None
    eventually(lambda: api.totals()["tasks"], 30, "the API has taken the task and not yet said so")
    rig.lose_redis()


def _overtaken(rig: Rig, worker: Program, batch: str) -> None:
    """Move the job, as somebody does who takes the worker for dead, before the API's answer is there."""
    api = rig.house.api
    assert api is not None
    eventually(lambda: api.totals()["tasks"], 30, "the API has taken the task and not yet said so")
    ledger = RedisLedger(rig.house.redis, shipped_catalogue())
    (id_,) = ledger.jobs_of(batch)
    job = ledger.load(id_)
    assert job is not None
    doubted = apply(job, Doubted(detail="its worker was slow", wait=60.0), ledger.now())
    ledger.record(job, replace(doubted, fence=job.fence + 1))
    eventually(lambda: not worker.runs, 30, "the answer is there, and nobody else has settled the doubt")


def _storage_away(rig: Rig, worker: Program, batch: str) -> None:
    api = rig.house.api
    assert api is not None
    eventually(lambda: api.totals()["polls"], 30, "the task is looked at")
    rig.lose_storage()


def _given_up(rig: Rig, batch: str) -> None:
    said = rig.house.retouch("cancel", batch, "--kept", "--yes", "--json")
    assert said.code == 0, said


def _cancelled(rig: Rig, worker: Program, batch: str) -> None:
    api = rig.house.api
    assert api is not None
    eventually(lambda: api.totals()["tasks"], 30, "the first row is bought")
    ledger = RedisLedger(rig.house.redis, shipped_catalogue())
    assert ledger.set_state(batch, BatchState.CANCELLED, "", only_from=[BatchState.OPEN])


ONE_SLOT = {"RETOUCH_API__ACTIVE_LIMIT": "1"}
DOUBTFUL = {"lose_answer": 1.0}
REFUSED_AS_500 = {"refuse": 1.0, "seed": 2}
"""With this seed the first refusal is a 500, which is a doubt, and no 503, which is none."""

CRASHES: tuple[Crash, ...] = (
    # a window is fed
    Crash(at="rows-read"),
    Crash(at="jobs-created"),
    # an edit is bought: up to the mark nothing can have been charged
    Crash(at="claimed"),
    Crash(at="prepared"),
    Crash(at="body-begun"),
    Crash(at="begun"),
    Crash(at="intent-in-bucket"),
    Crash(at="sent", doubt=True, charges=0),
    Crash(at="last-bytes-sent", doubt=True),
    Crash(at="recording:Accepted", doubt=True),
    Crash(at="receipt-recorded"),
    Crash(at="recorded:Accepted", known=True),
    # the API said no, and only the dead knew
    Crash(at="refused", api={"rate_limit": 1.0}, doubt=True, charges=0),
    Crash(at="recording:NotSubmitted", api={"rate_limit": 1.0}, doubt=True, charges=0),
    Crash(at="recorded:NotSubmitted", api={"rate_limit": 1.0}),
    # nobody knows what the API did
    Crash(at="recording:Doubted", api=DOUBTFUL, doubt=True),
    Crash(at="recorded:Doubted", api=DOUBTFUL, doubt=True),
    Crash(at="doubt-found", api=DOUBTFUL, doubt=True),
    Crash(at="doubt-resubmitted", api=DOUBTFUL, doubt=True, allowances=(AMPLE,)),
    Crash(at="doubt-held", api=DOUBTFUL, doubt=True, allowances=(NEVER,)),
    # the credits prove that it was not charged
    *(Crash(at=at, api=REFUSED_AS_500, env=PROVED, doubts=1) for at in ("credits-seen", "proved-uncharged")),
    # the task ends
    Crash(at="recording:Ready", known=True),
    Crash(at="recorded:Ready", known=True),
    Crash(at="recording:AttemptFailed", api={"fail_task": 1.0}),
    Crash(at="recorded:AttemptFailed", api={"fail_task": 1.0}),
    Crash(at="recording:Moderated", rows=lambda house: house.rows(1, "[[content-moderated]]"), ends={"moderated": 1}),
    Crash(at="recorded:Moderated", rows=lambda house: house.rows(1, "[[content-moderated]]"), ends={"moderated": 1}),
    # the result is fetched
    Crash(at="downloading", known=True),
    Crash(at="downloaded", known=True),
    Crash(at="recording:UrlExpired", api={"refuse_download": 1.0}),
    Crash(at="recorded:UrlExpired", api={"refuse_download": 1.0}),
    Crash(at="filed", known=True),
    Crash(at="recording:Stored", known=True),
    Crash(at="recorded:Stored", known=True),
    Crash(at="recording:Unchanged", rows=lambda house: house.rows(2, "the same"), ends={"stored": 1, "unchanged": 1}),
    Crash(at="recorded:Unchanged", rows=lambda house: house.rows(2, "the same"), ends={"stored": 1, "unchanged": 1}),
    # Redis or storage is away meanwhile
    Crash(at="note-on-disk", api={"slow_answer": 1.0}, do=_redis_away, doubt=True),
    Crash(at="receipt-noted", api={"slow_answer": 1.0}, do=_redis_away, doubts=1),
    Crash(at="note-told", before="receipt-noted", api={"slow_answer": 1.0}, do_before=_redis_away, doubts=1),
    # or somebody else moves the job while the answer is on its way
    Crash(at="late-receipt-noted", api={"slow_answer": 1.0}, do=_overtaken, doubts=1),
    Crash(at="late-receipt-told", api={"slow_answer": 1.0}, do=_overtaken, doubts=1, known=True),
    *(
        Crash(at=at, latency=4.0, do=_storage_away, own_store=True)
        for at in ("picture-on-disk", "result-on-disk", "recording:Kept", "recorded:Kept")
    ),
    Crash(at="result-let-go", before="recorded:Kept", latency=4.0, do_before=_storage_away, own_store=True),
    *(
        Crash(
            at=at,
            before="recorded:Kept",
            latency=4.0,
            do_before=_storage_away,
            between=_given_up,
            own_store=True,
            ends={"failed": 1},
            allowances=(AMPLE,),  # a Redis that forgets that it was given up lets it be stored
        )
        for at in ("result-told", "result-put-away")
    ),
    # nothing is bought
    Crash(at="recording:Failed", rows=_taken_output, ends={"failed": 1}, charges=0),
    Crash(at="recorded:Failed", rows=_taken_output, ends={"failed": 1}, charges=0),
    Crash(at="recording:GivenBack", latency=4.0, do=_stopped),
    Crash(at="recorded:GivenBack", latency=4.0, do=_stopped),
    *(
        Crash(
            at=at,
            rows=lambda house: house.rows(2),
            latency=4.0,
            do=_cancelled,
            env=ONE_SLOT,
            ends={"stored": 1, "cancelled": 1},
        )
        for at in ("recording:Cancelled", "recorded:Cancelled")
    ),
    # somebody else goes on
    Crash(at="lapse-found", before="begun", elsewhere=True),
    Crash(at="lapse-found", before="last-bytes-sent", doubt=True, elsewhere=True),
    Crash(at="lapse-found", before="recorded:Accepted", elsewhere=True),
    Crash(at="taken-over", before="begun"),
    Crash(at="taken-over", before="last-bytes-sent", doubt=True),
    Crash(at="taken-over", before="recorded:Ready"),
    Crash(at="ended-taken-over", before="recorded:Accepted"),
    # outcomes leave Redis, and the batch ends
    Crash(at="outcomes-set-apart"),
    Crash(at="outcomes-written"),
    Crash(at="outcomes-dropped"),
    Crash(at="finish-begun"),
    Crash(at="report-written"),
    Crash(at="finish-marked"),
    Crash(at="batch-done"),
)

OF_COMMANDS = ("plan-written", "batch-written", "batch-opened", "pictures-staged", "chunk-staged", "mark-raised")
"""Places at which a command dies, not a worker."""

NOT_REACHED: Mapping[str, str] = {}
"""Places that no scenario leads to, and why."""
