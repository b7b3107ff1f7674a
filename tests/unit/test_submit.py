"""Step 1, from a request to a receipt: what is done before anything is bought, and what each answer makes of a job."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from jobs.batch import BatchState
from jobs.errors import LedgerError, Refused, Superseded, Unavailable
from jobs.events import Accepted, AttemptFailed, Begun, Doubted, Failed, GivenBack, NotSubmitted, Unchanged
from jobs.job import State
from jobs.ledger.change import FILED_S
from jobs.pictures import check_result, identity
from jobs.request import fingerprint
from tests.unit.desks import (
    COST,
    KEY,
    OTHER_KEY,
    RESERVE,
    Early,
    House,
    make_house,
    make_order,
    picture,
    receipt,
)
from workers.api import protocol
from workers.api.client import NotSent
from workers.away import LASTING_S
from workers.hosts import FetchError
from workers.keys import RUN
from workers.submit import API_AWAY_S, LOOK_LASTS_S, prepare

BEGUN = Begun(fingerprint="f1", key_id=KEY.id)


def filed(house: House, row: int = 1, *, batch: str = "earlier") -> str:
    """File the result of a row's request, as an earlier batch would have; return its fingerprint."""
    print_ = fingerprint("bfl", make_order(row).request, [identity(picture())])
    data = picture(colour="red")
    found = check_result(data, content_length=None)
    house.desk.results.file(print_, data, found, job=f"{batch}.1", batch=batch, fresh=False)
    return print_


def prepared(house: House) -> Any:
    return prepare(house.claimed(), house.desk)


# -- before anything is bought


def test_a_row_that_nobody_bought_begins_with_its_body_ready() -> None:
    house = make_house()
    house.open()
    job = house.claimed()

    event = prepare(job, house.desk)

    assert isinstance(event, Begun)
    assert event.key_id == KEY.id
    assert event.flags == ()
    body = json.loads(house.desk.prepared[job.id, job.fence].body)
    assert set(body) == {"prompt", "input_image", "output_format"}


def test_the_prompt_reaches_the_api_as_it_was_written() -> None:
    house = make_house()
    prompt = 'Stühle, 椅子 🪑\t"quoted" \\ {braces}\nsecond line'
    house.open(order={"prompt": prompt})
    house.api.submits.append(protocol.Accepted(receipt=receipt()))

    house.purchase().made()

    path, body, key = house.api.bodies[0]
    assert json.loads(body)["prompt"] == prompt
    assert "椅子".encode() in body
    assert (path, key) == ("/v1/flux-2-pro", KEY.id)


def test_what_is_filed_already_is_published_by_a_copy_and_nothing_is_bought() -> None:
    house = make_house()
    house.open()
    print_ = filed(house)

    event = prepared(house)

    assert isinstance(event, Unchanged)
    assert (event.how, event.fingerprint, event.result.key) == ("copied", print_, "chairs/1.png")
    assert house.bucket.get("chairs/1.png") == picture(colour="red")


def test_what_is_published_already_is_kept_where_it_is() -> None:
    house = make_house()
    house.open()
    filed(house)
    prepared(house)
    house.clock.advance(30)  # the first owner vanished
    job = replace(house.stands(), fence=2)
    house.bucket.calls.clear()

    event = prepare(job, house.desk)

    assert isinstance(event, Unchanged)
    assert event.how == "kept"
    assert not [call for call in house.bucket.calls if call[0] == "copy"]


def test_a_fresh_batch_buys_what_an_earlier_one_filed() -> None:
    house = make_house()
    house.open(fresh=True)
    filed(house)

    assert isinstance(prepared(house), Begun)


def test_a_fresh_batch_buys_the_same_edit_once_only() -> None:
    house = make_house()
    house.open(fresh=True)
    filed(house, batch="b")

    assert isinstance(prepared(house), Unchanged)


