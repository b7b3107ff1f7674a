"""The closing summary for a terminal: a dozen plain lines that say what happened and who has to do what.

It reads only `summary.json`'s dict, so a batch that ended long ago reads the same. No colour, no markup: names are
made safe for a terminal, which obeys control characters.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jobs.job import State
from jobs.report.waiting import first_edits
from jobs.report.wording import counted, dollars, duration, shown

_ORDER = (State.STORED, State.UNCHANGED, State.MODERATED, State.FAILED, State.CANCELLED)
_REASONS_SHOWN = 8


def as_text(summary: Mapping[str, Any]) -> str:
    """Return the closing text of a batch, without a line end at its end."""
    lines = [f"{shown(summary['name'])} ({shown(summary['batch'])})"]
    if summary["simulated"]:
        lines[0] += "  SIMULATED: no API was asked, no money was spent"
    lines += [_rows(summary), _money(summary)]
    if summary["duration_s"]:
        pace = summary["images_per_minute"]
        took = f"Took {duration(summary['duration_s'])}"
        lines.append(f"{took}, {pace:g} images a minute" if pace else took)
    lines += _reasons(summary) + _twice(summary) + _flags(summary)
    if summary["report"]:
        lines.append(f"Report: {shown(summary['report'])}")
    return "\n".join(lines)


def _rows(summary: Mapping[str, Any]) -> str:
    counts = summary["counts"]
    parts = [f"{counts[state]:,} {state}" for state in _ORDER if counts[state]]
    if summary["held"]:
        parts.append(f"{summary['held']:,} held in doubt")
    left = summary["rows"] - sum(counts[state] for state in _ORDER) - summary["held"]
    if left:
        parts.append(f"{left:,} still to do")
    return f"{counted(summary['rows'], 'row')}: {', '.join(parts) or 'none'}"


def _money(summary: Mapping[str, Any]) -> str:
    spent, expected, most = (dollars(summary[key]) for key in ("cost_usd", "expected_usd", "at_most_usd"))
    over = first_edits(summary)
    return f"Spent {spent} (expected {expected}, at most {most})" + (f"\n{over}" if over else "")


def _reasons(summary: Mapping[str, Any]) -> list[str]:
    reasons = summary["reasons"]
    if not reasons:
        return []
    width = max(len(reason["code"]) for reason in reasons[:_REASONS_SHOWN])
    lines = ["What did not make it:"]
    for reason in reasons[:_REASONS_SHOWN]:
        retry = "a retry can help" if reason["retry"] else "a retry will not help"
        who = f"{reason['acts']}; {retry}"
        lines.append(f"  {reason['rows']:>6,}  {reason['code']:<{width}}  {reason['sentence']} ({who})")
    if len(reasons) > _REASONS_SHOWN:
        lines.append(f"          and {counted(len(reasons) - _REASONS_SHOWN, 'more reason')} in the report")
    return lines


def _twice(summary: Mapping[str, Any]) -> list[str]:
    doubt, duplicates = summary["doubt"], summary["duplicates"]
    lines = []
    if doubt["rows"]:
        most = doubt["paid_twice_at_most_usd"]
        twice = (
            f"at most {dollars(most)} may have been paid twice"
            if most
            else "nothing was resubmitted out of the allowance"
        )
        lines.append(f"In doubt at some time: {counted(doubt['rows'], 'row')}; {twice}")
    if credit := summary.get("credits"):
        lines.append(f"The account's credits: {credit['sentence']}")
    if duplicates["tasks"]:
        cost = dollars(duplicates["cost_usd"])
        lines.append(f"Paid twice for certain: {counted(duplicates['tasks'], 'task')}, {cost} (in what was spent)")
    if summary.get("found"):
        rows = counted(summary["found"], "row")
        lines.append(f"Delivered after all, and filed: {rows}; `retouch retry` publishes them and pays nothing")
    if since := summary.get("since_report"):
        lines.append(f"Known only since the report was written: {counted(since['tasks'], 'task')}; see `--json`")
    return lines


def _flags(summary: Mapping[str, Any]) -> list[str]:
    flagged = {flag: rows for flag, rows in summary["flags"].items() if rows}
    return [f"Flagged: {', '.join(f'{rows:,} {flag}' for flag, rows in flagged.items())}"] if flagged else []
