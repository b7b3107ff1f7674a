"""How a batch looks while it is followed: a live panel on a terminal, now and then a plain line anywhere else.

Everything that came from outside is shown as plain text: a batch's name is no markup.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from jobs.job import FINAL, State
from jobs.reasons import REASONS
from jobs.report.wording import counted, dollars, duration, moment, shown
from jobs.shares import Priority

SIMULATED = "SIMULATED: no API is asked, no money is spent"
LINE_S = 5.0
"""Seconds between two plain lines, at least."""

_COLOURS: Mapping[str, str] = {
    "stored": "green",
    "unchanged": "cyan",
    "moderated": "yellow",
    "failed": "red",
    "cancelled": "magenta",
    "in_doubt": "bright_red",
    "kept": "bright_blue",
    "ready": "bright_blue",
    "running": "blue",
    "submitting": "blue",
    "queued": "bright_black",
}
_WORDS = {"in_doubt": "in doubt"}
_BAR = 60

Document = Mapping[str, Any]


def states(found: Document) -> list[tuple[str, int]]:
    """Return the states that rows are in, with how many, ended ones first."""
    return [(state, found["counts"][state]) for state in _COLOURS if found["counts"].get(state)]


def money(found: Document) -> str:
    """Return what was spent, is expected, and may be spent."""
    spent, expected = dollars(found["cost_usd"]), dollars(found["expected_usd"])
    return f"spent {spent}, expected {expected}, ceiling {dollars(found['ceiling_usd'])}"


def standing(found: Document) -> str:
    """Return the state, with why and what to do where a batch waits."""
    if not found["reason"]:
        return str(found["state"])
    reason = REASONS.get(found["reason"])
    sentence = found.get("detail") or (reason.sentence if reason else "")
    why = f"({found['reason']}): {sentence}" if sentence else f"({found['reason']})"
    return f"{found['state']} {why}"


def urgency(found: Document) -> str:
    """Return priority and deadline of a batch that has not ended, as far as they are not the usual ones."""
    if found["state"] in ("done", "cancelled"):
        return ""
    level, by = found.get("priority", ""), found.get("by")
    return ", ".join(filter(None, (level if level != Priority.NORMAL else "", f"by {moment(by)}" if by else "")))


def needs(found: Document) -> list[str]:
    """Return what needs a person, as whole sentences."""
    said = list(found.get("warnings", ()))
    if found["state"] == "paused":
        reason = REASONS.get(found["reason"])
        if found.get("detail"):
            said.append(f"Paused: {found['detail']}")
        elif reason is not None:
            said.append(f"Paused: {reason.sentence} ({reason.acts}; `retouch resume {shown(found['batch'])}`)")
    if found["held"] and found["reason"] != "doubt":  # of which it is said already
        said.append(f"{counted(found['held'], 'row')} held in doubt: {REASONS['in_doubt'].sentence}")
        decide = "`retouch retry {0} --in-doubt` buys them again, `retouch cancel {0} --in-doubt` gives them up"
        said.append(decide.format(shown(found["batch"])))
    twice = found.get("duplicates")
    if twice and twice["tasks"]:
        said.append(f"{counted(twice['tasks'], 'task')} paid twice for certain: {dollars(twice['cost_usd'])}")
    said += [
        f"{counted(each['rows'], 'row')} {each['code']}: {each['sentence']} ({each['acts']})"
        for each in found["reasons"]
        if each["acts"] != "nobody"
    ]
    return said[:8]


def pace(found: Document) -> str:
    """Return slots, images per minute and the time left, as far as they are known."""
    live = found.get("live")
    if not live:
        return ""
    parts = [urgency(found), f"slots {live['slots_used']}/{live['slots']}", counted(live["workers"], "worker")]
    if live["images_per_minute"]:
        parts.append(f"{live['images_per_minute']:g} images/min")
    if live["eta_s"]:
        parts.append(f"about {duration(live['eta_s'])} left")
    return ", ".join(filter(None, parts))


def ended(found: Document) -> int:
    """Return how many rows have ended."""
    return sum(found["counts"][state] for state in FINAL)


def line(found: Document) -> str:
    """Return the batch as one plain line."""
    rows = ", ".join(f"{count:,} {_WORDS.get(state, state)}" for state, count in states(found))
    parts = [f"{ended(found):,}/{found['rows']:,} rows: {rows or 'none'}", pace(found), money(found)]
    if found["state"] not in ("open", "done"):
        parts.insert(0, standing(found))
    return ("SIMULATED  " if found["simulated"] else "") + "; ".join(part for part in parts if part)


def panel(found: Document) -> Group:
    """Return the batch as it looks on a terminal."""
    why = f" ({found['reason']})" if found["reason"] else ""
    head = Text.assemble((shown(found["batch"]), "bold"), f"  {found['state']}{why}")
    parts: list[Text] = []
    if found["simulated"]:
        parts.append(Text(SIMULATED, style="bold yellow"))
    parts += [head, Text.assemble(bar(found), f"  {ended(found):,}/{found['rows']:,} rows")]
    rows = Text()
    for state, count in states(found):
        rows.append(f"{count:,} {_WORDS.get(state, state)}  ", style=_COLOURS[state])
    parts += [rows, Text("  ".join(text for text in (pace(found), money(found)) if text))]
    parts += [Text(f"! {text}", style="yellow") for text in needs(found)]
    return Group(*parts)


def bar(found: Document, width: int = _BAR) -> Text:
    """Return a bar with a stretch for each state; a state with any row has at least one cell while there is room."""
    total = max(found["rows"], 1)
    drawn, used, rows_before = Text(), 0, 0
    for state, count in states(found):
        rows_before += count
        end = min(round(rows_before * width / total), width)
        end = max(end, min(used + 1, width))
        cell = "░" if state == State.QUEUED else "█" if state in FINAL else "▒"
        drawn.append(cell * (end - used), style=_COLOURS[state])
        used = end
    return drawn


class LiveScreen:
    """A panel that is drawn over itself, as a context manager; the last look stays on the screen."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def show(self, found: Document) -> None:
        """Draw the batch."""
        self._live.update(panel(found), refresh=True)

    def say(self, text: str) -> None:
        """Write a line above the panel."""
        self._console.print(Text(text))


class LineScreen:
    """Plain lines, as a context manager: one when something changed, at most one in 5 s, a new state at once."""

    def __init__(self, write: Callable[[str], None], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._clock = clock
        self._at = -LINE_S
        self._told = ""
        self._standing = ""
        self._needs: list[str] = []
        self._last: Document | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._last is not None and _changing(self._last) != self._told:
            self._write(line(self._last))

    def show(self, found: Document) -> None:
        """Write the batch if there is something new and the last line is old enough."""
        self._last = found
        for text in needs(found):
            if text not in self._needs and text in found.get("warnings", ()):
                self._write(text)
        self._needs = needs(found)
        moved = standing(found) != self._standing
        if not moved and (_changing(found) == self._told or self._clock() - self._at < LINE_S):
            return
        self._standing, self._told, self._at = standing(found), _changing(found), self._clock()
        self._write(line(found))

    def say(self, text: str) -> None:
        """Write one line at once."""
        self._write(text)


class NoScreen:
    """Shows nothing, as a context manager: for `--quiet`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def show(self, found: Document) -> None:
        """Show nothing."""

    def say(self, text: str) -> None:
        """Say nothing."""


def _changing(found: Document) -> str:
    """Return what has to differ for another line: pace and time left always do a little."""
    return f"{found['state']} {found['reason']} {states(found)}"