def test_an_output_that_is_not_ours_is_found_before_anything_is_bought() -> None:
    house = make_house()
    house.open()
    house.bucket.lay("chairs/1.png", b"somebody's own")

    event = prepared(house)

    assert isinstance(event, Failed)
    assert (event.code, event.paid) == ("output_not_ours", False)
    assert "chairs/1.png" in event.detail
    assert house.bucket.get("chairs/1.png") == b"somebody's own"


def test_the_output_is_looked_for_under_the_format_that_the_model_gives_by_itself() -> None:
    house = make_house()
    house.open(order={"params": {}})
    house.bucket.lay("chairs/1.jpg", b"somebody's own")

    event = prepared(house)

    assert isinstance(event, Failed)
    assert event.code == "output_not_ours"


def test_with_overwrite_an_output_that_is_not_ours_is_no_reason_to_stop() -> None:
    house = make_house()
    house.open(overwrite=True)
    house.bucket.lay("chairs/1.png", b"somebody's own")

    assert isinstance(prepared(house), Begun)


def test_a_filed_result_is_not_published_over_what_is_not_ours() -> None:
    house = make_house()
    house.open()
    filed(house)
    house.bucket.lay("chairs/1.png", b"somebody's own")

    event = prepared(house)

    assert isinstance(event, Failed)
    assert event.code == "output_not_ours"


@pytest.mark.parametrize(
    ("inputs", "code"),
    [
        (("s3://bucket/gone.png",), "image_not_found"),
        (("s3://elsewhere/1.png",), "image_forbidden"),
        (("file:///home/anna/1.png",), "image_changed"),
        (("https://shop.example/404",), "url_not_found"),
        (("s3://bucket/text.png",), "image_unreadable"),
        (("s3://bucket/empty.png",), "image_empty"),
    ],
)
def test_an_input_that_cannot_be_used_ends_the_row_with_its_reason(inputs: tuple[str, ...], code: str) -> None:
    house = make_house()
    house.open(order={"inputs": inputs})
    house.bucket.lay("text.png", b"no picture at all, only words")
    house.bucket.lay("empty.png", b"")
    if inputs == ("s3://bucket/gone.png",):
        house.bucket.delete("gone.png")
    house.web.pages["https://shop.example/404"] = FetchError("url_not_found", "nothing there")

    event = prepared(house)

    assert isinstance(event, Failed)
    assert (event.code, event.paid, event.cost) == (code, False, None)


def test_an_input_that_may_come_later_is_an_attempt_and_the_third_is_the_last() -> None:
    house = make_house()
    house.open(order={"inputs": ("https://shop.example/1.png",)})
    house.web.pages["https://shop.example/1.png"] = FetchError("url_unreachable", "busy", transient=True)
    job = house.claimed()

    first = prepare(job, house.desk)
    assert isinstance(first, AttemptFailed)
    house.moved(job, first)
    house.clock.advance(200)
    second = prepare(job := house.claimed(), house.desk)
    assert isinstance(second, AttemptFailed)
    house.moved(job, second)
    house.clock.advance(200)
    third = prepare(house.claimed(), house.desk)

    assert isinstance(third, Failed)
    assert {first.code, second.code, third.code} == {"url_unreachable"}


def test_storage_that_does_not_answer_is_nobodys_fault_and_spends_no_attempt() -> None:
    house = make_house()
    house.open()
    house.bucket.failing["get"] = Unavailable("no answer")

    event = prepared(house)

    assert isinstance(event, GivenBack)
    assert 0 < event.wait <= API_AWAY_S


def test_storage_that_refuses_retouchs_own_files_pauses_the_batch_instead_of_failing_every_row() -> None:
    house = make_house()
    house.open()
    house.bucket.failing["keys"] = Refused("the credentials have expired; renew them")

    event = prepared(house)

    assert isinstance(event, GivenBack)
    assert (house.progress().state, house.progress().reason) == (BatchState.PAUSED, "storage")


