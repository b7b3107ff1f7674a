"""Who answers drop by drop: no silence is long, so only the time of the whole answer ends it."""

from __future__ import annotations

from contextlib import closing

import pytest
from pydantic import SecretStr

from jobs.job import Receipt
from tests.contract.raw import DRIPS, Server, dripping, serving
from workers.api import client as clients
from workers.api.client import Api, DownloadFailed, Key
from workers.api.protocol import NoAnswer, Unknown

KEY = Key.of(SecretStr("CANARYKEY-of-a-test"))
BODY = b'{"prompt":"' + b"x" * 1000 + b'"}'


@pytest.fixture(autouse=True)
def little_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "DOWNLOAD_S", 0.1)
    monkeypatch.setattr(clients, "TIMEOUTS_AN_ANSWER", 0.02)


def api_of(server: Server) -> closing[Api]:
    return closing(Api(base_url=server.base_url, timeout_s=5.0))


@pytest.mark.parametrize("where", DRIPS)
def test_a_download_that_drips_is_ended(where: str) -> None:
    with (
        serving(dripping(*DRIPS[where])) as server,
        api_of(server) as api,
        pytest.raises(DownloadFailed, match=r"did not come whole in 0\.1 s") as caught,
    ):
        api.download(f"{server.base_url}/r.png")

    assert caught.value.transient


@pytest.mark.parametrize("where", DRIPS)
def test_a_poll_that_drips_is_no_answer(where: str) -> None:
    with serving(dripping(*DRIPS[where])) as server, api_of(server) as api:
        said = api.poll(Receipt(task_id="1", polling_url=f"{server.base_url}/v1/get_result?id=1"), KEY)

    assert said == NoAnswer(detail="TooSlow")


def test_credits_that_drip_are_no_answer() -> None:
    with serving(dripping(*DRIPS["body"])) as server, api_of(server) as api:
        assert api.credits(KEY) is None


@pytest.mark.parametrize("where", [*DRIPS, "interim answers"])
def test_a_submission_whose_answer_drips_may_have_been_bought(where: str) -> None:
    drips = {**DRIPS, "interim answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n")}

    with serving(dripping(*drips[where], body=len(BODY))) as server, api_of(server) as api:
        said = api.submit("/v1/flux-2-pro", BODY, KEY, lambda: None)

    assert said == Unknown(detail="ReadTimeout")
