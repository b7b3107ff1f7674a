"""`retouch keys`: the API keys as the workers know them, by their names; no command ever shows a key."""

from __future__ import annotations

from typing import Any

from rich.table import Table
from rich.text import Text

from jobs.batch import BatchState
from jobs.report.wording import moment
from producers.cli import options as o
from producers.cli.house import House, looking_house
from producers.cli.voice import OK, Voice

NAME_IT = "name its account in RETOUCH_API__ACCOUNTS and restart the workers; until then it is left out"
MEND = "put a good key into RETOUCH_API__KEYS_FILE (taken over at once) or RETOUCH_API__KEYS"


def keys(json: o.Json = False, quiet: o.Quiet = False) -> int:
    """Show the API keys: which are parked and since when, slots, credits, rows that wait, and what to do."""
    voice = Voice(json=json, quiet=quiet)
    with looking_house(voice) as house:
        found = _found(house)
        voice.tell(_table(found) if found["keys"] else "No key is known: no worker runs here, and none is set.")
        for each in found["accounts"] if len(found["accounts"]) > 1 else ():
            voice.tell(f"Account {each['account']}: {each['slots_used']} of {each['slots']} slots taken.")
        voice.tell(f"{found['slots_used']} slots taken, {found['rows_waiting']:,} rows wait.")
        for each in found["lowered"]:
            voice.tell(each["sentence"])
        voice.document(found)
        return OK


def _found(house: House) -> dict[str, Any]:
    from producers.doctor.api_part import credits_of  # brings an HTTP client, which no other command needs

    parked = house.ledger.parked_keys()
    credit = credits_of(house.settings.api.base_url, house.settings.api.all_keys())
    workers = house.ledger.workers()
    at_work = {key for worker in workers for key in worker.about.get("keys", ())}
    left_out = {key for worker in workers for key in worker.about.get("unnamed", ())}
    account_of = house.settings.api.account_of
    names = sorted(at_work | left_out | parked.keys() | credit.keys())
    unnamed = {name for name in names if name in left_out or not account_of(name)} - at_work - parked.keys()
    return {
        "keys": [
            {
                "key": name,
                "account": account_of(name),
                "state": "parked" if name in parked else "unnamed" if name in unnamed else "ok",
                "since": parked[name].since if name in parked else None,
                "why": parked[name].why if name in parked else "",
                "credits_usd": credit.get(name),
                "workers": sum(name in worker.about.get("keys", ()) for worker in workers),
                "remedy": _remedy(parked=name in parked, at_work=name in at_work, unnamed=name in unnamed),
            }
            for name in names
        ],
        "accounts": [_account(house, account) for account in _accounts(house)],
        "slots_used": max(house.ledger.slots_used().values(), default=0),
        "lowered": house.view.lowered(),
        "rows_waiting": _rows_waiting(house),
    }


def _accounts(house: House) -> list[str]:
    """Return the accounts that are named, and `main` while tasks of before they were named hold places of it."""
    named = house.catalogue.accounts
    return [
        account
        for account in house.catalogue.holders
        if account in named or any(house.ledger.slots_used(account).values())
    ]


def _account(house: House, account: str) -> dict[str, Any]:
    used, limits = house.ledger.slots_used(account), house.ledger.limits(account)
    outer = [group for group in house.catalogue.groups.values() if group.inside is None]
    return {
        "account": account,
        "slots_used": sum(used[group.name] for group in outer),
        "slots": sum(limits[group.name].size if group.name in limits else group.size for group in outer),
    }


def _remedy(*, parked: bool, at_work: bool, unnamed: bool) -> str:
    if parked and at_work:
        return f"{MEND}; it is asked again every minute"
    if parked:
        return "no worker has it any more: nothing to do"
    if unnamed:
        return NAME_IT
    return "" if at_work else "no worker uses it: start one with this key"


def _rows_waiting(house: House) -> int:
    found = (house.view.batch(batch) for batch in house.ledger.batches())
    waiting = (BatchState.OPEN, BatchState.PAUSED)
    return sum(each["counts"]["queued"] for each in found if each["state"] in waiting)


def _table(found: dict[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    several = len(found["accounts"]) > 1
    for title in ("key", *(["account"] if several else []), "state", "since", "credits", "workers", "what to do"):
        table.add_column(title)
    for each in found["keys"]:
        state = f"{each['state']} ({each['why']})" if each["why"] else each["state"]
        credit = "" if each["credits_usd"] is None else f"${each['credits_usd']:,.2f}"
        since = moment(each["since"]) if each["since"] else ""
        whose = [each["account"]] if several else []
        cells = (each["key"], *whose, state, since, credit, str(each["workers"]), each["remedy"])
        table.add_row(*(Text(cell) for cell in cells))
    return table
