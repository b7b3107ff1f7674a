"""Bringing local pictures into a real S3 server, in step with a real ledger."""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from PIL import Image

from config.parts import bucket_of, ledger_of
from config.settings import Settings, read_settings
from jobs.batch import Batch, BatchState
from jobs.bucket.layout import Layout
from jobs.bucket.port import Bucket
from jobs.errors import NotFound
from jobs.ledger.port import Ledger
from jobs.request import Request
from jobs.row import Row
from producers import remembered, staging
from producers.messages import Sender
from producers.stack.local import LocalStack, Wanted
from producers.staging import Staging, left
from producers.submit import PlanWriter, open_batch


class House:
    """Records on real servers, and a batch of rows that name local pictures."""

    def __init__(self, settings: Settings) -> None:
        self.bucket: Bucket = bucket_of(settings)
        self.ledger: Ledger = ledger_of(settings)
        self.layout = Layout(f"{uuid.uuid4().hex}/")
        self.sender = Sender(settings)

    def open(self, rows: list[Row]) -> Batch:
        name = f"autumn-{uuid.uuid4().hex}"
        with PlanWriter(self.bucket, self.layout, name) as writer:
            for each in rows:
                writer.write(each)
            writer.close()
            batch = Batch(
                id=name,
                name="autumn",
                created_at=1.0,
                rows=len(rows),
                groups=dict(writer.groups),
                chunk_rows=writer.chunk_rows,
                local=writer.local,
                expected=1,
                at_most=1,
                ceiling=1,
                allowance=0,
            )
            open_batch(batch, writer, bucket=self.bucket, layout=self.layout, ledger=self.ledger, hints=self.sender)
        return batch

    def staging(self, batch: Batch, memory: Path | None = None) -> Staging:
        return Staging(
            batch, bucket=self.bucket, layout=self.layout, ledger=self.ledger, hints=self.sender, memory=memory
        )

    def staged(self, batch: Batch, number: int = 0) -> list[Row]:
        text = self.bucket.get(self.layout.staged_plan(batch.id, 1, "flux", number)).decode()
        return [Row.from_line(line) for line in text.split("\n") if line]

    def pictures(self) -> list[str]:
        return [head.key for head in self.bucket.keys(self.layout.prefix + "inputs/")]

    def mark(self, batch: Batch) -> int:
        found = self.ledger.batch(batch.id)
        assert found is not None
        return found[1].staged["flux"]

    def state(self, batch: Batch) -> tuple[str, str]:
        found = self.ledger.batch(batch.id)
        assert found is not None
        return str(found[1].state), found[1].reason


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    settings = read_settings(data_dir=tmp_path_factory.mktemp("stack"))
    wanted = Wanted(redis=True, storage=True, simulator=False, workers=0)
    with LocalStack.open(settings, wanted) as stack:
        yield stack.settings


@pytest.fixture
def house(servers: Settings) -> Iterator[House]:
    found = House(servers)
    yield found
    found.sender.close()


def picture(folder: Path, name: str, colour: str = "red") -> Path:
    path = folder / name
    Image.new("RGB", (32, 24), colour).save(path, "PNG")
    return path


def row(number: int, *paths: Path) -> Row:
    found = [path.stat() for path in paths]
    return Row(
        number=number,
        id=f"r{number}",
        group="",
        limit_group="flux",
        request=Request(model="flux-2-pro", prompt="on white", inputs=tuple(path.as_uri() for path in paths)),
        output=f"autumn/{number}.{{ext}}",
        expected=1,
        at_most=1,
        cells=(),
        sizes={path.as_uri(): (s.st_size, s.st_mtime_ns) for path, s in zip(paths, found, strict=True)},
    )


def test_a_staged_row_names_the_picture_in_the_bucket(house: House, tmp_path: Path) -> None:
    path = picture(tmp_path, "Stühle & more.jpg")  # a PNG by another name
    batch = house.open([row(1, path)])

    done = house.staging(batch).run(threading.Event())

    assert done
    (uri,) = house.staged(batch)[0].request.inputs
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    assert bucket == house.bucket.name
    assert key.endswith(".png")
    assert house.bucket.get(key) == path.read_bytes()


