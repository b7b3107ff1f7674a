"""Keeps the output keys of a batch apart: from each other, from its pictures, and from what is Retouch's own."""

from __future__ import annotations

from collections.abc import Sequence

from producers.manifest.inputs import Input
from producers.manifest.options import PlanOptions
from producers.manifest.output import same_place, unsafe
from producers.manifest.problems import RowProblem, problem, shown
from producers.manifest.seen import Seen


class Keys:
    """Remembers keys and the pictures that lie in the bucket of the results (each 12 bytes a slot)."""

    def __init__(self, options: PlanOptions, lead: str = "") -> None:
        """`lead` is what every key begins with: a picture that lies in another folder can be at none of them."""
        self._prefix = options.prefix
        self._folder = same_place(lead[: lead.rfind("/") + 1], "")
        self._own = f"s3://{options.bucket}/" if options.bucket else ""
        self._outputs = Seen()
        self._pictures = Seen()

    def take(
        self,
        key: str,
        extension: str | None,
        pictures: Sequence[Input],
        line: int,
        found: list[RowProblem],
        why: str = "",
    ) -> None:
        """Take a row's key, and add what is wrong with it to `found`.

        Args:
            key: the key; `{ext}` may stand in it.
            extension: the ending that the result will likely have; None where the row has no model.
            pictures: the row's.
            line: the row's.
            found: gets the problems.
            why: what the caller knows to be wrong with the key, in words that follow it.
        """
        why = why or unsafe(key, self._prefix)
        if why:
            right = "write a plain path such as autumn/chair.{ext}, or use {column|slug} in --output"
            found.append(problem("output", "output_unsafe", f"the output key {shown(key)} {why}", right))
            return
        if extension is None or any(one.code == "id_duplicate" for one in found):
            return
        place = same_place(key, extension)
        first = self._outputs.first(place, line)
        if first is not None:
            message = f"the output key {shown(key)} is that of line {first:,} already"
            right = "two keys may not differ in case or accents alone; change the id, or use --output"
            found.append(problem("output", "output_duplicate", message, right))
        elif self._own:
            self._keep_apart(key, place, pictures, line, found)

    def _keep_apart(self, key: str, place: str, pictures: Sequence[Input], line: int, found: list[RowProblem]) -> None:
        """Refuse an output that is a row's picture, whichever of the two rows comes first."""
        right = "publish somewhere else: change --output, or --name"
        for one in pictures:
            if one.uri.startswith(self._own):
                source = same_place(one.uri[len(self._own) :], "")
                if not source.startswith(self._folder):
                    continue
                # A picture that many rows name was looked for when it was first seen, and by each output since.
                seen = self._pictures.first(source, line)
                before = self._outputs.find(source) if seen is None and source != place else None
                if before is not None:
                    message = f"the picture {shown(one.uri)} would be replaced by the output of line {before:,}"
                    found.append(problem("image", "output_is_input", message, right))
        first = self._pictures.find(place) if len(self._pictures) else None
        if first is not None:
            message = f"at the output key {shown(key)} lies the picture of line {first:,}"
            found.append(problem("output", "output_is_input", message, right))
