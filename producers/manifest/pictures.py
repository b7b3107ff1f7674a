"""Finds the pictures of a row in their order: the one that is edited, then its references without a gap."""

from __future__ import annotations

from collections.abc import Sequence

from producers.manifest.columns import REFERENCES, Meaning
from producers.manifest.inputs import Input, InputError, Inputs
from producers.manifest.problems import RowProblem, problem


def find_pictures(
    cells: Sequence[str], meaning: Meaning, given: Sequence[str] | None, inputs: Inputs, found: list[RowProblem]
) -> list[Input]:
    """Return the row's pictures in order; none if one of them is wrong.

    Args:
        cells: the row.
        meaning: which cells name pictures.
        given: references for rows without one; None where no row of the batch has any.
        inputs: looks them up.
        found: gets what is wrong.
    """
    before = len(found)
    pictures: list[Input] = []

    def add(text: str, column: str) -> None:
        try:
            pictures.append(inputs.find(text))
        except InputError as error:
            found.append(problem(column, error.code, str(error), error.remedy))

    name = meaning.columns[meaning.image] if meaning.image is not None else "image"
    text = cells[meaning.image].strip() if meaning.image is not None else ""
    if text:
        add(text, name)
    else:
        found.append(problem(name, "image_missing", "the row names no picture", "name a file, s3:// or https://"))
    if given is None:
        return pictures
    gap = ""
    for order, place in enumerate(meaning.references):
        if place is None and order >= len(given):
            gap = gap or REFERENCES[order][0]
            continue
        name = meaning.columns[place] if place is not None else REFERENCES[order][0]
        text = cells[place].strip() if place is not None else ""
        text = text or (given[order] if order < len(given) else "")
        if not text:
            gap = gap or name
        elif gap:
            found.append(problem(name, "reference_gap", f"{name} is given and {gap} is empty", f"fill {gap} first"))
        else:
            add(text, name)
    return pictures if len(found) == before else []
