"""The life of a job, exhaustively: every state with every event, and what each event writes down."""

from __future__ import annotations

from dataclasses import replace

import pytest

from jobs import events as e
from jobs.errors import IllegalTransition
from jobs.events import Event
from jobs.job import DOUBT, FINAL, MADE_IT, NO_SUM, Job, Order, Receipt, Result, State
from jobs.request import Request
from jobs.states import TABLE, apply, diagram

AT = 1_800_000_000.0
RESERVE, COST = 60_000, 45_000
ORDER = Order(
    batch="b",
    row=7,
    id="chair-7",
    group="chairs",
    limit_group="flux",
    request=Request(model="flux-2-pro", prompt="a white wall", inputs=("s3://b/7.png",)),
    output="out/7.{ext}",
    reserve=RESERVE,
)
RESULT = Result(key="k", sha256="0" * 64, bytes=9, format="png", width=1, height=1)
S = State


def receipt(cost: int | None = COST, task: str = "t1") -> Receipt:
    return Receipt(task_id=task, polling_url=f"https://api.eu1.bfl.ai/v1/get_result?id={task}", cost=cost)


EVENTS: dict[type[Event], Event] = {
    type(event): event
    for event in (
        e.Begun(fingerprint="f", key_id="k1"),
        e.Accepted(receipt=receipt()),
        e.GivenBack(wait=5.0, why="no slot"),
        e.NotSubmitted(wait=5.0, why="429"),
        e.AttemptFailed(code="api_error", detail="boom", wait=5.0),
        e.Doubted(detail="timeout", wait=45.0),
        e.Resubmitted(),
        e.Held(),
        e.Ready(url="https://delivery/x", deadline=AT + 600, seed=3),
        e.UrlExpired(),
        e.Kept(detail="storage is away"),
        e.Stored(result=RESULT),
        e.Unchanged(result=RESULT, fingerprint="f", how="copied"),
        e.Moderated(code="result_moderated", detail="x"),
        e.Failed(code="api_error", detail="x"),
        e.Cancelled(),
    )
}
CELLS = [(state, kind) for state in State for kind in EVENTS]


def job(state: State = S.QUEUED, **known: object) -> Job:
    return replace(Job(order=ORDER, state=state, owner="w1", fence=4, fingerprint="f"), **known)  # type: ignore[arg-type]


def after(first: Job, *happened: Event) -> Job:
    for event in happened:
        first = apply(first, event, AT)
    return first


def submitting() -> Job:
    return after(job(), EVENTS[e.Begun])


def kinds() -> set[str]:
    """Return the name of every kind of event that there is."""
    return {name for name, kind in vars(e).items() if isinstance(kind, type) and issubclass(kind, Event)} - {"Event"}


# -- the table


@pytest.mark.parametrize(("state", "kind"), CELLS, ids=lambda part: getattr(part, "__name__", str(part)))
def test_every_move_of_the_table_works_and_every_other_is_refused(state: State, kind: type[Event]) -> None:
    before = job(state)
    copy = replace(before)

    if kind in TABLE[state]:
        moved = apply(before, EVENTS[kind], AT)
        assert moved.state is TABLE[state][kind]
    else:
        with pytest.raises(IllegalTransition) as refused:
            apply(before, EVENTS[kind], AT)
        assert str(refused.value) == f"{before.id} is {state}: {kind.__name__} cannot happen to it"

    assert before == copy


def test_the_table_has_every_state_and_only_known_events() -> None:
    assert set(TABLE) == set(State)
    assert {kind.__name__ for moves in TABLE.values() for kind in moves} == kinds() == {k.__name__ for k in EVENTS}


def test_a_final_state_goes_nowhere() -> None:
    for state in FINAL:
        assert dict(TABLE[state]) == {}


def test_every_state_leads_to_an_end() -> None:
    reached = set(FINAL)
    for _ in State:
        reached |= {state for state, moves in TABLE.items() if reached & set(moves.values())}

    assert reached == set(State)


