"""Result URLs, webhooks, inputs by URL, and the simulator as a process."""

from __future__ import annotations

import base64
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from PIL import Image, ImageChops, ImageStat

from simulator.main import run
from simulator.options import Options
from simulator.service import Addresses
from simulator.threaded import running

KEY = {"x-key": "a-key-for-tests"}
PRO, KONTEXT = "/v1/flux-2-pro", "/v1/flux-kontext-pro"
START = 1_790_000_000.0


class Clock:
    """A clock that only a test moves."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


def photograph(size: tuple[int, int] = (320, 256)) -> bytes:
    out = io.BytesIO()
    Image.radial_gradient("L").resize(size).convert("RGB").save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def at(clock: Clock) -> Iterator[Addresses]:
    with running(Options(port=0, latency=0.0), clock=clock) as addresses:
        yield addresses


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    with httpx.Client(trust_env=False) as client:
        yield client


def sample(http: httpx.Client, at: Addresses, path: str = PRO, **body: Any) -> str:
    picture = base64.b64encode(photograph()).decode()
    asked = {"prompt": "p", "input_image": picture, **body}
    receipt = http.post(at.base_url + path, json=asked, headers=KEY).json()
    url = http.get(receipt["polling_url"]).json()["result"]["sample"]
    assert isinstance(url, str)
    return url


def ledger(http: httpx.Client, at: Addresses) -> Any:
    return http.get(f"{at.base_url}/admin/ledger").json()


def test_a_result_is_a_visible_edit_of_its_input(at: Addresses, http: httpx.Client) -> None:
    answer = http.get(sample(http, at))

    before, after = Image.open(io.BytesIO(photograph())), Image.open(io.BytesIO(answer.content))

    assert answer.headers["Content-Type"] == "image/jpeg"
    assert after.size == (320, 256)
    assert max(ImageStat.Stat(ImageChops.difference(before, after)).mean) > 8


def test_a_result_is_served_on_a_host_of_its_own_under_a_signed_url(at: Addresses, http: httpx.Client) -> None:
    url = sample(http, at)
    query = parse_qs(urlsplit(url).query)

    assert url.startswith(at.delivery + "/results/")
    assert "se=2026-09-21T14%3A23%3A20Z" in url
    assert {name: query[name] for name in ("sp", "sv", "sr", "rsct")} == {
        "sp": ["r"],
        "sv": ["2024-11-04"],
        "sr": ["b"],
        "rsct": ["image/jpeg"],
    }


def test_a_url_works_until_the_moment_it_names_and_then_never(at: Addresses, clock: Clock, http: httpx.Client) -> None:
    url = sample(http, at)
    deadline = datetime.fromisoformat(parse_qs(urlsplit(url).query)["se"][0]).astimezone(UTC).timestamp()

    clock.now = deadline - 0.1
    before = http.get(url)
    clock.now = deadline
    after = http.get(url)

    assert deadline == START + 600.0
    assert before.status_code == 200
    assert after.status_code == 403
    assert "AuthenticationFailed" in after.text
    assert "Signed expiry" in after.text


@pytest.mark.parametrize("change", [("sig=", "sig=A"), ("se=2026", "se=2036"), ("_sample", "_other")])
def test_a_changed_url_is_refused(change: tuple[str, str], at: Addresses, http: httpx.Client) -> None:
    answer = http.get(sample(http, at).replace(*change))

    assert answer.status_code == 403
    assert "AuthenticationFailed" in answer.text


def test_polling_again_does_not_renew_the_url(at: Addresses, clock: Clock, http: httpx.Client) -> None:
    receipt = http.post(at.base_url + PRO, json={"prompt": "p"}, headers=KEY).json()
    first = http.get(receipt["polling_url"]).json()["result"]["sample"]
    clock.now += 300.0

    assert http.get(receipt["polling_url"]).json()["result"]["sample"] == first


@pytest.mark.parametrize(
    ("path", "asked", "expected"),
    [(PRO, None, "JPEG"), (KONTEXT, None, "PNG"), (PRO, "png", "PNG"), (KONTEXT, "webp", "WEBP")],
)
def test_the_format_is_the_one_asked_for_or_the_models_own(
    path: str, asked: str | None, expected: str, at: Addresses, http: httpx.Client
) -> None:
    answer = http.get(sample(http, at, path, output_format=asked))

    assert Image.open(io.BytesIO(answer.content)).format == expected
    assert answer.headers["Content-Type"] == f"image/{expected.lower()}"


def test_the_same_request_and_seed_give_the_same_bytes(at: Addresses, http: httpx.Client) -> None:
    results = [http.get(sample(http, at, seed=seed)).content for seed in (5, 5, 6)]

    found = ledger(http, at)

    assert results[0] == results[1] != results[2]
    assert (found["tasks"], found["contents"], found["repeated"]) == (3, 2, 1)


def test_results_of_the_load_test_mode_are_small_and_distinct(http: httpx.Client) -> None:
    with running(Options(port=0, latency=0.0, result_size=(64, 48))) as at:
        results = [http.get(sample(http, at, prompt=f"p{n}")).content for n in range(5)]

    assert len(set(results)) == 5
    assert {Image.open(io.BytesIO(data)).size for data in results} == {(64, 48)}


def test_a_key_that_reaches_the_delivery_host_is_counted_as_a_leak(at: Addresses, http: httpx.Client) -> None:
    url = sample(http, at)
    http.get(url)
    assert ledger(http, at)["key_leaks"] == 0

    http.get(url, headers=KEY)

    assert ledger(http, at)["key_leaks"] == 1


def test_the_ledger_tells_what_became_of_a_task_and_never_shows_the_key(at: Addresses, http: httpx.Client) -> None:
    http.get(sample(http, at))

    answer = http.get(f"{at.base_url}/admin/ledger")
    (task,) = answer.json()["entries"]

    assert KEY["x-key"] not in answer.text
    assert task["status"] == "Ready"
    assert task["charged"] == pytest.approx(3.12)
    assert task["downloads"] == 1
    assert len(task["result_sha256"]) == 64
    assert task["ended_at"] >= task["accepted_at"]


class Site(ThreadingHTTPServer):
    """A small site of this machine: serves a picture, keeps what is posted to it."""

    daemon_threads = True

    def __init__(self) -> None:
        self.posted: Queue[tuple[dict[str, str], Any]] = Queue()
        super().__init__(("127.0.0.1", 0), Visit)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Visit(BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        found = self.path == "/picture.png"
        body = photograph() if found else b""
        self.send_response(200 if found else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.posted.put((dict(self.headers), body))
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is inherited
        return


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_picture_can_come_by_url(at: Addresses, http: httpx.Client, site: Site) -> None:
    by_url = http.get(sample(http, at, input_image=f"{site.url}/picture.png", seed=1)).content
    by_bytes = http.get(sample(http, at, seed=1)).content

    assert by_url == by_bytes


def test_a_url_without_a_picture_ends_the_task_in_error(at: Addresses, http: httpx.Client, site: Site) -> None:
    asked = {"prompt": "p", "input_image": f"{site.url}/nothing.png"}
    receipt = http.post(at.base_url + PRO, json=asked, headers=KEY).json()

    assert http.get(receipt["polling_url"]).json()["status"] == "Error"


def test_a_webhook_is_told_the_end_with_its_secret(at: Addresses, http: httpx.Client, site: Site) -> None:
    asked = {"prompt": "p", "webhook_url": f"{site.url}/hook", "webhook_secret": "hush"}
    receipt = http.post(at.base_url + PRO, json=asked, headers=KEY).json()

    headers, body = site.posted.get(timeout=20)

    assert headers["X-Webhook-Secret"] == "hush"
    assert (body["task_id"], body["status"]) == (receipt["id"], "Ready")
    assert http.get(body["result"]["sample"]).status_code == 200


def test_the_process_says_where_it_listens_records_what_it_charged_and_ends_cleanly(
    tmp_path: Path, http: httpx.Client
) -> None:
    ports, record = tmp_path / "ports.json", tmp_path / "ledger.jsonl"
    command = [sys.executable, "-m", "simulator", "--port", "0", "--latency", "0"]
    process = subprocess.Popen(
        [*command, "--ports-file", str(ports), "--ledger", str(record)],
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).resolve().parents[2],
        env={**os.environ, "PYTHONDEVMODE": ""},
    )
    assert process.stderr is not None
    line = process.stderr.readline()

    told = json.loads(ports.read_text())
    receipt = http.post(told["base_url"] + PRO, json={"prompt": "p"}, headers=KEY).json()
    lines = [json.loads(text) for text in record.read_text().splitlines()]
    process.send_signal(signal.SIGTERM)
    rest = process.communicate(timeout=20)[1]

    assert line == f"listening on {told['base_url']}\n"
    assert urlsplit(receipt["polling_url"]).netloc in told["trusted_hosts"]
    assert len(told["trusted_hosts"]) == 3
    assert [(entry["id"], entry["charged"]) for entry in lines] == [(receipt["id"], 3.0)]
    assert process.returncode == 0
    assert rest == ""


def test_a_folder_that_is_missing_is_named_without_talk_of_ports(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run(Options(port=0, ledger=tmp_path / "missing" / "ledger.jsonl"))

    said = capsys.readouterr().err
    assert code == 2
    assert "missing" in said
    assert "--port" not in said


def test_a_taken_port_is_named_with_the_way_out(at: Addresses) -> None:
    port = at.base_url.rpartition(":")[2]

    done = subprocess.run(
        [sys.executable, "-m", "simulator", "--port", port],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(__file__).resolve().parents[2],
        check=False,
    )

    assert done.returncode == 2
    assert port in done.stderr
    assert "Choose another --port" in done.stderr
