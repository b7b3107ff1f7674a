"""Step 2, from a receipt to a result's URL: what ends a task, and what says nothing about it."""

from __future__ import annotations

from dataclasses import replace

from jobs.events import AttemptFailed, Event, Failed, GivenBack, Moderated, Ready, UrlExpired
from jobs.job import Job
from jobs.latency import LONGEST_S, WEIGHT, Histogram, edge
from tests.unit.desks import KEY, OTHER_KEY, STILL, URL, House, make_house
from workers.api.protocol import (
    KeyRefused,
    NoAnswer,
    PollAnswer,
    ResultReady,
    TaskFailed,
    TaskNotFound,
    WasModerated,
)
from workers.keywatch import KeyWatch
from workers.poll import SILENCE_S, poll

DONE = ResultReady(url=URL, deadline=1_800_000_900.0, cost=None, seed=7)


def polled(*answers: PollAnswer) -> tuple[House, Event]:
    house = make_house()
    house.open()
    house.api.polls.extend(answers)
    return house, poll(house.running(), house.desk)


def test_a_task_is_looked_at_until_it_is_ready() -> None:
    house, event = polled(STILL, STILL, DONE)

    assert event == Ready(url=URL, deadline=DONE.deadline, cost=None, seed=7)
    assert len(house.api.polled) == 3


def test_the_task_is_asked_for_at_its_own_address_with_its_own_key() -> None:
    house = make_house(keys=[OTHER_KEY, KEY])
    house.open()
    house.api.polls.append(DONE)
    job = house.running()

    poll(job, house.desk)

    assert job.receipt is not None
    assert house.api.polled == [(job.receipt.polling_url, house.desk.keys.of(job.key_id))]


def test_polls_without_an_answer_say_that_the_api_is_away_until_one_answers() -> None:
    given_up, _ = polled(NoAnswer(detail="HTTP 502"))
    answered, _ = polled(*[NoAnswer(detail="HTTP 502")] * 30, DONE)

    assert given_up.desk.away.lasting() == {"api": "HTTP 502"}
    assert answered.desk.away.lasting() == {}


def test_a_task_whose_key_is_gone_is_looked_at_with_another_one() -> None:
    house = make_house(keys=[OTHER_KEY])
    house.open()
    house.api.polls.append(DONE)

    poll(replace(house.running(), key_id=KEY.id), house.desk)

    assert house.api.polled[0][1] == OTHER_KEY


def test_a_task_is_looked_at_with_the_key_that_bought_it_though_its_credits_are_used_up_since() -> None:
    house = make_house()
    house.open(rows=2)
    house.api.polls.append(DONE)
    bought = house.running()
    house.api.submits.append(KeyRefused(status=402, detail="Insufficient credits"))
    house.purchase("b.2").made()
    KeyWatch(house.desk).look()

    poll(bought, house.desk)

    assert house.desk.keys.next() is None
    assert house.api.polled[0][1] == KEY


def test_the_filter_ends_a_task_with_its_reason_and_what_was_charged() -> None:
    _, event = polled(STILL, WasModerated(code="result_moderated", detail="Nudity", cost=45_000))

    assert event == Moderated(code="result_moderated", detail="Nudity", cost=45_000)


def test_a_picture_that_the_api_cannot_read_is_not_tried_again() -> None:
    _, event = polled(TaskFailed(detail="invalid image input", for_good=True, cost=0))

    assert event == Failed(code="image_rejected", detail="invalid image input", cost=0)


def test_a_task_that_failed_is_another_attempt_that_knows_what_it_cost() -> None:
    _, event = polled(TaskFailed(detail="internal", for_good=False, cost=0))

    assert isinstance(event, AttemptFailed)
    assert (event.code, event.cost) == ("api_error", 0)


def test_the_third_task_that_failed_is_the_last() -> None:
    house = make_house()
    house.open()
    house.api.polls.append(TaskFailed(detail="internal", for_good=False, cost=0))
    for _ in range(2):
        job = house.running()
        house.moved(job, poll(job, house.desk))
        house.clock.advance(300)

    event = poll(house.running(), house.desk)

    assert isinstance(event, Failed)
    assert event.code == "api_error"


def test_a_host_that_does_not_know_the_task_yet_is_no_verdict() -> None:
    _, event = polled(TaskNotFound(), TaskNotFound(), TaskNotFound(), DONE)

    assert isinstance(event, Ready)


def test_a_task_that_stays_unknown_is_lost_and_counts_as_paid() -> None:
    house, event = polled(TaskNotFound())

    assert isinstance(event, Failed)
    assert (event.code, event.paid) == ("lost_at_api", True)
    assert 60 < house.clock() - 1_800_000_000.0 < 100