def test_an_output_key_that_storage_refuses_fails_its_own_row_only() -> None:
    house = make_house()
    house.open(order={"inputs": ("https://shop.example/1.png",)})
    house.web.pages["https://shop.example/1.png"] = picture()
    house.bucket.failing["head"] = Refused("S3 takes 1,024 bytes at most; shorten the key")

    event = prepared(house)

    assert isinstance(event, Failed)
    assert event.code == "output_refused"
    assert house.progress().state is BatchState.OPEN


def test_an_input_that_was_shrunk_or_converted_is_flagged() -> None:
    house = make_house()
    house.open()
    house.bucket.lay("in/1.png", picture(kind="GIF"))

    event = prepared(house)

    assert isinstance(event, Begun)
    assert event.flags == ("input_shrunk",)


def test_while_every_key_is_parked_a_job_and_its_batch_wait_and_nothing_is_loaded() -> None:
    house = make_house()
    house.open()
    house.desk.keys.park(KEY.id)

    event = prepared(house)

    assert isinstance(event, GivenBack)
    assert (house.progress().state, house.progress().reason) == (BatchState.PAUSED, "key")
    assert house.bucket.calls == []


def test_while_every_key_rests_a_job_waits_and_its_batch_goes_on() -> None:
    house = make_house()
    house.open()
    for _ in range(RUN):
        house.desk.keys.failed(KEY.id)

    event = prepared(house)

    assert isinstance(event, GivenBack)
    assert house.progress().state is BatchState.OPEN


def test_a_job_whose_batch_is_gone_ends() -> None:
    house = make_house()
    house.open()
    job = house.claimed()
    house.ledger.forget("b")

    event = prepare(job, house.desk)

    assert isinstance(event, Failed)
    assert event.code == "cancelled"


# -- the answers


def submitted(house: House, *answers: Any) -> Any:
    house.open()
    house.api.submits.extend(answers)
    return house.purchase().made()


def test_a_receipt_makes_the_job_run() -> None:
    found = receipt()

    event = submitted(make_house(), protocol.Accepted(receipt=found))

    assert event == Accepted(receipt=found)


def test_a_request_that_the_api_refuses_ends_the_row_unpaid() -> None:
    event = submitted(make_house(), protocol.RefusedForGood(detail="width: too large"))

    assert event == Failed(code="request_refused", detail="width: too large")


def test_an_api_that_cannot_for_now_costs_no_attempt() -> None:
    event = submitted(make_house(), protocol.RefusedForNow(detail="maintenance"))

    assert isinstance(event, NotSubmitted)
    assert 0 < event.wait <= API_AWAY_S


@pytest.mark.parametrize(
    ("answer", "away"),
    [
        (NotSent("ConnectError"), {"api": "ConnectError"}),
        (protocol.Unknown(detail="HTTP 502"), {"api": "HTTP 502"}),
        (protocol.RefusedForNow(detail="maintenance"), {"api": "maintenance"}),
        (NotSent("writing it down took too long", by_us=True), {}),
        (protocol.Throttled(after=7.0), {}),
        (protocol.RefusedForGood(detail="width: too large"), {}),
    ],
)
def test_an_api_that_gives_no_answer_is_noted_and_one_that_refuses_is_not(answer: Any, away: dict[str, str]) -> None:
    house = make_house()

    submitted(house, answer)
    house.clock.advance(LASTING_S)

    assert house.desk.away.lasting() == away


def test_a_bucket_that_is_away_is_noted_until_a_row_can_be_prepared() -> None:
    house = make_house()
    house.open()
    house.bucket.failing["get"] = Unavailable("no answer")
    job = house.claimed()
    prepare(job, house.desk)
    house.clock.advance(LASTING_S)
    noted = house.desk.away.lasting()

    house.bucket.failing.clear()
    prepare(job, house.desk)

    assert noted == {"storage": "no answer"}
    assert house.desk.away.lasting() == {}


