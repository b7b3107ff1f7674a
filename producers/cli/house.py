"""Opens what a command works with: settings, the local stack where it is wanted, ledger, bucket, messages.

A command that only looks starts no worker and no more of the local stack than it must, and where none ever ran it
starts nothing at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from config.arming import arm
from config.logs import set_up_logging
from config.parts import bucket_of, catalogue_of, layout_of, ledger_of
from config.settings import Settings, SettingsError, read_settings
from jobs.bucket.layout import Layout
from jobs.bucket.port import Bucket
from jobs.errors import LedgerError
from jobs.ledger.port import Ledger
from jobs.models import Catalogue
from producers.cli.drain import drain
from producers.cli.voice import Stop, Voice, debugging
from producers.known import KnownRows, known_rows
from producers.messages import Hints, Sender
from producers.stack.local import LocalStack, Wanted, running_record, what_is_wanted
from producers.view import View

SIMULATED_ORIGIN = "simulator"
"""The name under which results of the local simulator are filed: its port changes, its results stay the same."""
MENDED = "Mend that; then `retouch resume BATCH` goes on, and nothing is lost."
STOPPED = "The local stack is not running, so nothing works on this batch: `retouch resume BATCH` goes on with it."


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """Everything open. `stack` is None where every part is somebody else's."""

    settings: Settings
    stack: LocalStack | None
    catalogue: Catalogue
    ledger: Ledger
    bucket: Bucket
    layout: Layout
    hints: Hints
    view: View
    own_storage: bool
    """Whether the bucket is the local stack's: results are then mirrored as plain files."""

    @property
    def simulated(self) -> bool:
        """Whether the API is the local simulator."""
        return self.stack is not None and self.stack.simulated

    @property
    def origin(self) -> str:
        """The name under which results are filed."""
        return SIMULATED_ORIGIN if self.simulated else self.settings.api.origin

    @property
    def runs_here(self) -> bool:
        """Whether the workers end with this command."""
        return self.stack is not None and self.stack.owner

    def known(self, name: str, *, fresh: bool = False) -> AbstractContextManager[KnownRows]:
        """Open what is known of a name's rows; with `fresh` none is taken for unchanged."""
        return known_rows(
            name,
            bucket=self.bucket,
            layout=self.layout,
            origin=self.origin,
            memory=self.settings.data_dir,
            fresh=fresh,
        )

    def broken(self) -> bool:
        """Whether a part of the local stack has been given up."""
        return self.stack is not None and self.stack.failure is not None

    def check(self) -> None:
        """Raise Stop if a part of the local stack has been given up."""
        if self.stack is not None and self.stack.failure is not None:
            raise Stop("local_stack", self.stack.failure, MENDED, exit_code=3)

    def out_folder(self, name: str) -> Path:
        """Return the folder where a batch's results are mirrored."""
        return self.settings.out_dir / name


def settings_of(voice: Voice) -> Settings:
    """Return the settings, with logging set up.

    Raises:
        SettingsError: a setting is wrong.
    """
    settings = read_settings()
    arm(settings)
    set_up_logging(settings, level="INFO" if debugging() else "CRITICAL" if voice.quiet else "ERROR")
    return settings


@contextmanager
def working_house(
    voice: Voice, *, simulate: bool = False, with_worker: bool = False, workers: int | None = None
) -> Iterator[House]:
    """Open everything that a batch needs to run; `workers` overrides how many are started here.

    Raises:
        SettingsError: the settings do not go together.
        StackError: a part of the local stack did not start.
    """
    settings = settings_of(voice)
    wanted = what_is_wanted(settings, simulate=simulate, with_worker=with_worker)
    if workers is not None:
        wanted = replace(wanted, workers=workers)
    with _opened(settings, wanted, voice) as house:
        yield house


@contextmanager
def looking_house(voice: Voice, *, to_work: bool = False) -> Iterator[House]:
    """Open the records alone, to look at batches or to say a word to them; no worker is started.

    With `to_work` the settings must be enough for a worker too.

    Raises:
        SettingsError: they do not go together.
        Stop: nothing was ever run here.
    """
    settings = settings_of(voice)
    try:
        wanted = replace(what_is_wanted(settings, simulate=False, with_worker=False), workers=0)
    except SettingsError:  # of the API: to look, none is needed
        if to_work:
            raise
        local = not settings.has_real_redis, not settings.has_real_storage
        wanted = Wanted(redis=local[0], storage=local[1], simulator=False, workers=0)
    if wanted.servers and not settings.data_dir.is_dir():
        raise Stop(
            "nothing_here",
            f"Nothing was ever run here: there is no folder {settings.data_dir}, and {_unset(settings)} is not set.",
            "Go to the folder where `retouch run` was given, or set RETOUCH_REDIS__URL and RETOUCH_S3__BUCKET.",
        )
    with _opened(settings, _as_running(settings, wanted), voice) as house:
        yield house


def _unset(settings: Settings) -> str:
    return "RETOUCH_S3__BUCKET" if settings.has_real_redis else "RETOUCH_REDIS__URL"


def _as_running(settings: Settings, wanted: Wanted) -> Wanted:
    """Return what joins the stack that runs, whether it was started with --simulate or not."""
    record = running_record(settings) if wanted.servers else None
    return wanted if record is None else replace(wanted, simulator=record.simulated)


@contextmanager
def _opened(settings: Settings, wanted: Wanted, voice: Voice) -> Iterator[House]:
    with ExitStack() as stack:
        local = None
        if wanted.servers or wanted.workers:
            local = stack.enter_context(LocalStack.open(settings, wanted, notify=voice.note))
        found = settings if local is None else local.settings
        catalogue = catalogue_of(found)
        ledger, bucket, layout = ledger_of(found), bucket_of(found), layout_of(found)
        sender = Sender(found)
        stack.callback(sender.close)
        alone = local is not None and local.owner and not wanted.workers
        view = View(ledger, bucket, layout, catalogue, **({"no_worker": STOPPED} if alone else {}))
        house = House(
            settings=found,
            stack=local,
            catalogue=catalogue,
            ledger=ledger,
            bucket=bucket,
            layout=layout,
            hints=sender,
            view=view,
            own_storage=wanted.storage,
        )
        try:
            yield house
        finally:
            bring_home(house.ledger, local, voice)


def bring_home(ledger: Ledger, local: LocalStack | None, voice: Voice) -> None:
    """Let the edits in flight end before the local stack does; nothing where this process does not run it."""
    if local is None or not local.owner or local.failure is not None:
        return
    if not any(name.startswith("worker") for name in local.pids()):
        return
    with suppress(LedgerError, KeyboardInterrupt):
        drain(ledger, voice.note)
