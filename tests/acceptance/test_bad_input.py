"""Bad input through the real `retouch submit`, beside a real Redis and a real bucket: one clear error for each.

Whatever it is, it is told with its place, a code and a remedy, ends with the documented exit code, adds nothing to
Redis or to the bucket, leaves nothing half-written in the folder, and costs less than 300 MB.
"""

from __future__ import annotations

import itertools
import json
import os

import pytest

from running.programs import Document, Said, eventually
from tests.acceptance.broken_files import (
    HEADER,
    MEGABYTES_10,
    PICTURES,
    Write,
    cut_gzip,
    gzip_bomb,
    holding,
    parquet_bomb,
    zip_bomb,
)
from tests.acceptance.harness import House, Servers, new_name, picture

MOST_MEMORY = 300_000_000


def refused(house: House, manifest: str, *options: str) -> Said:
    """Submit what cannot be used; nothing may come of it but the answer."""
    before = house.records()

    said = house.measured("submit", manifest, "--name", house.name, "--yes", "--json", *options)

    assert house.records() == before, "something was enqueued, or left in the bucket"
    assert "Traceback" not in said.out + said.err
    assert said.code == 2, said
    assert said.memory < MOST_MEMORY
    assert said.document["error"]["message"] in said.err, "a person is told the same as a script"
    return said


def left_behind(house: House) -> set[str]:
    """Return every file in the folder."""
    return {str(path.relative_to(house.folder)) for path in house.folder.rglob("*") if not path.is_dir()}


# -- manifests

