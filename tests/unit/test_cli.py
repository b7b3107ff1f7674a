"""The command line as scripts see it: exit codes, one JSON document, errors of two lines."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from config.settings import SettingsError
from jobs.errors import LedgerError, NotFound, Refused, Unavailable
from producers.cli import run
from producers.cli.batches import the_only_open
from producers.cli.voice import Stop, Voice, explained
from producers.manifest.problems import ManifestError
from producers.stack.errors import StackError
from producers.stack.part import python_env
from producers.view import UnknownBatch


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found


Retouch = Callable[..., Ended]


@pytest.fixture
def retouch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Retouch:
    """Run a command in an empty folder, with none of this machine's settings and no terminal."""
    monkeypatch.chdir(tmp_path)
    for name in ("BFL_API_KEY", "RETOUCH_REDIS__URL", "RETOUCH_S3__BUCKET", "RETOUCH_API__KEYS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.stdin", io.StringIO())

    def call(*arguments: str) -> Ended:
        code = run(arguments)
        said = capsys.readouterr()
        return Ended(code, said.out, said.err)

    return call


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    Image.new("RGB", (64, 48), "red").save(tmp_path / "chair.png")
    path = tmp_path / "autumn.csv"
    path.write_text("id,image,prompt\na,chair.png,on white\nb,chair.png,on black\n", encoding="utf-8")
    return path


def test_a_plan_shows_rows_and_price(retouch: Retouch, manifest: Path) -> None:
    ended = retouch("plan", "autumn.csv")

    assert ended.code == 0
    assert "FLUX.2 [pro]" in ended.out
    assert "It never costs more than $" in ended.out


def interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_ctrl_c_in_the_middle_of_a_plan_is_answered(
    retouch: Retouch, manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("producers.cli.planning.make_plan", interrupted)

    said, as_json = retouch("plan", "autumn.csv"), retouch("plan", "autumn.csv", "--json")

    assert (said.code, as_json.code) == (130, 130)
    assert "Interrupted." in said.err
    assert as_json.document["error"]["code"] == "interrupted"


def test_the_version_is_an_option_as_everywhere(retouch: Retouch) -> None:
    ended = retouch("--version")

    assert ended.code == 0
    assert ended.out == retouch("version").out


@pytest.mark.parametrize("since", ["2026-13-40", "20261122", "yesterday"])
def test_a_day_that_is_none_is_no_day_on_which_nothing_was_spent(retouch: Retouch, since: str) -> None:
    ended = retouch("spend", "--since", since)

    assert ended.code == 2
    assert "is no day" in ended.err


def test_an_answer_has_one_form(retouch: Retouch) -> None:
    ended = retouch("spend", "--csv", "--json")

    assert ended.code == 2
    assert ended.document["error"]["code"] == "usage"


def test_the_batch_that_is_watched_need_not_be_named_where_one_is_open() -> None:
    assert the_only_open([{"batch": "a", "state": "done"}, {"batch": "b", "state": "paused"}]) == "b"


@pytest.mark.parametrize("states", [[], ["done"], ["open", "open"]])
def test_the_batch_that_is_watched_is_named_where_it_could_be_another(states: list[str]) -> None:
    with pytest.raises(Stop, match="--watch follows one batch"):
        the_only_open([{"batch": f"b{n}", "state": state} for n, state in enumerate(states)])


def test_a_plan_as_json_is_one_document(retouch: Retouch, manifest: Path) -> None:
    ended = retouch("plan", "autumn.csv", "--json")

    assert ended.code == 0
    assert ended.document["rows"] == 2
    assert ended.document["name"] == "autumn"
    assert [line["model"] for line in ended.document["models"]] == ["flux-2-pro"]
    assert ended.document["at_most_usd"] >= ended.document["expected_usd"] > 0


def test_bad_rows_are_listed_and_nothing_is_started(retouch: Retouch, manifest: Path, tmp_path: Path) -> None:
    manifest.write_text("id,image,prompt\na,chair.png,on white\nb,table.png,on black\n", encoding="utf-8")

    ended = retouch("plan", "autumn.csv", "--json")

    assert ended.code == 2
    assert ended.document["error"]["code"] == "invalid_rows"
    assert [problem["line"] for problem in ended.document["problems"]] == [3]
    assert ended.document["errors_csv"] == "retouch-out/autumn/errors.csv"
    assert "table.png" in (tmp_path / "retouch-out/autumn/errors.csv").read_text(encoding="utf-8-sig")


def test_skipping_bad_rows_plans_the_good_ones(retouch: Retouch, manifest: Path) -> None:
    manifest.write_text("id,image,prompt\na,chair.png,on white\nb,table.png,on black\n", encoding="utf-8")

    ended = retouch("plan", "autumn.csv", "--skip-invalid", "--json")

    assert ended.code == 0
    assert (ended.document["rows"], ended.document["invalid"]) == (1, 1)


def test_a_manifest_mended_since_leaves_no_list_of_old_errors(retouch: Retouch, manifest: Path, tmp_path: Path) -> None:
    good = manifest.read_text(encoding="utf-8")
    manifest.write_text(good + "c,table.png,x\n", encoding="utf-8")
    retouch("plan", "autumn.csv")
    manifest.write_text(good, encoding="utf-8")

    retouch("plan", "autumn.csv")

    assert not (tmp_path / "retouch-out/autumn/errors.csv").exists()


def test_options_fill_what_the_manifest_leaves_open(retouch: Retouch, manifest: Path) -> None:
    manifest.write_text("id,image\na,chair.png\n", encoding="utf-8")

    ended = retouch(
        "plan", "autumn.csv", "--prompt", "on white", "--model", "flux-kontext-pro", "--seed", "7",
        "--output-format", "png", "--field", "aspect_ratio=1:1", "--max-cost", "0.5", "--name", "winter", "--json",
    )  # fmt: skip

    assert ended.code == 0
    assert ended.document["name"] == "winter"
    assert ended.document["models"][0]["model"] == "flux-kontext-pro"
    assert ended.document["ceiling_usd"] == 0.5


def test_a_field_without_a_value_is_a_usage_error(retouch: Retouch, manifest: Path) -> None:
    ended = retouch("plan", "autumn.csv", "--field", "seed")

    assert ended.code == 2
    assert "--field NAME=VALUE" in ended.err


def test_a_missing_manifest_is_named(retouch: Retouch) -> None:
    ended = retouch("plan", "nowhere.csv")

    assert ended.code == 2
    assert "nowhere.csv" in ended.err
    assert ended.out == ""


@pytest.mark.parametrize("command", ["run", "submit"])
def test_without_a_terminal_and_without_yes_nothing_starts(
    retouch: Retouch, manifest: Path, tmp_path: Path, command: str
) -> None:
    ended = retouch(command, "autumn.csv")

    assert ended.code == 2
    assert "--yes" in ended.err
    assert not (tmp_path / "retouch-data").exists()


def test_a_real_bucket_without_a_key_is_refused_before_anything_is_opened(
    retouch: Retouch, manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RETOUCH_S3__BUCKET", "catalogue")

    ended = retouch("run", "autumn.csv", "--yes", "--json")

    assert ended.code == 2
    assert "BFL_API_KEY" in ended.document["error"]["message"]
    assert not (tmp_path / "retouch-data").exists()


def test_a_wrong_setting_is_named_without_its_value(retouch: Retouch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETOUCH_API__BASE_URL", "https://user:hunter2@example.com")

    ended = retouch("status")

    assert ended.code == 2
    assert "RETOUCH_API__BASE_URL" in ended.err
    assert "hunter2" not in ended.err


def test_a_redis_that_is_not_there_is_exit_3(retouch: Retouch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETOUCH_REDIS__URL", "redis://:hunter2@127.0.0.1:1/0")
    monkeypatch.setenv("RETOUCH_S3__BUCKET", "catalogue")

    ended = retouch("status", "--json")

    assert ended.code == 3
    assert ended.document["error"]["code"] == "redis"
    assert "hunter2" not in ended.out + ended.err


def test_a_worker_without_a_key_is_refused(retouch: Retouch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETOUCH_REDIS__URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("RETOUCH_S3__BUCKET", "catalogue")

    ended = retouch("worker")

    assert ended.code == 2
    assert "BFL_API_KEY" in ended.err


def test_a_misspelt_command_names_the_nearest(retouch: Retouch) -> None:
    ended = retouch("stauts")

    assert ended.code == 2
    assert "status" in ended.err


def test_usage_errors_are_a_document_too(retouch: Retouch) -> None:
    ended = retouch("status", "--json", "--nonsense")

    assert ended.code == 2
    assert ended.document["error"]["code"] == "usage"


def test_where_nothing_ever_ran_there_are_no_batches(retouch: Retouch, tmp_path: Path) -> None:
    ended = retouch("status", "--json")

    assert ended.code == 0
    assert ended.document == {"batches": []}
    assert not (tmp_path / "retouch-data").exists()


def test_where_nothing_ever_ran_a_batch_is_unknown(retouch: Retouch) -> None:
    ended = retouch("pause", "autumn-20261122-171213-ab12", "--json")

    assert ended.code == 2
    assert set(ended.document["error"]) == {"code", "message", "remedy"}


@pytest.mark.parametrize(
    ("error", "code", "exit_code"),
    [
        (SettingsError("set it"), "settings", 2),
        (ManifestError("no header", line=1), "manifest", 2),
        (UnknownBatch("b", []), "unknown_batch", 2),
        (NotFound(), "not_found", 2),
        (LedgerError(), "redis", 3),
        (Unavailable(), "storage", 3),
        (Refused(), "storage", 3),
        (StackError("no redis-server"), "local_stack", 3),
        (KeyboardInterrupt(), "interrupted", 130),
        (ZeroDivisionError("secret"), "internal", 70),
    ],
)
def test_every_error_has_its_code_and_exit_code(error: BaseException, code: str, exit_code: int) -> None:
    stop = explained(error)

    assert (stop.code, stop.exit_code) == (code, exit_code)
    assert stop.message


def test_an_unexpected_error_shows_no_signed_address() -> None:
    stop = explained(ValueError("GET https://host/picture?sig=hunter2 failed"))

    assert "hunter2" not in stop.message


@pytest.mark.parametrize("arguments", [["status", "--json"], ["--help"]])
def test_a_command_whose_output_nobody_reads_any_more_ends_quietly(tmp_path: Path, arguments: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)

    said = subprocess.run(
        [sys.executable, "-P", "-m", "producers.cli", *arguments],
        stdout=writing,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        env=python_env(),
        text=True,
        timeout=120,
        check=False,
    )
    os.close(writing)

    assert (said.returncode, said.stderr) == (141, "")


def test_nobody_to_ask_is_no_yes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))

    with pytest.raises(Stop, match="no terminal"):
        Voice().confirm("Start?")


def test_the_clients_of_other_parts_are_loaded_only_by_the_commands_that_need_them() -> None:
    heavy = ["boto3", "botocore", "celery", "kombu", "redis", "httpx", "jinja2", "openpyxl", "pyarrow"]
    program = f"import sys, producers.cli; print([name for name in {heavy} if name in sys.modules])"

    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)

    assert said.stdout.strip() == "[]"
