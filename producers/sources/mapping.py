"""Applies a source profile: one row of an export becomes a row of the plan for each of its pictures.

The user's own cells stay as they are beside what was made of them, so they travel to the results unchanged. A row
without a picture is no row: exports have many, and each is counted and none is an error.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any, NamedTuple

from jobs.batch import Table
from jobs.row import IdleRow
from producers.manifest.damage import damaged_id
from producers.manifest.output import FILTERS
from producers.manifest.problems import ManifestError, RowProblem, listed
from producers.manifest.rows import AnyRow, BrokenRow, Manifest, RawRow, count
from producers.manifest.spelling import hint
from producers.manifest.template import Bound, EmptyValue
from producers.sources.profile import Images, Profile, Rule

MADE = ("position", "role", "column", "id", "image", "group", "model", "prompt")
"""What is made of a row, in the order of `RawRow.mapped`; the profile's references and fields follow."""

_REMEMBERED = 256


class _Place(NamedTuple):
    """A column with pictures."""

    at: int
    name: str
    images: Images
    position: int | None
    prompt: tuple[Bound, ...]
    model: tuple[Bound, ...]


class Mapped(Manifest):
    """A manifest as its profile reads it.

    Raises:
        ManifestError: the manifest has none of the columns that the profile needs.
    """

    def __init__(self, source: Manifest, profile: Profile) -> None:
        super().__init__(source.path, None)
        self.decimal_comma = source.decimal_comma
        self._source = source
        self._profile = profile
        self._without = 0
        self._bind = lru_cache(maxsize=_REMEMBERED)(lambda columns: _Binding(profile, columns))
        columns = source.table.columns
        if columns:
            self._bind(columns).check()

    @property
    def made(self) -> tuple[str, ...]:
        """The names of what is made of each row, in order."""
        refs = tuple(f"ref_{n}" for n in range(1, len(self._profile.references) + 1))
        return (*MADE, *refs, *self._profile.fields)

    @property
    def rules(self) -> frozenset[str]:
        """Which of the made things the profile has a rule for."""
        profile = self._profile
        prompts = profile.prompt or any(one.prompt for one in profile.images)
        models = profile.model or any(one.model for one in profile.images)
        has = {"id": profile.id, "group": profile.group, "prompt": prompts, "model": models}
        return frozenset(name for name, rule in has.items() if rule) | {"image"}

    @property
    def used(self) -> frozenset[str]:
        """The columns that a rule reads."""
        columns = self.table.columns
        return frozenset(columns[at] for at in self._bind(columns).used) if columns else frozenset()

    @property
    def folder(self) -> Any:
        """Where relative paths start."""
        return self._source.folder

    @property
    def table(self) -> Table:
        """How the export is written."""
        return replace(self._source.table, several=True)

    def unmatched(self) -> Iterator[RowProblem]:
        """Yield what the export has to tell beside its rows."""
        return self._source.unmatched()

    def _title(self) -> str:
        return self._source._title()

    def _form(self) -> Sequence[str]:
        rows = count(self._source.rows_read, "line")
        without = [f"{rows}, {self._without:,} without a picture"] if self._without else []
        return [*self._source._form(), f"read as {self._profile.title}", *without]

    def _no_rows(self) -> ManifestError:
        names = [name for images in self._profile.images for name in images.columns]
        return ManifestError(
            f"no row of the manifest names a picture in the columns of {self._profile.title}",
            remedy=f"these are: {listed(names)}; `retouch columns FILE` drafts a profile",
        )

    def _read(self) -> Iterator[AnyRow]:
        number = self._without = 0
        before: tuple[str, ...] = ()
        for row in self._source.rows():
            if isinstance(row, IdleRow):
                yield row
                continue
            record = row.record or row.number
            if isinstance(row, BrokenRow):
                number += 1
                yield row._replace(number=number, record=record)
                continue
            cells = row.cells
            if isinstance(cells, tuple):
                columns = self._source.table.columns
                if len(cells) != len(columns):  # the checker says what is wrong with it
                    number += 1
                    yield RawRow(number, row.line, cells, record=record)
                    continue
                binding = self._bind(columns)
                before = binding.filled(cells, before)
                made = binding.expand(before, before)
            else:
                before = ()
                texts = tuple(_as_text(value) for value in cells.values())
                made = self._bind(tuple(cells)).expand(texts, tuple(cells.values()))
            if not made:
                self._without += 1
                yield IdleRow(record=record, cells=cells)
            for one in made:
                number += 1
                yield RawRow(number, row.line, cells, one, record, before)


