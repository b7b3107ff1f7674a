"""Draws `docs/benchmarks.md` and its pictures from the results: `make docs` writes them, a test holds them to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bench.goals import NEVER, Book, goals, millis, percent, plain, said, whole
from bench.plots import bars, lines
from bench.results import Measured, read
from bench.scenarios import SCENARIOS, SMALL

PICTURES = "benchmarks"

HEAD = """# Benchmarks

Drawn from `bench/results/*.json` by `make docs`. `make bench` measures them (hours), `make bench-quick` says less
in some minutes.

Retouch and what a user would write instead do the same work in turn (A B A B …): the same pictures out of the same
SeaweedFS, the same simulated API (with the same seed the n-th submission takes equally long), results into the same
bucket, real Redis. The rivals are in `bench/rivals/`: the *script* is asyncio and aiohttp with a semaphore and a poll
every half second, pictures loaded before the slot is taken and results fetched after it is free; *celery-blocking* is
plain prefork with a process for each slot; *celery-countdown* polls by retries. None of them survives being killed.

- **Slot use** is counted by the API's own ledger, from the first moment in which all slots were busy to the last
  submission: tasks in flight, integrated, over the slots.
- **Start to finish** goes from the command (`retouch run`; the script's start) to its end, when everything is stored
  and, with Retouch, the report is written. Workers stand ready, since they are a service.
- **CPU** is that of all processes of the entrant, the command included, as the kernel counted it; Redis and SeaweedFS
  stand apart.
- **Redis commands** are those that Redis counted itself, inside scripts too (`INFO commandstats`), of Celery's as of
  ours, from the command to its end. **Sent** are those that come from clients (`MONITOR`, scripts apart): what a
  network and an event loop see.
- **Seen** is how long after a task's end its poll said so; **stored** how long after it the result was in the bucket.
- Batches of a million rows, for Redis's memory, are cut off after the last mark. **Growth** below 10 bytes a
  row is none.
- A table says of which day it is: those of different days are of different code.
- **Others** is how many cores were busy meanwhile with nothing of this run: where it is not near 0, the machine was
  shared, and CPU and times say little by themselves.
"""

FIGURES: tuple[tuple[str, str, bool, Callable[[float], str]], ...] = (
    ("slot use", "slot_use", False, percent),
    ("start to finish (s)", "seconds", False, plain),
    ("edits/s", "edits_a_second", False, plain),
    ("rows/s", "rows_a_second", False, whole),
    ("the whole command (s)", "command_s", False, plain),
    ("its CPU (s)", "command_cpu_s", False, plain),
    ("rows that ended, a second", "ended_a_second", False, plain),
    ("polls an edit", "polls", True, plain),
    ("429s", "refused_429", False, plain),
    ("CPU an edit (ms)", "cpu_s", True, millis),
    ("of it the workers (ms)", "cpu_lasting_s", True, millis),
    ("Redis CPU an edit (ms)", "redis_cpu_s", True, millis),
    ("Redis commands an edit", "redis_commands", True, plain),
    ("of them sent by clients", "sent_commands", True, plain),
    ("seen, p50 (s)", "seen_p50_s", False, plain),
    ("seen, p99 (s)", "seen_p99_s", False, plain),
    ("stored, p50 (s)", "stored_p50_s", False, plain),
    ("stored, p99 (s)", "stored_p99_s", False, plain),
    ("memory of the largest process (MB)", "rss_mb", False, plain),
    ("processes", "processes", False, plain),
    ("submit, to the open batch (s)", "planned_s", False, plain),
    ("Redis memory, the most (MB)", "redis_most_mb", False, plain),
    ("its growth an edit (KB)", "redis_slope_kb", False, plain),
    ("from `submit` to the first slot (s)", "first_slot_s", False, plain),
    ("others (cores)", "others_cores", False, plain),
)


def pages() -> dict[str, str]:
    """Return the page and its pictures, by their names in `docs/`."""
    book = {s.name: found for s in SCENARIOS if (found := read(s.name)) is not None}
    pictures = _pictures(book)
    parts = [HEAD, _goals(book)]
    for scenario in SCENARIOS:
        measured = book.get(scenario.name)
        parts.append(f"## {scenario.title}\n\n{'Not measured yet.' if measured is None else _scenario(measured)}\n")
        parts += [f"![{name}]({path})\n" for path, (of, name, _) in pictures.items() if of == scenario.name]
    return {"benchmarks.md": "\n".join(parts)} | {path: text for path, (_, _, text) in pictures.items()}


def _goals(book: Book) -> str:
    head = "## The goals\n\n| what | goal | Retouch | the script | met |\n|---|---|---|---|---|\n"
    words = {True: "yes", False: "**no**", None: "-"}
    rows = [f"| {g.what} | {g.goal} | {g.ours} | {g.script} | {words[g.met]} |" for g in goals(book)]
    return head + "\n".join(rows) + "\n"


def _scenario(measured: Measured) -> str:
    names = [name for name in measured.scenario.entrants if measured.of(name)]
    head = "| | " + " | ".join(names) + " |\n|---|" + "---|" * len(names) + "\n"
    rows = []
    for label, figure, an_edit, form in FIGURES:
        cells = [said(measured.spread(name, figure, an_edit=an_edit), form) for name in names]
        if set(cells) != {NEVER}:
            rows.append(f"| {label} | " + " | ".join(cells) + " |")
    return f"{_about(measured)}\n\n{head}" + "\n".join(rows)


def _about(measured: Measured) -> str:
    machine, runs = measured.machine, len(measured.of(measured.runs[0]["entrant"]))
    form = "medians (least to most)" if runs > 1 else "no medians"
    form = "the quick form, which proves nothing" if measured.quick else form
    software = ", ".join(f"{name} {machine[name]}" for name in ("python", "celery", "redis_server", "httpx", "aiohttp"))
    return (
        f"{measured.scenario.edits:,} rows, n = {runs} each, {form}; {measured.day}, {machine['cores']} cores "
        f"({machine['cpu']}), {machine['memory_gb']} GB; {software}."
    )


def _pictures(book: Book) -> dict[str, tuple[str, str, str]]:
    """Return the pictures: path, then the scenario, the words for who cannot see it, and the SVG."""
    drawn = {}
    for name in ("slots", "upload", "mixed"):
        if (measured := book.get(name)) is not None:
            series = {each: measured.of(each)[0]["curve"] for each in measured.scenario.entrants if measured.of(each)}
            title = f"Tasks in flight, of {measured.scenario.slots} slots"
            text = lines(title, "seconds from the first submission", "tasks in flight", series)
            drawn[f"{PICTURES}/{name}.svg"] = (name, title, text)
    for figure, title, scale in (
        ("cpu_s", "CPU an edit (ms)", 1000.0),
        ("redis_commands", "Redis commands an edit", 1.0),
    ):
        for name in ("slots", "workers"):
            values = _medians(book.get(name), figure, scale)
            if values:
                drawn[f"{PICTURES}/{name}-{figure}.svg"] = (name, title, bars(title, title, values))
    held = {name: book[name].runs[0]["redis_mb"] for name in ("memory", "unchanged") if name in book}
    if held:
        title = "Redis memory beside the rows that have ended (MB)"
        drawn[f"{PICTURES}/memory.svg"] = (next(iter(held)), title, lines(title, "rows", "MB", held))
    if rates := _rates(book):
        title = "Edits a second of one process on one core, 1 s tasks, 256 px results"
        drawn[f"{PICTURES}/rates.svg"] = ("core", title, lines(title, "slots", "edits a second", rates))
    return drawn


def _medians(measured: Measured | None, figure: str, scale: float) -> Mapping[str, float]:
    if measured is None:
        return {}
    found = {name: measured.spread(name, figure, an_edit=True) for name in measured.scenario.entrants}
    return {name: each.median * scale for name, each in found.items() if each is not None}


def _rates(book: Book) -> dict[str, list[tuple[float, float]]]:
    """Return edits a second against slots, where more than one number of slots was tried."""
    found: dict[str, list[tuple[float, float]]] = {}
    for scenario in (s for s in SCENARIOS if s.one_core and s.result == SMALL):
        for name in scenario.entrants if scenario.name in book else ():
            if (each := book[scenario.name].spread(name, "edits_a_second")) is not None:
                found.setdefault(name, []).append((float(scenario.slots), each.median))
    return {name: sorted(points) for name, points in found.items() if len(points) > 1}
