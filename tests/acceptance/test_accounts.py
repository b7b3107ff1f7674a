"""Several keys: those of one account share its places, and another account has places of its own."""

from __future__ import annotations

from collections import Counter

from jobs.accounts import key_name
from tests.acceptance.harness import House
from tests.acceptance.test_main_job import ids_of

ONE, TWO, THREE = (f"acceptance-key-number-{n}" for n in ("one", "two", "three"))
ACCOUNTS = ",".join(f"{key_name(key)}={account}" for key, account in ((ONE, "main"), (TWO, "main"), (THREE, "studio")))
PLACES = 6

# Edits of two seconds keep 12 places full at 6 submissions a second, which a loaded machine manages too.
TASK_S = "2"


def test_places_of_every_account_are_used_and_keys_of_one_account_share_them(house: House) -> None:
    api = house.simulate("--latency", TASK_S, "--active-limit", str(PLACES), "--share", f"{ONE},{TWO}")
    settings = {
        "RETOUCH_API__KEYS": f"{ONE},{TWO},{THREE}",
        "RETOUCH_API__ACCOUNTS": ACCOUNTS,
        "RETOUCH_API__ACTIVE_LIMIT": str(PLACES),
    }
    house.workers(2, **settings)
    rows = house.rows(72)
    batch = house.submit(house.manifest(rows))
    house.stored_at_least(batch, 4 * PLACES)
    shown = house.retouch("keys", "--json", **settings).document
    live = house.retouch("status", batch, "--json", **settings).document["live"]
    books = house.ended(batch, 120)

    books.check(ids_of(rows), limit=PLACES)
    assert books.states == {"stored": 72}
    assert (books.api["over_limit"], books.api["posts"]) == (0, 72)
    assert {key["peaks"]["flux"] for key in api.ledger()["keys"].values()} == {PLACES}, "both were full"
    assert min(Counter(task["key"] for task in books.tasks).values()) > 24, "and both worked"
    assert {(key["key"], key["account"]) for key in shown["keys"]} == {
        (key_name(ONE), "main"),
        (key_name(TWO), "main"),
        (key_name(THREE), "studio"),
    }
    assert [(each["account"], each["slots"]) for each in shown["accounts"]] == [("main", PLACES), ("studio", PLACES)]
    assert live["slots"] == 2 * PLACES


def test_a_key_that_is_parked_leaves_its_accounts_places_to_another_key_of_it(house: House) -> None:
    api = house.simulate("--latency", TASK_S, "--active-limit", str(PLACES), "--share", f"{ONE},{TWO}")
    api.know_keys(TWO, THREE)
    settings = {
        "RETOUCH_API__KEYS": f"{ONE},{TWO},{THREE}",
        "RETOUCH_API__ACCOUNTS": ACCOUNTS,
        "RETOUCH_API__ACTIVE_LIMIT": str(PLACES),
    }
    house.workers(1, **settings)
    rows = house.rows(48)
    batch = house.submit(house.manifest(rows))
    books = house.ended(batch, 120)

    books.check(ids_of(rows), limit=PLACES)
    assert books.states == {"stored": 48}
    assert {outcome["attempts"] for outcome in books.outcomes} == {1}
    assert {key["peaks"]["flux"] for key in api.ledger()["keys"].values()} == {PLACES}
