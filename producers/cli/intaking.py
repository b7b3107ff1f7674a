"""`retouch intake` and `retouch beat`: the processes that plan what is scheduled and what is dropped in the inbox."""

from __future__ import annotations

from dataclasses import dataclass

from config.settings import Settings, SettingsError
from producers.cli import options as o
from producers.cli.house import SIMULATED_ORIGIN, settings_of
from producers.cli.voice import OK, Voice
from producers.stack.local import find_running, running_record


@dataclass(frozen=True, slots=True)
class _Place:
    settings: Settings
    origin: str
    simulated: bool


def intake(quiet: o.Quiet = False) -> int:
    """Plan and open what schedules and the inbox ask for; `retouch beat` has to run beside it."""
    from producers.intake.app import run_intake  # brings Celery

    place = _place(Voice(quiet=quiet))
    run_intake(place.settings, origin=place.origin, simulated=place.simulated, arguments=[])
    return OK


def beat(quiet: o.Quiet = False) -> int:
    """Watch the clock and the inbox, and tell `retouch intake` what is due; more than one does no harm."""
    from producers.intake.app import run_beat  # brings Celery

    place = _place(Voice(quiet=quiet))
    run_beat(place.settings, origin=place.origin, simulated=place.simulated)
    return OK


def _place(voice: Voice) -> _Place:
    """Return the settings' own Redis and bucket, or those of the local stack that runs here."""
    settings = settings_of(voice)
    if settings.has_real_redis:
        if not settings.has_real_storage:
            raise SettingsError("no bucket is named: set RETOUCH_S3__BUCKET")
        return _Place(settings, settings.api.origin, simulated=False)
    record, found = running_record(settings), find_running(settings)
    if record is None or found is None:
        raise SettingsError(
            "no Redis is named and no local stack runs in this folder: set RETOUCH_REDIS__URL, or use `retouch up`"
        )
    return _Place(found, SIMULATED_ORIGIN if record.simulated else found.api.origin, simulated=record.simulated)