def test_all_else_of_a_row_stays_as_it_was_planned(house: House, tmp_path: Path) -> None:
    planned = row(1, picture(tmp_path, "a.png"))
    batch = house.open([planned])

    house.staging(batch).run(threading.Event())

    staged = house.staged(batch)[0]
    assert (staged.id, staged.cells, staged.output, staged.at_most) == (
        planned.id,
        planned.cells,
        planned.output,
        planned.at_most,
    )
    assert staged.request.prompt == planned.request.prompt


def test_the_mark_follows_what_lies_in_the_bucket(house: House, tmp_path: Path) -> None:
    path = picture(tmp_path, "a.png")
    batch = house.open([row(n, path) for n in range(1, 71)])
    marks: list[int] = []

    house.staging(batch).run(threading.Event(), marks.append)

    assert marks == [70, 38, 6, 0]
    assert house.mark(batch) == 70


def test_a_picture_that_many_rows_name_is_uploaded_once(house: House, tmp_path: Path) -> None:
    one, same, other = picture(tmp_path, "a.png"), picture(tmp_path, "b.png"), picture(tmp_path, "c.png", "blue")
    batch = house.open([row(1, one, other), row(2, same), row(3, other), row(4, one)])

    house.staging(batch).run(threading.Event())

    assert len(house.pictures()) == 2


def test_a_picture_that_changed_since_the_plan_is_never_uploaded(house: House, tmp_path: Path) -> None:
    path = picture(tmp_path, "a.png")
    batch = house.open([row(1, path)])
    picture(tmp_path, "a.png", "blue")
    os.utime(path, ns=(1, 1))

    house.staging(batch).run(threading.Event())

    assert house.staged(batch)[0].request.inputs == (path.as_uri(),)
    assert house.pictures() == []


def test_a_picture_that_is_gone_keeps_only_its_own_row_back(house: House, tmp_path: Path) -> None:
    gone, there = picture(tmp_path, "a.png"), picture(tmp_path, "b.png")
    batch = house.open([row(1, gone), row(2, there)])
    gone.unlink()

    house.staging(batch).run(threading.Event())

    first, second = house.staged(batch)
    assert first.request.inputs == (gone.as_uri(),)
    assert second.request.inputs[0].startswith("s3://")


def test_staging_stays_close_to_the_feed(house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "AHEAD", 64)
    path = picture(tmp_path, "a.png")
    batch = house.open([row(n, path) for n in range(1, 201)])
    stop, seen = threading.Event(), [0]

    def waiting(rows: int) -> None:
        if rows == seen[-1]:  # asked again without having gone on: it waits for the feed
            stop.set()
        seen.append(rows)

    done = house.staging(batch).run(stop, waiting)

    assert not done
    assert house.mark(batch) == 64


def test_staging_that_is_stopped_pauses_the_batch_and_goes_on_from_its_mark(house: House, tmp_path: Path) -> None:
    path = picture(tmp_path, "a.png")
    batch = house.open([row(n, path) for n in range(1, 71)])
    stop = threading.Event()

    house.staging(batch).run(stop, lambda rows: stop.set() if rows < 70 else None)
    paused, mark = house.state(batch), house.mark(batch)
    house.ledger.set_state(batch.id, BatchState.OPEN, "", only_from=(BatchState.PAUSED,))
    told: list[int] = []
    done = house.staging(batch).run(threading.Event(), told.append)

    assert paused == ("paused", "staging")
    assert mark == 32
    assert done
    assert told == [38, 6, 0]
    assert house.state(batch) == ("open", "")


def test_staging_that_is_stopped_in_a_chunk_ends_with_the_pictures_in_hand_and_remembers_them(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reads: list[Path]
) -> None:
    settled(monkeypatch)
    paths = [picture(tmp_path, f"{n}.png", f"#0000{n:02x}") for n in range(32)]
    batch = house.open([row(n, path) for n, path in enumerate(paths, 1)])
    stop = threading.Event()
    house.bucket = cast("Bucket", Telling(house.bucket, stop.set))

    done = house.staging(batch, tmp_path / "data").run(stop)
    uploaded, mark = len(house.pictures()), house.mark(batch)
    house.ledger.set_state(batch.id, BatchState.OPEN, "", only_from=(BatchState.PAUSED,))
    house.staging(batch, tmp_path / "data").run(threading.Event())

    assert (done, mark) == (False, 0)
    assert 1 <= uploaded <= 2 * staging.UPLOADS
    assert house.mark(batch) == 32
    assert sorted(reads) == sorted(paths), "each was read once"


