"""Which rows are new, changed or unchanged before a plan: only what is proved is unchanged, and nothing is asked for
row by row.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobs.bucket.layout import Layout
from jobs.errors import Refused, Unavailable
from jobs.job import Job, Result, State
from jobs.known.evidence import of_bytes, of_object, of_url
from jobs.known.line import learnt
from jobs.known.state import Changes, NameState
from jobs.outcome import outcome
from jobs.request import Request
from jobs.row import Row
from producers import known as module
from producers.known import KnownRows, Standing, known_rows
from tests.fakes import FakeBucket
from tests.unit.desks import picture

LAYOUT = Layout()
NEW, CHANGED, UNPROVED, UNCHANGED = Standing.NEW, Standing.CHANGED, Standing.UNPROVED, Standing.UNCHANGED


def make_row(number: int, uri: str = "", *, output: str = "", **asked: Any) -> Row:
    return Row(
        number=number,
        id=f"r{number}",
        group="",
        limit_group="flux",
        request=Request(
            model="flux-2-pro", prompt="on white", inputs=(uri or f"s3://bucket/in/{number}.png",), **asked
        ),
        output=output or f"autumn/r{number}.{{ext}}",
        expected=30_000,
        at_most=60_000,
        cells=(f"r{number}",),
        sizes={},
    )


class House:
    """A bucket in which batches of one name have ended."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bucket = FakeBucket()

    def ended(self, *rows: Row, origin: str = "bfl", state: State = State.STORED, evidence: str | None = None) -> None:
        """Do what workers do: publish, and write the state of the name."""
        with Changes(self.folder, len(rows)) as changes:
            for row in rows:
                line = outcome(self._job(row, state, evidence))
                known = learnt(origin, row, line)
                if known is not None:
                    changes.add(known)
            NameState("autumn", self.bucket, LAYOUT).write(changes)

    def _job(self, row: Row, state: State, evidence: str | None) -> Job:
        job = Job(order=row.order("b"), state=state, ended_at=1.0, fingerprint="f")
        if state is not State.STORED:
            return job
        key = row.output.replace("{ext}", "png")
        self.bucket.lay(key, f"result of {row.id}".encode())
        head = self.bucket.head(key)
        assert head is not None
        result = Result(key=key, sha256="ab", bytes=head.bytes, format="png", width=1, height=1, etag=head.etag)
        inputs = tuple(self._evidence(uri) if evidence is None else evidence for uri in row.request.inputs)
        return replace(job, result=result, inputs=inputs)

    def _evidence(self, uri: str) -> str:
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        if self.bucket.head(key, bucket=bucket) is None:
            self.bucket.lay(key, f"picture {uri}".encode(), bucket=bucket)
        return of_object(uri, self.bucket.read(key, bucket=bucket).etag, LAYOUT, "bucket")

    @contextmanager
    def known(self, *, origin: str = "bfl", fresh: bool = False) -> Iterator[KnownRows]:
        self.bucket.calls.clear()
        with known_rows(
            "autumn", bucket=self.bucket, layout=LAYOUT, origin=origin, memory=self.folder / "data", fresh=fresh
        ) as found:
            yield found

    def standings(self, *rows: Row, **how: Any) -> list[Standing]:
        with self.known(**how) as found:
            return [found.standing(row) for row in rows]


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_a_row_that_nobody_has_tried_is_new(house: House) -> None:
    assert house.standings(make_row(1)) == [NEW]


def test_a_row_whose_request_inputs_and_output_are_what_they_were_is_unchanged(house: House) -> None:
    house.ended(make_row(1), make_row(2))

    assert house.standings(make_row(2), make_row(1), make_row(3)) == [UNCHANGED, UNCHANGED, NEW]


def test_what_was_published_is_known_of_an_unchanged_row(house: House) -> None:
    house.ended(make_row(1))

    with house.known() as found:
        settled = found.settled(make_row(1))
        assert found.settled(make_row(2)) is None

    assert settled is not None
    assert (settled.result.key, settled.known.fingerprint) == ("autumn/r1.png", "f")


