"""Bad manifests and bad pictures through the real program: one error each, exit code 2, and memory stays small.

All are planned by one process of the real command line, so its peak is what a user would see in `top`, or more.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

pytestmark = pytest.mark.xdist_group("bad_input")

MOST_MEMORY = 300 << 20
Write = Callable[[Path], None]


PROGRAM = """
import contextlib, io, json, os, sys
from pathlib import Path
from producers.cli import run

home = Path.cwd()
for folder, *arguments in json.loads(Path("cases.json").read_text()):
    os.chdir(home / folder)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(["plan", *arguments, "--json"])
    Path("ended.json").write_text(json.dumps([code, out.getvalue(), err.getvalue()]))
(home / "memory").write_text(Path("/proc/self/status").read_text())
"""


@dataclass(frozen=True)
class Ended:
    code: int
    document: dict[str, Any]
    err: str
    wrote: set[str]


@dataclass(frozen=True)
class Planned:
    """How each case ended, and the most memory that all of them took."""

    cases: dict[str, Ended]
    memory: int


def text(content: str | bytes) -> Write:
    data = content.encode() if isinstance(content, str) else content

    def write(path: Path) -> None:
        path.write_bytes(data)

    return write


def zip_bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/worksheets/sheet1.xml", b"<row/>" * 20_000_000)


def parquet(path: Path) -> None:
    pyarrow.parquet.write_table(
        pyarrow.table({"image": ["s3://x/a.jpg"] * 100, "note": ["x" * 10_000_000] * 100}), path
    )


HEADER = "id,image,prompt\n"
MANIFESTS: dict[str, tuple[Write, str]] = {
    "empty": (text(""), "is empty"),
    "header only": (text(HEADER), "no rows"),
    "no prompt anywhere": (text("id,image\na,s3://x/a.jpg\n"), "no prompt"),
    "NUL bytes": (text(b"id,image,prompt\na,\0,p\n"), "NUL byte"),
    "a 10 MB cell": (text(HEADER + 'a,"' + "x" * 10_000_000 + '",p\n'), "65,536 bytes"),
    "a 10 MB cell of lines": (text(HEADER + 'a,"' + "x\n" * 5_000_000 + '",p\n'), "65,536 characters"),
    "a 10 MB cell of JSON": (text('[{"image": "' + "x" * 10_000_000 + '"}]'), "65,536 characters"),
    "100,000 brackets": (text("[" * 100_000), "never closes"),
    "100,000 brackets in a line": (text('{"image": ' + "[" * 100_000 + "}\n"), "65,536 bytes"),
    "a gzip bomb": (text(gzip.compress(HEADER.encode() + b"a,s3://x/a.jpg,p\n" * 10_000_000, 9)), "bomb"),
    "a gzip that is cut off": (
        text(gzip.compress(b"image\n" + os.urandom(99_999).hex().encode())[:-50_000]),
        "damaged",
    ),
    "a ZIP bomb": (zip_bomb, "bomb"),
    "a binary file": (text(b"\x7fELF" + bytes(range(256)) * 100), "NUL byte"),
    "a picture": (text(b"\x89PNG\r\n\x1a\n"), "a picture"),
    "two encodings": (text(HEADER.encode() + "ü,s3://x/a.jpg,p\n".encode() + b"\xfc,s3://x/b.jpg,p\n"), "UTF-8"),
    "a quote never closed": (text(HEADER + 'a,"s3://x/a.jpg,p\n' + "b,s3://x/b.jpg,p\n" * 20_000), "never closed"),
    "UTF-16 cut in a letter": (text("\ufeffid,image,prompt\na,b,c\n".encode("utf-16-le")[:-1]), "not UTF-16"),
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_bad_manifest_is_one_error_with_its_remedy(planned: Planned, name: str) -> None:
    ended = planned.cases[name]

    assert ended.code == 2
    assert MANIFESTS[name][1] in ended.document["error"]["message"] + ended.document["error"]["remedy"]
    assert ended.document["error"]["remedy"]
    assert "Traceback" not in ended.err
    assert ended.wrote == {"m", "ended.json"}


def bomb(path: Path) -> None:
    """Write a PNG of 13,000 x 13,000 in a few hundred bytes; nobody has to decode it to know."""
    head = struct.pack(">IIBBBBB", 13_000, 13_000, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(b"\0" * 1_000)), (b"IEND", b""))
    data = b"".join(struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + data)


def cut_off(path: Path) -> None:
    held = io.BytesIO()
    Image.effect_noise((400, 300), 60).save(held, "JPEG")
    path.write_bytes(held.getvalue()[:5_000])


ROWS: dict[str, tuple[Write, str]] = {
    "a text": (text("hello, I am not a picture"), "image_unreadable"),
    "cut off": (cut_off, "image_truncated"),
    "zero bytes": (text(""), "image_empty"),
    "169 megapixels": (bomb, "image_too_large"),
    "a loop of links": (lambda path: path.symlink_to(path), "image_unreadable"),
    "another picture's ending": (text("GIF8"), "image_unreadable"),
}


@pytest.mark.parametrize("name", ROWS)
def test_a_bad_picture_is_told_with_line_column_code_and_remedy(planned: Planned, name: str) -> None:
    ended = planned.cases[name]

    (problem,) = ended.document["problems"]
    assert ended.code == 2
    assert (problem["line"], problem["column"], problem["code"]) == (3, "image", ROWS[name][1])
    assert problem["message"]
    assert problem["remedy"]
    assert "Traceback" not in ended.err


GOOD = '{"image": "https://x.example/ä.jpg", "id": "Stühle 椅子", "prompt": "p"}'
LINES: dict[str, tuple[str, str, str]] = {
    "NaN": ('{"image": "s3://x/a.jpg", "prompt": "p", "seed": NaN}', "NaN", "row_unreadable"),
    "a key that stands twice": ('{"image": "s3://x/a.jpg", "image": "s3://x/b.jpg"}', "twice", "row_unreadable"),
    "30,000 brackets": (
        '{"image": "s3://x/a.jpg", "prompt": "p", "x": ' + "[" * 30_000 + "}",
        "deeply",
        "row_unreadable",
    ),
    "a file of the machine": ('{"image": "file:///etc/passwd", "prompt": "p"}', "file:", "url_refused"),
    "a way out of the bucket": ('{"image": "s3://x/a.jpg", "prompt": "p", "output": "../a"}', "..", "output_unsafe"),
    "a key with a bell": ('{"image": "s3://x/a.jpg", "prompt": "p", "output": "a\\u0007"}', "control", "output_unsafe"),
}


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Planned:
    """Plan everything that is bad in one process: what it takes at most is what any of them takes, or more."""
    home = tmp_path_factory.mktemp("bad")
    cases: dict[str, list[str]] = {}

    def case(name: str, *arguments: str) -> Path:
        folder = home / f"{len(cases):02}"
        folder.mkdir()
        cases[name] = [folder.name, *arguments]
        return folder

    for name, (write, _) in MANIFESTS.items():
        write(case(name, "m") / "m")
    for name, (write, _) in ROWS.items():
        folder = case(name, "m.csv")
        Image.new("RGB", (8, 8)).save(folder / "good.png")
        write(folder / "bad.jpg")
        (folder / "m.csv").write_text(HEADER + "a,good.png,p\nb,bad.jpg,p\n")
    for name, (line, _, _) in LINES.items():
        (case(name, "m.jsonl") / "m.jsonl").write_text(f"{GOOD}\n{line}\n", encoding="utf-8")
    parquet(case("parquet", "m.parquet", "--prompt", "p") / "m.parquet")
    loop = case("circle", "m.csv") / "m.csv"
    loop.symlink_to(loop)
    (home / "cases.json").write_text(json.dumps(list(cases.values())))
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("RETOUCH_", "BFL_", "AWS_"))}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    subprocess.run([sys.executable, "-c", PROGRAM], cwd=home, env=environment, timeout=240, check=True)
    found: dict[str, Ended] = {}
    for name, (folder_name, *_) in cases.items():
        code, out, err = json.loads((home / folder_name / "ended.json").read_text())
        found[name] = Ended(code, json.loads(out), err, {path.name for path in (home / folder_name).iterdir()})
    (peak,) = (line for line in (home / "memory").read_text().splitlines() if line.startswith("VmHWM"))
    return Planned(found, int(peak.split()[1]) << 10)


@pytest.mark.parametrize("name", LINES)
def test_a_bad_row_is_told_with_its_line_and_the_good_one_is_counted(planned: Planned, name: str) -> None:
    ended = planned.cases[name]
    _, says, reason = LINES[name]

    problems = [problem for problem in ended.document["problems"] if problem["code"] == reason]
    assert ended.code == 2
    assert (ended.document["rows"], ended.document["invalid"]) == (1, 1)
    assert problems[0]["line"] == 2
    assert says in problems[0]["message"]
    assert "Traceback" not in ended.err


def test_long_texts_of_parquet_that_share_their_bytes_are_bad_rows(planned: Planned) -> None:
    ended = planned.cases["parquet"]

    assert ended.code == 2
    assert {problem["code"] for problem in ended.document["problems"]} == {"row_unreadable"}


def test_a_manifest_that_leads_in_a_circle_is_one_error(planned: Planned) -> None:
    ended = planned.cases["circle"]

    assert ended.code == 2
    assert ended.document["error"]["remedy"]
    assert "Traceback" not in ended.err


def test_all_of_it_takes_less_than_300_mb(planned: Planned) -> None:
    assert planned.memory < MOST_MEMORY
