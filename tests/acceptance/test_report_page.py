"""The report in a real browser: whatever a manifest holds, the page only shows it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.batch import Batch, BatchState, Progress, Table, document
from jobs.job import Job, Result, State
from jobs.outcome import outcome
from jobs.report.build import PAGE, build_report
from jobs.request import Request
from jobs.row import Row
from tests.acceptance.browser import DESKTOP, PHONE, Browser, Seen, chromium
from tests.acceptance.harness import MODEL, House, picture
from tests.fakes import charged

pytestmark = pytest.mark.browser

HOSTILE = (
    "<script>alert('script')</script>",
    "</style><script>alert('style')</script>",
    "--><script>alert('comment')</script>",
    "</title><script>alert('title')</script>",
    '"><img src=x onerror=alert("img")>',
    "' onmouseover='alert(1)' onclick='alert(2)' x='",
    "<svg onload=alert('svg')><style>@import url(http://127.0.0.1:9/x.css)</style></svg>",
    "<a href=\"javascript:alert('link')\" id=trap>click</a>",
    "javascript:alert('bare')",
    "<iframe srcdoc=\"<script>parent.alert('frame')</script>\"></iframe>",
    "<base href=http://127.0.0.1:9/><link rel=stylesheet href=/x.css>",
    "<meta http-equiv=refresh content='0;url=http://127.0.0.1:9/'>",
    "{{ 7 * 7 }} {% raw %} ${alert('template')}",
    "evil\u202egpj.exe",
    "quotes \" ' ` and &lt;b&gt; &amp;",
    "w" * 500,
    "\U0001f469\u200d\U0001f373 Stühle 椅子 كرسي",
)
ALLOWED = """
    html head meta link title style body main header section article footer div span p strong code bdi ul li
    dl dt dd h1 h2 h3 h4 svg rect table thead tbody tr th td figure figcaption img
"""
"""The template's own elements: nothing that runs, loads, sends or frames."""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("chromium")) as found:
        yield found


def wrong(seen: Seen) -> list[str]:
    """Return everything that a report may not do."""
    broken = [f"picture {n} is not shown" for n, (natural, shown) in enumerate(seen.images) if not (natural and shown)]
    wide = [f"{seen.overflow:g} px wider than the window"] if seen.overflow > 0 else []
    strange = sorted(seen.elements - set(ALLOWED.split()))
    return [*seen.dialogs, *seen.said, *seen.asked, *broken, *wide, *(f"<{name}>" for name in strange)]


def a_row(number: int, text: str) -> Row:
    return Row(
        number=number,
        id=text,
        group=text,
        limit_group="flux",
        request=Request(model="flux-2-pro", prompt=f"Put {text} on white", inputs=(f"s3://in/{number}.png",)),
        output=f"shop/{number}.{{ext}}",
        expected=30_000,
        at_most=45_000,
        cells=(text, text),
        sizes={},
    )


