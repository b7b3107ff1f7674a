"""`make mutants`: how many small mistakes in the modules that decide about money their tests notice.

Each mutant is tried in a process of its own, forked from one in which the libraries are loaded already.
"""

from __future__ import annotations

import ast
import importlib
import importlib.abc
import importlib.util
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]
LEAST = 0.90
LONGEST_S = 120
"""A mutant that makes the tests run for ever is noticed, too."""

TARGETS: Mapping[str, Sequence[str]] = {
    "jobs.states": ("tests/unit/test_states.py", "tests/unit/test_docs.py"),
    "jobs.retry": ("tests/unit/test_retry.py",),
    "workers.settle": ("tests/unit/test_settle.py", "tests/unit/test_intents.py"),
}
LIBRARIES = ("pytest", "httpx", "pydantic_settings", "celery", "PIL.Image", "structlog", "boto3")


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


def noticed(module: str, tree: ast.Module, tests: Sequence[str]) -> bool:
    """Return whether the tests fail when the module is as `tree` says."""
    child = os.fork()
    if child == 0:
        _try(module, tree, tests)
    until = time.monotonic() + LONGEST_S
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status) != 0
        if time.monotonic() > until:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return True
        time.sleep(0.01)


def _try(module: str, tree: ast.Module, tests: Sequence[str]) -> None:
    """Run the tests in this process, which ends with their answer."""
    code = 99
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        sys.meta_path.insert(0, Broken(module, path_of(module), tree))
        pytest = importlib.import_module("pytest")
        plain = ["-x", "-q", "-p", "no:randomly", "-p", "no:cacheprovider", "-p", "no:xdist", "--timeout", "60"]
        code = int(pytest.main([*plain, *tests]))
    finally:
        os._exit(code)


def path_of(module: str) -> Path:
    """Return the file of a module."""
    return ROOT / f"{module.replace('.', '/')}.py"


def main() -> int:
    """Try every mutant and return 0 if enough of them were noticed in each module."""
    os.chdir(ROOT)
    for library in LIBRARIES:
        importlib.import_module(library)
    mutate = importlib.import_module("tests.mutants.mutate")
    bad = 0
    for module, tests in TARGETS.items():
        source = path_of(module).read_text(encoding="utf-8")
        if noticed(module, ast.parse(source), tests):
            _say(f"{module}: its tests fail without any mistake\n")
            return 2
        survivors, tried = [], 0
        for mutant in mutate.mutants(source):
            tried += 1
            if not noticed(module, mutant.tree, tests):
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
    sys.exit(main())