def test_an_old_task_that_a_host_misses_once_is_asked_for_again() -> None:
    house = make_house()
    house.open()
    job = house.running()
    house.clock.advance(600)
    house.api.polls.extend([TaskNotFound(), STILL, TaskNotFound(), DONE])

    assert isinstance(poll(job, house.desk), Ready)


def test_polls_that_fail_say_nothing_about_the_task() -> None:
    house, event = polled(*[NoAnswer(detail="HTTP 502")] * 30, DONE)

    assert isinstance(event, Ready)
    assert len(house.api.polled) == 31


def test_an_old_task_of_which_nothing_is_heard_is_not_given_up() -> None:
    house = make_house()
    house.open()
    job = house.running()
    house.clock.advance(3 * 3600)
    house.api.polls.extend([NoAnswer(detail="HTTP 429", after=2.0), *[NoAnswer(detail="HTTP 502")] * 30, DONE])

    assert isinstance(poll(job, house.desk), Ready)


def test_a_task_of_which_nothing_is_heard_for_hours_is_given_up_and_counts_as_paid() -> None:
    house, event = polled(NoAnswer(detail="HTTP 502"))

    assert isinstance(event, Failed)
    assert (event.code, event.paid) == ("lost_at_api", True)
    assert SILENCE_S < house.clock() - 1_800_000_000.0 <= SILENCE_S + LONGEST_S


def test_a_throttled_poll_waits_for_as_long_as_the_api_asks() -> None:
    house, event = polled(NoAnswer(detail="HTTP 429", after=20.0), DONE)

    assert isinstance(event, Ready)
    assert 20.0 in house.stopping.waits


def test_a_task_without_an_end_is_given_up_after_the_models_time_and_counts_as_paid() -> None:
    house, event = polled(STILL)

    assert isinstance(event, Failed)
    assert (event.code, event.paid) == ("lost_at_api", True)
    assert "30 minutes" in event.detail
    assert 1800 < house.clock() - 1_800_000_000.0 <= 1800 + LONGEST_S


def test_a_lost_task_settles_its_reserve_and_frees_its_slot() -> None:
    house = make_house()
    house.open()
    house.api.polls.append(STILL)
    job = house.running(cost=None)

    house.moved(job, poll(job, house.desk))

    assert house.ledger.slots_used()["flux"] == 0
    assert (house.progress().settled, house.progress().reserved) == (job.order.reserve, 0)


def renewed(house: House) -> Job:
    """Return a job whose result was ready once, until its URL died."""
    house.open()
    return house.moved(house.ready(), UrlExpired())


def test_a_result_that_was_ready_once_and_is_forgotten_was_not_delivered() -> None:
    house = make_house()
    job = renewed(house)
    house.api.polls.append(TaskNotFound())

    event = poll(job, house.desk)

    assert isinstance(event, Failed)
    assert (event.code, event.paid) == ("paid_not_delivered", True)


def test_a_shutdown_gives_a_running_job_back_at_once() -> None:
    house = make_house()
    house.open()
    job = house.running()
    house.stopping.set()

    event = poll(job, house.desk)

    assert isinstance(event, GivenBack)
    assert event.wait == 0
    assert house.api.polled == []


def test_a_shutdown_ends_the_wait_that_the_api_asked_for() -> None:
    house = make_house()
    house.open()
    job = house.running()
    house.api.polls.append(NoAnswer(detail="HTTP 429", after=300.0))
    house.stopping.then = lambda: house.stopping.set() if house.stopping.waits[-1] == 300.0 else None

    assert isinstance(poll(job, house.desk), GivenBack)


def test_a_job_without_a_receipt_is_lost_instead_of_polled() -> None:
    house = make_house()
    house.open()

    event = poll(replace(house.running(), receipt=None), house.desk)

    assert isinstance(event, Failed)
    assert event.code == "lost_at_api"


# -- what is learnt from it


def learnt(house: House) -> Histogram:
    """Return what the process would tell the others of the model's latencies."""
    house.desk.pace.share(house.desk.catalogue.models, house.ledger.learn)
    return house.ledger.learn("flux-2-pro", {})


def test_a_task_that_was_watched_teaches_how_long_tasks_take() -> None:
    house, _ = polled(STILL, STILL, DONE)

    ((number, weight),) = learnt(house).items()
    assert weight == WEIGHT
    assert 0 < edge(number) < house.clock() - 1_800_000_000.0


def test_a_task_that_nobody_watched_teaches_nothing() -> None:
    house = make_house()
    house.open()
    job = house.running()
    house.clock.advance(3600)  # the worker was away
    house.api.polls.append(DONE)

    assert isinstance(poll(job, house.desk), Ready)
    assert learnt(house) == {}


def test_a_task_that_ended_while_the_api_was_away_teaches_nothing() -> None:
    house, event = polled(STILL, *[NoAnswer(detail="ConnectError")] * 100, DONE)

    assert isinstance(event, Ready)
    assert learnt(house) == {}