def test_every_state_can_be_reached_from_the_queue() -> None:
    reached = {S.QUEUED}
    for _ in State:
        reached |= {target for state in reached for target in TABLE[state].values()}

    assert reached == set(State)


def test_nothing_is_submitted_but_from_the_queue() -> None:
    assert [state for state, moves in TABLE.items() if e.Begun in moves] == [S.QUEUED]


def test_a_doubt_never_returns_to_the_queue_but_by_a_resubmission() -> None:
    ways = [kind for kind, target in TABLE[S.IN_DOUBT].items() if target is S.QUEUED]

    assert ways == [e.Resubmitted]


def test_what_was_ready_is_never_asked_for_again() -> None:
    reached = {S.READY, S.KEPT}

    assert S.QUEUED not in {target for state in reached for target in TABLE[state].values()}


def test_kept_bytes_are_found_by_their_disk_and_by_nothing_once_they_are_stored() -> None:
    kept = apply(job(S.READY, owner="w1"), e.Kept(detail="storage is away", spool="disk"), AT)

    stored = apply(kept, e.Stored(result=RESULT), AT)

    assert (kept.spool, kept.owner, kept.detail) == ("disk", "", "storage is away")
    assert (stored.spool, stored.detail) == ("", "")


def test_kept_bytes_that_their_disk_has_spoilt_are_asked_for_once_more() -> None:
    kept = apply(job(S.READY), e.Kept(detail="storage is away", spool="disk"), AT)

    again = apply(kept, e.UrlExpired(), AT)

    assert (again.state, again.renewed, again.spool) == (S.RUNNING, True, "")


def test_a_receipt_is_taken_wherever_the_job_can_go_on_with_it() -> None:
    taking = {state for state in State if e.Accepted in TABLE[state]}

    assert taking == {S.QUEUED, S.SUBMITTING, S.IN_DOUBT}


def test_the_diagram_names_every_state_and_every_event() -> None:
    text = diagram()

    assert text.startswith("stateDiagram-v2\n")
    for state in State:
        assert f"    {state} --> " in text
    for name in kinds():
        assert name in text
    for state in FINAL:
        assert f"    {state} --> [*]" in text.splitlines()


def test_what_made_it_is_final() -> None:
    assert MADE_IT < FINAL


# -- attempts, fences and owners


@pytest.mark.parametrize(("state", "kind"), [cell for cell in CELLS if cell[1] in TABLE[cell[0]]])
def test_only_a_counted_failure_or_a_resubmission_spends_an_attempt(state: State, kind: type[Event]) -> None:
    before = job(state)

    spent = apply(before, EVENTS[kind], AT).attempt - before.attempt

    assert spent == (1 if kind in (e.AttemptFailed, e.Resubmitted) else 0)


@pytest.mark.parametrize(("state", "kind"), [cell for cell in CELLS if cell[1] in TABLE[cell[0]]])
def test_no_event_touches_the_fence_or_the_order(state: State, kind: type[Event]) -> None:
    before = job(state)

    moved = apply(before, EVENTS[kind], AT)

    assert (moved.fence, moved.order, moved.round) == (before.fence, before.order, before.round)


@pytest.mark.parametrize("kind", [e.GivenBack, e.NotSubmitted, e.AttemptFailed, e.Doubted])
def test_what_gives_a_job_back_leaves_it_without_owner_until_its_time(kind: type[Event]) -> None:
    before = submitting() if kind is not e.GivenBack else job()

    moved = apply(before, EVENTS[kind], AT)

    assert moved.owner == ""
    assert moved.not_before > AT


@pytest.mark.parametrize(("state", "kind"), [c for c in CELLS if TABLE[c[0]].get(c[1]) in FINAL and c[0] not in FINAL])
def test_an_end_leaves_no_owner_no_wait_and_no_hold(state: State, kind: type[Event]) -> None:
    ended = apply(job(state, not_before=AT + 9), EVENTS[kind], AT)

    assert (ended.owner, ended.not_before, ended.sent, ended.held) == ("", 0.0, False, False)
    assert ended.ended_at == AT


