"""`submit`, `status`, `pause`, `resume` and `cancel` as a script gives them, on a real Redis and a real S3 server."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from config.settings import Settings, read_settings
from producers.cli import run
from producers.stack.local import LocalStack, Wanted
from producers.stack.record import environment_of

Retouch = Callable[..., tuple[int, Any]]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    settings = read_settings(data_dir=tmp_path_factory.mktemp("stack"))
    wanted = Wanted(redis=True, storage=True, simulator=False, workers=0)
    with LocalStack.open(settings, wanted) as stack:
        yield stack.settings


@pytest.fixture
def retouch(
    servers: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Retouch:
    """Run a command with `--json` against servers that are somebody else's; return its exit code and document."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BFL_API_KEY", raising=False)
    for name, value in environment_of(servers).items():
        if name.startswith("RETOUCH_"):
            monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    Image.new("RGB", (32, 24), "red").save(tmp_path / "chair.png")
    (tmp_path / "autumn.csv").write_text(
        "id,image,prompt\na,chair.png,on white\nb,chair.png,on black\n", encoding="utf-8"
    )

    def call(*arguments: str) -> tuple[int, Any]:
        code = run([*arguments, "--json"])
        return code, json.loads(capsys.readouterr().out)

    return call


@pytest.fixture
def batch(retouch: Retouch) -> str:
    code, found = retouch("submit", "autumn.csv", "--yes")
    assert code == 0, found
    return str(found["batch"])


def test_submit_answers_with_the_document_of_an_open_batch(retouch: Retouch) -> None:
    code, found = retouch("submit", "autumn.csv", "--yes", "--max-cost", "0.5")

    assert code == 0
    assert found["batch"].startswith("autumn-")
    assert (found["state"], found["rows"], found["counts"]["queued"]) == ("open", 2, 2)
    assert found["ceiling_usd"] == 0.5
    assert found["simulated"] is False


def test_submit_without_json_prints_the_name_alone(retouch: Retouch, capsys: pytest.CaptureFixture[str]) -> None:
    code = run(["submit", "autumn.csv", "--yes"])

    out = capsys.readouterr().out
    assert code == 0
    assert len(out.splitlines()) == 1
    assert retouch("status", out.strip())[0] == 0


def test_submit_needs_no_key_and_status_says_that_nobody_works(retouch: Retouch, batch: str) -> None:
    code, found = retouch("status", batch)

    assert code == 0
    assert "No worker has been seen for 60 s" in found["warnings"][0]
    assert found["live"]["workers"] == 0


def test_bad_rows_open_nothing(retouch: Retouch, tmp_path: Path) -> None:
    before = retouch("status")[1]["batches"]
    (tmp_path / "autumn.csv").write_text("id,image,prompt\na,gone.png,on white\nb,chair.png,x\n", encoding="utf-8")

    code, found = retouch("submit", "autumn.csv", "--yes")

    assert code == 2
    assert found["error"]["code"] == "invalid_rows"
    assert retouch("status")[1]["batches"] == before


def test_skipped_rows_are_counted(retouch: Retouch, tmp_path: Path) -> None:
    (tmp_path / "autumn.csv").write_text("id,image,prompt\na,gone.png,on white\nb,chair.png,x\n", encoding="utf-8")

    code, found = retouch("submit", "autumn.csv", "--yes", "--skip-invalid")

    assert code == 0
    assert (found["rows"], found["skipped"]) == (1, 1)


def test_pause_and_resume_say_where_the_batch_stands(retouch: Retouch, batch: str) -> None:
    paused = retouch("pause", batch)
    resumed = retouch("resume", batch)

    assert (paused[0], paused[1]["state"], paused[1]["reason"]) == (0, "paused", "operator")
    assert (resumed[0], resumed[1]["state"], resumed[1]["reason"]) == (0, "open", "")


def test_cancel_asks_first(retouch: Retouch, batch: str) -> None:
    code, found = retouch("cancel", batch)

    assert code == 2
    assert found["error"]["code"] == "nobody_to_ask"
    assert retouch("status", batch)[1]["state"] == "open"


def test_a_cancelled_batch_cannot_be_resumed(retouch: Retouch, batch: str) -> None:
    cancelled = retouch("cancel", batch, "--yes")

    code, found = retouch("resume", batch)

    assert (cancelled[0], cancelled[1]["state"]) == (0, "cancelled")
    assert code == 2
    assert found["error"]["code"] == "ended"


def test_an_unknown_batch_is_answered_with_the_nearest(retouch: Retouch, batch: str) -> None:
    code, found = retouch("pause", batch[:-1])

    assert code == 2
    assert found["error"]["code"] == "unknown_batch"
    assert batch in found["error"]["remedy"]


def test_a_batch_that_runs_has_no_report_yet(retouch: Retouch, batch: str) -> None:
    code, found = retouch("report", batch)

    assert code == 2
    assert found["error"]["code"] == "no_report"


def test_nothing_is_downloaded_of_a_batch_that_has_nothing(retouch: Retouch, batch: str, tmp_path: Path) -> None:
    code, found = retouch("download", batch, str(tmp_path / "results"))

    assert code == 0
    assert (found["written"], found["failed"]) == (0, [])
