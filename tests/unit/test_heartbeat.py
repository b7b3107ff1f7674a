"""The heartbeat: what a probe sees of a process that works, waits for Redis, or stands still."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from config.heartbeat import ALIVE_S, LOOP_S, MISSED, MISUSED, OK, VARIABLE, Heartbeat, main, ready_file


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "heartbeat"
    monkeypatch.setenv(VARIABLE, str(path))
    return path


def grow_old(path: Path, age: float) -> None:
    then = time.time() - age
    os.utime(path, (then, then))


def test_a_process_that_beats_is_alive_and_ready(path: Path) -> None:
    Heartbeat(path).beat(redis=True)

    assert main([]) == OK
    assert main(["--ready"]) == OK


def test_a_process_that_waits_for_redis_is_alive_and_not_ready(path: Path) -> None:
    Heartbeat(path).beat(redis=False)

    assert main([]) == OK
    assert main(["--ready"]) == MISSED


def test_a_beat_that_is_too_old_is_none(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Heartbeat(path).beat(redis=True)
    grow_old(path, ALIVE_S + 5)
    grow_old(ready_file(path), ALIVE_S + 5)

    assert main([]) == MISSED
    assert "65 s ago" in capsys.readouterr().err
    assert main(["--ready"]) == MISSED


def test_before_the_first_beat_nothing_is_alive(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == MISSED
    assert "no beat yet" in capsys.readouterr().err


def test_a_loop_that_stands_still_while_redis_answers_ends_the_beats(path: Path) -> None:
    clock = Clock()
    heart = Heartbeat(path, monotonic=clock)
    heart.loop()
    clock.now += LOOP_S + 1

    assert not heart.beat(redis=True)
    assert not path.exists()


def test_a_loop_that_stands_still_because_redis_is_away_is_excused(path: Path) -> None:
    clock = Clock()
    heart = Heartbeat(path, monotonic=clock)
    heart.loop()
    for _ in range(10):
        clock.now += LOOP_S / 2
        assert heart.beat(redis=False)

    clock.now += LOOP_S - 1

    assert heart.beat(redis=True)


def test_a_process_without_a_loop_is_judged_by_its_rounds_alone(path: Path) -> None:
    clock = Clock()
    heart = Heartbeat(path, monotonic=clock)
    clock.now += 10 * LOOP_S

    assert heart.beat(redis=True)
    assert path.exists()


def test_without_a_file_nothing_is_written(tmp_path: Path) -> None:
    assert Heartbeat(None).beat(redis=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [["--live"], ["worker"]])
def test_an_unknown_argument_is_a_misuse(path: Path, arguments: list[str]) -> None:
    assert main(arguments) == MISUSED


def test_without_the_variable_the_probe_says_how_it_is_used(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)

    assert main([]) == MISUSED
    assert VARIABLE in capsys.readouterr().err
