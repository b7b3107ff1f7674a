"""What an answer of the API means: refused, accepted, or unknown; terminal, or still running."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.settings import REFUSED_STATUSES
from jobs.job import NO_SUM
from workers.api.protocol import (
    NOT_OURS,
    Accepted,
    KeyRefused,
    KeyWorks,
    NoAnswer,
    RefusedForGood,
    RefusedForNow,
    ResultReady,
    StillRunning,
    TaskFailed,
    TaskNotFound,
    Throttled,
    Unknown,
    WasModerated,
    decipher_credits,
    decipher_poll,
    decipher_submit,
    retry_after,
    url_deadline,
)

NOW = 1_800_000_000.0


def submitted(
    status: int,
    body: object = None,
    headers: dict[str, str] | None = None,
    refused: tuple[int, ...] = REFUSED_STATUSES,
) -> object:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return decipher_submit(status, headers or {}, raw, base_url="https://api.bfl.ai", at=NOW, refused=refused)


def polled(status: int, body: object = None, headers: dict[str, str] | None = None) -> object:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return decipher_poll(status, headers or {}, raw, task="t", at=NOW)


def test_a_receipt_carries_the_cost_in_micro_dollars_and_the_region_that_runs_the_task() -> None:
    body = {"id": "t-1", "polling_url": "https://api.eu2.bfl.ai/v1/get_result?id=t-1", "cost": 4.5, "input_mp": 1.0}

    answer = submitted(200, body)

    assert isinstance(answer, Accepted)
    assert (answer.receipt.task_id, answer.receipt.cost, answer.receipt.region) == ("t-1", 45_000, "api.eu2.bfl.ai")


def test_an_answer_without_a_polling_url_is_polled_where_it_was_submitted() -> None:
    answer = submitted(200, {"id": "t-1", "status": "Pending", "webhook_url": "https://x"})

    assert isinstance(answer, Accepted)
    assert answer.receipt.polling_url == "https://api.bfl.ai/v1/get_result?id=t-1"


NO_SUMS: list[object] = [-1, -0.001, True, "4", [], math.inf, -math.inf, math.nan]


@pytest.mark.parametrize(
    ("cost", "micros"),
    [
        (None, None),
        (0, 0),
        (4.5, 45_000),
        *((cost, NO_SUM) for cost in NO_SUMS),
        (1e8, 1_000_000_000_000),
        (1e300, 1_000_000_000_000),
    ],
)
def test_a_cost_is_a_sum_or_none_at_all_and_never_more_than_can_be_counted(cost: object, micros: int | None) -> None:
    answer = submitted(200, {"id": "t", "polling_url": "https://api.bfl.ai/x", "cost": cost})

    assert isinstance(answer, Accepted)
    assert answer.receipt.cost == micros


@pytest.mark.parametrize("status", [400, 404, 405, 413, 415, 422])
def test_a_request_that_is_wrong_is_refused_for_good(status: int) -> None:
    assert isinstance(submitted(status, {"detail": "no"}), RefusedForGood)


@pytest.mark.parametrize("status", [401, 402, 403])
def test_a_key_that_is_refused_says_nothing_about_the_row(status: int) -> None:
    assert isinstance(submitted(status, {"detail": "Not authenticated"}), KeyRefused)


def test_a_malformed_key_comes_as_422_and_is_still_the_keys_fault() -> None:
    assert isinstance(submitted(422, {"detail": "Invalid API key format"}), KeyRefused)


@pytest.mark.parametrize("status", [500, 502, 503, 408, 409])
def test_a_status_that_a_setting_calls_a_refusal_is_asked_again_for_nothing(status: int) -> None:
    assert isinstance(submitted(status, {"error": "no"}, refused=(*REFUSED_STATUSES, status)), RefusedForNow)


@pytest.mark.parametrize("status", [401, 404, 422, 429])
def test_a_status_that_a_setting_takes_from_the_refusals_may_have_been_charged(status: int) -> None:
    refused = tuple(each for each in REFUSED_STATUSES if each != status)

    assert isinstance(submitted(status, {"detail": "no"}, refused=refused), Unknown)


@pytest.mark.parametrize("status", [301, 307, 408, 409, 500, 502, 503, 504, 520, 201])
def test_everything_that_is_no_proof_of_a_refusal_is_unknown(status: int) -> None:
    assert isinstance(submitted(status, b"<html>gateway</html>"), Unknown)


def test_a_503_in_the_apis_own_words_is_a_refusal_but_a_proxys_is_not() -> None:
    assert isinstance(submitted(503, {"detail": "Service Unavailable"}), RefusedForNow)
    assert isinstance(submitted(503, b"upstream connect error"), Unknown)


def test_a_validation_error_is_told_without_repeating_what_was_sent() -> None:
    body = {"detail": [{"loc": ["body", "seed"], "msg": "not an integer", "type": "int", "input": "SECRET PROMPT"}]}

    answer = submitted(422, body)

    assert answer == RefusedForGood(detail="seed: not an integer")


@pytest.mark.parametrize(
    ("headers", "body", "seconds"),
    [
        ({"Retry-After": "7"}, None, 7.0),
        ({"retry-after": "1.5"}, None, 1.5),
        ({}, {"retry_after": 5}, 5.0),
        ({}, {"detail": {"retry_after": 3}}, 3.0),
        ({"Retry-After": "900"}, None, 300.0),
        ({"Retry-After": "Fri, 15 Jan 2027 08:00:10 GMT"}, None, 10.0),
        ({"Retry-After": "NaN"}, None, None),
        ({"Retry-After": "-3"}, None, None),
        ({"Retry-After": "7200"}, None, None),
        ({"Retry-After": "soon"}, None, None),
        ({}, None, None),
    ],
)
def test_a_wish_to_wait_is_read_in_every_form_and_an_insane_one_ignored(
    headers: dict[str, str], body: object, seconds: float | None
) -> None:
    assert retry_after(headers, body, NOW) == seconds


def test_a_429_spends_nothing_and_says_how_long() -> None:
    assert submitted(429, {"detail": "slow down"}, {"Retry-After": "2"}) == Throttled(after=2.0)


@pytest.mark.parametrize(
    "body",
    [
        {"detail": "Too many active tasks: wait until one of your previous tasks has finished"},
        {"error": "rate_limit_exceeded", "message": "Too many concurrent requests", "retry_after": 5},
        {"detail": "Too Many Requests"},
        {"detail": "429 (too many active tasks), rate limit of your plan"},
        {},
    ],
)
def test_a_429_is_about_tasks_in_flight_unless_it_says_otherwise(body: dict[str, object]) -> None:
    answer = submitted(429, body)

    assert isinstance(answer, Throttled)
    assert not answer.rate


@pytest.mark.parametrize(
    "text", ["Rate limit exceeded", "rate_limit_exceeded", "60 requests per minute", "You are asking too often"]
)
def test_a_429_that_speaks_of_a_rate_alone_is_about_that(text: str) -> None:
    answer = submitted(429, {"detail": text})

    assert isinstance(answer, Throttled)
    assert answer.rate


@pytest.mark.parametrize("status", ["Pending", "Reasoning", "Generating", "Queued", "Something new"])
def test_a_status_that_is_not_known_means_still_running(status: str) -> None:
    assert polled(200, {"id": "t", "status": status}) == StillRunning()


@pytest.mark.parametrize("code", [200, 422, 503])
def test_the_body_of_a_poll_is_read_before_its_code(code: int) -> None:
    body = {"id": "t", "status": "Error", "details": {"error": "Invalid or corrupted image input"}}

    answer = polled(code, body)

    assert answer == TaskFailed(detail="Invalid or corrupted image input", for_good=True, cost=None)


def test_moderation_before_and_after_the_work_are_told_apart() -> None:
    details = {"Moderation Reasons": ["Derivative Works Filter"]}

    before = polled(200, {"status": "Request Moderated", "details": details})
    after = polled(200, {"status": "Content Moderated", "details": details, "cost": 4.0})

    assert before == WasModerated(code="request_moderated", detail="Derivative Works Filter", cost=None)
    assert after == WasModerated(code="result_moderated", detail="Derivative Works Filter", cost=40_000)


def test_a_ready_result_has_the_deadline_of_its_own_url() -> None:
    url = "https://delivery-eu1.bfl.ai/x.jpeg?se=2027-01-15T08%3A10%3A00Z&sig=x"

    answer = polled(200, {"status": "Ready", "result": {"sample": url, "seed": 7}, "cost": 3})

    assert answer == ResultReady(url=url, deadline=NOW + 600, cost=30_000, seed=7)


@pytest.mark.parametrize("url", ["https://x/y", "https://x/y?se=never", "https://x/y?se="])
def test_a_url_that_does_not_say_when_it_dies_is_given_ten_minutes(url: str) -> None:
    assert url_deadline(url, NOW) == NOW + 600


def test_a_deadline_is_read_as_azure_writes_it_with_seven_decimals() -> None:
    assert url_deadline("https://x/y?se=2027-01-15T08:00:01.5000000Z", NOW) == NOW + 1.5


def test_a_host_that_does_not_know_the_task_gives_no_verdict() -> None:
    assert polled(404, {"detail": "Task not found"}) == TaskNotFound()
    assert polled(200, {"id": "t", "status": "Task not found"}) == TaskNotFound()


@pytest.mark.parametrize("about", [{"status": "Ready", "result": {"sample": "https://x/y"}}, {"status": "Error"}])
def test_an_answer_about_another_task_is_none(about: dict[str, object]) -> None:
    assert polled(200, {"id": "another", **about}) == NOT_OURS


@pytest.mark.parametrize("named", [{}, {"id": None}, {"id": ""}, {"id": 7}])
def test_an_answer_that_names_no_task_is_believed(named: dict[str, object]) -> None:
    assert polled(200, {**named, "status": "Pending"}) == StillRunning()


def test_a_poll_that_fails_says_nothing_about_the_task() -> None:
    assert isinstance(polled(500, b"oops"), NoAnswer)
    assert isinstance(polled(200, {"status": "Ready", "result": None}), NoAnswer)


@pytest.mark.parametrize("number", ["1" + "0" * 400, "-1" + "0" * 400, "1" + "0" * 5000, "1e400", "1e305"])
def test_no_number_is_too_large_to_be_read(number: str) -> None:
    fields = (
        f'"cost":{number},"credits":{number},"input_mp":{number},"retry_after":{number},"result":{{"seed":{number}}}'
    )

    submitted(200, f'{{"id":"t",{fields}}}'.encode())
    submitted(429, f"{{{fields}}}".encode())
    polled(200, f'{{"id":"t","status":"Ready",{fields}}}'.encode())
    polled(429, f"{{{fields}}}".encode())

    assert decipher_credits(200, f"{{{fields}}}".encode()) in (KeyWorks(micros=None), None)


def test_a_cost_of_more_digits_than_a_float_has_is_no_sum() -> None:
    answer = submitted(200, b'{"id":"t","cost":1' + b"0" * 400 + b"}")

    assert isinstance(answer, Accepted)
    assert answer.receipt.cost == NO_SUM


@pytest.mark.parametrize("loc", [None, 7, {"body": 1}])
def test_a_validation_error_whose_place_is_none_is_told_without_it(loc: object) -> None:
    assert submitted(422, {"detail": [{"loc": loc, "msg": "no"}]}) == RefusedForGood(detail=": no")


@given(st.integers(100, 599), st.binary(max_size=200))
def test_no_answer_whatever_its_bytes_makes_the_reader_raise(status: int, body: bytes) -> None:
    submitted(status, body)
    polled(status, body)


@given(st.integers(100, 599), st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists, max_leaves=8))
def test_only_a_2xx_with_an_id_is_ever_an_acceptance(status: int, value: object) -> None:
    answer = submitted(status, {"detail": value, "status": value, "polling_url": value, "cost": value})

    assert not isinstance(answer, Accepted)


def test_credits_are_micro_dollars_and_a_key_that_is_refused_is_no_answer_lost() -> None:
    assert decipher_credits(200, b'{"credits": 12.5}') == KeyWorks(micros=125_000)
    assert decipher_credits(200, b"{}") == KeyWorks(micros=None)
    assert decipher_credits(403, b'{"detail": "Not authenticated"}') == KeyRefused(
        status=403, detail="Not authenticated"
    )


@pytest.mark.parametrize(("status", "body"), [(500, b"{}"), (429, b"{}"), (200, b"<html>"), (302, b"")])
def test_what_says_nothing_of_a_key_is_no_answer(status: int, body: bytes) -> None:
    assert decipher_credits(status, body) is None
