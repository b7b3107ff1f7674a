"""Everyone who is measured does the whole work, so that what is compared is the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bench.contest import run
from bench.inputs import upload_pictures
from bench.plan import plan
from bench.scenarios import BARE_CSV, BLOCKING, COUNTDOWN, PLAN, RETOUCH, SCRIPT, SUBMIT, Scenario
from running.servers import Servers, servers_in

SMALL = Scenario(
    name="small",
    title="",
    entrants=(),
    edits=8,
    slots=3,
    latency_s=0.2,
    picture_kb=20,
    pictures=4,
    result=("--result-size", "64x64"),
    monitored=True,
)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with servers_in(tmp_path_factory.mktemp("servers")) as found:
        yield found


@pytest.mark.parametrize("name", [RETOUCH, SCRIPT, BLOCKING, COUNTDOWN])
def test_an_entrant_buys_every_row_once_and_stores_it(name: str, servers: Servers, tmp_path: Path) -> None:
    pictures = upload_pictures(servers.bucket, SMALL)

    record = run(name, SMALL, servers, pictures, tmp_path, seed=1)

    stored = [head.key for head in servers.bucket.keys(f"{name}-{tmp_path.name}/row-")]
    assert record["tasks"] == len(stored) == 8
    assert record["refused_429"] == 0
    assert record["polls"] >= 8
    assert record["cpu_s"] > 0
    assert record["stored_p50_s"] > record["seen_p50_s"] > 0
    assert record["redis_commands"] >= record["sent_commands"]


@pytest.mark.parametrize("name", [PLAN, SUBMIT, BARE_CSV])
def test_whoever_reads_a_manifest_reads_all_of_it(name: str, servers: Servers, tmp_path: Path) -> None:
    shop = replace(SMALL, name="shop", edits=300, kind="plan")
    (tmp_path / "run").mkdir()

    record = plan(name, shop, servers, tmp_path / "run")

    assert record["rows_a_second"] == pytest.approx(300 / record["command_s"])
    assert record["command_cpu_s"] > 0
