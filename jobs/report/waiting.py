"""Why a batch waits for money or for a decision, in a person's words and with the arithmetic."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jobs.bounds import Why, failures_sentence
from jobs.money import PROOF_EDITS, PROOF_PERCENT
from jobs.report.wording import counted, dollars, shown

GROUPS_SHOWN = 5


def why_waits(document: Mapping[str, Any]) -> str:
    """Return the sentence about a batch that waits for money or a decision, with what to do; else nothing."""
    if document["state"] != "paused":
        return ""
    batch = shown(document["batch"])
    if document["reason"] == "proof" and document["first_edits"]["edits"] >= PROOF_EDITS:
        return f"{first_edits(document)} `retouch resume {batch}` goes on all the same."
    if document["reason"] == "failures" and document.get("stopped_for"):
        stops = "".join(f" {sentence}" for sentence in stopped_groups(document))
        remedy = f"Look at why, then `retouch resume {batch}` goes on, with `--group` one group alone."
        return f"{failures_sentence(document['stopped_for'])}{stops} {remedy}"
    if document["reason"] == "doubt":
        held = counted(document["held"], "row")
        decide = (
            f"`retouch retry {batch} --in-doubt` buys them again, `retouch cancel {batch} --in-doubt` gives them up"
        )
        return f"{held} are held in doubt, so no more are begun. {decide}; then the batch goes on."
    cap = document["cap"]
    if document["reason"] != "cap" or cap is None:
        return ""
    needed = f"the next edit may cost {dollars(cap['needed_usd'])}"
    if cap["which"] == "ceiling":
        spent, ceiling = dollars(document["cost_usd"]), dollars(document["ceiling_usd"])
        remedy = f"`retouch resume {batch} --max-cost USD` raises it."
        return f"The batch's ceiling of {ceiling} is reached: {spent} is spent, and {needed}. {remedy}"
    what = "The cap of the day" if cap["which"] == "day_cap" else "The day's cap of every API key"
    setting = "RETOUCH_MONEY__DAY_CAP_USD" if cap["which"] == "day_cap" else "RETOUCH_MONEY__KEY_DAY_CAP_USD"
    goes_on = f"It goes on by itself after midnight ({cap['time_zone']}), or when {setting} of the workers is raised."
    return f"{what} of {dollars(cap['limit_usd'])} is reached on {cap['day']}: {needed}. {goes_on}"


def stopped_groups(document: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each group that is stopped, with the arithmetic."""
    found = []
    for stop in document.get("stopped_groups", ())[:GROUPS_SHOWN]:
        what = "were moderated" if stop["why"] == Why.MODERATED else "failed"
        found.append(f"The group {shown(stop['group'])} is stopped: {stop['count']} of its last {stop['of']} {what}.")
    return found


def first_edits(document: Mapping[str, Any]) -> str:
    """Return what the first edits cost beside what was expected, where it is over what is tolerated; else nothing."""
    first = document.get("first_edits") or {"edits": 0}
    if first["edits"] < PROOF_EDITS or first["cost_usd"] * 100 <= first["expected_usd"] * PROOF_PERCENT:
        return ""
    over = round((first["cost_usd"] / first["expected_usd"] - 1) * 100) if first["expected_usd"] else 100
    cost, expected = dollars(first["cost_usd"]), dollars(first["expected_usd"])
    return f"The first {counted(first['edits'], 'edit')} cost {cost}, expected were {expected}: {over} % over."