@pytest.mark.parametrize(
    "change",
    [{"prompt": "on black"}, {"model": "flux-2-max"}, {"params": {"seed": 7}}, {"inputs": ("s3://bucket/in/9.png",)}],
)
def test_a_row_that_asks_for_something_else_has_changed(house: House, change: dict[str, Any]) -> None:
    row = make_row(1)
    house.ended(row, make_row(9))

    assert house.standings(row._replace(request=replace(row.request, **change))) == [CHANGED]


def test_the_same_rows_of_another_api_have_changed(house: House) -> None:
    house.ended(make_row(1))

    assert house.standings(make_row(1), origin="localhost:8000") == [CHANGED]


def test_an_output_that_is_gone_or_was_written_over_has_changed(house: House) -> None:
    house.ended(make_row(1), make_row(2), make_row(3))
    house.bucket.delete("autumn/r1.png")
    house.bucket.lay("autumn/r2.png", b"somebody else's")

    assert house.standings(make_row(1), make_row(2), make_row(3)) == [CHANGED, CHANGED, UNCHANGED]


def test_an_input_that_is_gone_or_was_written_over_has_changed(house: House) -> None:
    house.ended(make_row(1), make_row(2), make_row(3))
    house.bucket.delete("in/1.png")
    house.bucket.lay("in/2.png", b"another picture")

    assert house.standings(make_row(1), make_row(2), make_row(3)) == [CHANGED, CHANGED, UNCHANGED]


def test_inputs_in_another_bucket_are_listed_there(house: House) -> None:
    row = make_row(1, "s3://photos/in/1.png")
    house.ended(row)
    assert house.standings(row) == [UNCHANGED]

    house.bucket.lay("in/1.png", b"another picture", bucket="photos")

    assert house.standings(row) == [CHANGED]


def test_a_row_that_never_made_it_has_changed_so_it_is_not_new_again(house: House) -> None:
    house.ended(make_row(1), state=State.FAILED)

    assert house.standings(make_row(1)) == [CHANGED]


def test_a_row_that_a_cancelled_batch_never_began_is_still_new(house: House) -> None:
    house.ended(make_row(1), state=State.CANCELLED)

    assert house.standings(make_row(1)) == [NEW]


def test_an_address_that_retouch_fetches_itself_proves_nothing(house: House) -> None:
    row = make_row(1, "https://example.com/1.jpg")
    house.ended(row, evidence="")

    assert house.standings(row) == [UNPROVED]


def test_an_address_that_the_api_fetches_is_its_own_proof(house: House) -> None:
    url = "https://example.com/1.jpg?sig=CANARY"
    row = make_row(1, url, pass_urls=True)
    house.ended(row, evidence=of_url(url))

    assert house.standings(row) == [UNCHANGED]
    assert house.standings(make_row(1, url + "2", pass_urls=True)) == [CHANGED]
    assert "CANARY" not in of_url(url)


def test_a_batch_of_an_older_release_proves_nothing(house: House) -> None:
    row = make_row(1)
    line = outcome(house._job(row, State.STORED, None))
    del line["etag"], line["inputs"]
    known = learnt("bfl", row, line)
    assert known is not None
    with Changes(house.folder, 1) as changes:
        changes.add(known)
        NameState("autumn", house.bucket, LAYOUT).write(changes)

    assert house.standings(row) == [UNPROVED]


def test_with_fresh_no_row_is_unchanged_and_nothing_is_listed(house: House) -> None:
    house.ended(make_row(1))

    assert house.standings(make_row(1), make_row(2), fresh=True) == [CHANGED, NEW]
    with house.known(fresh=True) as found:
        found.standing(make_row(1))
        assert [key for method, key in house.bucket.calls if method == "keys"] == [LAYOUT.name("autumn", "index-")]


def local(folder: Path, data: bytes, name: str = "chair.png") -> Row:
    path = folder / name
    path.write_bytes(data)
    row = make_row(1, path.as_uri())
    found = path.stat()
    return row._replace(sizes={path.as_uri(): (found.st_size, found.st_mtime_ns)})