def test_a_slot_is_named_after_the_job_and_its_attempt() -> None:
    first = submitting()

    second = after(first, EVENTS[e.AttemptFailed])

    assert (first.slot, second.slot) == ("b.7:1", "b.7:2")


def test_the_last_ten_failures_are_kept() -> None:
    failing = job()
    for number in range(12):
        event = e.AttemptFailed(code="api_error", detail=str(number), wait=0)
        failing = after(failing, EVENTS[e.Begun], event)

    assert failing.attempt == 13
    assert [failure.detail for failure in failing.failures] == [str(n) for n in range(2, 12)]
    assert failing.failures[-1].attempt == 12


def test_waits_in_a_row_are_counted_until_a_submission_is_accepted() -> None:
    waited = after(job(), EVENTS[e.GivenBack], EVENTS[e.Begun], EVENTS[e.NotSubmitted], EVENTS[e.Begun])

    assert waited.waits == 2
    assert after(waited, EVENTS[e.Accepted]).waits == 0


def test_a_job_given_back_without_a_wait_counts_no_wait() -> None:
    moved = after(job(), e.GivenBack(wait=0))

    assert (moved.waits, moved.not_before) == (0, 0.0)


# -- the sent mark


@pytest.mark.parametrize("kind", [e.Accepted, e.NotSubmitted, e.AttemptFailed, e.Moderated, e.Failed])
def test_whatever_is_known_of_a_submission_takes_the_sent_mark_away(kind: type[Event]) -> None:
    sent = replace(submitting(), sent=True)

    assert not apply(sent, EVENTS[kind], AT).sent


def test_a_new_submission_begins_without_the_mark() -> None:
    again = after(replace(submitting(), sent=True), EVENTS[e.Doubted], EVENTS[e.Resubmitted], EVENTS[e.Begun])

    assert not again.sent


# -- doubts


def test_a_doubt_says_why_and_is_counted() -> None:
    doubt = after(submitting(), EVENTS[e.Doubted])

    assert (doubt.doubts, doubt.reason, doubt.detail) == (1, "in_doubt", "timeout")
    assert doubt.not_before == AT + 45


def test_a_resubmitted_doubt_keeps_its_history_and_nothing_else() -> None:
    again = after(submitting(), EVENTS[e.Doubted], EVENTS[e.Held], EVENTS[e.Resubmitted])

    assert (again.held, again.reason, again.detail, again.not_before) == (False, "", "", 0.0)
    assert [(f.code, f.detail, f.attempt) for f in again.failures] == [("in_doubt", "timeout", 1)]
    assert again.doubts == 1


def test_a_held_doubt_stays_in_doubt_until_somebody_knows_more() -> None:
    held = after(submitting(), EVENTS[e.Doubted], EVENTS[e.Held])

    assert (held.state, held.held) == (S.IN_DOUBT, True)
    running = after(held, EVENTS[e.Accepted])
    assert (running.held, running.reason, running.receipt) == (False, "", receipt())


@pytest.mark.parametrize("state", [S.IN_DOUBT, S.QUEUED])
def test_a_job_with_a_late_receipt_is_worked_on_at_once(state: State) -> None:
    waiting = job(state, not_before=AT + 45, owner="")

    assert after(waiting, EVENTS[e.Accepted]).not_before <= AT


# -- money


def test_the_receipts_word_on_the_cost_counts() -> None:
    stored = after(submitting(), EVENTS[e.Accepted], e.Ready(url="u", deadline=AT, cost=99_000), EVENTS[e.Stored])

    assert (stored.cost, stored.cost_source) == (COST, "receipt")


def test_without_it_the_last_bodys_word_counts() -> None:
    ready = after(submitting(), e.Accepted(receipt=receipt(None)), e.Ready(url="u", deadline=AT, cost=COST))

    assert (ready.cost, ready.cost_source) == (COST, "ready")


