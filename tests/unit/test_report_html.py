"""The page: it shows everything, escapes everything, and can do nothing."""

import base64
import hashlib
import re
from collections.abc import Callable
from html.parser import HTMLParser
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from jobs.batch import Batch, BatchState, Progress, document
from jobs.errors import NotFound
from jobs.job import Job, Result, State
from jobs.outcome import outcome
from jobs.report.html import write_page
from jobs.report.joining import Joined
from jobs.report.sheet import THREADS, ContactSheet, data_uri
from jobs.report.summary import Summary, summary
from jobs.request import Request
from jobs.row import Row

JPEG = b"\xff\xd8\xff\xe0 a thumbnail"
VOID = frozenset({"meta", "link", "img"})
HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(1)</script>",
    "</style><style>*{display:none}",
    "javascript:alert(1)",
    "\"><svg onload='alert(1)'>",
    "' onmouseover='alert(1)",
    "{{ 7 * 7 }}{% raw %}",
    "\u202egpj.exe",
    "-->",
    "&lt;b&gt;",
    "a\x00b\x1b[2J\ud800",
]


class Page(HTMLParser):
    """The page as a browser would see it: every element, and all text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def ended(number: int, state: State = State.STORED, *, text: str = "cup", **changes: Any) -> Joined:
    request = Request(model=changes.pop("model", "flux-2-pro"), prompt=f"prompt {text}", inputs=("s3://in/a.jpg",))
    row = Row(
        number=number,
        id=f"{text}-{number}",
        group="",
        limit_group="flux",
        request=request,
        output="o.{ext}",
        expected=1,
        at_most=2,
        cells=(),
        sizes={},
    )
    result = None
    if state in (State.STORED, State.UNCHANGED):
        result = Result(key=f"shop/{text}.jpg", sha256="ab" * 32, bytes=10, format="jpeg", width=1024, height=768)
    return Joined(row, outcome(Job(order=row.order("b"), state=state, result=result, **changes)))


def both(row: Row, told: dict[str, Any]) -> tuple[bytes | None, bytes | None]:
    return JPEG, JPEG if told["output"] else None


def page(
    folder: Path,
    *ends: Joined,
    pictures: Callable[[Row, dict[str, Any]], tuple[bytes | None, bytes | None]] = both,
    name: str = "spring",
    simulated: bool = False,
    limit: int = 500,
) -> str:
    agreed = Batch(
        id="spring-1",
        name=name,
        created_at=1.0,
        rows=len(ends),
        groups={},
        expected=100_000,
        at_most=200_000,
        ceiling=300_000,
        allowance=0,
        simulated=simulated,
    )
    progress = Progress(state=BatchState.DONE, cursors={}, staged={}, hot={}, counts={})
    totals, sheet = Summary(), ContactSheet(limit)
    for one in ends:
        totals.add(one.outcome)
        sheet.offer(one)
    told = summary(document(agreed, progress, report=f"s3://shop/{name}"), totals, files=["results.csv"])
    write_page(folder / "report.html", told, sheet.sections(pictures), cards=len(sheet.chosen))
    return (folder / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_only_ever_text(tmp_path: Path, text: str) -> None:
    ends = [
        ended(1, text=text, model=text, flags=("input_shrunk",)),
        ended(2, State.FAILED, text=text, reason=text, detail=text),
        ended(3, State.MODERATED, text=text, reason="request_moderated"),
    ]
    plain = [
        ended(1, flags=("input_shrunk",)),
        ended(2, State.FAILED, reason="x", detail="x"),
        ended(3, State.MODERATED),
    ]
    harmless = Page(page(tmp_path, *plain))

    seen = Page(page(tmp_path, *ends, name=text))

    allowed = {(tag, *sorted(attributes)) for tag, attributes in harmless.elements}
    assert {(tag, *sorted(attributes)) for tag, attributes in seen.elements} <= allowed
    assert not any(tag == "script" for tag, _ in seen.elements)


def test_markup_in_a_prompt_can_be_read_as_it_was_written(tmp_path: Path) -> None:
    seen = Page(page(tmp_path, ended(1, text="<b>&amp;</b>")))

    assert "prompt <b>&amp;</b>" in seen.text


def test_direction_marks_controls_and_broken_characters_are_shown_and_not_obeyed(tmp_path: Path) -> None:
    html = page(tmp_path, ended(1, text="\u202egpj\x00\x1b\ud800"))

    assert "⟨U+202E⟩gpj⟨U+0000⟩⟨U+001B⟩⟨U+D800⟩" in html
    assert not {"\u202e", "\x00", "\x1b"} & set(html)


def test_the_policy_allows_pictures_inside_the_page_and_this_one_style_and_nothing_else(tmp_path: Path) -> None:
    html = page(tmp_path, ended(1))

    (style,) = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    (told,) = [m["content"] for m in Page(html).all("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    assert told is not None
    assert told.split("; ")[:3] == ["default-src 'none'", "img-src data:", f"style-src 'sha256-{digest}'"]
    assert "unsafe" not in told


def test_the_page_holds_no_script_no_handler_no_inline_style_and_no_address(tmp_path: Path) -> None:
    seen = Page(
        page(tmp_path, ended(1), ended(2, State.FAILED, reason="api_error", detail="see http://x.example/?s=1"))
    )

    for tag, attributes in seen.elements:
        assert tag not in {"script", "iframe", "object", "embed", "form", "a", "base"}
        assert not [name for name in attributes if name.startswith("on") or name in {"style", "srcset", "action"}]
        for name in ("src", "href"):
            assert (attributes.get(name) or "data:").startswith("data:")


def test_a_signature_in_the_detail_is_not_shown(tmp_path: Path) -> None:
    html = page(tmp_path, ended(1, State.FAILED, reason="api_error", detail="cut: https://x.example/a.jpg?sig=SECRET"))

    assert "https://x.example/a.jpg?…" in html
    assert "SECRET" not in html


def test_every_element_is_closed_and_every_picture_and_header_is_described(tmp_path: Path) -> None:
    seen = Page(page(tmp_path, ended(1), ended(2, State.FAILED)))

    assert seen.open == []
    assert [image["alt"] for image in seen.all("img")] == ["Before: cup-2", "Before: cup-1", "After: cup-1"]
    assert all(header["scope"] in {"col", "row"} for header in seen.all("th"))
    assert seen.all("html")[0]["lang"] == "en"
    assert seen.all("svg")[0]["aria-label"] == "1 stored, 1 failed"


def test_a_simulated_batch_says_so_and_a_real_one_does_not(tmp_path: Path) -> None:
    assert "SIMULATED" in page(tmp_path, ended(1), simulated=True)
    assert "SIMULATED" not in page(tmp_path, ended(1))


def test_failures_come_first_then_flagged_results_then_the_rest_in_row_order(tmp_path: Path) -> None:
    ends = [
        ended(1),
        ended(2, State.CANCELLED),
        ended(3, State.UNCHANGED),
        ended(4, flags=("size_differs",)),
        ended(5, State.FAILED),
        ended(6, State.IN_DOUBT),
        ended(7),
        ended(8, State.MODERATED),
    ]

    html = page(tmp_path, *ends)

    assert re.findall(r"<h4><bdi>cup-(\d)", html) == ["5", "6", "8", "4", "1", "7", "3", "2"]
    assert re.findall(r'<h3 class="group">(.*?)</h3>', html) == [
        "Did not make it",
        "Stored, and flagged",
        "Stored",
        "Unchanged",
        "Cancelled",
    ]


def test_pictures_are_asked_for_the_chosen_rows_only_and_failures_are_never_crowded_out(tmp_path: Path) -> None:
    asked: list[int] = []

    def pictures(row: Row, told: dict[str, Any]) -> tuple[bytes | None, bytes | None]:
        asked.append(row.number)
        return None, None

    ends = [ended(number) for number in range(1, 40)] + [ended(40, State.FAILED), ended(41, State.FAILED)]
    html = page(tmp_path, *ends, pictures=pictures, limit=5)

    assert sorted(asked) == [1, 2, 3, 40, 41]
    assert "5 of 41 rows" in html


def test_pictures_are_asked_for_a_little_ahead_and_stand_beside_their_own_rows() -> None:
    asked: list[int] = []

    def pictures(row: Row, told: dict[str, Any]) -> tuple[bytes | None, bytes | None]:
        asked.append(row.number)
        return JPEG + bytes([row.number]), None

    sheet = ContactSheet()
    for number in range(1, 101):
        sheet.offer(ended(number))
    _, cards = next(sheet.sections(pictures))
    first = [*islice(cards, 10)]

    assert [(one.number, one.before) for one in first] == [(n, data_uri(JPEG + bytes([n]))) for n in range(1, 11)]
    assert len(asked) <= 10 + 3 * THREADS


def test_a_picture_that_cannot_be_fetched_does_not_cost_the_report(tmp_path: Path) -> None:
    def pictures(row: Row, told: dict[str, Any]) -> tuple[bytes | None, bytes | None]:
        raise NotFound

    html = page(tmp_path, ended(1), pictures=pictures)

    assert "cup-1" in html
    assert "no preview" in html


@pytest.mark.parametrize("picture", [None, b"", b"<svg onload=alert(1)>", b"GIF89a", b"not a picture"])
def test_what_is_not_a_jpeg_png_or_webp_is_not_embedded(picture: bytes | None) -> None:
    assert data_uri(picture) == ""


def test_a_thumbnail_is_embedded_whole() -> None:
    head, body = data_uri(JPEG).split(",")

    assert head == "data:image/jpeg;base64"
    assert base64.b64decode(body) == JPEG


def test_a_batch_of_which_nothing_is_known_yet_still_has_a_page(tmp_path: Path) -> None:
    seen = Page(page(tmp_path))

    assert "spring" in seen.text
    assert seen.open == []
