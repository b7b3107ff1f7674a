"""Templates for prompts and output keys: `{column}` is the row's value, `{{` and `}}` are braces, nothing else.

Values are data: what is filled in is never looked at again, so a value with braces stays as it is. There is no
attribute access, indexing, conversion or format; `{name|filter}` exists only for the filters that the caller gives.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from producers.manifest.problems import ManifestError, listed, shown
from producers.manifest.spelling import hint

Filter = Callable[[str], str]

_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


class EmptyValue(Exception):
    """A column that the template uses is empty in this row, or not there."""

    def __init__(self, column: str) -> None:
        super().__init__(column)
        self.column = column


@dataclass(frozen=True, slots=True)
class _Hole:
    text: str
    """What stands between the braces: a column, or a column and a filter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A parsed template; `bind` it to columns to render rows."""

    source: str
    about: str
    """Where it comes from, for messages: `--prompt` or `--output`."""
    parts: tuple[str | _Hole, ...]

    @classmethod
    def parse(cls, source: str, about: str) -> Template:
        """Return the template written in `source`.

        Raises:
            ManifestError: a brace without its partner, or nothing between two braces.
        """
        parts: list[str | _Hole] = []
        end = 0
        for token in _TOKEN.finditer(source):
            parts.append(source[end : token.start()])
            end = token.end()
            found = token.group()
            if found in ("{{", "}}"):
                parts.append(found[0])
            elif found in ("{", "}") or not token.group(1).strip():
                raise ManifestError(
                    f"{about}: the brace at character {token.start() + 1} names no column",
                    remedy="write {column}, or {{ and }} for braces that are meant",
                )
            else:
                parts.append(_Hole(token.group(1)))
        parts.append(source[end:])
        return cls(source=source, about=about, parts=tuple(part for part in parts if part))

    @property
    def literals(self) -> tuple[str, ...]:
        """The fixed text, braces undone."""
        return tuple(part for part in self.parts if isinstance(part, str))

    def bind(
        self,
        columns: Mapping[str, int],
        *,
        constants: Mapping[str, str] | None = None,
        filters: Mapping[str, Filter] | None = None,
        open_ended: bool = False,
    ) -> Bound:
        """Return the template with each name resolved to a position in the row.

        Args:
            columns: position of each column's value.
            constants: names whose value is the same in every row; they win over columns.
            filters: what may stand after a `|`.
            open_ended: more columns may turn up later, so an unknown one is a row's error, not the template's.

        Raises:
            ManifestError: a name that is no column.
        """
        steps: list[str | _Value] = []
        for part in self.parts:
            step: str | _Value | None
            if isinstance(part, str):
                step = part
            else:
                step = self._resolve(part.text, columns, constants or {}, filters or {})
                if step is None and not open_ended:
                    raise self._unknown(part.text, (*(constants or ()), *columns), filters or {})
                step = _Value(part.text, None, None) if step is None else step
            if isinstance(step, str) and steps and isinstance(steps[-1], str):
                steps[-1] += step
            else:
                steps.append(step)
        return Bound(tuple(steps))

    def _resolve(
        self, text: str, columns: Mapping[str, int], constants: Mapping[str, str], filters: Mapping[str, Filter]
    ) -> str | _Value | None:
        # A column may have a bar in its name, so the whole text is tried first, then what is left of its last bar.
        name, applied = text, list[Filter]()
        while True:
            filtered = _chained(applied)
            if name in constants:
                return filtered(constants[name]) if filtered else constants[name]
            if name in columns:
                return _Value(name, columns[name], filtered)
            name, bar, end = name.rpartition("|")
            if not bar or end not in filters:
                return None
            applied.insert(0, filters[end])

    def _unknown(self, text: str, columns: Sequence[str], filters: Mapping[str, Filter]) -> ManifestError:
        name, bar, end = text.rpartition("|")
        while bar and end in filters and name not in columns:
            name, bar, end = name.rpartition("|")
        if bar and name in columns:
            known = f"the filters here are: {listed(filters)}" if filters else "there are no filters here"
            return ManifestError(f"{self.about} has the filter {shown('|' + end)}, which does not exist", remedy=known)
        return ManifestError(
            f"{self.about} uses {{{text}}}, and there is no such column{hint(text, columns)}",
            remedy=f"the columns are: {listed(columns)}; write {{{{ and }}}} for braces that are meant",
        )


def _chained(filters: list[Filter]) -> Filter | None:
    """Return one filter that does what all do, in their order; None for none."""
    if len(filters) < 2:
        return filters[0] if filters else None

    def chain(text: str) -> str:
        for apply in filters:
            text = apply(text)
        return text

    return chain


@dataclass(frozen=True, slots=True)
class _Value:
    column: str
    position: int | None
    filter: Filter | None


@dataclass(frozen=True, slots=True)
class Bound:
    """A template that knows where its values stand."""

    steps: tuple[str | _Value, ...]
    _texts: tuple[str, ...] = field(init=False)
    _values: tuple[tuple[int, str, int | None, Filter | None], ...] = field(init=False)
    """Which of the texts is a value, and of it the column, the position and the filter: rendering is a row's work."""
    _form: str = field(init=False)
    _filters: tuple[Filter | None, ...] = field(init=False)
    """Of each value; empty where none has one."""

    def __post_init__(self) -> None:
        texts = tuple(step if isinstance(step, str) else "" for step in self.steps)
        values = tuple(
            (at, step.column, step.position, step.filter)
            for at, step in enumerate(self.steps)
            if isinstance(step, _Value)
        )
        object.__setattr__(self, "_texts", texts)
        object.__setattr__(self, "_values", values)
        form = "".join(step.replace("%", "%%") if isinstance(step, str) else "%s" for step in self.steps)
        object.__setattr__(self, "_form", form)
        filters = tuple(filtered for _, _, _, filtered in values)
        object.__setattr__(self, "_filters", filters if any(filters) else ())

    @property
    def positions(self) -> frozenset[int]:
        """Which cells it uses."""
        return frozenset(s.position for s in self.steps if isinstance(s, _Value) and s.position is not None)

    @property
    def missing(self) -> tuple[str, ...]:
        """Names that no row had so far (only where more columns may turn up)."""
        return tuple(s.column for s in self.steps if isinstance(s, _Value) and s.position is None)

    @property
    def lead(self) -> str:
        """The fixed text that every rendering begins with."""
        return self.steps[0] if self.steps and isinstance(self.steps[0], str) else ""

    def fixed(self, text: str) -> int:
        """Return how often `text` stands in what is the same in every row."""
        return sum(step.count(text) for step in self.steps if isinstance(step, str))

    def render(self, values: Sequence[str], *, fold: bool = True) -> str:
        """Return the text for one row: each value as it is, but with `fold` its control characters as spaces.

        Raises:
            EmptyValue: a value is empty or blank.
        """
        out = list(self._texts)
        for at, column, position, filtered in self._values:
            value = values[position] if position is not None else ""
            if not value or value.isspace():
                raise EmptyValue(column)
            if filtered is not None:
                value = filtered(value)
            out[at] = value if not fold or value.isprintable() else _CONTROL.sub(" ", value)
        return "".join(out)

    @property
    def places(self) -> tuple[int | None, ...]:
        """Which cell each value is of, in the order of the text; None for a name that no row had so far."""
        return tuple(position for _, _, position, _ in self._values)

    def filled(self, values: Sequence[str]) -> str:
        """Return the text for one row of which nothing is to be looked at: the values of its `places`, as they are."""
        if self._filters:
            pairs = zip(values, self._filters, strict=True)
            values = [value if filtered is None else filtered(value) for value, filtered in pairs]
        return self._form % tuple(values)