def test_without_either_the_reserve_counts() -> None:
    ready = after(submitting(), e.Accepted(receipt=receipt(None)), EVENTS[e.Ready])

    assert (ready.cost, ready.cost_source) == (RESERVE, "reserve")


def test_a_cost_of_nothing_is_a_cost() -> None:
    ready = after(submitting(), e.Accepted(receipt=receipt(0)), EVENTS[e.Ready])

    assert (ready.cost, ready.cost_source) == (0, "receipt")


@pytest.mark.parametrize(("paid", "cost"), [(True, RESERVE), (False, 0)])
def test_a_failure_of_unknown_cost_counts_as_the_reserve_if_it_was_paid(paid: bool, cost: int) -> None:
    failed = after(submitting(), e.Accepted(receipt=receipt(None)), e.Failed(code="x", detail="", paid=paid))

    assert failed.cost == cost


def test_a_failure_after_a_receipt_with_its_cost_is_not_charged_again() -> None:
    failed = after(submitting(), EVENTS[e.Accepted], e.Failed(code="x", detail="", cost=COST, paid=True))

    assert failed.cost == COST


def test_a_failure_before_anything_was_submitted_costs_nothing() -> None:
    assert after(job(), EVENTS[e.Failed]).cost == 0


def test_every_attempt_that_was_charged_adds_up() -> None:
    twice = after(
        submitting(),
        EVENTS[e.Accepted],
        EVENTS[e.AttemptFailed],
        EVENTS[e.Begun],
        e.Accepted(receipt=receipt(30_000, "t2")),
        EVENTS[e.Ready],
    )

    assert twice.cost == COST + 30_000


def test_a_second_attempt_of_unknown_cost_counts_as_the_reserve_too() -> None:
    twice = after(
        submitting(),
        EVENTS[e.Accepted],
        EVENTS[e.AttemptFailed],
        EVENTS[e.Begun],
        e.Accepted(receipt=receipt(None, "t2")),
        EVENTS[e.Ready],
    )

    assert twice.cost == COST + RESERVE


@pytest.mark.parametrize(
    "cost",
    [None, COST],
)
def test_a_result_that_is_polled_again_is_paid_once(cost: int | None) -> None:
    ready = e.Ready(url="u", deadline=AT, cost=cost)

    again = after(submitting(), e.Accepted(receipt=receipt(None)), ready, EVENTS[e.UrlExpired], ready)

    assert again.cost == (cost or RESERVE)
    assert again.renewed


def test_each_charge_says_on_which_day_with_which_key_and_by_whose_word() -> None:
    first = e.Begun(fingerprint="f", key_id="k1", day="2026-11-22")
    second = e.Begun(fingerprint="f", key_id="k2", day="2026-11-23")

    twice = after(job(), first, EVENTS[e.Accepted], EVENTS[e.AttemptFailed], second)
    twice = after(twice, e.Accepted(receipt=receipt(None, "t2")), EVENTS[e.Ready])

    assert [(c.attempt, c.day, c.key_id, c.cost, c.source) for c in twice.charges] == [
        (1, "2026-11-22", "k1", COST, "receipt"),
        (2, "2026-11-23", "k2", RESERVE, "reserve"),
    ]
    assert twice.cost_source == "reserve"


def test_a_cost_that_is_no_sum_counts_as_the_estimate_and_is_flagged() -> None:
    asked = replace(submitting(), order=replace(ORDER, expected=COST))

    running = after(asked, e.Accepted(receipt=receipt(NO_SUM)))
    ready = after(asked, e.Accepted(receipt=receipt(None)), e.Ready(url="u", deadline=AT, cost=NO_SUM))

    for job_ in (running, ready):
        assert (job_.cost, job_.cost_source, job_.flags) == (COST, "estimate", (e.NOT_BELIEVED,))


