"""Decides which parts of the local stack a command needs: those that no setting points at.

A mixture is refused where it could only go wrong: workers on other machines cannot reach a store or a simulator
that listens on this one alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from config.settings import Settings, SettingsError


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The parts to run here: three servers, a number of workers, and with `intake` a beat and an intake."""

    redis: bool
    storage: bool
    simulator: bool
    workers: int
    intake: bool = False

    @property
    def servers(self) -> frozenset[str]:
        """The names of the servers among them."""
        chosen = {"redis": self.redis, "storage": self.storage, "simulator": self.simulator}
        return frozenset(name for name, wanted in chosen.items() if wanted)


def what_is_wanted(settings: Settings, *, simulate: bool, with_worker: bool) -> Wanted:
    """Return what to run beside a command. `with_worker` matters only where a Redis is set: without one, a worker
    belongs to the stack.

    Raises:
        SettingsError: the settings do not go together; the message names the variable to set.
    """
    workers = 1 if with_worker or not settings.has_real_redis else 0
    if simulate and settings.has_own_api:
        raise SettingsError("RETOUCH_API__BASE_URL is set and --simulate was given: leave one of them out")
    if settings.has_real_redis:
        _refuse_half_remote(settings, simulate=simulate)
    api_is_set = settings.has_real_key or settings.has_own_api
    all_local = not settings.has_real_redis and not settings.has_real_storage
    if not simulate and not api_is_set and not all_local and workers:
        which = "RETOUCH_REDIS__URL" if settings.has_real_redis else "RETOUCH_S3__BUCKET"
        raise SettingsError(
            f"{which} is set but there is no API key: set RETOUCH_API__KEYS (or BFL_API_KEY), or add --simulate"
            if not settings.has_real_redis
            else f"{which} is set but there is no API key for the worker: set RETOUCH_API__KEYS (or BFL_API_KEY)"
        )
    return Wanted(
        redis=not settings.has_real_redis,
        storage=not settings.has_real_storage,
        simulator=simulate or (all_local and not api_is_set),
        workers=workers,
    )


def _refuse_half_remote(settings: Settings, *, simulate: bool) -> None:
    if not settings.has_real_storage:
        raise SettingsError(
            "RETOUCH_REDIS__URL is set but no bucket is, and the embedded store cannot be reached from elsewhere: "
            "set RETOUCH_S3__BUCKET too, or leave RETOUCH_REDIS__URL out"
        )
    if simulate:
        raise SettingsError(
            "RETOUCH_REDIS__URL is set, and the embedded simulator cannot be reached from elsewhere: leave --simulate "
            "out and set RETOUCH_API__BASE_URL to a simulator that every worker can reach"
        )
