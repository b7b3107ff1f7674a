"""`make mutants`: how many small mistakes in the modules that decide about money their tests notice.

`python -m tests.mutants jobs.retry` tries one module alone.

Each mutant is tried in a process of its own, forked from one in which the libraries are loaded already.
"""

from __future__ import annotations

import ast
import importlib
import importlib.abc
import importlib.util
import os
import resource
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from itertools import islice
from pathlib import Path
from types import ModuleType

from tests.mutants.mutate import Mutant, mutants

ROOT = Path(__file__).parents[2]
LEAST = 0.90
LONGEST_S = 60
"""A mutant that keeps the tests reckoning for ever is noticed, too: so many seconds of a processor's time, so that a
machine that is busy elsewhere notices nothing."""
STUCK_S = 1800
"""One that waits for ever ends after so many seconds of the clock."""

TARGETS: Mapping[str, Sequence[str]] = {
    "jobs.states": ("tests/unit/test_states.py", "tests/unit/test_docs.py"),
    "jobs.retry": ("tests/unit/test_retry.py",),
    "workers.settle": ("tests/unit/test_settle.py", "tests/unit/test_intents.py"),
}
LIBRARIES = (
    *("pytest", "hypothesis", "hypothesis.strategies", "hypothesis.stateful"),
    *("httpx", "pydantic_settings", "celery", "PIL.Image", "structlog", "boto3"),
)


@dataclass(frozen=True, slots=True)
class Survivor:
    """A mistake that no test noticed."""

    module: str
    line: int
    what: str


class Broken(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives one module with a mistake in it to whoever imports it."""

    def __init__(self, name: str, path: Path, tree: ast.Module) -> None:
        self._name, self._path, self._tree = name, path, tree

    def find_spec(self, fullname: str, path: object, target: ModuleType | None = None) -> ModuleSpec | None:
        """Say that the module is ours."""
        if fullname != self._name:
            return None
        return importlib.util.spec_from_file_location(fullname, self._path, loader=self)

    def exec_module(self, module: ModuleType) -> None:
        """Run the module with its mistake."""
        exec(compile(self._tree, str(self._path), "exec"), module.__dict__)


class Trial:
    """The tests of a module, under way in a process of their own in which the module is as `tree` says."""

    def __init__(self, module: str, tree: ast.Module, tests: Sequence[str]) -> None:
        self._until = time.monotonic() + STUCK_S
        self._child = os.fork()
        if self._child == 0:
            _try(module, tree, tests)

    def noticed(self) -> bool | None:
        """Return whether they fail; None while nobody knows."""
        done, status = os.waitpid(self._child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status) != 0
        if time.monotonic() > self._until:
            os.kill(self._child, signal.SIGKILL)
            os.waitpid(self._child, 0)
            return True
        return None


def trials(module: str, mutants: Iterable[Mutant], tests: Sequence[str]) -> Iterator[tuple[Mutant, bool]]:
    """Yield every mutant and whether the tests notice it; as many are tried at once as there are processors."""
    at_once = os.cpu_count() or 1
    waiting, running = iter(mutants), list[tuple[Mutant, Trial]]()
    while True:
        running += [(mutant, Trial(module, mutant.tree, tests)) for mutant in islice(waiting, at_once - len(running))]
        if not running:
            return
        said = [(mutant, trial, trial.noticed()) for mutant, trial in running]
        yield from ((mutant, noticed) for mutant, _, noticed in said if noticed is not None)
        running = [(mutant, trial) for mutant, trial, noticed in said if noticed is None]
        time.sleep(0.01)


def _try(module: str, tree: ast.Module, tests: Sequence[str]) -> None:
    """Run the tests in this process, which ends with their answer."""
    code = 99
    try:
        resource.setrlimit(resource.RLIMIT_CPU, (LONGEST_S, LONGEST_S))
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        sys.meta_path.insert(0, Broken(module, path_of(module), tree))
        pytest = importlib.import_module("pytest")
        without = ("no:randomly", "no:cacheprovider", "no:xdist", "no:anyio")
        plain = ["-x", "-q", "--assert=plain", "--timeout=0", *(f"-p{plugin}" for plugin in without)]
        code = int(pytest.main([*plain, *tests]))
    finally:
        os._exit(code)


def path_of(module: str) -> Path:
    """Return the file of a module."""
    return ROOT / f"{module.replace('.', '/')}.py"


def main(chosen: Sequence[str]) -> int:
    """Try every mutant of the chosen modules and return 0 if enough of them were noticed in each."""
    os.chdir(ROOT)
    for library in LIBRARIES:
        importlib.import_module(library)
    bad = 0
    for module in chosen:
        tests = TARGETS[module]
        source = path_of(module).read_text(encoding="utf-8")
        sound = Mutant(line=0, what="none", tree=ast.parse(source))
        if any(noticed for _, noticed in trials(module, [sound], tests)):
            _say(f"{module}: its tests fail without any mistake\n")
            return 2
        survivors, tried = [], 0
        for mutant, noticed in trials(module, mutants(source), tests):
            tried += 1
            if not noticed:
                survivors.append(Survivor(module, mutant.line, mutant.what))
        score = 1 - len(survivors) / tried
        _say(f"{module}: {tried - len(survivors)} of {tried} mistakes noticed, {score:.1%}\n")
        for survivor in survivors:
            _say(f"  {path_of(module).relative_to(ROOT)}:{survivor.line} {survivor.what}\n")
        bad += score < LEAST
    return 1 if bad else 0


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or list(TARGETS)))