@pytest.mark.parametrize(("times", "flags"), [(10, ()), (11, (e.NOT_BELIEVED,))])
def test_a_cost_of_over_ten_times_the_estimate_is_counted_in_full_and_flagged(
    times: int, flags: tuple[str, ...]
) -> None:
    asked = replace(submitting(), order=replace(ORDER, expected=COST))

    running = after(asked, e.Accepted(receipt=receipt(times * COST)))

    assert (running.cost, running.cost_source, running.flags) == (times * COST, "receipt", flags)


def test_a_cost_that_was_not_believed_stays_flagged_over_every_later_attempt() -> None:
    flagged = after(submitting(), e.Accepted(receipt=receipt(99 * COST)), EVENTS[e.AttemptFailed], EVENTS[e.Begun])

    stored = after(flagged, e.Accepted(receipt=receipt(98 * COST, "t2")), EVENTS[e.Ready], EVENTS[e.Stored])

    assert stored.flags.count(e.NOT_BELIEVED) == 1


def test_a_last_body_whose_cost_is_no_sum_does_not_take_the_receipts_word_away() -> None:
    moderated = after(submitting(), EVENTS[e.Accepted], e.Moderated(code="m", detail="", cost=NO_SUM))

    assert (moderated.cost, moderated.cost_source) == (COST, "receipt")


def test_a_doubt_that_is_asked_again_may_have_cost_its_reserve() -> None:
    again = after(submitting(), EVENTS[e.Doubted], EVENTS[e.Resubmitted])

    assert again.cost == 0
    assert [(c.attempt, c.source, c.maybe) for c in again.charges] == [(1, DOUBT, RESERVE)]


def test_a_doubt_that_was_proved_uncharged_has_cost_nothing() -> None:
    assert after(submitting(), EVENTS[e.Doubted], e.Resubmitted(proved=True)).charges == ()


def test_a_doubt_whose_answer_came_after_all_is_a_charge_and_no_doubt_any_more() -> None:
    answered = after(submitting(), EVENTS[e.Doubted], EVENTS[e.Resubmitted], EVENTS[e.Accepted])

    assert [(c.cost, c.source, c.maybe) for c in answered.charges] == [(COST, "receipt", 0)]


@pytest.mark.parametrize("event", [e.Cancelled(), e.Failed(code="in_doubt", detail="")])
def test_a_doubt_that_is_given_up_may_have_cost_its_reserve(event: Event) -> None:
    given_up = after(submitting(), EVENTS[e.Doubted], event)

    assert [(c.cost, c.source, c.maybe) for c in given_up.charges] == [(0, DOUBT, RESERVE)]


def test_a_new_attempt_may_have_its_url_expire_again() -> None:
    expired = after(submitting(), EVENTS[e.Accepted], EVENTS[e.Ready], EVENTS[e.UrlExpired])

    assert not after(expired, EVENTS[e.AttemptFailed]).renewed


# -- what is shown


def test_a_job_reads_back_from_its_two_halves() -> None:
    full = after(
        submitting(),
        EVENTS[e.AttemptFailed],
        EVENTS[e.Begun],
        EVENTS[e.Accepted],
        EVENTS[e.Ready],
        e.Stored(result=RESULT, flags=("unlike_input",)),
    )
    apart = {name: getattr(full, name) for name in ("state", "attempt", "fence", "owner", "sent", "not_before")}

    assert Job.from_json(Order.from_json(ORDER.as_json()), full.live_json(), **apart) == full


def test_the_region_is_the_host_that_runs_the_task() -> None:
    assert receipt().region == "api.eu1.bfl.ai"
    assert replace(receipt(), polling_url="nonsense").region == ""


def test_a_log_line_carries_nothing_of_the_users() -> None:
    said = str(after(submitting(), EVENTS[e.Accepted], EVENTS[e.Ready]).log_context())

    assert "white wall" not in said
    assert "https://" not in said
    assert "chair-7" not in said
