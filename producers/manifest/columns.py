"""What each column of a manifest means: a picture, a prompt, a field of a model, or the user's own data.

Any name may be data, so only a *near-miss* of a known name is an error. The rule is made for few false alarms:

- case, spaces, underscores, hyphens and dots: always a near-miss (`Input Image`, `Ref-1`);
- one slip of the finger, for names of five letters or more that begin with the same letter (so `weight` is not
  `height`, `mode` not `model`), two slips from nine letters on;
- but a short name with something added is a word of its own (`images`, `width_cm`, `Modell`, `prompt_de`), and
  a slip is none if the manifest has the right name as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass

from jobs.models import Catalogue
from producers.manifest.problems import ManifestError, listed
from producers.manifest.spelling import distance, hint, squashed

PLAIN_COLUMNS = frozenset({"id", "image", "input_image", "prompt", "model", "output", "pass_urls"})
REFERENCES = tuple((f"ref_{n}", f"input_image_{n + 1}") for n in range(1, 8))
"""The two names of each reference: `ref_1` is the API's `input_image_2`."""
OURS = frozenset({"webhook_url", "webhook_secret"})
"""Fields that Retouch sets itself."""

_NUMBERED = re.compile(r"(?:ref|inputimage)\d+")
_LONG_NAME = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """Where each known thing stands in a row: positions of cells, None where the manifest has no such column."""

    columns: tuple[str, ...]
    id: int | None
    image: int | None
    references: tuple[int | None, ...]
    prompt: int | None
    model: int | None
    output: int | None
    pass_urls: int | None
    fields: tuple[tuple[int, str], ...]
    """(position, field name) of each column that is a field of some model."""

    @property
    def known(self) -> frozenset[int]:
        """The positions that mean something to Retouch."""
        single = (self.id, self.image, self.prompt, self.model, self.output, self.pass_urls, *self.references)
        return frozenset(p for p in single if p is not None) | {position for position, _ in self.fields}


def field_names(catalogue: Catalogue) -> tuple[str, ...]:
    """Return the fields of every model, each once, `prompt` left out."""
    names = {name: None for model in catalogue.models.values() for name in model.fields}
    names.pop("prompt", None)
    return tuple(names)


def understand(columns: Sequence[str], catalogue: Catalogue, data_columns: Set[str] = frozenset()) -> Meaning:
    """Return what the columns mean. Names in `data_columns` are data, whatever they look like.

    Raises:
        ManifestError: a near-miss of a known name, two names of one thing, a field that Retouch sets itself, or
            a data column that is not there.
    """
    missing = sorted(data_columns - set(columns))
    if missing:
        raise ManifestError(
            f"there is no column '{missing[0]}'{hint(missing[0], columns)} for --data-column",
            remedy=f"the columns are: {listed(columns)}",
        )
    where = {name: position for position, name in enumerate(columns) if name not in data_columns}
    fields = field_names(catalogue)
    known = (*sorted(PLAIN_COLUMNS), *(name for pair in REFERENCES for name in pair), *fields)
    for name in where:
        _refuse_near_miss(name, known, where.keys())
    for first, second in (("image", "input_image"), *REFERENCES):
        if first in where and second in where:
            raise ManifestError(
                f"the columns '{first}' and '{second}' mean the same picture",
                remedy="keep one of them",
                column=second,
                line=1,
            )
    return Meaning(
        columns=tuple(columns),
        id=where.get("id"),
        image=where.get("image", where.get("input_image")),
        references=tuple(where.get(first, where.get(second)) for first, second in REFERENCES),
        prompt=where.get("prompt"),
        model=where.get("model"),
        output=where.get("output"),
        pass_urls=where.get("pass_urls"),
        fields=tuple((where[name], name) for name in fields if name in where),
    )


def made_meaning(columns: Sequence[str], made: Sequence[str], rules: Set[str], catalogue: Catalogue) -> Meaning:
    """Return what a row means of which a source profile made more: only what was `made` counts, after the `columns`.

    `rules` says which of the made things the profile has a rule for.
    """
    where = {name: len(columns) + at for at, name in enumerate(made)}
    ruled = {name: place for name, place in where.items() if name in rules}
    return Meaning(
        columns=(*columns, *made),
        id=ruled.get("id"),
        image=where["image"],
        references=tuple(where.get(first) for first, _ in REFERENCES),
        prompt=ruled.get("prompt"),
        model=ruled.get("model"),
        output=None,
        pass_urls=None,
        fields=tuple((where[name], name) for name in field_names(catalogue) if name in where),
    )


def speaking(columns: Sequence[str], catalogue: Catalogue) -> tuple[str, ...]:
    """Return the columns that would mean something, or would be refused, if no profile said what they mean."""
    found: list[str] = []
    for name in columns:
        try:
            meaning = understand((name,), catalogue)
        except ManifestError:
            found.append(name)
        else:
            found += [name] if meaning.known else []
    return tuple(found)


def _refuse_near_miss(name: str, known: Iterable[str], present: Set[str]) -> None:
    if name in known:
        return
    plain = squashed(name)
    if any(plain == squashed(ours) for ours in OURS):
        raise ManifestError(
            f"the column '{name}' cannot be used: Retouch sets {listed(sorted(OURS))} itself",
            remedy=f"remove it, or say --data-column '{name}' if it is your own data",
            column=name,
        )
    likely = near_miss(name, known, present)
    if likely:
        raise ManifestError(
            f"column '{name}' looks like '{likely}'",
            remedy=f"rename it to '{likely}', or say --data-column '{name}' if it is your own data",
            column=name,
        )
    if _NUMBERED.fullmatch(plain):
        raise ManifestError(
            f"column '{name}' looks like a reference picture, and there is none of this number",
            remedy="the edited picture is image, references are ref_1 to ref_7 (= input_image_2 to input_image_8); "
            f"say --data-column '{name}' if it is your own data",
            column=name,
        )


def near_miss(name: str, known: Iterable[str], present: Set[str] = frozenset()) -> str | None:
    """Return the known name that `name` is probably meant to be, or None. `present` are all names there are."""
    plain = squashed(name)
    for other in known:
        if plain == squashed(other):
            return other
    for other in known:
        target = squashed(other)
        if other not in present and len(plain) < 64 and _slipped(plain, target):
            return other
    return None


def _slipped(name: str, target: str) -> bool:
    if min(len(name), len(target)) < 5 or name[0] != target[0] or abs(len(name) - len(target)) > 2:
        return False
    if re.findall(r"\d", name) != re.findall(r"\d", target):
        return False
    if len(target) < _LONG_NAME:
        return not name.startswith(target) and distance(name, target) == 1
    return distance(name, target) <= 2
