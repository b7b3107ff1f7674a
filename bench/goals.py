"""The goals, each beside what was measured: a goal that is missed, or not measured, says so."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import le

from bench.figures import Spread
from bench.results import Measured
from bench.scenarios import PLAN, RETOUCH, SCRIPT, retouch

Book = Mapping[str, Measured]
"""What was measured, by the scenario's name."""

NEVER = "not measured"


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """One line of the table. `met` says None where something is missing."""

    what: str
    goal: str
    ours: str
    script: str
    met: bool | None


def goals(book: Book) -> list[Goal]:
    """Return every goal as it stands."""
    return [
        _one(
            book, "slots", "slot use, 24 slots, 7 s ± 15 % an edit", "≥ 98 %", "slot_use", lambda s: s >= 0.98, percent
        ),
        _one(book, "slots", "polls an edit", "≤ 8", "polls", lambda n: n <= 8, plain, an_edit=True),
        _one(book, "slots", "429s in a run", "0", "refused_429", lambda n: n == 0, plain),
        _one(book, "upload", "slot use with 400 KB up at 8 Mbit/s", "≥ 97 %", "slot_use", lambda s: s >= 0.97, percent),
        _beside(book, "slots", "start to finish, storage included (s)", "≤ the script's", "seconds", 1.0, plain),
        *(
            _beside(book, name, what, "≤ 2 × the script's", "cpu_s", 2.0, millis, an_edit=True)
            for name, what in (
                ("slots", "CPU an edit (ms)"),
                ("long", "CPU an edit, 3 s each, 1,920 rows (ms)"),
            )
        ),
        _one(
            book,
            "traffic",
            "Redis commands sent an edit",
            "≤ 40",
            "sent_commands",
            lambda n: n <= 40,
            plain,
            an_edit=True,
        ),
        _one(book, "core", "edits/s on one core, 500 slots", "≥ 100", "edits_a_second", lambda r: r >= 100, plain),
        _one(book, "core", "finished to stored there, p99 (s)", "< 2", "stored_p99_s", lambda s: s < 2, plain),
        *_scaled_out(book),
        _one(book, "slots", "worker's memory, 24 in flight (MB)", "< 150", "rss_mb", lambda m: m < 150, plain),
        _one(book, "core", "worker's memory, 500 in flight (MB)", "< 400", "rss_mb", lambda m: m < 400, plain),
        *(
            _one(
                book,
                name,
                f"rows planned a second, {cores}",
                f"≥ {least:,}",
                "rows_a_second",
                partial(le, least),
                whole,
                entrant=PLAN,
            )
            for name, cores, least in (("plan", "two cores", 100_000), ("plan-one-core", "one core", 60_000))
        ),
        _one(book, "plan", "memory of `plan` (MB)", "< 200", "rss_mb", lambda m: m < 200, plain, entrant=PLAN),
        _one(book, "memory", "Redis beside edits, the most (MB)", "< 64", "redis_most_mb", lambda m: m < 64, plain),
        _one(book, "memory", "its growth an edit (KB)", "none", "redis_slope_kb", lambda kb: kb < 0.01, plain),
        _one(book, "unchanged", "Redis beside copies, the most (MB)", "< 64", "redis_most_mb", lambda m: m < 64, plain),
        _one(book, "unchanged", "its growth a copy (KB)", "none", "redis_slope_kb", lambda kb: kb < 0.01, plain),
        _one(
            book,
            "urgent",
            "ten urgent rows beside a big batch: from `submit` to the first slot (s)",
            "< 7",
            "first_slot_s",
            lambda s: s < 7,
            plain,
        ),
        _one(book, "mixed", "slot use sorted by model", "≥ 95 %", "slot_use", lambda s: s >= 0.95, percent),
    ]


def percent(value: float) -> str:
    """Return a share as a percentage."""
    return f"{100 * value:.1f} %"


def millis(value: float) -> str:
    """Return seconds as milliseconds."""
    return f"{1000 * value:.1f}"


def plain(value: float) -> str:
    """Return a figure with three digits that count, a whole number whole."""
    return f"{value:.0f}" if value >= 100 or value == round(value) else f"{value:.3g}"


def whole(value: float) -> str:
    """Return a large figure to three digits that count, with its thousands apart."""
    return f"{round(value, 2 - math.floor(math.log10(value))):,.0f}"


def said(found: Spread | None, form: Callable[[float], str]) -> str:
    """Return a figure with how far its runs lie apart, where there are several."""
    if found is None:
        return NEVER
    if found.n == 1:
        return form(found.median)
    return f"{form(found.median)} ({form(found.least)} to {form(found.most)})"


def _figure(book: Book, scenario: str, entrant: str, figure: str, *, an_edit: bool) -> Spread | None:
    measured = book.get(scenario)
    return None if measured is None else measured.spread(entrant, figure, an_edit=an_edit)


def _one(
    book: Book,
    scenario: str,
    what: str,
    goal: str,
    figure: str,
    met: Callable[[float], bool],
    form: Callable[[float], str],
    *,
    an_edit: bool = False,
    entrant: str = RETOUCH,
) -> Goal:
    ours = _figure(book, scenario, entrant, figure, an_edit=an_edit)
    script = _figure(book, scenario, SCRIPT, figure, an_edit=an_edit)
    judged = None if ours is None else met(ours.median)
    return Goal(what=what, goal=goal, ours=said(ours, form), script=said(script, form), met=judged)


def _beside(
    book: Book,
    scenario: str,
    what: str,
    goal: str,
    figure: str,
    factor: float,
    form: Callable[[float], str],
    *,
    an_edit: bool = False,
) -> Goal:
    ours = _figure(book, scenario, RETOUCH, figure, an_edit=an_edit)
    script = _figure(book, scenario, SCRIPT, figure, an_edit=an_edit)
    judged = None if ours is None or script is None else ours.median <= factor * script.median
    return Goal(what=what, goal=goal, ours=said(ours, form), script=said(script, form), met=judged)


def _scaled_out(book: Book) -> list[Goal]:
    """Return what may not change with the number of workers."""
    flat, lower = "within 10 %", "not lower with more"
    return [
        _over_workers(book, "CPU an edit with 1, 2, 4 workers (ms)", flat, "cpu_s", millis, _within, an_edit=True),
        _over_workers(
            book, "Redis commands an edit with 1, 2, 4 workers", flat, "redis_commands", plain, _within, an_edit=True
        ),
        _over_workers(book, "slot use with 1, 2, 4 workers", lower, "slot_use", percent, _no_lower, an_edit=False),
    ]


def _over_workers(
    book: Book,
    what: str,
    goal: str,
    figure: str,
    form: Callable[[float], str],
    met: Callable[[Sequence[float]], bool],
    *,
    an_edit: bool,
) -> Goal:
    found = [_figure(book, "workers", retouch(n), figure, an_edit=an_edit) for n in (1, 2, 4)]
    medians = [each.median for each in found if each is not None]
    all_there = len(medians) == len(found)
    ours = ", ".join(form(m) for m in medians) if all_there else NEVER
    return Goal(what=what, goal=goal, ours=ours, script="", met=met(medians) if all_there else None)


def _within(medians: Sequence[float], share: float = 0.1) -> bool:
    """Whether none of the others is more than a tenth away from the first."""
    return all(abs(each - medians[0]) <= share * medians[0] for each in medians[1:])


def _no_lower(shares: Sequence[float], doubt: float = 0.005) -> bool:
    """Whether none of the others lies under the first by more than runs of the same kind differ."""
    return min(shares) >= shares[0] - doubt