def test_a_429_holds_everybody_back_for_as_long_as_the_api_asks() -> None:
    house = make_house()

    event = submitted(house, protocol.Throttled(after=7.0))

    assert isinstance(event, NotSubmitted)
    assert event.wait == 7.0
    other = make_order(2, batch="c")
    house.ledger.open_batch(replace(house.desk.agreed["b"], id="c"))
    assert house.ledger.feed("c", "flux", 0, [other], low=1)
    house.bucket.lay("in/2.png", picture())
    job = house.claimed("c.2")
    begun = prepare(job, house.desk)
    assert isinstance(begun, Begun)
    answer = house.desk.gate.enter(job, begun)
    assert isinstance(answer, GivenBack)
    assert answer.why == "throttled"
    assert answer.wait >= 7.0


def test_a_429_that_cannot_be_told_to_the_others_is_still_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    house = make_house()

    def away(seconds: float, *, account: str) -> None:
        raise LedgerError

    monkeypatch.setattr(house.ledger, "throttle", away)

    assert isinstance(submitted(house, protocol.Throttled(after=3.0)), NotSubmitted)


def test_a_refused_key_is_parked_and_another_one_goes_on_at_once() -> None:
    house = make_house(keys=[KEY, OTHER_KEY])

    event = submitted(house, protocol.KeyRefused(status=402, detail="no credits"))
    used = house.api.bodies[0][2]

    assert isinstance(event, NotSubmitted)
    assert event.wait == 0
    assert house.progress().state is BatchState.OPEN
    left = house.desk.keys.next()
    assert left is not None
    assert left.id != used


def test_a_key_that_is_refused_is_parked_for_every_process_with_what_the_api_said() -> None:
    house = make_house()

    submitted(house, protocol.KeyRefused(status=403, detail="Not authenticated"))

    assert house.ledger.parked_keys()[KEY.id].why == "HTTP 403: Not authenticated"


def test_a_402_with_credits_left_parks_no_key() -> None:
    house = make_house()
    house.api.credit[KEY.id] = protocol.KeyWorks(micros=RESERVE)

    event = submitted(house, protocol.KeyRefused(status=402, detail="Insufficient credits"))

    assert isinstance(event, NotSubmitted)
    assert event.wait > 0
    assert house.ledger.parked_keys() == {}
    assert house.progress().state is BatchState.OPEN


def test_a_402_without_enough_credits_parks_the_key() -> None:
    house = make_house()
    house.api.credit[KEY.id] = protocol.KeyWorks(micros=RESERVE - 1)

    submitted(house, protocol.KeyRefused(status=402, detail="Insufficient credits"))

    assert KEY.id in house.ledger.parked_keys()


def test_the_last_key_that_is_refused_pauses_the_batch() -> None:
    house = make_house()

    event = submitted(house, protocol.KeyRefused(status=401, detail="no such key"))

    assert isinstance(event, NotSubmitted)
    assert (house.progress().state, house.progress().reason) == (BatchState.PAUSED, "key")


def test_a_refused_key_is_written_down_although_redis_cannot_pause_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    house = make_house()

    def away(*args: Any, **named: Any) -> bool:
        raise LedgerError

    monkeypatch.setattr(house.ledger, "set_state", away)

    assert isinstance(submitted(house, protocol.KeyRefused(status=401, detail="no such key")), NotSubmitted)


def test_an_answer_that_proves_nothing_is_a_doubt_that_waits_for_as_long_as_a_task_may_take() -> None:
    house = make_house()

    event = submitted(house, protocol.Unknown(detail="ReadTimeout"))

    assert isinstance(event, Doubted)
    assert event.wait == 1.5 * house.desk.model("flux-2-pro").latency.p999_s
    assert "ReadTimeout" in event.detail


def test_the_wait_of_a_doubt_has_a_floor() -> None:
    house = make_house()
    house.desk.doubt_wait_s = 600.0

    event = submitted(house, protocol.Unknown(detail="HTTP 500"))

    assert isinstance(event, Doubted)
    assert event.wait == 600.0