def test_a_local_picture_is_what_was_staged_before_however_often_it_is_touched(house: House) -> None:
    row = local(house.folder, picture())
    house.ended(row, evidence=of_bytes(hashlib.sha256(picture()).hexdigest()))
    assert house.standings(row) == [UNCHANGED]

    os.utime(house.folder / "chair.png", (1, 1))
    touched = row._replace(sizes={row.request.inputs[0]: (len(picture()), 1_000_000_000)})

    assert house.standings(touched) == [UNCHANGED]


def test_a_local_picture_with_other_bytes_has_changed(house: House) -> None:
    row = local(house.folder, picture())
    house.ended(row, evidence=of_bytes(hashlib.sha256(picture(64, 64)).hexdigest()))

    assert house.standings(row) == [CHANGED]


@pytest.mark.parametrize("what", ["gone", "touched since the plan"])
def test_a_local_picture_that_is_not_as_the_plan_saw_it_has_changed(house: House, what: str) -> None:
    row = local(house.folder, picture())
    house.ended(row, evidence=of_bytes(hashlib.sha256(picture()).hexdigest()))
    if what == "gone":
        (house.folder / "chair.png").unlink()
    else:
        os.utime(house.folder / "chair.png", (1, 1))

    assert house.standings(row) == [CHANGED]


def test_a_local_picture_that_is_remembered_is_not_read_again(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    row = local(house.folder, picture())
    house.ended(row, evidence=of_bytes(hashlib.sha256(picture()).hexdigest()))
    monkeypatch.setattr("producers.remembered.SETTLED_S", -1.0)
    assert house.standings(row) == [UNCHANGED]

    monkeypatch.setattr(module, "read_unchanged", None)

    assert house.standings(row) == [UNCHANGED]


def test_a_staged_picture_that_a_manifest_names_proves_itself(house: House) -> None:
    key = LAYOUT.staged("ab" * 32, "png")
    row = make_row(1, f"s3://bucket/{key}")
    house.ended(row)
    house.bucket.delete(key)

    assert house.standings(row) == [UNCHANGED]


def test_no_row_costs_a_request_of_its_own(house: House) -> None:
    rows = [make_row(n) for n in range(200)]
    house.ended(*rows)

    with house.known() as found:
        assert {found.standing(row) for row in rows} == {UNCHANGED}

    asked = [method for method, _ in house.bucket.calls]
    assert sorted(asked) == ["get", "get", "keys", "keys", "keys"], "the index, its shard, three listings"


def test_a_store_that_may_not_be_listed_leaves_rows_to_the_workers(house: House) -> None:
    class Closed(FakeBucket):
        def keys(self, prefix: str, **said: Any) -> Any:
            if prefix.startswith("autumn/"):
                raise Refused("no right to list")
            return super().keys(prefix, **said)

    house.bucket = Closed()
    house.ended(make_row(1))

    assert house.standings(make_row(1)) == [UNPROVED]


def test_a_bucket_that_is_away_is_no_reason_to_take_rows_for_new(house: House) -> None:
    house.bucket.failing["keys"] = Unavailable("away")

    with pytest.raises(Unavailable):
        house.standings(make_row(1))


def test_a_folder_full_of_other_things_is_not_listed_to_its_end(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LEAST_PAGES", 1)
    monkeypatch.setattr(module, "_AT_ONCE", 10)
    for number in range(60):
        house.bucket.lay(f"autumn/a{number}", b"somebody else's")
    house.ended(make_row(1), make_row(2))

    assert house.standings(make_row(1), make_row(2)) == [UNPROVED, UNPROVED]


def test_outputs_that_lie_at_their_keys_no_more_are_told(house: House) -> None:
    house.ended(make_row(1), make_row(2), make_row(3))
    house.bucket.delete("autumn/r2.png")
    house.bucket.lay("autumn/r3.png", b"somebody else's")

    with house.known() as found:
        assert sorted(known.id for known in found.gone()) == ["r2", "r3"]
