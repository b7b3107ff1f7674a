"""Renders `report.html`: one file that shows everything and can do nothing.

It has no script, no link and no address to load from, and a content security policy that would stop them if a cell
of somebody's manifest smuggled one in. Everything that is not the template's own text is escaped; the only markup
that is passed in is the style sheet, and the policy names its hash.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.job import State
from jobs.reasons import FLAGS
from jobs.report.sheet import Card
from jobs.report.wording import counted, dollars, duration, moment, shown

if TYPE_CHECKING:
    from jinja2 import Environment

_TILES = (
    (State.STORED, "stored"),
    (State.UNCHANGED, "unchanged"),
    (State.MODERATED, "moderated"),
    (State.FAILED, "failed"),
    (State.CANCELLED, "cancelled"),
    (State.IN_DOUBT, "held in doubt"),
)
_CHARGED = {"no": "not charged", "yes": "charged", "maybe": "may be charged"}


def write_page(
    path: Path, summary: Mapping[str, Any], sections: Iterable[tuple[str, Iterable[Card]]], *, cards: int
) -> None:
    """Write the page, card by card, to `path`.

    Args:
        path: the file to write.
        summary: `jobs.report.summary.summary`'s dict.
        sections: titles and their cards; read once, so a card's pictures are in memory only while it is written.
        cards: how many cards there are in all.
    """
    from markupsafe import Markup  # loaded, as Jinja is, by whoever writes a page: few do

    style = _file("report.css")
    page = _environment().from_string(_file("report.html.j2"))
    stream = page.stream(
        policy=policy(style),
        style=Markup(style),  # noqa: S704 - our own file, which no cell can reach
        summary=summary,
        tiles=_tiles(summary),
        bars=_bars(summary["counts"]),
        flags={FLAGS[flag]: rows for flag, rows in summary["flags"].items() if rows},
        charged=_CHARGED,
        sections=sections,
        cards=cards,
    )
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(stream)


def policy(style: str) -> str:
    """Return the content security policy of a page whose one style element holds exactly `style`."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode("ascii")
    return f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


@cache
def _environment() -> Environment:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "counted": counted,
        "dollars": dollars,
        "duration": duration,
        "moment": moment,
        "shown": shown,
    }
    return environment


@cache
def _file(name: str) -> str:
    return (resources.files("jobs.report") / name).read_text(encoding="utf-8")


def _tiles(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the headline figures: every way a row can end, and rows that are still on their way if there are any."""
    counts = summary["counts"]
    tiles = [{"tone": str(state), "label": label, "rows": counts[state]} for state, label in _TILES]
    left = summary["rows"] - sum(tile["rows"] for tile in tiles)
    return [*tiles, {"tone": "queued", "label": "still to do", "rows": left}] if left > 0 else tiles


def _bars(counts: Mapping[str, int]) -> list[dict[str, Any]]:
    """Return the parts of the bar under the headline, in thousandths of its width, none so thin as to vanish."""
    total = sum(counts.values())
    bars, start = [], 0.0
    for state, label in _TILES:
        if counts[state]:
            width = max(counts[state] / total * 1000, 4.0)
            bars.append(
                {
                    "tone": str(state),
                    "label": f"{counts[state]:,} {label}",
                    "x": f"{start:.2f}",
                    "width": f"{width:.2f}",
                }
            )
            start += width
    return bars