class _Binding:
    """A profile that knows where its columns stand."""

    def __init__(self, profile: Profile, columns: tuple[str, ...]) -> None:
        self._profile = profile
        self._columns = columns
        self._where = {name: at for at, name in enumerate(columns)}
        # What is made of a picture comes before columns: a column may be called `position` and mean something else.
        self._places = {**self._where, "position": len(columns), "role": len(columns) + 1}
        self._images = self._find_images(profile)
        self._id = self._bound(profile.id)
        self._group = self._bound(profile.group)
        self._prompt = self._bound(profile.prompt)
        self._model = self._bound(profile.model)
        self._references = [self._bound(rule) for rule in profile.references]
        self._fields = [self._bound(rule) for rule in profile.fields.values()]
        self._by = next((self._where[name] for name in profile.continued_by if name in self._where), None)
        pictures = {place.at for place in self._images}
        self._continued = [
            at
            for at, name in enumerate(columns)
            if at not in pictures and any(name == one or fnmatchcase(name, one) for one in profile.continued)
        ]

    def filled(self, cells: tuple[str, ...], before: tuple[str, ...]) -> tuple[str, ...]:
        """Return a row with what it means by cells that it leaves empty; `before` is the row before it, so filled."""
        by = self._by
        if by is None or not before or not cells[by].strip() or cells[by] != before[by]:
            return cells
        whole = list(cells)
        for at in self._continued:
            if not whole[at].strip():
                whole[at] = before[at]
        return tuple(whole)

    @property
    def used(self) -> frozenset[int]:
        """The positions of the columns that a rule reads."""
        rules = [self._id, self._group, self._prompt, self._model, *self._references, *self._fields]
        rules += [rule for place in self._images for rule in (place.prompt, place.model)]
        found = {at for rule in rules for bound in rule for at in bound.positions if at < len(self._columns)}
        found |= {place.at for place in self._images}
        return frozenset(found | {place.position for place in self._images if place.position is not None})

    def check(self) -> None:
        """Refuse a table that the profile is not for.

        Raises:
            ManifestError: a column is missing without which no row can be read.
        """
        title, columns = self._profile.title, self._columns
        if not self._images:
            wanted = [name for images in self._profile.images for name in images.columns]
            raise ManifestError(
                f"the manifest has none of the columns with pictures of {title}: {listed(wanted)}",
                remedy=f"the columns are: {listed(columns)}; `retouch columns FILE` drafts a profile for them",
                line=1,
            )
        rules: list[tuple[str, Rule, Sequence[Bound]]] = [
            ("id", self._profile.id, self._id),
            ("prompt", self._profile.prompt, self._prompt),
            ("model", self._profile.model, self._model),
            *(("references", r, b) for r, b in zip(self._profile.references, self._references, strict=True)),
            *((n, r, b) for (n, r), b in zip(self._profile.fields.items(), self._fields, strict=True)),
        ]
        for name, rule, bound in rules:
            if rule and not bound:
                text = rule[0].source
                column = text.partition("{")[2].partition("}")[0].partition("|")[0]
                raise ManifestError(
                    f"the {name} of {title} is {text}, and there is no such column{hint(column, columns)}",
                    remedy=f"the columns are: {listed(columns)}",
                    line=1,
                )

    def expand(self, cells: tuple[str, ...], values: Sequence[Any]) -> list[tuple[str, ...]]:
        """Return what is made of a row, for each of its pictures; `values` are the cells before they were texts."""
        found: list[tuple[str, ...]] = []
        seen: set[str] = set()
        for place in self._images:
            for text in _pictures(values[place.at], place.images.split):
                image = _joined(place.images.base, text)
                if image in seen:
                    continue
                seen.add(image)
                given = cells[place.position].strip() if place.position is not None else ""
                position = given or str(len(found) + 1)
                role = place.images.role or place.name
                row = (*cells, position, role)
                found.append(
                    (
                        position,
                        role,
                        place.name,
                        self._id_of(row, cells),
                        image,
                        _first(self._group, row),
                        _first(place.model, row) or _first(self._model, row),
                        _first(place.prompt, row) or _first(self._prompt, row),
                        *(_first(rule, row) for rule in self._references),
                        *(_first(rule, row) for rule in self._fields),
                    )
                )
        return found

    def _id_of(self, row: tuple[str, ...], cells: tuple[str, ...]) -> str:
        for bound in self._id:
            try:
                made = bound.render(row)
            except EmptyValue:
                continue
            # With something added a damaged id would not be seen to be one.
            texts = (cells[at].strip() for at in bound.positions if at < len(cells))
            return next((text for text in texts if damaged_id(text, dates=self._profile.date_ids)), made)
        return ""

    def _find_images(self, profile: Profile) -> list[_Place]:
        found: dict[int, _Place] = {}
        for images in profile.images:
            position = next((self._where[name] for name in images.position if name in self._where), None)
            prompt, model = self._bound(images.prompt), self._bound(images.model)
            for wanted in images.columns:
                for at, name in enumerate(self._columns):
                    if name == wanted or fnmatchcase(name, wanted):
                        found.setdefault(at, _Place(at, name, images, position, prompt, model))
        return list(found.values())

    def _bound(self, rule: Rule) -> tuple[Bound, ...]:
        """Return the templates whose columns are all there."""
        bound = (one.bind(self._places, filters=FILTERS, open_ended=True) for one in rule)
        return tuple(one for one in bound if not one.missing)


def _first(rule: Sequence[Bound], row: tuple[str, ...]) -> str:
    for bound in rule:
        try:
            return bound.render(row)
        except EmptyValue:
            continue
    return ""


@lru_cache(maxsize=16)
def splitter(sign: str) -> Callable[[str], list[str]]:
    """Return what parts a text at `sign`, unless a backslash stands before it."""
    return re.compile(rf"(?<!\\){re.escape(sign)}").split


def _pictures(value: Any, split: str) -> list[str]:
    """Return the pictures that a cell names."""
    if isinstance(value, list):
        return [text for one in value if (text := _as_text(one).strip())]
    text = _as_text(value)
    parts = splitter(split)(text) if split else [text]
    return [made for part in parts if (made := part.replace(f"\\{split}", split).strip() if split else part.strip())]


def _joined(base: str, text: str) -> str:
    return text if not base or "://" in text else f"{base.rstrip('/')}/{text.lstrip('/')}"


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        found = next((value[key] for key in ("src", "url", "href", "data") if isinstance(value.get(key), str)), "")
        return str(found)
    if value is None or isinstance(value, list):
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
