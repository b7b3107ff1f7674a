"""`retouch keys`: what it says of keys and of the accounts that they belong to."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from config.parts import catalogue_of
from config.settings import read_settings
from jobs.batch import Batch
from jobs.bucket.layout import Layout
from jobs.events import Begun
from jobs.ledger.memory import MemoryLedger
from jobs.ledger.seen import WorkerSeen
from jobs.states import apply
from producers.cli import run
from producers.cli.house import House
from producers.view import View
from tests.fakes import FakeBucket
from tests.unit.desks import COST, RESERVE, make_order

NOW = 1_800_000_000.0
FIRST, SECOND, THIRD = "0a1b2c3d", "1a1b2c3d", "2a1b2c3d"


class Unheard:
    """Hints that nobody hears."""

    def feed(self, batch: str, groups: Iterable[str]) -> None: ...

    def look(self, jobs: Iterable[str]) -> None: ...

    def finish(self, batch: str) -> None: ...


def with_a_task(ledger: MemoryLedger, account: str) -> None:
    """Let one submission be under way that was begun for this account."""
    agreed: dict[str, Any] = {"expected": COST, "at_most": RESERVE, "ceiling": RESERVE, "allowance": 0}
    ledger.open_batch(Batch(id="b", name="chairs", created_at=NOW, rows=1, groups={"flux": 1}, **agreed))
    ledger.feed("b", "flux", 0, [make_order(1)], low=1)
    job = ledger.claim("b.1", "w1").job
    assert job is not None
    begun = apply(job, Begun(fingerprint="f", key_id=FIRST, account=account, day="2027-01-15"), NOW)
    assert ledger.begin(job, begun).closed is None


Shown = Callable[..., dict[str, Any]]


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shown:
    """Return what the command shows as JSON, where these accounts are named and a worker says this of its keys; with
    `running_for` a task of that account is under way."""

    def show(accounts: Mapping[str, str], *, running_for: str = "", **about: list[str]) -> dict[str, Any]:
        settings = read_settings(_env_file=None, api={"accounts": accounts})
        catalogue, bucket, layout = catalogue_of(settings), FakeBucket(), Layout()
        ledger = MemoryLedger(catalogue, clock=lambda: NOW)
        if running_for:
            with_a_task(ledger, running_for)
        ledger.see_worker(WorkerSeen(id="w1", threads=44, edits=0, seen_at=NOW, about=about))
        house = House(
            settings=settings,
            stack=None,
            catalogue=catalogue,
            ledger=ledger,
            bucket=bucket,
            layout=layout,
            hints=Unheard(),
            view=View(ledger, bucket, layout, catalogue),
            own_storage=False,
        )

        @contextmanager
        def opened(_: object) -> Iterator[House]:
            yield house

        monkeypatch.setattr("producers.cli.keyring.looking_house", opened)
        assert run(("keys", "--json")) == 0
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found

    return show


def test_a_key_that_workers_leave_out_is_unnamed_and_says_what_to_do(shown: Shown) -> None:
    found = shown({FIRST: "main", SECOND: "studio"}, keys=[FIRST], unnamed=[THIRD])

    first, third = found["keys"]
    assert (first["key"], first["account"], first["state"], first["remedy"]) == (FIRST, "main", "ok", "")
    assert (third["key"], third["account"], third["state"]) == (THIRD, "", "unnamed")
    assert third["remedy"].startswith("name its account in RETOUCH_API__ACCOUNTS and restart the workers")


def test_a_key_that_a_worker_uses_is_not_called_unnamed_by_a_command_that_knows_less(shown: Shown) -> None:
    (key,) = shown({FIRST: "main", SECOND: "studio"}, keys=[THIRD])["keys"]

    assert (key["key"], key["state"]) == (THIRD, "ok")


def test_a_command_without_keys_shows_the_accounts_that_are_named_and_no_other(shown: Shown) -> None:
    found = shown({FIRST: "a", SECOND: "b"}, keys=[FIRST, SECOND])

    assert [(each["account"], each["slots_used"]) for each in found["accounts"]] == [("a", 0), ("b", 0)]


def test_main_is_shown_while_tasks_of_before_accounts_were_named_run(shown: Shown) -> None:
    found = shown({FIRST: "a", SECOND: "b"}, running_for="main", keys=[FIRST, SECOND])

    assert [(each["account"], each["slots_used"]) for each in found["accounts"]] == [("a", 0), ("b", 0), ("main", 1)]
    assert found["slots_used"] == 1


def test_where_no_account_is_named_there_is_the_one(shown: Shown) -> None:
    found = shown({}, keys=[FIRST])

    assert [each["account"] for each in (*found["accounts"], *found["keys"])] == ["main", "main"]