def unmarked(error: Exception) -> Callable[[Callable[[], None]], protocol.SubmitAnswer]:
    """Return a submission that fails behind the gate, before its mark is written."""

    def submit(_: Callable[[], None]) -> protocol.SubmitAnswer:
        raise error

    return submit


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (NotSent("ConnectError"), GivenBack),
        (Early(NotSent("RemoteProtocolError")), GivenBack),
        (unmarked(NotSent("RemoteProtocolError")), NotSubmitted),
        (unmarked(NotSent("writing it down took too long", by_us=True)), NotSubmitted),
    ],
)
def test_what_never_left_spends_nothing(said: Any, kind: type) -> None:
    house = make_house()
    house.open()
    house.api.submits.append(said)
    purchase = house.purchase()

    event = purchase.made()
    after = house.moved(purchase.job, event)

    assert type(event) is kind
    assert (after.attempt, after.doubts, after.failures, after.sent) == (1, 0, (), False)
    assert house.ledger.slots_used()["flux"] == 0
    assert house.progress().reserved == 0


@pytest.mark.parametrize("error", [Superseded("somebody else"), LedgerError()])
def test_a_mark_that_cannot_be_written_lets_nothing_leave_and_spends_nothing(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = make_house()
    house.open()
    house.api.submits.append(protocol.Accepted(receipt=receipt()))

    def away(_: Any) -> None:
        raise error

    monkeypatch.setattr(house.ledger, "mark_sent", away)

    event = house.purchase().made()

    assert isinstance(event, NotSubmitted)
    assert house.api.bodies == []


def test_a_job_that_somebody_else_took_is_not_marked_and_nothing_leaves() -> None:
    house = make_house()
    house.open()
    left: list[str] = []

    def submit(before_last: Callable[[], None]) -> protocol.SubmitAnswer:
        house.moved(house.stands(), NotSubmitted(wait=0.0, why="lease lapsed"))
        before_last()
        left.append("the last part")
        return protocol.Unknown(detail="")

    house.api.submits.append(submit)

    event = house.purchase().made()

    assert isinstance(event, NotSubmitted)
    assert left == []


@pytest.mark.parametrize("when", ["before its slot was there", "after"])
def test_a_batch_that_was_paused_meanwhile_lets_nothing_leave(when: str) -> None:
    house = make_house()
    house.open()

    def pause() -> None:
        house.ledger.set_state("b", BatchState.PAUSED, "operator", only_from=[BatchState.OPEN])

    def submit(before_last: Callable[[], None]) -> protocol.SubmitAnswer:
        pause()
        before_last()
        return protocol.Accepted(receipt=receipt())

    house.api.submits.append(submit)
    purchase = house.purchase()
    if when == "before its slot was there":
        pause()

    assert type(purchase.made()) is (GivenBack if when == "before its slot was there" else NotSubmitted)
    assert house.api.bodies == []
    assert not house.stands().sent


def test_the_sent_mark_is_written_before_the_last_part_leaves() -> None:
    house = make_house()
    house.open()
    seen: list[bool] = []

    def submit(before_last: Callable[[], None]) -> protocol.SubmitAnswer:
        seen.append(house.stands().sent)
        before_last()
        seen.append(house.stands().sent)
        return protocol.Accepted(receipt=receipt())

    house.api.submits.append(submit)

    house.purchase().made()

    assert seen == [False, True]


@pytest.mark.parametrize("when", ["before its slot was there", "after"])
def test_a_shutdown_gives_a_job_back_before_its_post(when: str) -> None:
    house = make_house()
    house.open()

    def submit(before_last: Callable[[], None]) -> protocol.SubmitAnswer:
        house.stopping.set()
        before_last()
        return protocol.Accepted(receipt=receipt())

    house.api.submits.append(submit)
    purchase = house.purchase()
    if when == "before its slot was there":
        house.stopping.set()

    event = purchase.made()

    assert isinstance(event, GivenBack)
    assert (event.wait, event.why) == (0.0, "shutting down")
    assert house.api.bodies == []
    assert house.desk.prepared == {}


def test_a_key_that_is_gone_sends_nothing() -> None:
    house = make_house()
    house.open()
    purchase = house.purchase()
    house.desk.keys.replace([OTHER_KEY])

    assert isinstance(purchase.made(), GivenBack)
    assert house.api.primed == []


# -- a body that is sent ahead of its slot


def slots(house: House) -> int:
    return house.ledger.slots_used()["flux"]


def test_a_body_that_has_travelled_for_long_is_bought_after_another_look() -> None:
    house = make_house()
    house.open()
    house.api.submits.append(protocol.Accepted(receipt=receipt()))
    purchase = house.purchase()
    house.clock.advance(FILED_S + 1)

    event = purchase.made()

    assert isinstance(event, Accepted)


def test_what_was_filed_while_a_body_travelled_is_not_bought() -> None:
    house = make_house()
    house.open()
    house.api.submits.append(protocol.Accepted(receipt=receipt()))
    purchase = house.purchase()
    house.clock.advance(LOOK_LASTS_S + 1)
    data, print_ = picture(), purchase._begun.fingerprint
    seen = check_result(data, content_length=None)
    house.desk.results.file(print_, data, seen, job="other.1", batch="other", fresh=False)

    event = purchase.made()

    assert event == GivenBack(wait=0.0, why="just filed")
    assert house.api.bodies == []


def test_a_bucket_that_is_away_at_another_look_spends_nothing() -> None:
    house = make_house()
    house.open()
    house.api.submits.append(protocol.Accepted(receipt=receipt()))
    purchase = house.purchase()
    house.clock.advance(LOOK_LASTS_S + 1)
    house.bucket.failing["keys"] = Unavailable("the bucket is away")

    event = purchase.made()

    assert isinstance(event, GivenBack)
    assert house.api.bodies == []


@pytest.mark.parametrize("small", [False, True])
def test_a_body_travels_before_its_slot_is_taken(monkeypatch: pytest.MonkeyPatch, small: bool) -> None:
    monkeypatch.setattr("workers.gate.ASKED_BYTES", 1_000_000 if small else 0)
    house = make_house()
    house.open()
    house.api.submits.append(protocol.Accepted(receipt=receipt()))
    real, seen = house.ledger.begin, []

    def begin(*args: Any, only_ask: bool = False, **named: Any) -> Any:
        seen.append((only_ask, len(house.api.primed), slots(house)))
        return real(*args, only_ask=only_ask, **named)

    monkeypatch.setattr(house.ledger, "begin", begin)

    house.purchase().made()

    assert seen == [*([] if small else [(True, 0, 0)]), (False, 1, 0)]
    assert slots(house) == 1


def test_an_api_that_cannot_be_reached_costs_no_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    house = make_house()
    house.open()
    house.api.submits.append(NotSent("ConnectError"))
    monkeypatch.setattr(house.desk.gate, "enter", None)

    event = house.purchase().made()

    assert isinstance(event, GivenBack)
    assert 0 < event.wait <= API_AWAY_S


def test_a_large_body_that_the_gate_would_turn_back_does_not_travel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.gate.ASKED_BYTES", 0)
    house = make_house()
    house.open(rows=2, order={"prompt": "the same", "inputs": ("s3://bucket/in/1.png",)})
    house.begun("b.1")

    event = house.purchase("b.2").made()

    assert isinstance(event, GivenBack)
    assert event.why == "somebody buys the same edit"
    assert house.api.primed == []


def test_a_key_that_is_parked_while_a_body_waits_takes_no_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    house = make_house(keys=[KEY, OTHER_KEY])
    house.open()
    house.api.submits.append(protocol.Accepted(receipt=receipt()))
    purchase = house.purchase()
    submit = house.api.submit

    def parked(*args: Any, **named: Any) -> Any:
        house.desk.keys.park(args[2].id)
        return submit(*args, **named)

    monkeypatch.setattr(house.api, "submit", parked)

    assert purchase.made() == GivenBack(wait=0.0, why="the key is parked")
    assert (slots(house), house.api.bodies) == (0, [])


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (protocol.KeyRefused(status=402, detail="no credits"), GivenBack),
        (protocol.RefusedForGood(detail="too large"), Failed),
        (protocol.RefusedForNow(detail="maintenance"), GivenBack),
        (protocol.Throttled(after=7.0), GivenBack),
        (protocol.Throttled(after=7.0, rate=True), GivenBack),
    ],
)
def test_what_the_api_refuses_before_the_body_is_whole_takes_no_slot_and_spends_nothing(
    answer: protocol.SubmitAnswer, kind: type
) -> None:
    house = make_house(keys=[KEY, OTHER_KEY])
    house.open()
    house.api.submits.append(Early(answer))
    purchase = house.purchase()

    event = purchase.made()
    after = house.moved(purchase.job, event)

    assert type(event) is kind
    assert (after.attempt, after.doubts, after.failures, after.charges) == (1, 0, (), ())
    assert (slots(house), house.progress().reserved) == (0, 0)


