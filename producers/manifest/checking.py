"""Checks a raw row and makes it a row of the plan, or says everything that is wrong with it.

A row's problems are collected, not raised, so that one run of `plan` shows them all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from jobs.row import Row
from producers.manifest.apart import Apart
from producers.manifest.judging import Judge
from producers.manifest.learnt import Terms
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
        return everything(judged.before, judged.after, clashes, raw.line, self.judge.column_of(raw))


Clashes = tuple[Sequence[RowProblem], Sequence[RowProblem]]


def everything(
    before: Iterable[RowProblem], after: Iterable[RowProblem], clashes: Clashes | None, line: int, column: str
) -> list[RowProblem]:
    """Return all that is wrong with a row, by itself and beside those before it, in the order of what is looked at.

    Args:
        before: what is wrong with it up to its id (`Judged`).
        after: what is wrong with it after its id.
        clashes: what is wrong with its id and its key (`Apart.clashes`).
        line: where it stands.
        column: where its user has the picture, if that is no column `image`.
    """
    of_id, of_key = clashes or ((), ())
    found = [*before, *of_id, *after, *of_key]
    if column:
        found = [replace(one, column=column) if one.column == "image" else one for one in found]
    return [replace(one, line=line) for one in found]