Error = tuple[Write, str, int | None]
MANIFESTS: dict[str, Error] = {
    "empty": (holding(""), "is empty", None),
    "blank lines": (holding("\n\n \n"), "empty", None),
    "a byte order mark and nothing else": (holding("\ufeff"), "is empty", None),
    "header only": (holding(HEADER), "no rows", 1),
    "no prompt anywhere": (holding("id,image\na,s3://x/a.jpg\n"), "no prompt", None),
    "NUL bytes": (holding(b"id,image,prompt\na,\0,p\n"), "NUL byte", 2),
    "a 10 MB cell": (holding(HEADER + 'a,"' + "x" * MEGABYTES_10 + '",p\n'), "65,536 bytes", 2),
    "a 10 MB cell of lines": (holding(HEADER + 'a,"' + "x\n" * (MEGABYTES_10 // 2) + '",p\n'), "65,536", 2),
    "a 10 MB cell of JSON": (holding('[{"image": "' + "x" * MEGABYTES_10 + '"}]'), "65,536 characters", 1),
    "100,000 brackets": (holding("[" * 100_000), "never closes", 1),
    "100,000 brackets in a line": (holding('{"image": ' + "[" * 100_000 + "}\n"), "65,536 bytes", 1),
    "a gzip bomb": (gzip_bomb, "bomb", None),
    "a gzip that is cut off": (holding(cut_gzip()), "damaged", None),
    "a workbook that is a bomb": (zip_bomb, "bomb", None),
    "a binary file": (holding(b"\x7fELF" + bytes(range(256)) * 100), "NUL byte", 1),
    "a picture": (holding(picture(1)), "a picture", None),
    "two encodings": (
        holding(HEADER.encode() + "ü,s3://x/a.jpg,p\n".encode() + b"\xfc,s3://x/b.jpg,p\n"),
        "UTF-8",
        3,
    ),
    "a quote that is never closed": (holding(HEADER + 'a,"s3://x/a.jpg,p\n' + "b,c,d\n" * 20_000), "never closed", 2),
    "UTF-16 that is cut in a letter": (holding("\ufeffid,image,prompt\na,b,c\n".encode("utf-16-le")[:-1]), "UTF-16", 2),
    "a link to itself": (lambda path: path.symlink_to(path), "no file", None),
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_manifest_that_cannot_be_used_is_one_error_with_its_place_and_a_remedy(house: House, name: str) -> None:
    write, says, line = MANIFESTS[name]
    write(house.folder / "autumn.csv")

    said = refused(house, "autumn.csv")

    error = said.document["error"]
    assert error["code"] == "manifest"
    assert says in error["message"] + error["remedy"]
    assert error["remedy"]
    assert error["remedy"] in said.err
    assert "autumn.csv" in error["message"]
    assert said.document.get("line") == line
    assert left_behind(house) == {"autumn.csv"}


def test_a_manifest_that_changes_while_it_is_read_starts_nothing_and_its_first_chunks_are_gone_again(
    house: House,
) -> None:
    lines = (f"row-{n},s3://{house.servers.bucket.name}/a.jpg,put it on white\n" for n in range(100_000))
    manifest = house.folder / "autumn.csv"
    manifest.write_text(HEADER + "".join(lines))
    before = house.records()
    command = house.begin(*house.submission(manifest))
    eventually(lambda: house.records() != before, 60, "a first chunk in the bucket")

    with command.stopped(), manifest.open("a") as file:
        file.write("one-more,s3://x/a.jpg,put it on white\n")
    said = command.ended()

    error = said.document["error"]
    assert (said.code, error["code"], said.document["file"]) == (2, "manifest", "autumn.csv")
    assert "changed while" in error["message"]
    assert error["remedy"]
    assert house.records() == before


# -- rows


def problems_of(said: Said) -> list[Document]:
    """Return the problems of a refused manifest, once they were held against what every problem has."""
    found = said.document
    assert found["error"]["code"] == "invalid_rows"
    assert found["error"]["message"].startswith(found["manifest"])
    assert found["problem_count"] == len(found["problems"])
    for problem in found["problems"]:
        assert problem["remedy"], problem
        told = [f"{problem['line']:,}", *(problem[name] for name in ("column", "code", "message", "remedy"))]
        assert any(all(word in line for word in told) for line in said.err.splitlines()), told
    return list(found["problems"])


COUNT = itertools.count()


def row(**more: object) -> str:
    """Return a good row of JSON, with something else in it."""
    good = {"id": f"some-{next(COUNT)}", "image": "https://shop.example/a.jpg", "prompt": "p"}
    return json.dumps({**good, **more})


ROWS: dict[str, tuple[str, str, str]] = {
    "NaN": ('{"image": "s3://x/a.jpg", "prompt": "p", "seed": NaN}', "", "row_unreadable"),
    "a key that stands twice": ('{"image": "s3://x/a.jpg", "image": "s3://x/b.jpg"}', "image", "row_unreadable"),
    "30,000 brackets": ('{"image": "s3://x/a.jpg", "x": ' + "[" * 30_000 + "}", "", "row_unreadable"),
    "a file of the machine": (row(image="file:///etc/passwd"), "image", "url_refused"),
    "a private address": (row(image="https://10.0.0.1/a.jpg"), "image", "url_refused"),
    "this machine": (row(image="https://127.0.0.1/a.jpg"), "image", "url_refused"),
    "a link-local address": (row(image="https://169.254.169.254/latest/meta-data/"), "image", "url_refused"),
    "a link-local address of IPv6": (row(image="https://[fe80::1]/a.jpg"), "image", "url_refused"),
    "a private address in disguise": (row(image="https://[::ffff:10.0.0.1]/a.jpg"), "image", "url_refused"),
    "an address that is written as a number": (row(image="https://0x7f.1/a.jpg"), "image", "url_refused"),
    "a bucket of somebody else": (row(image="s3://theirs/a.jpg"), "image", "bucket_refused"),
    "a way out of the bucket": (row(output="../a"), "output", "output_unsafe"),
    "a way out in the middle": (row(output="a/../../b"), "output", "output_unsafe"),
    "a key with a bell": (row(output="a\u0007"), "output", "output_unsafe"),
    "a key that starts at the root": (row(output="/etc/passwd"), "output", "output_unsafe"),
    "a key among Retouch's own": (row(output="theirs/retouch/results/a.jpg"), "output", "output_unsafe"),
    "an id that would lead out of the bucket": (row(id="../../etc/passwd"), "output", "output_unsafe"),
    "an id with a bell": (row(id="a\u0007"), "id", "id_unsafe"),
    "an id of half a letter": (row(id="a\ud800"), "", "row_unreadable"),
    "an id that was there before": (row(id="row-1"), "id", "id_duplicate"),
}
GOOD = 2_000
"""So many rows come before the bad ones: their first chunks lie in the bucket when these are found."""


@pytest.fixture(scope="module")
def rows_refused(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> tuple[Said, set[str]]:
    """Submit all bad rows in one manifest, behind good ones; return what was said, and what was left in the folder."""
    servers.redis.flushall()
    house = House(servers=servers, folder=tmp_path_factory.mktemp("rows"), name="theirs")
    good = [row(id=f"row-{n}") for n in range(GOOD)]
    bad = [line for line, _, _ in ROWS.values()]
    (house.folder / "autumn.jsonl").write_text("\n".join([*good, *bad]))
    said = refused(house, "autumn.jsonl", "--output", "{id}.{ext}")
    return said, left_behind(house)


@pytest.mark.parametrize("name", ROWS)
def test_a_bad_row_is_told_with_line_column_code_and_remedy(rows_refused: tuple[Said, set[str]], name: str) -> None:
    said, _ = rows_refused
    _, column, code = ROWS[name]
    line = GOOD + 1 + list(ROWS).index(name)

    mine = [problem for problem in problems_of(said) if problem["line"] == line]

    assert {(problem["column"], problem["code"]) for problem in mine} >= {(column, code)}


def test_good_rows_are_counted_and_nothing_but_the_list_of_errors_is_left(rows_refused: tuple[Said, set[str]]) -> None:
    said, left = rows_refused

    assert (said.document["rows"], said.document["invalid"]) == (GOOD, len(ROWS))
    assert left == {"autumn.jsonl", said.document["errors_csv"]}


# -- pictures of this machine

ODD = {"a link to itself": "image_unreadable", "a folder": "image_unreadable", "a pipe": "image_unreadable"}
LOCAL = (
    {name: code for name, (_, code) in PICTURES.items()}
    | ODD
    | {"nothing": "image_not_found", "5 GB": "image_too_large"}
)


@pytest.fixture(scope="module")
def pictures_refused(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Said:
    """Submit a manifest in which every picture is bad, but for the first."""
    servers.redis.flushall()
    house = House(servers=servers, folder=tmp_path_factory.mktemp("pictures"), name=new_name())
    for at, name in enumerate(LOCAL):
        path = house.folder / f"{at}.jpg"
        match name:
            case "a link to itself":
                path.symlink_to(path)
            case "a folder":
                path.mkdir()
            case "a pipe":
                os.mkfifo(path)
            case "nothing":
                pass
            case "5 GB":
                path.write_bytes(PICTURES["a JPEG that is cut off"][0])
                os.truncate(path, 5_000_000_000)  # of which the disk holds nothing
            case _:
                path.write_bytes(PICTURES[name][0])
    (house.folder / "good.png").write_bytes(picture(1))
    lines = [f"{at},{at}.jpg,p\n" for at in range(len(LOCAL))]
    (house.folder / "autumn.csv").write_text(f"{HEADER}good,good.png,p\n{''.join(lines)}")
    return refused(house, "autumn.csv")


@pytest.mark.parametrize("name", LOCAL)
def test_a_bad_picture_of_this_machine_is_told_with_line_column_code_and_remedy(
    pictures_refused: Said, name: str
) -> None:
    line = 3 + list(LOCAL).index(name)

    (mine,) = (problem for problem in problems_of(pictures_refused) if problem["line"] == line)

    assert (mine["column"], mine["code"]) == ("image", LOCAL[name])


def test_long_texts_of_parquet_that_share_their_bytes_are_bad_rows(house: House) -> None:
    parquet_bomb(house.folder / "autumn.parquet")

    said = refused(house, "autumn.parquet")

    assert {problem["code"] for problem in said.document["problems"]} == {"row_unreadable"}
