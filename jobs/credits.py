"""What an account's credits prove about submissions in doubt, as values and pure decisions.

Two readings of the credits, each taken while nothing was in flight, say what the account was charged in between. What
the API itself said that edits cost is taken off; if nothing is left, no submission in doubt was charged. All that
could make the rest too small ends the proof: a cost that the API did not name, a top-up, a refund.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Self

from jobs.outcome import usd
from jobs.report.wording import counted, dollars

ROUNDING = 100
"""Micro-dollars (a hundredth of a credit) that sums of fractions of credits may be off. No edit is that cheap."""


class Verdict(StrEnum):
    """What the credits say of an API key's doubts."""

    UNCHARGED = "uncharged"
    """None was charged."""
    ALL = "all"
    """As much is gone as all of them are expected to cost."""
    SOME = "some"
    OTHERS = "others"
    """Less is gone than known edits cost: there was a top-up, a refund, or somebody else."""
    UNSURE = "unsure"
    """There are costs that the API did not name, or that may be of earlier edits."""
    UNSEEN = "unseen"
    """The key's credits are not known from before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The credits at a moment `at` (epoch seconds) at which nothing was in flight.

    `epoch` and `intents` place it in the ledger's life, `micros` is what the account of each API key had left
    (micro-dollars), `books` what the ledger had counted of each day and key: what was settled, and costs not sure.
    """

    at: float
    epoch: str
    intents: int
    micros: Mapping[str, int]
    books: Mapping[str, Mapping[str, Sequence[int]]]

    def as_json(self) -> str:
        """Return the text that `from_json` reads back."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the reading that `as_json` wrote."""
        return cls(**json.loads(text))

    def agrees(self, other: Reading) -> bool:
        """Whether nothing has happened between the two, on either side."""
        return (self.epoch, self.intents, self.micros) == (other.epoch, other.intents, other.micros) and all(
            self.counted_since(key, other) == (0, 0) for key in self.micros
        )

    def counted_since(self, key: str, base: Reading) -> tuple[int, int]:
        """Return what was settled with a key since `base`, and how many of these costs are not sure."""
        settled = unsure = 0
        for day, keys in self.books.items():
            now, then = keys.get(key, (0, 0)), base.books.get(day, {}).get(key, (0, 0))
            settled, unsure = settled + now[0] - then[0], unsure + now[1] - then[1]
        return settled, unsure


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What the credits say of so many doubts. Money in micro-dollars; `all` is what they are expected to cost."""

    verdict: Verdict
    doubts: int
    unexplained: int
    all: int

    def __add__(self, other: Finding) -> Finding:
        """Return what is to be said of the doubts of both. None of them is proved."""
        return Finding(
            verdict=self.verdict if self.verdict == other.verdict else Verdict.SOME,
            doubts=self.doubts + other.doubts,
            unexplained=self.unexplained + other.unexplained,
            all=self.all + other.all,
        )

    def as_json(self) -> str:
        """Return the text that lies with the batch; `said` makes the document's part of it."""
        return json.dumps(asdict(self), separators=(",", ":"))


def judge(base: Reading, now: Reading, key: str, expected: Sequence[int]) -> Finding:
    """Return what two readings say of the doubts of one API key that began between them.

    Another key's edits can only make the rest larger, if both draw on one account: then nothing is proved.

    Args:
        base: the earlier reading.
        now: the later one, of the same epoch.
        key: its id.
        expected: what each of its doubts is expected to cost (micro-dollars).
    """
    total = sum(expected)
    settled, unsure = now.counted_since(key, base)
    unexplained = base.micros.get(key, 0) - now.micros.get(key, 0) - settled
    if key not in base.micros or key not in now.micros:
        verdict, unexplained = Verdict.UNSEEN, 0
    elif unsure:
        verdict = Verdict.UNSURE
    elif unexplained < -ROUNDING:
        verdict = Verdict.OTHERS
    elif unexplained <= ROUNDING:
        verdict = Verdict.UNCHARGED
    else:
        verdict = Verdict.ALL if abs(unexplained - total) <= ROUNDING else Verdict.SOME
    return Finding(verdict=verdict, doubts=len(expected), unexplained=unexplained, all=total)


_SENTENCES = {
    Verdict.ALL: "{gone} are gone that no known edit explains, as much as {all} would cost: they were charged.",
    Verdict.SOME: "{gone} are gone that no known edit explains; {all} would cost {cost}.",
    Verdict.OTHERS: "Less is gone than known edits cost, so the credits prove nothing of {all}: there was a top-up, a"
    " refund, or somebody else.",
    Verdict.UNSURE: "The API did not name the cost of every edit, so the credits prove nothing of {all}.",
    Verdict.UNSEEN: "The credits from before are not known, so they prove nothing of {all}.",
}


def said(finding: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return a finding as documents show it; None where there is none."""
    if not finding:
        return None
    all_ = "the row in doubt" if finding["doubts"] == 1 else f"the {counted(finding['doubts'], 'row')} in doubt"
    sentence = _SENTENCES[Verdict(finding["verdict"])].format(
        gone=dollars(usd(finding["unexplained"])), all=all_, cost=dollars(usd(finding["all"]))
    )
    return {
        "verdict": finding["verdict"],
        "doubts": finding["doubts"],
        "unexplained_usd": usd(finding["unexplained"]),
        "expected_usd": usd(finding["all"]),
        "sentence": sentence,
    }
