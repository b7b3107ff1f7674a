"""Checks a raw row and makes it a row of the plan, or says everything that is wrong with it.

A row's problems are collected, not raised, so that one run of `plan` shows them all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from jobs.row import Row
from producers.manifest.apart import Apart
from producers.manifest.judging import Judge, Judged, Terms
from producers.manifest.problems import RowProblem
from producers.manifest.rows import RawRow


class RowChecker:
    """Checks the rows of one manifest, in order: it remembers ids and output keys (50 MB at a million rows).

    Args:
        terms: what rows are judged by.

    Raises:
        ManifestError: what is wrong for every row: columns, templates, batch-wide values.
    """

    def __init__(self, terms: Terms) -> None:
        self.judge = Judge(terms)
        self.apart = Apart()

    def check(self, raw: RawRow) -> Row | list[RowProblem]:
        """Return the row of the plan, or everything that is wrong with it.

        Raises:
            ManifestError: a key of a JSON row is a near-miss of a known name.
        """
        judged = self.judge.judge(raw)
        clashes = self.apart.clashes(judged.line, judged.id, judged.key, judged.place, judged.pictures)
        if judged.row is not None and clashes is None:
            return judged.row
        return everything(judged, clashes)


def everything(judged: Judged, clashes: tuple[Sequence[RowProblem], Sequence[RowProblem]] | None) -> list[RowProblem]:
    """Return all that is wrong with a row, by itself and beside those before it, in the order of what is looked at."""
    of_id, of_key = clashes or ((), ())
    found = [*judged.before, *of_id, *judged.after, *of_key]
    if judged.column:  # a picture is looked for where its user has it
        found = [replace(one, column=judged.column) if one.column == "image" else one for one in found]
    return [replace(one, line=judged.line) for one in found]
