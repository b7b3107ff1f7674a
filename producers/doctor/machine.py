"""Looks at this machine: whether our modules are ours, and whether the local stack could start.

Nothing is started, and no module of another room is imported: where it would come from says enough.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path

from config.settings import Settings
from producers.doctor.findings import Finding, broken, ok, warning
from producers.room import room_for
from producers.stack.binaries import find_redis, find_weed
from producers.stack.errors import StackError
from producers.stack.identity import load_identity
from producers.stack.local import LEAST_ROOM
from producers.stack.ports import are_free, choose_ports
from producers.stack.servers import SPANS

ROOMS = ("config", "jobs", "producers", "workers", "simulator")
"""Short names, which others may have given to packages of theirs."""
OURS = "retouch"
LITTLE_ROOM = 1_000_000_000
"""Bytes: a few hundred edits of 2 MB, with their originals."""


def look_at_packages() -> list[Finding]:
    """Return whether every package of Retouch is Retouch's."""
    origins = {room: _origin(room) for room in ROOMS}
    return judged_packages(origins, packages_distributions(), Path(__file__).parents[2])


def judged_packages(
    origins: Mapping[str, Path | None], owners: Mapping[str, Sequence[str]], home: Path
) -> list[Finding]:
    """Return what is to be said of packages that come from `origins` and that `owners` have installed.

    Args:
        origins: the folder that each name is imported from, None where there is none.
        owners: for each name the distributions that brought it.
        home: the folder in which all of ours lie.
    """
    part = "packages"
    found = []
    for room, origin in origins.items():
        others = sorted(set(owners.get(room, ())) - {OURS})
        if others:
            sentence = f"The distribution {others[0]} brings a package `{room}` too, where Retouch's own should be."
            remedy = f"`pip uninstall {others[0]}` and install Retouch again, or give it an environment of its own."
            found.append(broken(part, sentence, remedy))
        elif origin is None or origin.resolve() != (home / room).resolve():
            sentence = f"The package `{room}` is not Retouch's own: it comes from {origin or 'nowhere'}."
            remedy = (
                f"Start in another folder, take {origin.parent if origin else home} out of PYTHONPATH, or reinstall."
            )
            found.append(broken(part, sentence, remedy))
    return found or [ok(part, f"All {len(origins)} packages are Retouch's own, in {home}.")]


def look_at_local_stack(settings: Settings, servers: Iterable[str]) -> list[Finding]:
    """Return whether those servers of the local stack could start here; they do not run now."""
    wanted = [name for name in SPANS if name in servers]
    found = [*_programs(wanted), *_folder(settings.data_dir)]
    spans = {name: SPANS[name] for name in wanted}
    ports = load_identity(settings.data_dir).ports
    taken = [name for name in wanted if name in ports and not are_free({name: spans[name]}, ports)]
    for name in taken:
        sentence = f"Another program listens on the local stack's port for {name} ({ports[name]})."
        remedy = "End that program; otherwise Retouch chooses another port at its next start."
        found.append(warning("ports", sentence, remedy))
    try:
        choose_ports(spans, ports)
    except StackError as error:
        found.append(broken("ports", f"{str(error).partition(':')[0].capitalize()}.", "End programs that listen."))
    else:
        if not taken:
            found.append(ok("ports", "The ports of the local stack are free."))
    return found


def _programs(wanted: Sequence[str]) -> list[Finding]:
    programs = {"redis": find_redis, "storage": find_weed}
    found = []
    for name in wanted:
        if name not in programs:
            continue
        try:
            found.append(ok(name, f"The local stack runs {programs[name]()}."))
        except StackError as error:
            what, _, remedy = str(error).partition(": ")
            found.append(broken(name, f"{what[0].upper()}{what[1:]}.", f"{remedy[0].upper()}{remedy[1:]}."))
    return found


def _folder(data_dir: Path) -> list[Finding]:
    there = next(path for path in (data_dir.absolute(), *data_dir.absolute().parents) if path.exists())
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        return [ok("folder", f"{data_dir} can be written."), *_room(data_dir)]
    sentence = f"{data_dir} cannot be written by this user."
    return [broken("folder", sentence, "Give the right to write, or set RETOUCH_DATA_DIR to another folder.")]


def _room(data_dir: Path) -> Iterator[Finding]:
    room = room_for(data_dir)
    remedy = "Make room, or set RETOUCH_DATA_DIR to a folder on another disk."
    if room < LEAST_ROOM:
        yield broken("folder", f"The disk of {data_dir} is full: {room / 1e6:.1f} MB are left.", remedy)
    elif room < LITTLE_ROOM:
        sentence = f"The disk of {data_dir} has {room / 1e6:,.0f} MB left; pictures, results and records all go there."
        yield warning("folder", sentence, remedy)


def _origin(room: str) -> Path | None:
    module = sys.modules.get(room)
    spec = module.__spec__ if module is not None else find_spec(room)
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent
