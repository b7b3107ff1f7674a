"""Keeps the rows of a batch apart: their ids, and their output keys from each other and from its pictures.

It is told of the rows one by one, in their order; what a row by itself tells was worked out before.
"""

from __future__ import annotations

from collections.abc import Sequence

from producers.manifest.problems import RowProblem, problem, shown
from producers.manifest.seen import Seen

_RIGHT = "publish somewhere else: change --output, or --name"


class Apart:
    """Remembers ids, keys, and the pictures that lie in the bucket of the results (each 12 bytes a slot)."""

    def __init__(self) -> None:
        self._ids = Seen()
        self._outputs = Seen()
        self._pictures = Seen()

    def expect(self, rows: int) -> None:
        """Make room for so many rows."""
        self._ids.expect(rows)
        self._outputs.expect(rows)

    def clashes(
        self, line: int, id_: str, key: str, place: str, pictures: Sequence[tuple[str, str]]
    ) -> tuple[list[RowProblem], list[RowProblem]] | None:
        """Take a row, and return what is wrong with its id and with its key beside those of the rows before.

        None where nothing is. The arguments are those of `producers.manifest.judging.Judged`.
        """
        first = self._ids.first(id_, line) if id_ else None
        if first is not None:
            message = f"the id {shown(id_)} stands on line {first:,} already"
            return [problem("id", "id_duplicate", message, "give each row an id of its own")], []
        if not place:
            return None
        first = self._outputs.first(place, line)
        if first is not None:
            message = f"the output key {shown(key)} is that of line {first:,} already"
            right = "two keys may not differ in case or accents alone; change the id, or use --output"
            return [], [problem("output", "output_duplicate", message, right)]
        if not pictures and not self._pictures.used:
            return None
        found: list[RowProblem] = []
        for uri, source in pictures:
            # A picture that many rows name was looked for when it was first seen, and by each output since.
            seen = self._pictures.first(source, line)
            before = self._outputs.find(source) if seen is None and source != place else None
            if before is not None:
                message = f"the picture {shown(uri)} would be replaced by the output of line {before:,}"
                found.append(problem("image", "output_is_input", message, _RIGHT))
        if self._pictures.used and (first := self._pictures.find(place)) is not None:
            message = f"at the output key {shown(key)} lies the picture of line {first:,}"
            found.append(problem("output", "output_is_input", message, _RIGHT))
        return ([], found) if found else None
