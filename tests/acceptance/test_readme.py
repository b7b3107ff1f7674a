"""What the pages promise: commands that are shown with their output are run, names that are given exist.

In a fenced `console` block a line that begins with `$ ` is a command and the lines under it are its output; `…` stands
for anything within a line, and alone on a line for any lines.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

import pytest
import typer
from pydantic import BaseModel

from config.settings import Settings
from producers.cli.app import app
from producers.cli.voice import DEBUG
from running.programs import ROOT
from tests.acceptance.terminal import RETOUCH, person_env

PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").glob("*.md")],
    key=lambda page: page.relative_to(ROOT).as_posix(),
)
ANY = "…"
RUN_S = 280.0
"""The demo takes about a minute on a machine with nothing else to do."""

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_PROGRESS = re.compile(r"^(SIMULATED  )?\d+/\d+ rows: .*; slots \d+/\d+, ")


@dataclass(frozen=True, slots=True)
class Shown:
    """A command as a page shows it, with its output."""

    page: str
    command: str
    output: str


def blocks(page: Path, *kinds: str) -> Iterator[str]:
    """Yield the fenced blocks of these kinds."""
    for kind, text in _FENCE.findall(page.read_text(encoding="utf-8")):
        if kind in kinds:
            yield text


def shown_in(page: Path) -> Iterator[Shown]:
    """Yield every command of the page's `console` blocks."""
    for text in blocks(page, "console"):
        assert text.startswith("$ "), f"{page.name}: a console block begins with a command"
        for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            yield Shown(page.name, command.strip(), output)


def pattern(line: str) -> str:
    """Return the expression for one line of shown output.

    A line of progress is a snapshot of something that runs: its figures and states are whatever they were just then,
    but for the totals.
    """
    if _PROGRESS.match(line):
        line = re.sub(r"\d+(/\d+)", rf"{ANY}\1", line)
        line = re.sub(r"(?<=rows: )[^;]*", ANY, line)
    return re.escape(line.rstrip()).replace(re.escape(ANY), "[^\n]*") + "\n"


def difference(shown: str, printed: str) -> str:
    """Return the first shown line that what was printed does not have in its place; empty if all is as shown."""
    printed = "".join(f"{line.rstrip()}\n" for line in printed.splitlines())
    so_far = ""
    for line in shown.splitlines():
        so_far += "(?:[^\n]*\n)*?" if line.strip() == ANY else pattern(line)
        if not re.match(so_far, printed):
            return line
    return "" if re.fullmatch(so_far, printed) else "(more is printed at the end)"


