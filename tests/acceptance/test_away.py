"""Parts that cannot be reached, or refuse: told in one sentence with the remedy, and nothing is enqueued or lost."""

from __future__ import annotations

import json

import pytest

from producers.stack.ports import choose_ports
from producers.stack.servers import SPANS
from running.programs import KEY, eventually
from tests.acceptance.harness import House
from tests.acceptance.terminal import WITHIN_S

NOWHERE = "127.0.0.1:1"
AWAY = {
    "no Redis": ({"RETOUCH_REDIS__URL": f"redis://:hunter2@{NOWHERE}/0"}, "redis", "RETOUCH_REDIS__URL"),
    "no store": ({"RETOUCH_S3__ENDPOINT_URL": f"http://{NOWHERE}"}, "storage", "RETOUCH_S3__"),
    "a wrong secret": ({"RETOUCH_S3__SECRET_ACCESS_KEY": "hunter2"}, "storage", "RETOUCH_S3__SECRET_ACCESS_KEY"),
    "a wrong access key": ({"RETOUCH_S3__ACCESS_KEY_ID": "HUNTER2"}, "storage", "RETOUCH_S3__ACCESS_KEY_ID"),
}


@pytest.mark.parametrize("name", AWAY)
def test_what_cannot_be_reached_is_exit_3_with_the_setting_to_look_at(house: House, name: str) -> None:
    house.simulate()
    wrong, code, setting = AWAY[name]
    manifest = house.manifest(house.rows(600))
    before = house.records()

    said = house.measured("submit", manifest, "--name", house.name, "--yes", "--json", **wrong)

    error = said.document["error"]
    assert (said.code, error["code"]) == (3, code), said
    assert setting in error["message"] + error["remedy"]
    assert error["message"] in said.err
    assert house.records() == before
    assert "Traceback" not in said.err
    assert "hunter2" not in (said.out + said.err).lower().replace("retouch", "")
    assert said.memory < 300_000_000


def test_an_api_that_cannot_be_reached_is_said_and_waited_for_and_each_row_is_bought_once(house: House) -> None:
    port = choose_ports({"simulator": SPANS["simulator"]})["simulator"]
    trusted = json.dumps([f"127.0.0.1:{port + n}" for n in range(SPANS["simulator"])])
    env = {
        "RETOUCH_API__BASE_URL": f"http://127.0.0.1:{port}",
        "RETOUCH_API__TRUSTED_HOSTS": trusted,
        "RETOUCH_API__KEYS": KEY,
    }
    house.working(house.worker(**env))
    rows = house.rows(6)
    submitted = house.begin(*house.submission(house.manifest(rows)), **env).ended(WITHIN_S)
    batch = submitted.document["batch"]

    def warned() -> list[str]:
        return [text for text in house.status(batch)["warnings"] if text.startswith("The API does not answer")]

    (said,) = eventually(warned, WITHIN_S, "a word about the API")
    waiting = house.status(batch)
    house.simulate("--port", str(port))
    books = house.ended(batch, WITHIN_S)

    assert "edits wait and are tried again, nothing is lost" in said
    assert (waiting["state"], waiting["cost_usd"]) == ("open", 0)
    books.check(row["id"] for row in rows)
    assert books.states == {"stored": 6}
    assert sorted(books.charged.values()) == [1] * 6
    assert {line["attempts"] for line in books.outcomes} == {1}