def test_a_key_that_is_refused_before_the_body_is_whole_is_parked() -> None:
    house = make_house(keys=[KEY, OTHER_KEY])
    house.open()
    house.api.submits.append(Early(protocol.KeyRefused(status=403, detail="Not authenticated")))

    house.purchase().made()

    assert house.ledger.parked_keys().keys() == {house.api.primed[0][2]}


def test_a_429_for_too_many_tasks_before_the_slot_was_there_lowers_no_limit_and_holds_nobody_else_back() -> None:
    house = make_house()
    house.open(rows=2)
    house.api.submits.append(Early(protocol.Throttled(after=7.0)))

    event = house.purchase().made()

    assert isinstance(event, GivenBack)
    assert event.wait == 7.0
    assert house.ledger.limits() == {}
    house.begun("b.2")  # it passes the gate


def test_a_429_for_too_many_requests_holds_everybody_back_whenever_it_comes() -> None:
    house = make_house()
    house.open(rows=2)
    house.api.submits.append(Early(protocol.Throttled(after=7.0, rate=True)))
    house.purchase().made()

    event = house.desk.gate.enter(house.claimed("b.2"), BEGUN)

    assert isinstance(event, GivenBack)
    assert event.why == "throttled"


def test_after_an_api_that_hung_up_on_a_waiting_body_slots_are_taken_first(monkeypatch: pytest.MonkeyPatch) -> None:
    house = make_house()
    house.open(rows=2)
    house.api.submits.extend([Early(NotSent("RemoteProtocolError")), protocol.Accepted(receipt=receipt())])
    house.purchase("b.1").made()
    real, seen = house.ledger.begin, []

    def begin(*args: Any, **named: Any) -> Any:
        seen.append(len(house.api.primed))
        return real(*args, **named)

    monkeypatch.setattr(house.ledger, "begin", begin)

    event = house.purchase("b.2").made()

    assert isinstance(event, Accepted)
    assert seen == [1]
    assert house.desk.keys.resting() == []


def test_an_api_that_hangs_up_on_waiting_bodies_rests_no_key_and_is_not_away() -> None:
    house = make_house()
    house.open(rows=RUN)
    house.api.submits.extend([Early(NotSent("RemoteProtocolError"))] * RUN)
    for row in range(1, RUN + 1):
        house.desk.gate._not_before = 0.0  # as a minute later
        house.purchase(f"b.{row}").made()
    house.clock.advance(LASTING_S)

    assert house.desk.keys.resting() == []
    assert house.desk.away.lasting() == {}


def test_a_receipt_that_comes_before_the_body_was_whole_is_used() -> None:
    house = make_house()
    house.open()
    found = receipt()
    house.api.submits.append(Early(protocol.Accepted(receipt=found)))
    purchase = house.purchase()

    event = purchase.made()
    after = house.moved(purchase.job, event)

    assert (after.state, after.receipt, after.key_id) == (State.RUNNING, found, KEY.id)
    assert (slots(house), house.progress().settled) == (1, COST)
