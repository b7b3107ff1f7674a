"""How a batch looks on a terminal and in a log."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from jobs.job import State
from producers.cli.live import LINE_S, LineScreen, bar, line, needs, panel


def document(rows: int = 100, **given: Any) -> dict[str, Any]:
    counts = dict.fromkeys((str(state) for state in State), 0) | given.pop("counts", {})
    counts["queued"] = rows - sum(counts.values())
    return {
        "batch": "autumn-1",
        "state": "open",
        "reason": "",
        "rows": rows,
        "counts": counts,
        "held": 0,
        "reasons": [],
        "cost_usd": 1.2,
        "expected_usd": 4.0,
        "ceiling_usd": 5.0,
        "simulated": False,
        "live": {"slots_used": 3, "slots": 24, "workers": 1, "images_per_minute": 60.0, "eta_s": 90.0},
        "warnings": [],
        **given,
    }


def drawn(found: dict[str, Any]) -> str:
    console = Console(width=120, record=True, file=None, force_terminal=False)
    with console.capture() as captured:
        console.print(panel(found))
    return captured.get()


def test_the_panel_says_all_that_matters() -> None:
    text = drawn(document(counts={"stored": 40, "failed": 2}))

    for part in ("autumn-1", "42/100 rows", "40 stored", "2 failed", "slots 3/24", "60 images/min", "1 min 30 s left"):
        assert part in text
    assert "spent $1.20, expected $4.00, ceiling $5.00" in text


@pytest.mark.parametrize("show", [drawn, line])
def test_a_simulated_batch_says_so_everywhere(show: Any) -> None:
    assert "SIMULATED" in show(document(simulated=True))
    assert "SIMULATED" not in show(document())


@pytest.mark.parametrize("stored", [0, 1, 50, 99, 100])
def test_the_bar_is_always_as_wide_as_it_is(stored: int) -> None:
    assert len(bar(document(counts={"stored": stored}), width=40).plain) == 40


def test_rows_that_have_ended_are_told_from_those_at_the_api_without_colours() -> None:
    shown = bar(document(rows=40, counts={"stored": 10, "running": 10}), width=40)

    assert shown.plain == "█" * 10 + "▒" * 10 + "░" * 20


def test_a_single_failed_row_among_many_is_seen_in_the_bar() -> None:
    shown = bar(document(rows=1_000_000, counts={"stored": 500_000, "failed": 1}), width=40)

    assert "red" in {str(span.style) for span in shown.spans}


def test_markup_in_a_name_stays_text() -> None:
    assert "[red]x[/red]" in drawn(document(batch="[red]x[/red]"))


@pytest.mark.parametrize("show", [lambda found: " ".join(needs(found)), line])
def test_a_batch_that_waits_in_doubt_says_once_how_to_decide(show: Any) -> None:
    detail = "500 rows held in doubt: `retouch retry autumn-1 --in-doubt` buys them again."

    said = show(document(state="paused", reason="doubt", held=500, detail=detail))

    assert said.count("`retouch retry autumn-1 --in-doubt`") == 1
    assert "resume" not in said


def test_a_pause_says_who_does_what() -> None:
    said = needs(document(state="paused", reason="key"))

    assert any("`retouch resume autumn-1`" in text and "admin" in text for text in said)


def test_lines_come_at_most_every_five_seconds() -> None:
    lines: list[str] = []
    time = [0.0]
    screen = LineScreen(lines.append, clock=lambda: time[0])

    for stored in range(21):
        time[0] = stored * 0.5
        screen.show(document(counts={"stored": stored}))

    assert len(lines) == 1 + 10 / LINE_S


def test_nothing_new_is_no_line() -> None:
    lines: list[str] = []
    time = [0.0]
    screen = LineScreen(lines.append, clock=lambda: time[0])

    for second in range(60):
        time[0] = float(second)
        screen.show(document())

    assert len(lines) == 1


def test_a_new_state_is_told_at_once() -> None:
    lines: list[str] = []
    screen = LineScreen(lines.append, clock=lambda: 0.0)

    screen.show(document())
    screen.show(document(state="paused", reason="cap"))

    assert len(lines) == 2
    assert "money ceiling" in lines[1]


def test_a_warning_is_told_once() -> None:
    lines: list[str] = []
    screen = LineScreen(lines.append, clock=lambda: 0.0)

    for _ in range(3):
        screen.show(document(warnings=["No worker."]))

    assert lines.count("No worker.") == 1


def test_the_last_count_is_told_at_the_end() -> None:
    lines: list[str] = []
    with LineScreen(lines.append, clock=lambda: 0.0) as screen:
        screen.show(document())
        screen.show(document(counts={"stored": 100}))

    assert "100/100 rows" in lines[-1]


@pytest.mark.parametrize("show", [drawn, line])
@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"priority": "urgent", "by": None}, "urgent, slots 3/24"),
        ({"priority": "normal", "by": 1_800_000_000.0}, "by 2027-01-15 08:00 UTC, slots 3/24"),
        ({"priority": "low", "by": 1_800_000_000.0}, "low, by 2027-01-15 08:00 UTC, slots"),
    ],
)
def test_how_urgent_a_batch_is_is_said_where_it_is_not_the_usual(show: Any, given: dict[str, Any], text: str) -> None:
    assert text in show(document(**given))
    assert "normal" not in show(document(priority="normal", by=None))
