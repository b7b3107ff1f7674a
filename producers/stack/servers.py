"""The three servers of the local stack together: which parts they are, and the settings that lead to them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

from producers.stack.binaries import find_redis, find_weed
from producers.stack.errors import StackError
from producers.stack.files import read_json
from producers.stack.identity import Secrets
from producers.stack.part import Part
from producers.stack.parts import ports_file_of, redis_part, redis_url, simulator_part
from producers.stack.record import Section
from producers.stack.storage import BUCKET, REGION, storage_part, storage_url

SPANS: Mapping[str, int] = {"redis": 1, "storage": 5, "simulator": 18}
"""Ports in a row that a server needs. The simulator: its own, up to 16 regions, downloads."""
SIMULATED_KEY = "simulated-key"
"""The simulator takes any key; a real one is never sent to it."""


def server_parts(
    data_dir: Path, *, ports: Mapping[str, int], secrets: Secrets, simulator_args: Sequence[str] = ()
) -> list[Part]:
    """Return the parts named in `ports`, their configuration written.

    Raises:
        StackError: a program is missing, or the data is of a newer Redis.
    """
    parts = []
    if "redis" in ports:
        parts.append(redis_part(data_dir, server=find_redis(), port=ports["redis"], secrets=secrets))
    if "storage" in ports:
        parts.append(storage_part(data_dir, weed=find_weed(), port=ports["storage"], secrets=secrets))
    if "simulator" in ports:
        parts.append(simulator_part(data_dir, port=ports["simulator"], arguments=simulator_args))
    return parts


def server_sections(
    data_dir: Path, *, ports: Mapping[str, int], secrets: Secrets, simulator_args: Sequence[str] = ()
) -> dict[str, Section]:
    """Return the settings by section that lead to the running servers named in `ports`.

    Raises:
        StackError: the simulator has not said where it listens.
    """
    sections: dict[str, Section] = {}
    if "redis" in ports:
        sections["redis"] = {"url": redis_url(ports["redis"], secrets)}
    if "storage" in ports:
        sections["s3"] = {
            "endpoint_url": storage_url(ports["storage"]),
            "bucket": BUCKET,
            "access_key_id": secrets.s3_access_key,
            "secret_access_key": secrets.s3_secret_key,
            "region": REGION,
        }
    if "simulator" in ports:
        said = read_json(ports_file_of(data_dir))
        if said is None:
            raise StackError(f"the simulator has not written {ports_file_of(data_dir)}: give the command again")
        sections["api"] = {
            "base_url": said["base_url"],
            "trusted_hosts": list(said["trusted_hosts"]),
            "keys": [key_among(simulator_args)],
            "keys_file": None,
            "accounts": {},  # of other keys
        }
    return sections


def key_among(arguments: Sequence[str]) -> str:
    """Return the key that the simulator was told to know, or the one that stands for any."""
    for name, value in itertools.pairwise(arguments):
        if name == "--key":
            return value
    return next((text.removeprefix("--key=") for text in arguments if text.startswith("--key=")), SIMULATED_KEY)