def an_outcome(row: Row) -> dict[str, Any]:
    """Every other row is stored, the others end in as many ways as there are."""
    if row.number % 2:
        result = Result(key=f"shop/{row.id}.png", sha256="ab" * 32, bytes=10, format="png", width=96, height=96)
        flags = ("size_differs",) if row.number % 3 else ()
        return outcome(
            Job(
                order=row.order("b"),
                state=State.STORED,
                result=result,
                charges=charged(45_000),
                queued_at=1.0,
                flags=flags,
            )
        )
    state, reason = [
        (State.FAILED, "api_error"),
        (State.MODERATED, "request_moderated"),
        (State.CANCELLED, "cancelled"),
        (State.FAILED, "image_unreadable"),
    ][row.number // 2 % 4]
    return outcome(Job(order=row.order("b"), state=state, reason=reason, detail=row.id, queued_at=1.0))


def hostile_page(folder: Path) -> Path:
    """Write the report of a batch in which everything that comes from outside is meant badly."""
    rows = [a_row(n, text) for n, text in enumerate(HOSTILE, start=1)]
    batch = Batch(
        id="b-20261122-120000-ab12",
        name=HOSTILE[3],
        created_at=1.0,
        rows=len(rows),
        groups={"flux": len(rows)},
        expected=510_000,
        at_most=765_000,
        ceiling=765_000,
        allowance=0,
        simulated=True,
        manifest=HOSTILE[0],
        table=Table(columns=(HOSTILE[4], "image")),
    )
    progress = Progress(state=BatchState.DONE, cursors={}, staged={}, hot={}, counts={}, reason=HOSTILE[5])
    outcomes = [an_outcome(row) for row in rows]
    told = document(batch, progress, report=f"s3://shop/{HOSTILE[4]}/report.html")
    for each in outcomes:
        told["counts"][each["state"]] += 1
    told["counts"]["queued"] = 0
    before, after = picture(1, (240, 160)), picture(2, (240, 160))
    build_report(
        batch,
        told,
        rows,
        outcomes,
        folder,
        pictures=lambda _row, told: (before, after if told["output"] else None),
        at=2.0,
    )
    return folder / PAGE


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_a_report_full_of_hostile_text_only_shows_it(browser: Browser, tmp_path: Path, size: tuple[int, int]) -> None:
    page = hostile_page(tmp_path)

    seen = browser.look(page, size)

    assert wrong(seen) == []
    assert seen.width == size[0]
    assert len(seen.images) == len(HOSTILE) + len(HOSTILE[::2])
    assert "<script>alert('script')</script>" in seen.text
    assert "evil⟨U+202E⟩gpj.exe" in seen.text
    assert "{{ 7 * 7 }}" in seen.text
    assert "SIMULATED" in seen.text


def test_the_report_of_a_real_batch_with_hostile_rows_only_shows_them(browser: Browser, house: House) -> None:
    house.simulate("--latency", "0.2")
    house.workers(1)
    ids = [text if text.isprintable() else f"not printable {n}" for n, text in enumerate(HOSTILE)]
    rows = [
        {**row, "id": id_, "prompt": f"{text} [[request-moderated]]" if n % 4 == 3 else text, "shelf": text}
        for n, (id_, text, row) in enumerate(zip(ids, HOSTILE, house.rows(len(HOSTILE)), strict=True))
    ]
    missing = f"s3://{house.servers.bucket.name}/{house.name}/<img src=x onerror=alert(1)>.png"
    rows.append({"id": "no picture", "image": missing, "prompt": HOSTILE[0], "model": MODEL, "shelf": ""})

    batch = house.submit(house.manifest(rows), "--group", "shelf")
    books = house.ended(batch, 90)
    saved = house.retouch("report", batch, "--save", "saved", "--json")
    seen = browser.look(house.folder / "saved" / PAGE)

    books.check([row["id"] for row in rows])
    assert books.states == {"stored": 13, "moderated": 4, "failed": 1}
    assert saved.document["saved"] == f"saved/{PAGE}"
    assert wrong(seen) == []
    assert len(seen.images) == 13 * 2 + 4
    assert "<script>alert('script')</script>" in seen.text


def test_a_page_that_misbehaves_is_found_out(browser: Browser, tmp_path: Path) -> None:
    page = tmp_path / "control.html"
    page.write_text(
        """<!doctype html><title>control</title>
        <meta http-equiv="Content-Security-Policy" content="style-src 'none'">
        <style>p { color: red }</style>
        <p onclick="alert('clicked')">Here.</p>
        <img src="data:image/png;base64,AAAA" alt="">
        <img src="http://127.0.0.1:9/pixel.png" alt="">
        <svg width="3000" height="5"></svg>
        <script>alert('hello'); console.error('a complaint'); throw new Error('a mistake')</script>""",
        encoding="utf-8",
    )

    seen = browser.look(page)

    assert seen.dialogs == ["alert: hello", "alert: clicked"]
    assert any("a complaint" in text for text in seen.said)
    assert any(text.startswith("exception: ") for text in seen.said)
    assert any("Content Security Policy" in text for text in seen.said)
    assert seen.asked == ["http://127.0.0.1:9/pixel.png"]
    assert [natural for natural, _ in seen.images] == [0, 0]
    assert seen.overflow > 1000
    assert {"<script>", "picture 0 is not shown"} <= set(wrong(seen))
