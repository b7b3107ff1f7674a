"""What the simulator keeps of results and inputs, and its record on disk."""

import asyncio
import io
import json
import os
from pathlib import Path

import pytest
from PIL import Image

from config.catalogue import shipped_catalogue
from simulator.accounts import Account
from simulator.inputs import Picture, Reader
from simulator.ledger import LedgerFile
from simulator.results import Results
from simulator.signing import Signer
from simulator.sizes import Bill
from simulator.tasks import READY, Task, timeline


def picture() -> Picture:
    out = io.BytesIO()
    Image.radial_gradient("L").resize((160, 128)).convert("RGB").save(out, "JPEG")
    return Reader().inspect(out.getvalue(), 10**6)


def task(number: int, inputs: tuple[Path, ...]) -> Task:
    return Task(
        number=number,
        id=f"t{number}",
        account=Account(id="a", credits=0.0),
        model=shipped_catalogue().models["flux-2-pro"],
        prompt="p",
        result_prompt="p",
        result_seed=number,
        content="c",
        format="jpeg",
        size=(160, 128),
        inputs=inputs,
        timeline=timeline(0.0, 0.0, READY, 0, number),
        ending=READY,
        bill=Bill(cost=3.0, input_mp=0.0, output_mp=1.0),
        charged=3.0,
        home=0,
        retention=1800.0,
    )


def test_a_result_that_was_dropped_is_made_again_the_same() -> None:
    async def story() -> tuple[bytes, bytes, int]:
        results = Results(kept_bytes=1)
        try:
            tasks = [task(n, await results.store_inputs(n, (picture(),))) for n in range(2)]
            first = await results.of(tasks[0])
            await results.of(tasks[1])
            return first, await results.of(tasks[0]), len(results._made)
        finally:
            results.close()

    first, again, kept = asyncio.run(story())

    assert first == again
    assert kept == 1


def test_wanting_a_result_twice_at_once_makes_it_once() -> None:
    async def story() -> list[bytes]:
        results = Results()
        try:
            one = task(1, await results.store_inputs(1, (picture(),)))
            return await asyncio.gather(*(results.of(one) for _ in range(5)))
        finally:
            results.close()

    found = asyncio.run(story())

    assert all(data is found[0] for data in found)


def test_inputs_go_when_the_url_has_expired_and_the_folder_at_the_end() -> None:
    async def story() -> list[bool]:
        results = Results()
        one = task(1, await results.store_inputs(1, (picture(),)))
        results.keep_until(one, 600.0)
        seen = []
        results.sweep(599.0)
        seen.append(one.inputs[0].exists())
        results.sweep(600.0)
        seen.append(one.inputs[0].exists())
        seen.append(one.inputs[0].parent.exists())
        results.close()
        return [*seen, one.inputs[0].parent.exists()]

    assert asyncio.run(story()) == [True, False, True, False]


def test_the_load_test_mode_stores_nothing() -> None:
    async def story() -> tuple[Path, ...]:
        results = Results((64, 64))
        try:
            return await results.store_inputs(1, (picture(),))
        finally:
            results.close()

    assert asyncio.run(story()) == ()


def test_lines_that_come_together_are_all_safe_in_order_after_few_syncs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        real(descriptor)
        synced.append(os.fstat(descriptor).st_size)

    monkeypatch.setattr(os, "fsync", fsync)

    async def story() -> None:
        record = LedgerFile(tmp_path / "ledger.jsonl")
        await asyncio.gather(*(record.append({"n": n}) for n in range(50)))
        record.close()

    asyncio.run(story())

    lines = (tmp_path / "ledger.jsonl").read_text().splitlines()
    assert [json.loads(line)["n"] for line in lines] == list(range(50))
    assert synced[-1] == (tmp_path / "ledger.jsonl").stat().st_size
    assert len(synced) <= 3


def test_a_line_is_in_the_record_when_append_returns(tmp_path: Path) -> None:
    async def story() -> str:
        record = LedgerFile(tmp_path / "ledger.jsonl")
        await record.append({"n": 1})
        text = (tmp_path / "ledger.jsonl").read_text()
        record.close()
        return text

    assert asyncio.run(story()) == '{"n":1}\n'


def test_a_signer_does_not_take_anothers_url() -> None:
    url = Signer(b"one").url("http://h", "/results/x", 100.0, "image/png")
    query = dict(part.split("=", 1) for part in url.partition("?")[2].replace("%3A", ":").split("&"))

    assert Signer(b"two").refusal("/results/x", query, 0.0) == "signature"
