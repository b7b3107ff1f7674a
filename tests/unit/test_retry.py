"""Whether a failed try is followed by another, and when."""

from hypothesis import given
from hypothesis import strategies as st

from jobs.events import AttemptFailed, Failed
from jobs.job import Failure, Job, Order
from jobs.request import Request
from jobs.retry import ATTEMPTS, LONGEST_WAIT_S, after_failure, backoff, doubt_wait, throttled_wait, without_budget


def job(*codes: str, at: float = 0.0) -> Job:
    order = Order(
        batch="b",
        row=1,
        id="x",
        group="",
        limit_group="flux",
        request=Request(model="m", prompt="p", inputs=("s3://b/k",)),
        output="o",
        reserve=10,
    )
    failures = tuple(Failure(attempt=n, code=code, detail="", at=at) for n, code in enumerate(codes, 1))
    return Job(order=order, failures=failures)


def longest(_low: float, high: float) -> float:
    return high


def test_a_try_that_counts_is_followed_by_another_after_a_wait() -> None:
    event = after_failure(job(), "api_error", "oops", jitter=longest, at=0.0)

    assert event == AttemptFailed(code="api_error", detail="oops", wait=2.0)


def test_the_last_try_ends_the_row() -> None:
    event = after_failure(job(*["api_error"] * (ATTEMPTS - 1)), "api_error", "oops", at=0.0)

    assert event == Failed(code="api_error", detail="oops")


def test_three_tries_are_made_and_no_fourth() -> None:
    ends = [
        isinstance(after_failure(job(*["api_error"] * before), "api_error", "x", at=0.0), Failed) for before in range(4)
    ]

    assert ends == [False, False, True, True]


def test_what_a_failed_try_cost_goes_with_it_whether_or_not_another_follows() -> None:
    tried_again = after_failure(job(), "api_error", "oops", cost=14_000, at=0.0)
    ended = after_failure(job(), "api_error", "oops", cost=14_000, for_good=True, at=0.0)

    assert isinstance(tried_again, AttemptFailed)
    assert isinstance(ended, Failed)
    assert tried_again.cost == ended.cost == 14_000


def test_a_resubmitted_doubt_does_not_count_as_a_failed_try() -> None:
    event = after_failure(job("in_doubt", "in_doubt", "api_error"), "api_error", "oops", at=0.0)

    assert isinstance(event, AttemptFailed)


def test_a_failure_for_good_is_not_tried_again() -> None:
    assert isinstance(after_failure(job(), "image_rejected", "bad", for_good=True, at=0.0), Failed)


def test_a_row_is_tried_again_for_an_hour_after_its_first_failure_and_not_longer() -> None:
    once = job("api_error", at=5000.0)
    within, beyond = (
        after_failure(once, "api_error", "oops", at=5000.0 + later, cost=14_000, jitter=longest)
        for later in (3596.0, 3596.5)
    )

    assert within == AttemptFailed(code="api_error", detail="oops", wait=4.0, cost=14_000)
    assert beyond == Failed(
        code="api_error", detail="oops (not tried again: the first failure was 60 minutes ago)", cost=14_000
    )


def test_the_first_failure_is_always_tried_again() -> None:
    assert isinstance(after_failure(job(), "api_error", "oops", at=1e9, within_s=0.0), AttemptFailed)


def test_the_time_of_a_doubt_is_not_that_of_a_failure() -> None:
    assert isinstance(after_failure(job("in_doubt"), "api_error", "oops", at=1e9, within_s=60.0), AttemptFailed)


def test_a_row_whose_batch_has_no_tries_left_ends_with_what_failed_and_what_it_cost() -> None:
    failed = AttemptFailed(code="api_error", detail="oops", wait=2.0, cost=14_000)

    assert without_budget(failed) == Failed(code="retry_budget", detail="api_error: oops", cost=14_000)


@given(st.integers(0, 10_000))
def test_a_wait_is_never_longer_than_its_cap_nor_shorter_than_half_of_it(tries: int) -> None:
    wait = backoff(tries)

    assert 1.0 <= wait <= LONGEST_WAIT_S


def test_half_of_a_wait_is_chance() -> None:
    assert backoff(3, jitter=longest) == 8.0
    assert backoff(3, jitter=lambda low, _: low) == 4.0


def test_the_longest_wait_after_a_failed_try_is_two_minutes() -> None:
    assert backoff(100, jitter=longest) == 120.0


def test_so_many_tries_that_no_number_could_be_doubled_as_often_are_no_error() -> None:
    assert backoff(5_000, first=1.0, cap=1e12, jitter=longest) == 2.0**30


def test_the_apis_own_wish_is_met_as_it_is() -> None:
    assert throttled_wait(7.5, waits=3) == 7.5


def test_without_a_wish_a_throttled_submission_waits_longer_each_time() -> None:
    waits = [throttled_wait(None, waits=n, jitter=longest) for n in range(6)]

    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 20.0]


def test_a_doubt_waits_longer_than_the_slowest_task_and_never_less_than_the_floor() -> None:
    assert doubt_wait(p999_s=45.0, floor_s=30.0) == 67.5
    assert doubt_wait(p999_s=10.0, floor_s=30.0) == 30.0