def arguments_of(command: str) -> list[str] | None:
    """Return what `retouch` is given by a shown command; None where it runs something that is not to be run here."""
    words = shlex.split(command)
    if words[:1] == ["retouch"]:
        return words[1:]
    assert words[0] == "make", f"this test does not know how to run {command!r}"
    if words[1:] != ["demo"]:
        return None  # `make test` shows what has this test run
    dry = ["make", "--dry-run", "--no-print-directory", "--old-file=.venv/.installed", "demo"]
    (line,) = subprocess.run(dry, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    program, *arguments = shlex.split(line)
    assert program == ".venv/bin/retouch"
    return arguments


def printed_by(arguments: list[str], folder: Path) -> str:
    """Run `retouch` in `folder`, where its output is no terminal, and return all that it prints."""
    done = subprocess.run(
        [*RETOUCH, *arguments],
        cwd=folder,
        env=person_env(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=RUN_S,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.timeout(2 * RUN_S)
def test_the_commands_of_the_readme_print_what_it_shows_and_the_demo_is_free_the_second_time(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    shown = list(shown_in(ROOT / "README.md"))
    runnable = [(each, arguments) for each in shown if (arguments := arguments_of(each.command)) is not None]

    for each, arguments in runnable:
        printed = printed_by(arguments, tmp_path)
        differs = difference(each.output, printed)
        assert not differs, f"`{each.command}` does not print {differs!r} there; it prints:\n{printed}"
    demo = arguments_of("make demo")
    assert demo is not None
    again = printed_by(demo, tmp_path)

    assert "make demo" in [each.command for each, _ in runnable]
    assert not difference(f"{ANY}\n31 rows: 31 unchanged\nSpent $0.00 {ANY}\n{ANY}\n", again), again
    assert "Images: retouch-out/catalogue/ (0 new, 31 there already)" in again
    assert (tmp_path / "retouch-out" / "catalogue" / "report.html").is_file()


def test_output_that_is_not_as_shown_is_found() -> None:
    shown = "begun\n…\n3 rows: 3 stored\nSpent $… in all\n"

    assert difference(shown, "begun\na\nb\n3 rows: 3 stored  \nSpent $0.04 in all\n") == ""
    assert difference(shown, "begun\n3 rows: 3 stored\nSpent $0.04 in all\n") == ""
    assert difference(shown, "begun\n3 rows: 2 stored\nSpent $0.04 in all\n") == "3 rows: 3 stored"
    assert difference(shown, "begun\n3 rows: 3 stored\nand\nSpent $0.04 in all\n") == "Spent $… in all"
    assert difference(shown, "begun\n3 rows: 3 stored\nSpent $0.04 in all\nand\n") == "(more is printed at the end)"
    progress = "SIMULATED  18/31 rows: 18 stored, 13 running; slots 13/24, 1 worker, …\n"
    assert difference(progress, "SIMULATED  2/31 rows: 2 stored, 29 queued; slots 2/24, 1 worker, 7 images\n") == ""
    assert difference(progress, "SIMULATED  2/30 rows: 2 stored, 28 queued; slots 2/24, 1 worker, 7 images\n") != ""


# -- names


@cache
def commands() -> dict[str, Any]:
    """Return the commands of the command line, by name."""
    return dict(cast("Any", typer.main.get_command(app)).commands)


@cache
def variables() -> frozenset[str]:
    """Return every environment variable that means something."""
    found = {DEBUG}
    for name, field in Settings.model_fields.items():
        part = field.annotation
        if isinstance(part, type) and issubclass(part, BaseModel):
            found |= {f"RETOUCH_{name}__{inner}".upper() for inner in part.model_fields}
        else:
            found.add(f"RETOUCH_{name}".upper())
    return frozenset(found)


def options_of(command: str) -> set[str]:
    """Return the options of a command, and those of the commands under it."""
    found = commands()[command]
    every = [found, *getattr(found, "commands", {}).values()]
    return {name for each in every for one in each.params for name in (*one.opts, *one.secondary_opts)}


def page_id(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_file_that_a_page_links_to_exists(page: Path) -> None:
    targets = [target.partition("#")[0] for target in _LINK.findall(page.read_text(encoding="utf-8"))]
    local = [target for target in targets if target and "://" not in target]

    assert [target for target in local if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_source_file_that_a_page_names_exists(page: Path) -> None:
    named = [code for code in _CODE.findall(page.read_text(encoding="utf-8")) if re.fullmatch(r"\w+(/\w+)+\.\w+", code)]
    sources = [code for code in named if code.rpartition(".")[2] in ("py", "toml", "md", "lua", "j2")]

    assert [code for code in sources if not (ROOT / code).is_file()] == []


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_variable_that_a_page_names_is_a_setting(page: Path) -> None:
    named = set(re.findall(r"\bRETOUCH_[A-Z0-9_]*[A-Z0-9]", page.read_text(encoding="utf-8")))

    assert sorted(named - variables()) == []


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_command_and_target_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    spoken = "\n".join([*_CODE.findall(text), *blocks(page, "console", "bash", "sh")])
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)

    named = set(re.findall(r"(?:^|[\s$;&])retouch ([a-z]+)", spoken, re.MULTILINE))
    made = set(re.findall(r"(?:^|\$ )make ([a-z]+)", spoken, re.MULTILINE))

    assert sorted(named - commands().keys()) == []
    assert sorted(made - set(targets)) == []


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_option_of_a_shown_command_is_one_of_its(page: Path) -> None:
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [*_CODE.findall(text), *"\n".join(_FENCE.sub(r"\2", text).splitlines()).splitlines()]
    wrong = []
    for line in lines:
        found = re.match(r"(?:\$ )?retouch ([a-z]+)(.*)", line)
        if found and found.group(1) in commands():
            given = set(re.findall(r"(?<!\S)\[?(--[a-z-]+)", found.group(2)))
            wrong += [f"{found.group(1)} {option}" for option in given - options_of(found.group(1))]

    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_option_that_a_page_names_alone_is_one_of_some_command(page: Path) -> None:
    known = {option for command in commands() for option in options_of(command)}
    named = {code.split()[0] for code in _CODE.findall(page.read_text(encoding="utf-8")) if code.startswith("--")}

    assert sorted(named - known) == []
