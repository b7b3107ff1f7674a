"""Every fault that can be asked for is really injected, is counted, and replays by its seed."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from hashlib import sha256
from typing import Any

import httpx
import pytest

from simulator.faults import Faults
from simulator.options import Options
from simulator.service import Addresses
from simulator.threaded import running

KEY = {"x-key": "a-key-for-tests"}
PRO = "/v1/flux-2-pro"


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    with httpx.Client(trust_env=False, timeout=20) as client:
        yield client


@pytest.fixture
def at() -> Iterator[Addresses]:
    with running(Options(port=0, latency=0.0, seed=11, result_size=(64, 64), active_limit=1000)) as addresses:
        yield addresses


def inject(http: httpx.Client, at: Addresses, **figures: Any) -> None:
    http.post(f"{at.base_url}/admin/faults", json=figures).raise_for_status()


def submit(http: httpx.Client, at: Addresses) -> str:
    """Return how a POST ended: its status, or `reset`."""
    try:
        return str(http.post(at.base_url + PRO, json={"prompt": "p"}, headers=KEY).status_code)
    except (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError):
        return "reset"


def receipt(http: httpx.Client, at: Addresses) -> Any:
    return http.post(at.base_url + PRO, json={"prompt": "p"}, headers=KEY).json()


def totals(http: httpx.Client, at: Addresses) -> Any:
    return http.get(f"{at.base_url}/admin/ledger?summary=1").json()


@pytest.mark.parametrize(
    ("fault", "endings", "accepted"),
    [
        ("reset_before", {"reset"}, False),
        ("refuse", {"500", "503"}, False),
        ("rate_limit", {"429"}, False),
        ("five_xx_after", {"500", "502", "503", "504"}, True),
        ("lose_answer", {"reset"}, True),
        ("slow_answer", {"200"}, True),
    ],
)
def test_a_fault_of_a_post_is_injected_and_charged_only_where_it_was_accepted(
    fault: str, endings: set[str], accepted: bool, at: Addresses, http: httpx.Client
) -> None:
    inject(http, at, **{fault: 1.0, "slow_answer_s": 0.01})

    seen = [submit(http, at) for _ in range(20)]
    found = totals(http, at)

    assert set(seen) == endings
    assert found["faults"] == {fault: 20}
    assert found["posts"] == 20
    assert found["tasks"] == (20 if accepted else 0)
    assert found["charged"] == (60.0 if accepted else 0.0)


@pytest.mark.parametrize("fault", ["reset_before", "lose_answer"])
def test_a_reset_is_a_reset_and_not_an_orderly_end(fault: str, at: Addresses, http: httpx.Client) -> None:
    inject(http, at, **{fault: 1.0})
    host, _, port = at.base_url.removeprefix("http://").partition(":")
    head = f"POST {PRO} HTTP/1.1\r\nHost: {host}\r\nx-key: {KEY['x-key']}\r\n"
    body = '{"prompt":"p"}'

    with socket.create_connection((host, int(port)), timeout=20) as connection:
        kind = "Content-Type: application/json"
        connection.sendall(f"{head}{kind}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())

        with pytest.raises(ConnectionResetError):
            connection.recv(1)


def test_a_503_after_acceptance_is_never_in_the_apis_own_json(at: Addresses, http: httpx.Client) -> None:
    inject(http, at, five_xx_after=1.0)

    answers = [http.post(at.base_url + PRO, json={"prompt": "p"}, headers=KEY) for _ in range(20)]
    unavailable = [answer for answer in answers if answer.status_code == 503]

    assert unavailable
    assert all(answer.headers["Content-Type"].startswith("text/html") for answer in unavailable)


def test_a_refused_503_is_in_the_apis_own_json(at: Addresses, http: httpx.Client) -> None:
    inject(http, at, refuse=1.0)

    answers = [http.post(at.base_url + PRO, json={"prompt": "p"}, headers=KEY) for _ in range(20)]

    assert any(answer.status_code == 503 for answer in answers)
    assert all("detail" in answer.json() for answer in answers)


def test_the_same_seed_gives_the_same_run_and_another_seed_another(http: httpx.Client) -> None:
    faults = Faults(reset_before=0.1, refuse=0.1, rate_limit=0.1, five_xx_after=0.1, lose_answer=0.1)

    def run(seed: int) -> list[str]:
        with running(Options(port=0, latency=0.0, seed=seed, faults=faults)) as at:
            return [submit(http, at) for _ in range(60)]

    first = run(1)

    assert first == run(1)
    assert first != run(2)
    assert {"200", "429", "reset"} < set(first)


@pytest.mark.parametrize("form", ["seconds", "date", "json", "none"])
def test_a_429_says_when_to_come_back_in_the_form_asked_for(form: str, at: Addresses, http: httpx.Client) -> None:
    inject(http, at, rate_limit=1.0, retry_after=form)

    answer = http.post(at.base_url + PRO, json={"prompt": "p"}, headers=KEY)
    header = answer.headers.get("Retry-After")

    assert answer.json()["detail"]
    assert (header == "1") == (form == "seconds")
    assert answer.json().get("retry_after") == (1 if form == "json" else None)
    if form == "date":
        assert parsedate_to_datetime(header).tzinfo is not None
    elif form != "seconds":
        assert header is None


def test_any_form_of_a_429_comes_up_sooner_or_later(at: Addresses, http: httpx.Client) -> None:
    inject(http, at, rate_limit=1.0, retry_after="any")

    answers = [http.post(at.base_url + PRO, json={"prompt": "p"}, headers=KEY) for _ in range(40)]
    forms = {(answer.headers.get("Retry-After", "")[:1].isdigit(), "retry_after" in answer.text) for answer in answers}

    assert forms == {(True, False), (False, True), (False, False)}


def test_a_hanging_poll_is_reset_in_the_end(at: Addresses, http: httpx.Client) -> None:
    url = receipt(http, at)["polling_url"]
    inject(http, at, hang_poll=1.0, hang_s=0.05)

    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        http.get(url)

    assert totals(http, at)["faults"] == {"hang_poll": 1}


def test_a_failing_poll_carries_no_task(at: Addresses, http: httpx.Client) -> None:
    url = receipt(http, at)["polling_url"]
    inject(http, at, poll_5xx=1.0)

    answers = [http.get(url) for _ in range(20)]

    assert {answer.status_code for answer in answers} == {500, 502, 503}
    assert all('"status"' not in answer.text for answer in answers)


def test_only_the_first_poll_finds_no_task_yet(at: Addresses, http: httpx.Client) -> None:
    url = receipt(http, at)["polling_url"]
    inject(http, at, early_404=1.0)

    assert [http.get(url).status_code for _ in range(3)] == [404, 200, 200]


@pytest.mark.parametrize(("fault", "status"), [("error_as_422", 422), ("error_as_503", 503)])
def test_an_error_can_come_with_another_http_status_and_its_normal_body(
    fault: str, status: int, at: Addresses, http: httpx.Client
) -> None:
    inject(http, at, fail_task=1.0, **{fault: 1.0})

    answer = http.get(receipt(http, at)["polling_url"])

    assert answer.status_code == status
    assert answer.json()["status"] == "Error"
    assert answer.json()["details"]["error"]


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        ("moderate_request", "Request Moderated"),
        ("moderate_content", "Content Moderated"),
        ("fail_task", "Error"),
    ],
)
def test_tasks_can_end_badly_by_chance(fault: str, status: str, at: Addresses, http: httpx.Client) -> None:
    inject(http, at, **{fault: 0.5})

    ends = [http.get(receipt(http, at)["polling_url"]).json()["status"] for _ in range(40)]

    assert set(ends) == {status, "Ready"}


def test_a_task_that_hangs_keeps_its_place(http: httpx.Client) -> None:
    with running(Options(port=0, latency=0.0, active_limit=1, faults=Faults(hang_task=1.0))) as at:
        first, second = submit(http, at), submit(http, at)

    assert (first, second) == ("200", "429")


def test_a_download_can_fail_and_can_be_cut_in_half(at: Addresses, http: httpx.Client) -> None:
    url = http.get(receipt(http, at)["polling_url"]).json()["result"]["sample"]
    inject(http, at, fail_download=1.0)
    assert http.get(url).status_code == 500

    inject(http, at, fail_download=0.0, cut_download=1.0)
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        http.get(url)

    inject(http, at, cut_download=0.0)
    assert http.get(url).status_code == 200
    assert totals(http, at)["faults"] == {"fail_download": 1, "cut_download": 1}
    assert totals(http, at)["downloads"] == 1


def test_a_download_can_be_refused_as_if_its_url_had_expired(at: Addresses, http: httpx.Client) -> None:
    url = http.get(receipt(http, at)["polling_url"]).json()["result"]["sample"]
    inject(http, at, refuse_download=1.0)

    assert http.get(url).status_code == 403
    assert totals(http, at)["faults"] == {"refuse_download": 1}
    assert totals(http, at)["downloads"] == 0


def test_the_ledger_tells_when_a_result_was_first_told_of_and_first_fetched(at: Addresses, http: httpx.Client) -> None:
    polling_url = receipt(http, at)["polling_url"]
    url = http.get(polling_url).json()["result"]["sample"]
    told = http.get(f"{at.base_url}/admin/ledger").json()["entries"][0]
    http.get(url)
    http.get(polling_url)
    fetched = http.get(f"{at.base_url}/admin/ledger").json()["entries"][0]

    assert told["downloaded_at"] is None
    assert told["accepted_at"] <= told["told_ready_at"] == fetched["told_ready_at"] <= fetched["downloaded_at"]
    assert told["prompt_sha256"] == sha256(b"p").hexdigest()


def test_a_download_that_was_cut_is_drawn_anew_the_next_time(at: Addresses, http: httpx.Client) -> None:
    url = http.get(receipt(http, at)["polling_url"]).json()["result"]["sample"]
    inject(http, at, fail_download=0.5)

    assert {http.get(url).status_code for _ in range(30)} == {200, 500}


def test_a_pause_is_an_outage_of_the_api_but_not_of_the_delivery(at: Addresses, http: httpx.Client) -> None:
    polling_url = receipt(http, at)["polling_url"]
    sample = http.get(polling_url).json()["result"]["sample"]
    http.post(f"{at.base_url}/admin/pause", json={"paused": True})

    paused = (submit(http, at), http.get(polling_url).status_code, http.get(sample).status_code)
    http.post(f"{at.base_url}/admin/pause", json={"paused": False})

    assert paused == ("503", 503, 200)
    assert submit(http, at) == "200"


@pytest.mark.parametrize("figures", [{"refuse": 2}, {"no_such_fault": 0.1}, []])
def test_faults_that_make_no_sense_are_refused(figures: Any, at: Addresses, http: httpx.Client) -> None:
    answer = http.post(f"{at.base_url}/admin/faults", json=figures)

    assert answer.status_code == 422
    assert submit(http, at) == "200"


def test_an_outage_can_look_like_that_of_a_proxy(at: Addresses, http: httpx.Client) -> None:
    http.post(f"{at.base_url}/admin/pause", json={"form": "gateway"})
    during = http.post(at.base_url + PRO, json={"prompt": "p"}, headers=KEY)
    http.post(f"{at.base_url}/admin/pause", json={"paused": False})

    assert (during.status_code, during.headers["Content-Type"]) == (502, "text/html; charset=utf-8")
    assert submit(http, at) == "200"


def test_while_it_is_unplugged_nothing_listens_and_afterwards_its_tasks_are_still_there(
    at: Addresses, http: httpx.Client
) -> None:
    url = receipt(http, at)["polling_url"]
    http.post(f"{at.base_url}/admin/pause", json={"form": "refused", "seconds": 2.0})

    refused = _asked_until(httpx.HTTPError, url)
    back = _asked_until(httpx.Response, url)

    assert refused
    assert back


def test_an_answer_that_is_under_way_when_it_is_unplugged_never_comes(at: Addresses, http: httpx.Client) -> None:
    inject(http, at, slow_answer=1.0, slow_answer_s=15.0)

    with ThreadPoolExecutor() as pool:
        under_way = pool.submit(submit, http, at)
        while totals(http, at)["tasks"] == 0:
            time.sleep(0.02)
        http.post(f"{at.base_url}/admin/pause", json={"form": "refused", "seconds": 0.1})
        said = under_way.result(20)

    assert said == "reset"


@pytest.mark.parametrize("told", [{"form": "holiday"}, {"form": "refused"}, {"form": "refused", "seconds": -1}])
def test_an_outage_that_nobody_could_end_is_refused(told: dict[str, object], at: Addresses, http: httpx.Client) -> None:
    assert http.post(f"{at.base_url}/admin/pause", json=told).status_code == 422
    assert submit(http, at) == "200"


def _asked_until(wanted: type, url: str) -> bool:
    """Ask anew, each time over a connection of its own, until this comes of it."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        said: object
        try:
            said = httpx.get(url, trust_env=False).raise_for_status()
        except httpx.HTTPError as error:
            said = error
        if isinstance(said, wanted):
            return True
        time.sleep(0.02)
    return False
