"""`retouch doctor`: looks at every part that a batch needs, and says how to mend what is wrong."""

from __future__ import annotations

from rich.text import Text

from jobs.report.wording import counted
from producers.cli import options as o
from producers.cli.house import settings_of
from producers.cli.voice import OK, UNREACHABLE, Voice
from producers.doctor.findings import Finding, Verdict

_MARKS = {Verdict.OK: ("ok", "green"), Verdict.WARNING: ("weak", "yellow"), Verdict.BROKEN: ("BROKEN", "bold red")}


def doctor(json: o.Json = False, quiet: o.Quiet = False) -> int:
    """Check Redis, bucket, API key, clocks and packages; says in one sentence what is wrong and how to mend it."""
    from producers.doctor.examine import examine  # brings the clients of all parts

    voice = Voice(json=json, quiet=quiet)

    def tell(finding: Finding) -> None:
        if quiet and finding.verdict == Verdict.OK:
            return
        mark, style = _MARKS[finding.verdict]
        voice.tell(Text.assemble((f"{mark:<7}", style), f"{finding.part}: {finding.sentence}"))
        if finding.remedy:
            voice.tell(f"        {finding.remedy}")

    found = examine(settings_of(voice), tell=tell)
    bad = sum(finding.verdict == Verdict.BROKEN for finding in found)
    weak = sum(finding.verdict == Verdict.WARNING for finding in found)
    if bad:
        voice.tell(f"{counted(bad, 'thing')} to mend before a batch runs.")
    elif not quiet:
        voice.tell("A batch can run here" + (f"; {counted(weak, 'thing')} could be safer." if weak else "."))
    voice.document({"ok": not bad, "findings": [finding.as_json() for finding in found]})
    return UNREACHABLE if bad else OK
