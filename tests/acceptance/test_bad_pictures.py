"""Bad pictures that only a worker can see: in the bucket, and behind addresses that lead where nobody may go.

Each ends its row with a reason, nothing is bought for it, and the rows beside it are stored.
"""

from __future__ import annotations

import csv
import http.server
import json
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from unicodedata import normalize

import pytest

from producers.stack.ports import HOST
from running.programs import Program
from tests.acceptance.broken_files import PICTURES
from tests.acceptance.harness import MODEL, House, picture

MOST_MEMORY = 300_000_000


def most_memory(program: Program) -> int:
    """Return the most that a program which runs has taken so far, in bytes."""
    status = Path(f"/proc/{program.pid}/status").read_text()
    (peak,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(peak.split()[1]) << 10


def test_a_bad_picture_in_the_bucket_ends_its_row_with_a_reason_and_is_never_sent(house: House) -> None:
    house.simulate()
    (worker,) = house.workers(1)
    rows = house.rows(2)
    reasons = {}
    for at, (name, (data, code)) in enumerate(PICTURES.items()):
        key = f"{house.name}/originals/bad-{at}.jpg"
        house.servers.bucket.put(key, data, content_type="image/jpeg")
        rows.append({**rows[0], "id": name, "image": f"s3://{house.servers.bucket.name}/{key}"})
        reasons[name] = code
    rows.append({**rows[0], "id": "nothing", "image": f"s3://{house.servers.bucket.name}/{house.name}/no.jpg"})
    reasons["nothing"] = "image_not_found"

    said = house.measured("run", house.manifest(rows), "--name", house.name, "--yes", "--json")

    books = house.books(said.document["batch"])
    books.check(row["id"] for row in rows)
    assert said.code == 1, said
    assert "Traceback" not in said.err + worker.said
    assert {id_: line["reason"] for id_, line in books.by_id.items() if line["reason"]} == reasons
    assert {id_ for id_, line in books.by_id.items() if line["state"] == "stored"} == {"row-000", "row-001"}
    assert len(books.tasks) == 2
    assert said.document["cost_usd"] == books.summary["cost_usd"]
    assert all(each["sentence"] and each["acts"] == "photographer" for each in said.document["reasons"])
    assert said.memory < MOST_MEMORY
    assert most_memory(worker) < MOST_MEMORY


# -- addresses that lead astray


class Canary:
    """Listens where nobody may connect, and counts who does."""

    def __init__(self) -> None:
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self.heard = 0
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.heard += 1
            connection.close()

    def knock(self) -> None:
        """Connect as an attacker would, and wait until that was heard: so it would have been, had anybody."""
        with closing(socket.create_connection((HOST, self.port))) as connection:
            assert connection.recv(1) == b""

    def close(self) -> None:
        """Stop listening."""
        self._listener.close()


@contextmanager
def shop(places: Sequence[str]) -> Iterator[str]:
    """Serve `/good.png`, and at `/0`, `/1`, … a redirect to each of the places; yield the shop's host and port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.lstrip("/")
            if name == "good.png":
                self.send_response(200)
                self.end_headers()
                self.wfile.write(picture(3))
                return
            self.send_response(302)
            self.send_header("Location", places[int(name)])
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer((HOST, 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"{HOST}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def canary() -> Iterator[Canary]:
    found = Canary()
    yield found
    found.close()


PUBLIC = "93.184.216.34"
NAMES = {
    "private.example": [["192.168.0.7"]],
    "metadata.example": [["169.254.169.254"]],
    "home.example": [["127.0.0.1"]],
    "both.example": [[PUBLIC, "127.0.0.1"]],
    "rebinding.example": [[PUBLIC], ["127.0.0.1"]],
}
"""What a hostile resolver answers; the last one changes its mind after it was asked once."""


def test_no_address_of_a_manifest_leads_a_worker_to_a_private_host(house: House, canary: Canary) -> None:
    api = house.simulate()
    redirects = [
        f"http://{HOST}:{canary.port}/a.jpg",
        f"//{HOST}:{canary.port}/a.jpg",
        f"https://{HOST}/a.jpg",
        "https://169.254.169.254/latest/meta-data/",
        "https://[::1]/a.jpg",
        "https://private.example/a.jpg",
        "https://rebinding.example/a.jpg",
        "file:///etc/passwd",
    ]
    with shop(redirects) as host:
        trusted = json.dumps([*api.trusted, host])
        worker = misled(house, canary, RETOUCH_API__TRUSTED_HOSTS=trusted)
        model = {"prompt": "on white", "model": MODEL}
        rows = [{"id": "good", "image": f"http://{host}/good.png", **model}]
        rows += [{"id": f"redirect {n}", "image": f"http://{host}/{n}", **model} for n in range(len(redirects))]
        rows += [{"id": name, "image": f"https://{name}/a.jpg", **model} for name in NAMES]
        manifest = house.manifest(rows)

        said = house.retouch(
            "run", manifest, "--name", house.name, "--yes", "--json", RETOUCH_API__TRUSTED_HOSTS=trusted
        )

    books = house.books(said.document["batch"])
    assert said.code == 1, said
    assert canary.heard == 0
    assert {id_: line["reason"] for id_, line in books.by_id.items()} == {
        row["id"]: "" if row["id"] == "good" else "url_refused" for row in rows
    }
    assert books.by_id["good"]["state"] == "stored"
    assert len(books.tasks) == 1
    connected = (house.folder / "connected").read_text().split()
    assert set(connected) == {PUBLIC}, "the first answer of a name that changes its mind, and no other"
    assert "Traceback" not in said.err + worker.said
    canary.knock()
    assert canary.heard == 1


def misled(house: House, canary: Canary, **more: str) -> Program:
    """Start a worker whose resolver is hostile; return it when it works."""
    said = {"names": NAMES, "canary": canary.port, "log": str(house.folder / "connected")}
    (house.folder / "misled.json").write_text(json.dumps(said))
    argv = [sys.executable, "-P", "-m", "tests.acceptance.misled", str(house.folder / "misled.json")]
    worker = Program("worker-misled", argv, house.env(**more), house.folder)
    house.own(worker)
    house.working(worker)
    return worker


# -- what looks odd and is good

ODD = ("Stühle 椅子", "כיסא 1", "🪑", "100 % & a+b=c?", "Ünï/cödé", "'; --")
TAKEN_APART = normalize("NFD", "Café")
"""An accent that stands apart from its letter: good as an id, and made whole in a slug."""


@pytest.mark.parametrize(
    ("ids", "options"),
    [((*ODD, TAKEN_APART), ()), (ODD, ("--output", "{name}/{id}.{ext}"))],
    ids=["keys of slugs", "keys of the ids as they are"],
)
def test_ids_in_any_alphabet_are_stored_reported_and_downloaded(
    house: House, ids: tuple[str, ...], options: tuple[str, ...]
) -> None:
    house.simulate()
    house.workers(1)
    rows = house.rows(len(ids))
    for row, id_ in zip(rows, ids, strict=True):
        row["id"] = id_

    said = house.retouch("run", house.manifest(rows), "--name", house.name, "--yes", "--json", *options)
    batch = said.document["batch"]
    brought = house.retouch("download", batch, "here", "--json").document

    books = house.books(batch)
    books.check(ids)
    assert (said.code, books.states) == (0, {"stored": len(ids)}), said
    with (house.folder / "here/results.csv").open(newline="", encoding="utf-8") as file:
        assert [line["id"] for line in csv.DictReader(file)] == list(ids)
    assert (brought["written"], brought["failed"]) == (len(ids), [])