class Telling:
    """A bucket that tells of each picture that was put into it."""

    def __init__(self, bucket: Bucket, tell: Callable[[], None]) -> None:
        self._bucket = bucket
        self._tell = tell

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bucket, name)

    def put(self, key: str, data: bytes, **more: Any) -> str:
        etag: str = self._bucket.put(key, data, **more)
        self._tell()
        return etag


def test_an_error_pauses_the_batch_and_is_told(house: House, tmp_path: Path) -> None:
    batch = house.open([row(1, picture(tmp_path, "a.png"))])
    house.bucket.delete(house.layout.plan(batch.id, 1, "flux", 0))

    with pytest.raises(NotFound):
        house.staging(batch).run(threading.Event())

    assert house.state(batch) == ("paused", "staging")


def test_a_cancelled_batch_is_not_staged_any_further(house: House, tmp_path: Path) -> None:
    batch = house.open([row(1, picture(tmp_path, "a.png"))])
    house.ledger.set_state(batch.id, BatchState.CANCELLED, "", only_from=(BatchState.OPEN,))

    house.staging(batch).run(threading.Event())

    assert house.pictures() == []
    assert house.state(batch) == ("cancelled", "")


def test_what_is_left_is_counted_in_rows(house: House, tmp_path: Path) -> None:
    path = picture(tmp_path, "a.png")
    batch = house.open([row(n, path) for n in range(1, 41)])
    found = house.ledger.batch(batch.id)
    assert found is not None

    assert left(*found) == 40


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The pictures that are read from now on."""
    found: list[Path] = []
    really = staging.read_unchanged

    def noting(path: Path, seen: staging.FileSeen) -> tuple[bytes, remembered.Looks | None]:
        found.append(path)
        return really(path, seen)

    monkeypatch.setattr(staging, "read_unchanged", noting)
    return found


def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pictures that were written just now count as old enough to be remembered."""
    monkeypatch.setattr(remembered, "SETTLED_S", -1e9)


def test_a_picture_that_was_staged_once_is_not_read_again(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reads: list[Path]
) -> None:
    settled(monkeypatch)
    path = picture(tmp_path, "a.png")
    house.staging(house.open([row(1, path)]), tmp_path / "data").run(threading.Event())
    again = house.open([row(1, path)])

    house.staging(again, tmp_path / "data").run(threading.Event())

    assert reads == [path]
    assert house.staged(again)[0].request.inputs[0].startswith("s3://")
    assert len(house.pictures()) == 1


def test_a_remembered_picture_that_was_removed_from_the_bucket_is_uploaded_again(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reads: list[Path]
) -> None:
    settled(monkeypatch)
    path = picture(tmp_path, "a.png")
    house.staging(house.open([row(1, path)]), tmp_path / "data").run(threading.Event())
    house.bucket.delete(house.pictures()[0])

    house.staging(house.open([row(1, path)]), tmp_path / "data").run(threading.Event())

    assert reads == [path, path]
    assert len(house.pictures()) == 1


def test_another_picture_under_the_old_time_and_length_is_read_anew(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reads: list[Path]
) -> None:
    settled(monkeypatch)
    path = tmp_path / "a.bmp"  # as long in every colour
    Image.new("RGB", (32, 24), "red").save(path)
    before = path.stat()
    house.staging(house.open([row(1, path)]), tmp_path / "data").run(threading.Event())
    Image.new("RGB", (32, 24), "blue").save(path)
    os.utime(path, ns=(before.st_mtime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    again = house.open([row(1, path)])

    house.staging(again, tmp_path / "data").run(threading.Event())

    assert reads == [path, path]
    assert house.bucket.get(house.staged(again)[0].request.inputs[0].split("/", 3)[3]) == path.read_bytes()


def test_a_remembered_picture_that_changed_since_the_plan_is_still_never_uploaded(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settled(monkeypatch)
    path = picture(tmp_path, "a.png")
    house.staging(house.open([row(1, path)]), tmp_path / "data").run(threading.Event())
    again = house.open([row(1, path)])
    picture(tmp_path, "a.png", "blue")
    os.utime(path, ns=(1, 1))

    house.staging(again, tmp_path / "data").run(threading.Event())

    assert house.staged(again)[0].request.inputs == (path.as_uri(),)
