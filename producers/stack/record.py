"""`stack.json`: what a command must know to join a local stack, and the settings that follow from it.

The file alone says nothing: it counts only while somebody holds the lock beside it. A copy of settings is made by
building the changed part anew, because pydantic's `model_copy` would carry cached values of the old part over.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import BaseModel, SecretStr

from config.settings import Settings
from producers.stack.files import read_json, write_private
from producers.stack.part import python_env

FILE = "stack.json"
VERSION = 1

Section = Mapping[str, Any]
_Part = TypeVar("_Part", bound=BaseModel)


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """One part as others see it."""

    name: str
    pid: int
    port: int | None
    log: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The contents of `stack.json`. `settings` holds plain values by section (`redis`, `s3`, `api`): only those of
    embedded parts."""

    owner: int
    state: Literal["starting", "ready"]
    started_at: str
    servers: tuple[str, ...]
    workers: int
    """How many workers the owner runs, or is about to start."""
    intake: bool = False
    """Whether the owner runs a beat and an intake, or is about to start them."""
    parts: Sequence[Running] = ()
    settings: Mapping[str, Section] = field(default_factory=dict, repr=False)

    @property
    def simulated(self) -> bool:
        """Whether the API of this stack is the simulator."""
        return "simulator" in self.servers

    def write(self, data_dir: Path) -> None:
        """Put the record into `data_dir`, in one step, mode 0600."""
        document = {"version": VERSION, **asdict(self)}
        write_private(data_dir / FILE, json.dumps(document, indent=2))

    @classmethod
    def read(cls, data_dir: Path) -> Self | None:
        """Return the record of a living owner, else None: the file of a dead one is stale, whatever it says."""
        said = read_json(data_dir / FILE)
        if said is None or said.pop("version", None) != VERSION:
            return None
        try:
            parts = [Running(**part) for part in said.pop("parts")]
            servers = tuple(said.pop("servers"))
            record = cls(**said, parts=parts, servers=servers)
        except (KeyError, TypeError):
            return None
        return record if _is_alive(record.owner) else None


def with_sections(settings: Settings, sections: Mapping[str, Section]) -> Settings:
    """Return `settings` with the given values in place of its own, all else unchanged."""
    parts: dict[str, Any] = {name: _rebuilt(getattr(settings, name), new) for name, new in sections.items()}
    if "api" in sections:
        parts["bfl_api_key"] = None  # it was a source of `keys`, which are now others
    return settings.model_copy(update=parts)


def environment_of(settings: Settings) -> dict[str, str]:
    """Return a whole environment for a child that is to read exactly these settings; paths are made absolute.

    Values that are unset stay out of it, whatever this process's own environment holds.
    """
    env = python_env()
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if name == "bfl_api_key":
            continue  # it is among `api.keys`
        if isinstance(value, BaseModel):
            for inner in type(value).model_fields:
                _put(env, f"RETOUCH_{name}__{inner}".upper(), getattr(value, inner))
        else:
            _put(env, f"RETOUCH_{name}".upper(), value)
    return env


def _rebuilt(part: _Part, new: Section) -> _Part:
    old = {name: getattr(part, name) for name in type(part).model_fields}
    return type(part).model_validate(old | dict(new))


def _put(env: dict[str, str], name: str, value: object) -> None:
    if value is None or value == ():
        return
    if isinstance(value, tuple):
        env[name] = json.dumps([_plain(each) for each in value])
    elif isinstance(value, Mapping):
        env[name] = json.dumps(dict(value))
    else:
        env[name] = _plain(value)


def _plain(value: object) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return str(value.absolute()) if isinstance(value, Path) else str(value)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
