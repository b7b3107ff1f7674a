"""Failures over the last ends: what stops a group of the manifest or the batch, what passes it, what lets it go on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs import events as e
from jobs.batch import BatchState
from jobs.bounds import GROUPS_KNOWN, GROUPS_STOPPED, RETRY_FLOOR, Bounds
from jobs.job import Job, Order
from jobs.ledger.change import Closed
from jobs.ledger.port import Steps
from tests.contract.conftest import COST, memory_house, redis_house
from tests.servers import RedisVersion

if TYPE_CHECKING:
    from tests.contract.conftest import House

ROWS = 2_000


def opened(house: House, **agreed: Any) -> House:
    house.open(groups={"flux": ROWS}, **agreed)
    return house


def fed(house: House, *groups: str) -> list[str]:
    """Feed one row of each of these groups and return their jobs."""
    cursor = house.progress().cursors["flux"]
    orders = of_groups(house, cursor, groups)
    assert house.ledger.feed("b", "flux", cursor, orders, low=1)
    return [order.job for order in orders]


def of_groups(house: House, first: int, groups: Sequence[str]) -> list[Order]:
    rows = house.orders(range(first, first + len(groups)))
    return [replace(order, group=group) for order, group in zip(rows, groups, strict=True)]


def ended(house: House, job: str, letter: str) -> Job:
    """Bring a queued job to this end: stored, failed or moderated."""
    running = house.running(job)
    if letter == "s":
        return house.moved(running, house.fetchable(), house.filed())
    if letter == "m":
        return house.moved(running, e.Moderated(code="result_moderated", detail="x"))
    return house.moved(running, e.Failed(code="api_error", detail="x"))


def end(house: House, letters: str, group: str = "chairs") -> None:
    """Let rows of a group end so, one after the other; what stops them stops no row that was under way."""
    for letter, job in zip(letters, fed(house, *[group] * len(letters)), strict=True):
        ended(house, job, letter)


def stops(house: House) -> dict[str, tuple[str, int, int]]:
    return {group: (stop.why, stop.count, stop.of) for group, stop in house.progress().stops.items()}


def test_a_group_is_stopped_by_the_16th_failure_among_its_last_30_ends_and_not_before(house: House) -> None:
    opened(house)

    end(house, "fs" * 14 + "f")
    before = stops(house)
    end(house, "f")

    assert before == {}
    assert stops(house) == {"chairs": ("failed", 16, 30)}
    assert house.progress().state is BatchState.OPEN


def test_failures_that_30_later_ends_have_pushed_out_do_not_count(house: House) -> None:
    opened(house)

    end(house, "f" * 15 + "s" * 16 + "f" * 15)

    assert stops(house) == {}


def test_a_groups_failures_and_its_moderated_rows_are_counted_apart(house: House) -> None:
    opened(house)

    end(house, "fm" * 15)
    before = stops(house)
    end(house, "m")

    assert before == {}
    assert stops(house) == {"chairs": ("moderated", 16, 30)}


def test_rows_of_another_group_neither_count_nor_wait(house: House) -> None:
    opened(house)
    end(house, "f" * 15)
    end(house, "s" * 20, group="tables")
    end(house, "f")
    chair, table = fed(house, "chairs", "tables")

    assert house.ledger.claim(chair, "w1").why == "stopped"
    assert ended(house, table, "s").final


def test_what_failed_before_anything_was_asked_of_the_api_stops_nothing(house: House) -> None:
    opened(house)

    for job in fed(house, *["chairs"] * 20):
        house.moved(house.claimed(job), e.Failed(code="image_not_found", detail="x"))

    assert stops(house) == {}


def test_a_stopped_row_leaves_the_window_and_spends_nothing(house: House) -> None:
    opened(house)
    queued, owned = fed(house, "chairs", "chairs")
    job = house.claimed(owned)
    end(house, "f" * 16)

    said = house.ledger.begin(job, house.to_begin(job))
    given_back = house.moved(job, e.GivenBack(wait=0))
    whys = [house.ledger.claim(each, "w1").why for each in (queued, owned)]

    assert said.closed is Closed.GROUP_STOPPED
    assert whys == ["stopped", "stopped"]
    progress = house.progress()
    assert (progress.hot["flux"], progress.waiting, progress.stopped) == (0, 2, 2)
    assert (given_back.attempt, given_back.failures) == (1, ())
    assert house.ledger.slots_used()["flux"] == 0


def test_a_row_of_a_stopped_group_that_is_paid_goes_on_to_its_end(house: House) -> None:
    opened(house)
    running = house.moved(house.running(fed(house, "chairs")[0]), e.GivenBack(wait=0))
    end(house, "f" * 16)

    taken_up = house.claimed(running.id)
    stored = house.moved(taken_up, house.fetchable(), house.filed())

    assert stored.final


def test_a_group_that_goes_on_has_a_fresh_window_and_its_rows_are_due_at_once(house: House) -> None:
    opened(house)
    (waiting,) = fed(house, "chairs")
    end(house, "f" * 16)
    house.ledger.claim(waiting, "w1")

    house.ledger.resume_groups("b", "chairs")
    due = [hint.job for hint in house.ledger.due(10)]
    end(house, "f" * 15)

    assert due == [waiting]
    assert stops(house) == {}
    assert house.claimed(waiting).owner
    assert (house.progress().waiting, house.progress().stopped) == (0, 0)


def test_one_group_goes_on_alone_if_it_is_named_and_all_if_none_is(house: House) -> None:
    opened(house)
    end(house, "f" * 16, group="beds")
    end(house, "m" * 16, group="chairs")

    house.ledger.resume_groups("b", "beds")
    left = stops(house)
    house.ledger.resume_groups("b")

    assert left == {"chairs": ("moderated", 16, 16)}
    assert stops(house) == {}


def test_over_half_of_the_last_100_ends_pauses_the_batch_whatever_the_groups_are(house: House) -> None:
    opened(house)

    for group in range(10):
        end(house, "f" * 5 + "s" * 3, group=f"group {group}")
    before = house.progress().state
    end(house, "f", group="another")

    progress = house.progress()
    assert before is BatchState.OPEN
    assert (progress.state, progress.reason, progress.stops) == (BatchState.PAUSED, "failures", {})
    assert progress.about == {"why": "failed", "count": 51, "of": 81}


def test_a_batch_of_which_nothing_is_left_to_buy_is_not_paused_by_its_failures(house: House) -> None:
    house.open(groups={"flux": 8}, bounds=Bounds(failed_batch=3))
    end(house, "fff")

    last = [house.running(job) for job in fed(house, *["chairs"] * 5)]
    for job in last:
        house.moved(job, e.Failed(code="api_error", detail="x"))

    assert house.progress().state is BatchState.OPEN
    assert house.counts() == {"failed": 8}


def test_a_batch_of_which_one_row_is_not_fed_yet_is_paused(house: House) -> None:
    house.open(groups={"flux": 9}, bounds=Bounds(failed_batch=3))

    end(house, "ffff")

    assert house.progress().reason == "failures"


def test_16_stopped_groups_pause_their_batch(house: House) -> None:
    opened(house, bounds=Bounds(failed=0, failed_batch=100))

    for group in range(GROUPS_STOPPED):
        assert house.progress().state is BatchState.OPEN
        end(house, "f", group=f"group {group}")

    assert house.progress().about == {"why": "groups", "count": GROUPS_STOPPED}


def test_moderated_rows_that_cost_more_than_was_agreed_pause_the_batch_until_it_is_resumed(house: House) -> None:
    opened(house, bounds=Bounds(moderated_cost=3 * COST))

    end(house, "mmm")
    before = house.progress().state
    end(house, "m")
    about = house.progress().about
    house.ledger.resume_groups("b")
    house.resume()
    end(house, "mmm")

    assert before is BatchState.OPEN
    assert about == {"why": "moderated_cost", "cost": 4 * COST, "limit": 3 * COST}
    assert house.progress().state is BatchState.OPEN
    assert house.progress().moderated_cost == 3 * COST


def test_a_batch_of_one_group_is_paused_as_a_whole(house: House) -> None:
    opened(house, lone=True)

    end(house, "m" * 16)

    assert stops(house) == {}
    assert house.progress().reason == "failures"
    assert house.progress().about == {"why": "moderated", "count": 16, "of": 16}


def test_bounds_of_all_ends_stop_nothing(house: House) -> None:
    opened(house, bounds=Bounds(failed=30, failed_batch=100, moderated=30))

    end(house, "f" * 40 + "m" * 40)

    assert stops(house) == {}
    assert house.progress().state is BatchState.OPEN


def test_only_so_many_groups_are_remembered(house: House) -> None:
    if house.name == "redis-7-twice":
        return
    opened(house, bounds=Bounds(failed=1, failed_batch=100))
    for group in range(GROUPS_KNOWN + 1):
        end(house, "f", group=f"group {group}")

    end(house, "f", group="group 0")
    end(house, "f", group=f"group {GROUPS_KNOWN}")

    assert stops(house) == {f"group {GROUPS_KNOWN}": ("failed", 2, 2)}


# -- new tries


def failing(house: House, job: str) -> tuple[Job, Job]:
    running = house.running(job)
    failed = e.AttemptFailed(code="api_error", detail="x", wait=0)
    return running, e.applied(failed, running, house.ledger.now(), state=Job.__dataclass_fields__["state"].default)


def test_a_batch_may_ask_again_20_times_and_then_for_a_fifth_of_its_calls(house: House) -> None:
    opened(house)
    jobs = fed(house, *["chairs"] * (RETRY_FLOOR + 1))
    for job in jobs[:-1]:
        before, after = failing(house, job)
        assert house.ledger.record(before, after).closed is None
        house.moved(house.claimed(job), e.Cancelled())
    before, after = failing(house, jobs[-1])

    books = house.books()
    closed = house.ledger.record(before, after).closed

    assert closed is Closed.NO_BUDGET
    assert house.books() == books
    assert (house.progress().calls, house.progress().retried) == (21, 20)
    end(house, "s" * 84)
    assert house.ledger.record(before, after).closed is None


def test_an_input_that_does_not_come_takes_nothing_of_the_new_tries(house: House) -> None:
    opened(house)

    for job in fed(house, *["chairs"] * (RETRY_FLOOR + 5)):
        house.moved(house.claimed(job), e.AttemptFailed(code="url_unreachable", detail="x", wait=0))

    assert house.progress().retried == 0


# -- rows that are stepped over


def test_rows_of_a_stopped_group_are_stepped_over_and_fed_from_there_later(house: House) -> None:
    opened(house)
    rows = of_groups(house, 0, ["chairs", "tables", "chairs", "tables"])

    first = house.ledger.feed("b", "flux", 0, [rows[1], rows[3]], low=1, steps=Steps(to=4, over={"chairs": 0}))
    behind, cursor = house.progress().behind, house.progress().cursors["flux"]
    half = house.ledger.feed("b", "flux", 0, [rows[0]], low=1, steps=Steps(to=2, behind="chairs"))
    halfway = house.progress().behind
    whole = house.ledger.feed("b", "flux", 2, [rows[2]], low=1, steps=Steps(to=4, behind="chairs"))

    assert (first, half, whole) == (True, True, True)
    assert (behind, cursor, halfway) == ({"flux": {"chairs": 0}}, 4, {"flux": {"chairs": 2}})
    assert house.progress().behind == {}
    assert house.ledger.jobs_of("b") == sorted(row.job for row in rows)
    assert (house.progress().hot["flux"], house.progress().cursors["flux"]) == (4, 4)


def test_a_group_that_is_behind_stays_where_it_is_when_more_of_it_is_stepped_over(house: House) -> None:
    opened(house)

    house.ledger.feed("b", "flux", 0, [], low=1, steps=Steps(to=5, over={"chairs": 2}))
    house.ledger.feed("b", "flux", 5, [], low=1, steps=Steps(to=9, over={"chairs": 5, "beds": 6}))

    assert house.progress().behind == {"flux": {"chairs": 2, "beds": 6}}


def test_a_cursor_behind_moves_only_from_where_it_stands_and_never_past_the_batchs_own(house: House) -> None:
    opened(house)
    house.ledger.feed("b", "flux", 0, [], low=1, steps=Steps(to=5, over={"chairs": 2}))
    order = of_groups(house, 3, ["chairs"])

    wrong = [(3, 4, "chairs"), (2, 6, "chairs"), (2, 4, "beds")]

    for start, to, name in wrong:
        assert not house.ledger.feed("b", "flux", start, order, low=1, steps=Steps(to=to, behind=name))
    assert house.progress().behind == {"flux": {"chairs": 2}}
    assert house.ledger.jobs_of("b") == []


# -- both ledgers


@given(
    ends=st.lists(st.tuples(st.sampled_from("ssfm"), st.sampled_from(["beds", "chairs", "tables"])), max_size=60),
    bounds=st.builds(
        Bounds,
        failed=st.integers(0, 8),
        failed_batch=st.integers(0, 20),
        moderated=st.integers(0, 8),
        moderated_cost=st.integers(-1, 20 * COST),
    ),
    lone=st.booleans(),
    resumed=st.sets(st.integers(0, 60), max_size=2),
)
@settings(max_examples=25, deadline=None, database=None, suppress_health_check=list(HealthCheck))
def test_memory_and_redis_count_alike(
    servers: Callable[[RedisVersion], redis.Redis],
    ends: list[tuple[str, str]],
    bounds: Bounds,
    lone: bool,
    resumed: set[int],
) -> None:
    seen = []
    for house in (memory_house(), redis_house(servers("7"), "redis-7")):
        opened(house, bounds=bounds, lone=lone)
        jobs = [house.running(job) for job in fed(house, *[group for _, group in ends])[:5]]
        running = {job.id: job for job in jobs}
        history: list[Any] = []
        for place, (letter, _) in enumerate(ends):
            if place in resumed or house.progress().state is not BatchState.OPEN:
                history.append(("resumed", dict(house.progress().about)))
                house.ledger.resume_groups("b")
                house.ledger.set_state("b", BatchState.OPEN, "", only_from=[BatchState.PAUSED])
            job = f"b.{place}"
            before = running.get(job)
            if before is None:
                if house.ledger.claim(job, "w0").why == "stopped":
                    history.append(("waits", job))
                    continue
                before = house.moved(house.load(job), e.GivenBack(wait=0))
                ended(house, job, letter)
            elif letter == "s":
                house.moved(before, house.fetchable(), house.filed())
            elif letter == "m":
                house.moved(before, e.Moderated(code="result_moderated", detail="x"))
            else:
                house.moved(before, e.Failed(code="api_error", detail="x"))
            progress = house.progress()
            history.append((stops(house), progress.state, progress.reason, progress.about, progress.moderated_cost))
        seen.append(history)

    assert seen[0] == seen[1]
