"""Exports of PIMs and shops as they come: the user's table comes back, and what failed runs alone."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pytest

from running.programs import Command
from tests.acceptance.harness import ROOT, House, Said, picture

EXPORTS = ROOT / "tests" / "fixtures" / "manifests"
ADDRESSES = ("https://cdn.shopify.com/s/files/1/0001/0002/files/", "s3://shop/")


def export(name: str, house: House) -> Path:
    """Return a copy of an export whose pictures are there: beside it, or in the bucket instead of on the web."""
    path = house.folder / name
    bucket, prefix = house.servers.bucket, f"{house.name}/originals/"
    # As bytes: whatever the encoding and the line ends are, they stay.
    data = (EXPORTS / name).read_bytes()
    for address in ADDRESSES:
        data = data.replace(address.encode(), f"s3://{bucket.name}/{prefix}".encode())
    path.write_bytes(data)
    text = data.decode("cp1252" if name.startswith("german") else "utf-8")
    for shade, key in enumerate(sorted(set(re.findall(rf"s3://{bucket.name}/([^\s;,\"]+)", text)))):
        bucket.put(key, picture(shade), content_type="image/png")
    for shade, found in enumerate(sorted(set(re.findall(r"files/[^;,\n]+", text if name == "akeneo.csv" else "")))):
        (house.folder / found).parent.mkdir(parents=True, exist_ok=True)
        (house.folder / found).write_bytes(picture(shade))
    return path


def cells(data: bytes, like: str) -> list[list[str]]:
    """Return a table's cells, read as the export of this name is written."""
    german = like.startswith("german")
    text = data.decode("cp1252" if german else "utf-8")
    delimiter = ";" if german or like.startswith("akeneo") else ","
    return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))


def alone(failed: bytes, house: House) -> Said:
    """Run a failed.csv in an empty folder and an environment that holds nothing but the way to the servers."""
    folder = house.folder / "empty"
    folder.mkdir()
    (folder / "failed.csv").write_bytes(failed)
    assert house.api is not None
    env = {**house.servers.env, **house.api.env, "RETOUCH_S3__PREFIX": house.prefix}
    return Command(["run", "failed.csv", "--yes", "--json"], env, folder).ended()


def kept(house: House, batch: str) -> dict[str, tuple[str, str]]:
    """Return key and fingerprint of each job of a batch, by id."""
    return {line["id"]: (line["output"], line["fingerprint"]) for line in house.books(batch).outcomes}


@pytest.mark.parametrize(
    ("name", "source", "jobs"),
    [
        ("akeneo.csv", ("--source", "akeneo"), 7),
        ("shopify.csv", ("--source", "shopify"), 5),
        ("german-excel.csv", (), 3),
    ],
)
def test_what_failed_runs_alone_and_the_table_comes_back_as_it_was(
    house: House, name: str, source: tuple[str, ...], jobs: int
) -> None:
    api = house.simulate("--latency", "0.05")
    house.workers(1)
    manifest = export(name, house)
    flags = [str(manifest), *source, "--prompt", "on white", "--seed", "7"]
    asked = ["run", *flags, "--output", f"{house.name}/{{id|slug}}.{{ext}}", "--yes", "--json"]
    api.set_faults(moderate_request=1.0)
    first = house.retouch(*asked)
    failed = house.servers.bucket.get(f"{house.prefix}batches/{first.document['batch']}/failed.csv")
    api.set_faults(moderate_request=0.0)

    again = alone(failed, house)
    posts = api.totals()["posts"]
    whole = house.retouch(*asked)
    results = house.servers.bucket.get(f"{house.prefix}batches/{whole.document['batch']}/results.csv")

    assert (first.code, again.code, whole.code) == (1, 0, 0), (first, again, whole)
    assert first.document["counts"]["moderated"] == again.document["counts"]["stored"] == jobs
    assert whole.document["counts"]["unchanged"] == jobs
    assert api.totals()["posts"] == posts
    ran = kept(house, again.document["batch"])
    assert ran == kept(house, whole.document["batch"])
    assert {id_: mark for id_, (_, mark) in ran.items()} == {
        id_: mark for id_, (_, mark) in kept(house, first.document["batch"]).items()
    }
    header, *lines = cells(results, name)
    own = [at for at, column in enumerate(header) if not column.startswith("retouch_")]
    assert [[line[at] for at in own] for line in (header, *lines)] == cells(manifest.read_bytes(), name)
    assert results.count(b"\r\n") == manifest.read_bytes().count(b"\r\n")
    assert ("jobs.csv" in house.books(whole.document["batch"]).files) == bool(source)
