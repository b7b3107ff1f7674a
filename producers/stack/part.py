"""A part of the local stack as a value: the program, its environment, and how one knows that it works."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from producers.stack.files import private_folder
from producers.stack.ports import HOST

_OURS = ("RETOUCH_", "BFL_")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A program of the stack. `ready` tries once and says whether the part does its work; it never raises for
    "not yet". `leftovers` are files that the program leaves behind when it is killed."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False)
    folder: Path
    log: Path
    ready: Callable[[], bool] = field(repr=False)
    ready_within_s: float
    stop_within_s: float
    port: int | None = None
    leftovers: tuple[Path, ...] = ()


def log_of(data_dir: Path, name: str) -> Path:
    """Return the path of a part's log, its folder made."""
    return private_folder(data_dir / "logs") / f"{name}.log"


def python_env() -> dict[str, str]:
    """Return this environment without any setting of Retouch's, for a child that runs our own code."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
    code = Path(__file__).parents[2]
    if code.name != "site-packages":  # a checkout: its packages are found by their place
        env["PYTHONPATH"] = os.pathsep.join(filter(None, (str(code), env.get("PYTHONPATH"))))
    for name in ("NO_PROXY", "no_proxy"):
        env[name] = ",".join(filter(None, (env.get(name), HOST, "localhost")))
    return env | {"PYTHONUNBUFFERED": "1"}


def plain_env(home: Path) -> dict[str, str]:
    """Return next to nothing: a server must not pick up the user's AWS_*, WEED_* or ~/.seaweedfs."""
    kept = ("PATH", "LANG", "TMPDIR", "TZ", "LD_LIBRARY_PATH")
    return {name: os.environ[name] for name in kept if name in os.environ} | {"HOME": str(home)}
