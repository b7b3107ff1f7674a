"""Writing a plan and opening its batch, on a real Redis and a real S3 server."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from typing import NamedTuple

import pytest
import redis

from config.parts import bucket_of, catalogue_of, ledger_of
from config.settings import Settings, read_settings
from jobs.batch import Batch, BatchState
from jobs.bucket.layout import Layout
from jobs.bucket.port import Bucket
from jobs.ledger.port import Ledger
from jobs.queues import HOUSE_QUEUE, KEY_PREFIX
from jobs.request import Request
from jobs.row import IdleRow, Row
from producers.messages import Sender
from producers.stack.local import LocalStack, Wanted
from producers.submit import PlanWriter, batch_id, open_batch
from producers.view import View

NOW = datetime(2026, 11, 22, 17, 12, 13, tzinfo=UTC)


class Parts(NamedTuple):
    settings: Settings
    bucket: Bucket
    ledger: Ledger
    sender: Sender
    layout: Layout
    view: View

    def queued(self) -> int:
        """How many messages wait for housekeeping."""
        assert self.settings.redis.url is not None
        with redis.Redis.from_url(self.settings.redis.url.get_secret_value()) as client:
            found = client.llen(KEY_PREFIX + HOUSE_QUEUE)
        assert isinstance(found, int)
        return found

    def keys(self, prefix: str = "") -> list[str]:
        return [head.key for head in self.bucket.keys(self.layout.prefix + prefix)]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    settings = read_settings(data_dir=tmp_path_factory.mktemp("stack"))
    wanted = Wanted(redis=True, storage=True, simulator=False, workers=0)
    with LocalStack.open(settings, wanted) as stack:
        yield stack.settings


@pytest.fixture
def parts(servers: Settings) -> Iterator[Parts]:
    """Open the records with a corner of the bucket that no other test uses."""
    ledger, bucket = ledger_of(servers), bucket_of(servers)
    layout = Layout(f"{uuid.uuid4().hex}/")
    sender = Sender(servers)
    yield Parts(servers, bucket, ledger, sender, layout, View(ledger, bucket, layout, catalogue_of(servers)))
    sender.close()
    bucket.close()


def row(number: int, *, group: str = "flux", image: str = "https://example.com/a.jpg", prompt: str = "on white") -> Row:
    return Row(
        number=number,
        id=f"r{number}",
        group="",
        limit_group=group,
        request=Request(model="flux-2-pro", prompt=prompt, inputs=(image,)),
        output="autumn/{ext}",
        expected=30_000,
        at_most=60_000,
        cells=(f"r{number}", image),
        sizes={image: (1, 2)} if image.startswith("file:") else {},
    )


def agreed(writer: PlanWriter) -> Batch:
    return Batch(
        id=writer.batch,
        name="autumn",
        created_at=1.0,
        rows=writer.groups.total(),
        groups=dict(writer.groups),
        chunk_rows=writer.chunk_rows,
        local=writer.local,
        expected=1,
        at_most=2,
        ceiling=2,
        allowance=0,
    )


def opened(parts: Parts, rows: list[Row]) -> Batch:
    with PlanWriter(parts.bucket, parts.layout, batch_id("autumn", NOW)) as writer:
        for each in rows:
            writer.write(each)
        writer.close()
        batch = agreed(writer)
        open_batch(batch, writer, bucket=parts.bucket, layout=parts.layout, ledger=parts.ledger, hints=parts.sender)
    return batch


def chunk(parts: Parts, batch: Batch, group: str, number: int) -> list[Row]:
    text = parts.bucket.get(parts.layout.plan(batch.id, 1, group, number)).decode()
    return [Row.from_line(line) for line in text.split("\n") if line]


def test_rows_lie_in_chunks_of_their_limit_group_in_order(parts: Parts) -> None:
    rows = [row(n, group="kontext-max" if n % 10 == 0 else "flux") for n in range(1, 601)]

    batch = opened(parts, rows)

    assert batch.groups == {"flux": 540, "kontext-max": 60}
    assert batch.chunk_rows == 256
    flux = [each for number in range(3) for each in chunk(parts, batch, "flux", number)]
    assert flux == [each for each in rows if each.limit_group == "flux"]
    assert len(chunk(parts, batch, "flux", 0)) == 256
    assert chunk(parts, batch, "kontext-max", 0) == [each for each in rows if each.limit_group == "kontext-max"]


def test_an_opened_batch_is_in_the_ledger_and_in_the_bucket(parts: Parts) -> None:
    batch = opened(parts, [row(1), row(2)])

    found = parts.ledger.batch(batch.id)
    assert found is not None
    assert found[0] == batch
    assert found[1].state == BatchState.OPEN
    assert Batch.from_json(parts.bucket.get(parts.layout.batch(batch.id, "batch.json")).decode()) == batch


def test_every_limit_group_is_announced_once(parts: Parts) -> None:
    before = parts.queued()

    opened(parts, [row(1), row(2, group="kontext-max"), row(3)])

    assert parts.queued() == before + 2


def test_local_pictures_make_small_chunks_that_cannot_be_fed_yet(parts: Parts) -> None:
    rows = [row(1), *(row(n, image="file:///a.jpg") for n in range(2, 101))]

    batch = opened(parts, rows)

    assert batch.local
    assert batch.chunk_rows == 32
    assert [len(chunk(parts, batch, "flux", number)) for number in range(4)] == [32, 32, 32, 4]
    found = parts.ledger.batch(batch.id)
    assert found is not None
    assert found[1].staged == {"flux": 0}


def test_a_local_picture_seen_late_leaves_the_chunks_as_they_are(parts: Parts) -> None:
    rows = [row(n) for n in range(1, 300)] + [row(300, image="file:///a.jpg")]

    batch = opened(parts, rows)

    assert batch.local
    assert batch.chunk_rows == 256


def test_rows_without_a_job_lie_beside_the_plan(parts: Parts) -> None:
    idle = [IdleRow(record=n, cells=("a", "œ \u2028")) for n in range(1, 301)]

    with PlanWriter(parts.bucket, parts.layout, "autumn-x") as writer:
        writer.write(row(1))
        for one in idle:
            writer.set_aside(one)
        writer.close()
        writer.keep()

    assert writer.idle == 300
    chunks = [parts.bucket.get(parts.layout.idle("autumn-x", n)).decode() for n in range(2)]
    assert [IdleRow.from_line(line) for text in chunks for line in text.split("\n") if line] == idle


def test_a_plan_that_is_refused_leaves_nothing_behind(parts: Parts) -> None:
    with PlanWriter(parts.bucket, parts.layout, "autumn-x") as writer:
        for n in range(1, 600):
            writer.write(row(n))
        writer.set_aside(IdleRow(record=600, cells=("",)))
        writer.close()
        assert len(parts.keys()) == 4

    assert parts.keys() == []


def test_a_plan_that_is_broken_off_leaves_nothing_behind(parts: Parts) -> None:
    with (
        suppress(KeyboardInterrupt),
        PlanWriter(parts.bucket, parts.layout, "autumn-x") as writer,
    ):
        for n in range(1, 600):
            writer.write(row(n))
        raise KeyboardInterrupt

    assert parts.keys() == []


def test_text_that_utf8_does_not_have_comes_back_as_it_was(parts: Parts) -> None:
    odd = "half \ud83d, \u2028 line, \\ and \x85"

    batch = opened(parts, [row(1, prompt=odd)])

    assert chunk(parts, batch, "flux", 0)[0].request.prompt == odd


def test_the_document_of_an_opened_batch_counts_every_row(parts: Parts) -> None:
    batch = opened(parts, [row(n) for n in range(1, 8)])

    found = parts.view.batch(batch.id)

    assert found["counts"]["queued"] == 7
    assert sum(found["counts"].values()) == found["rows"]
    assert json.dumps(found)
    assert batch.id in [each["batch"] for each in parts.view.batches()]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("autumn", "autumn-20261122-171213-ab12"),
        ("Herbst & Stühle/2", "herbst-stuhle-2-20261122-171213-ab12"),
        ("秋", "batch-20261122-171213-ab12"),
        ("a.b", "a-b-20261122-171213-ab12"),
    ],
)
def test_a_batch_is_named_after_its_manifest_and_the_time(name: str, expected: str) -> None:
    assert batch_id(name, NOW, "ab12") == expected


def test_the_time_in_a_name_is_utc() -> None:
    east = (NOW + timedelta(hours=2)).replace(tzinfo=timezone(timedelta(hours=2)))

    assert batch_id("a", east, "ab12") == batch_id("a", NOW, "ab12")
