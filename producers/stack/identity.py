"""What stays the same each time a folder's local stack is started: its secrets and, where they are free, its ports.

Kept in `identity.json` (0600). A stack that comes back under the same addresses and passwords is the same stack to
everybody who had joined it, and the simulator's origin, which is part of a fingerprint, does not change.
"""

from __future__ import annotations

import json
import secrets as random_
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self

from producers.stack.files import read_json, write_private

FILE = "identity.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Secrets:
    """Passwords of the embedded servers, made on this machine."""

    redis_password: str = field(repr=False)
    s3_access_key: str = field(repr=False)
    s3_secret_key: str = field(repr=False)
    storage_key: str = field(repr=False)
    """What SeaweedFS signs its inner tokens with."""

    @classmethod
    def new(cls) -> Self:
        """Return fresh ones."""
        return cls(
            redis_password=random_.token_hex(24),
            s3_access_key=random_.token_hex(10).upper(),
            s3_secret_key=random_.token_hex(20),
            storage_key=random_.token_hex(24),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The secrets, and the first port that each part had the last time."""

    secrets: Secrets
    ports: Mapping[str, int]


def load_identity(data_dir: Path) -> Identity:
    """Return the identity of the stack in `data_dir`, or a new one (not saved yet) where there is none."""
    said = read_json(data_dir / FILE) or {}
    try:
        secrets = Secrets(**said["secrets"])
        ports = {str(name): int(port) for name, port in said["ports"].items()}
    except (KeyError, TypeError, ValueError, AttributeError):
        return Identity(secrets=Secrets.new(), ports={})
    return Identity(secrets=secrets, ports=ports)


def save_identity(data_dir: Path, identity: Identity) -> None:
    """Keep `identity` for the next time."""
    document = {"version": 1, "secrets": asdict(identity.secrets), "ports": dict(identity.ports)}
    write_private(data_dir / FILE, json.dumps(document, indent=2))
