"""A batch under fire ends, loses nothing, and pays for nothing twice that it was not allowed to.

What is said here is said by the judge of `tests.chaos.checker`, which reads the manifest, the API's ledger and the
bucket alone, and which fails where the faults did not come.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.checker import Evidence
from tests.chaos.rig import Rig, rig
from tests.chaos.soak import Soak, fire
from tests.servers import RunningS3

SHORT = Soak(rows=60, kills=5, redis_kills=1, latency_s=1.0, hang_s=3.0, within_s=280.0)
LONG = Soak(rows=500, kills=40, redis_kills=2)
RARE = {"reset_before", "five_xx_after", "cut_download", "fail_download", "refuse_download", "lose_answer"}
"""Faults that 60 rows may well not meet at the rate of the long soak."""


@pytest.fixture
def scene(tmp_path: Path, s3: RunningS3) -> Iterator[Rig]:
    with rig(tmp_path, s3) as found:
        yield found


def short(allowance: str) -> Soak:
    """Return a short soak whose rare faults are common."""
    faults = {name: share * (6 if name in RARE else 1) for name, share in SHORT.faults.items()}
    return Soak(
        rows=SHORT.rows,
        kills=SHORT.kills,
        redis_kills=SHORT.redis_kills,
        latency_s=SHORT.latency_s,
        hang_s=SHORT.hang_s,
        within_s=SHORT.within_s,
        faults=faults,
        allowance=allowance,
    )


def long(allowance: str) -> Soak:
    """Return the long soak."""
    return Soak(rows=LONG.rows, kills=LONG.kills, redis_kills=LONG.redis_kills, allowance=allowance)


def nothing_wrong(found: Evidence) -> None:
    """Fail with everything that is wrong, and say what was seen."""
    print(found.figures().as_json())  # noqa: T201 - `pytest -s` and a failure show it
    assert found.judge() == []


@pytest.mark.parametrize(
    "soak", [short("0"), pytest.param(long("0"), marks=[pytest.mark.long, pytest.mark.timeout(1200)])]
)
def test_without_an_allowance_nothing_is_charged_twice_and_what_is_held_is_counted(scene: Rig, soak: Soak) -> None:
    _, found = fire(scene, soak)

    nothing_wrong(found)
    assert found.charged_twice() == []
    assert found.figures().stored + found.held == soak.rows


@pytest.mark.parametrize("soak", [pytest.param(long(""), marks=[pytest.mark.long, pytest.mark.timeout(1200)])])
def test_with_the_default_allowance_the_report_says_at_least_what_was_paid_twice(scene: Rig, soak: Soak) -> None:
    _, found = fire(scene, soak)

    nothing_wrong(found)
    assert found.figures().stored + found.held == soak.rows


@pytest.mark.parametrize(
    "soak", [short("5"), pytest.param(long("5"), marks=[pytest.mark.long, pytest.mark.timeout(1200)])]
)
def test_with_an_ample_allowance_everything_is_stored(scene: Rig, soak: Soak) -> None:
    _, found = fire(scene, soak)

    nothing_wrong(found)
    assert found.figures().stored == soak.rows
