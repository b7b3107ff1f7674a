"""The way of a task through the simulator, by the clock alone."""

import math
from statistics import median

import pytest

from config.catalogue import shipped_catalogue
from simulator.accounts import Account
from simulator.faults import Faults
from simulator.options import Options
from simulator.sizes import Bill
from simulator.tasks import READY, Ending, Status, Task, ending, latency, timeline, unreadable

MODEL = shipped_catalogue().models["flux-2-pro"]
NONE = Faults()


def task(end: Ending = READY, number: int = 1, length: float = 10.0) -> Task:
    return Task(
        number=number,
        id="t",
        account=Account(id="a", credits=0.0),
        model=MODEL,
        prompt="p",
        result_prompt="p",
        result_seed=1,
        content="c",
        format="jpeg",
        size=(64, 64),
        inputs=(),
        timeline=timeline(100.0, length, end, 0, number),
        ending=end,
        bill=Bill(cost=3.0, input_mp=0.0, output_mp=1.0),
        charged=3.0,
        home=0,
        retention=1800.0,
    )


def test_a_task_passes_every_status_on_the_way_and_never_goes_back() -> None:
    order = [Status.PENDING, Status.REASONING, Status.GENERATING, Status.READY]
    ways = [[task(number=n).status(100.0 + step / 10) for step in range(101)] for n in range(20)]

    seen = [[status for i, status in enumerate(way) if i == 0 or way[i - 1] != status] for way in ways]

    assert order in seen
    assert [Status.PENDING, Status.GENERATING, Status.READY] in seen
    assert all(way == [status for status in order if status in way] for way in seen)


def test_a_task_is_ready_at_its_end_and_gone_after_its_retention() -> None:
    assert task().status(109.9) is Status.GENERATING
    assert task().status(110.0) is Status.READY
    assert task().status(110.0 + 1799.9) is Status.READY
    assert task().status(110.0 + 1800.0) is Status.NOT_FOUND


def test_a_task_that_never_ends_is_forgotten_after_the_retention_all_the_same() -> None:
    hanging = task(Ending(status=None))

    assert hanging.status(100.0 + 1799.0) is Status.GENERATING
    assert hanging.status(100.0 + 1800.0) is Status.NOT_FOUND


@pytest.mark.parametrize(
    ("prompt", "status"),
    [
        ("make it dusk", Status.READY),
        ("x [[request-moderated]]", Status.REQUEST_MODERATED),
        ("x [[content-moderated]]", Status.CONTENT_MODERATED),
        ("x [[error]]", Status.ERROR),
        ("x [[hang]]", None),
    ],
)
def test_a_mark_in_the_prompt_decides_the_ending(prompt: str, status: Status | None) -> None:
    assert ending(prompt, NONE, 0, 1).status is status


def test_endings_by_chance_come_about_as_often_as_asked_and_replay() -> None:
    faults = Faults(fail_task=0.2)
    ends = [ending("p", faults, 5, n).status for n in range(1000)]

    assert 150 < ends.count(Status.ERROR) < 250
    assert ends == [ending("p", faults, 5, n).status for n in range(1000)]
    assert ends != [ending("p", faults, 6, n).status for n in range(1000)]


def test_a_moderated_request_ends_long_before_a_picture_would_be_ready() -> None:
    moderated = task(ending("[[request-moderated]]", NONE, 0, 1))

    assert moderated.timeline.ends_at < 102.0


def test_latencies_lie_around_the_catalogues_median() -> None:
    seconds = [latency(MODEL, Options(), n) for n in range(2000)]

    assert median(seconds) == pytest.approx(MODEL.latency.median_s, rel=0.05)
    assert sum(s > MODEL.latency.p999_s for s in seconds) <= 8
    assert len(set(seconds)) > 1900


def test_speed_divides_the_latency_and_a_fixed_one_does_not_spread() -> None:
    slow, fast = Options(latency=8.0), Options(latency=8.0, speed=4.0)

    assert {latency(MODEL, slow, n) for n in range(20)} == {8.0}
    assert {latency(MODEL, fast, n) for n in range(20)} == {2.0}


def test_an_even_spread_is_the_share_by_which_a_task_is_shorter_or_longer_at_most() -> None:
    seconds = [latency(MODEL, Options(latency=7.0, spread=0.15, even=True), n) for n in range(2000)]

    assert 5.95 <= min(seconds) < 6.0
    assert 8.0 < max(seconds) <= 8.05
    assert sum(seconds) / 2000 == pytest.approx(7.0, rel=0.01)


def test_a_ready_body_carries_the_result_and_its_cost() -> None:
    body = task().body(111.0, "http://h/x")

    assert body["status"] == "Ready"
    assert body["cost"] == 3.0
    assert body["result"]["sample"] == "http://h/x"
    assert body["result"]["duration"] == 10.0


def test_a_body_before_the_end_carries_no_result_and_no_cost() -> None:
    body = task().body(109.0, None)

    assert body["result"] is None
    assert "cost" not in body
    assert 0.0 < body["progress"] < 1.0


def test_an_unreadable_picture_ends_in_error_with_the_apis_words() -> None:
    body = task(unreadable()).body(111.0, None)

    assert body["status"] == "Error"
    assert body["details"] == {"error": "Invalid or corrupted image input"}


def test_a_task_without_an_end_has_progress_that_stays() -> None:
    assert task(Ending(status=None)).body(500.0, None)["progress"] == 0.5
    assert math.isinf(task(Ending(status=None)).timeline.ends_at)
