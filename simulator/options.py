"""How a simulator is set up: one frozen value, checked when it is built.

Ports other than the main one follow from it: `port + 1` and on for the regions, the next one for downloads;
with port 0 the system picks them all.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from simulator.faults import Faults

HOST = "127.0.0.1"
"""The only address it listens on: it takes any key and fetches what it is told to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Every choice of a run; times in seconds, money in credits (1 credit = $0.01).

    Raises:
        ValueError: a figure that makes no sense; the message names it.
    """

    port: int = 8787
    regions: int = 1
    """Region hosts, one port each; tasks are spread over them. 0: the main port serves every poll."""
    seed: int = 0
    speed: float = 1.0
    """Divides every task's latency."""
    latency: float | None = None
    """Median latency of every model, instead of the catalogue's."""
    spread: float | None = None
    """Sigma of the lognormal. None: the catalogue's tail, or 0 where `latency` is fixed."""
    even: bool = False
    """Whether tasks take anything within `spread` (a share) of the median alike, and nothing else."""
    credits: float = 100_000.0
    """What every key starts with."""
    price_factor: float = 1.0
    keys: tuple[str, ...] = field(default=(), repr=False)
    """The only keys that are known; empty: any well-formed one."""
    shared: tuple[tuple[str, ...], ...] = field(default=(), repr=False)
    """Keys that draw on one account, each such set; every other key has one of its own."""
    url_life: float = 600.0
    """How long a result URL works, from the end of its task (docs: 10 minutes)."""
    retention: float = 1800.0
    """How long a task is found after its end. The docs do not say; the API's own kit keeps 30 minutes."""
    active_limit: int | None = None
    """Overrides the size of the outermost limit group."""
    elsewhere: int = 0
    """Places of each key's outermost limit group that another program holds."""
    result_size: tuple[int, int] | None = None
    """Load-test mode: every result is one ready picture of this size, made distinct by its metadata."""
    result_grain: float = 0.0
    """The share of noise (0 to 1) in that ready picture: a photograph has some, and weighs more for it."""
    upload_mbit: float | None = None
    """How fast a body arrives, in megabits (10**6) a second of each connection. None: as fast as it comes."""
    ledger: Path | None = None
    ports_file: Path | None = None
    allow_remote: bool = False
    """Whether input URLs and webhooks may be on another machine."""
    charge_request_moderated: bool = False
    charge_content_moderated: bool = True
    charge_errors: bool = False
    """Who pays for a task that made no picture is not documented: these three are assumptions."""
    faults: Faults = field(default_factory=Faults)

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65_000:
            raise ValueError("the port must be 0 (any) to 65000")
        if not 0 <= self.regions <= 16:
            raise ValueError("give 0 to 16 regions")
        positive = {"speed": self.speed, "url life": self.url_life, "retention": self.retention}
        for name, value in positive.items():
            if not value > 0:
                raise ValueError(f"the {name} must be above 0")
        others = {
            "latency": self.latency,
            "spread": self.spread,
            "credits": self.credits,
            "price factor": self.price_factor,
        }
        for name, figure in others.items():
            if figure is not None and not figure >= 0:
                raise ValueError(f"the {name} must be 0 or more")
        if self.active_limit is not None and self.active_limit < 1:
            raise ValueError("the active limit must be 1 or more")
        if self.upload_mbit is not None and not self.upload_mbit > 0:
            raise ValueError("the upload mbit must be above 0")
        if not 0 <= self.result_grain <= 1:
            raise ValueError("the grain of results is a share: give a number from 0 to 1")
        if self.elsewhere < 0:
            raise ValueError("places held elsewhere must be 0 or more")
        if self.result_size is not None and not all(16 <= side <= 4096 for side in self.result_size):
            raise ValueError("a result is 16 to 4096 pixels wide and high")
