"""Judges plain rows quickly: those that name one picture behind an address, and hold nothing to look at twice.

Nearly all rows of a large manifest are plain. What is not, or what may be wrong, is left to the `Judge`; of a row that
is taken here it would say the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import itemgetter
from typing import NamedTuple

from jobs.row import Frame, quoted
from producers.manifest.damage import damaged_id, failed_formula
from producers.manifest.inputs import Input, InputError
from producers.manifest.judging import MAX_ID, MAX_PROMPT, Judge
from producers.manifest.output import MAX_KEY_BYTES, OPEN_EXTENSION, same_place, unsafe
from producers.manifest.rows import RawRow

Kind = tuple[str, str, int, int, int, int]
"""What rows are counted by: limit group, model, references, megapixels, expected and at most in micro-dollars."""
Pictures = tuple[tuple[str, str], ...]
Verdict = tuple[str, str, str, Pictures, Kind, str]
"""What a plain row comes to: id, output key, where that is (`same_place`), its own pictures, kind, and its line."""

_REMEMBERED = 4_096


class _Asking(NamedTuple):
    """What rows have in common that ask for the same."""

    kind: Kind
    extension: str
    frame: Frame


class _Folder(NamedTuple):
    """What pictures of a folder have in common: whether they may be read, and whether outputs may replace them."""

    allowed: bool
    own: bool


class Plain:
    """Judges the plain rows of a manifest whose columns are known; `lines` says whether their lines are wanted.

    `any` is False where no row can be plain: all have references, or every key is to be looked at.
    """

    def __init__(self, judge: Judge, *, lines: bool) -> None:
        learnt, options = judge.learnt, judge.terms.options
        meaning, output = learnt.meaning, learnt.output
        self._judge = judge
        self._learnt = learnt
        self._lines = lines
        self._width = len(learnt.columns)
        self._prefix = options.prefix
        self._dates = options.date_ids
        self._passes = options.pass_urls or meaning.pass_urls is not None
        model = [meaning.model] if meaning.model is not None else []
        self._asked = _picked([*model, *(at for at, _ in meaning.fields)])
        self._askings: dict[tuple[str, ...], _Asking | None] = {}
        self._folders: dict[str, _Folder] = {}
        self._in_prompt = _picked(learnt.prompt.places if learnt.prompt is not None else ())
        self._in_key = _picked(output.places)
        self._named = any(at >= self._width for at in output.positions)
        lead, prefix = output.lead.casefold(), options.prefix.casefold()
        self._all_looked_at = OPEN_EXTENSION in lead or prefix.startswith(lead)
        fixed = "".join(step for step in output.steps if isinstance(step, str)).replace(OPEN_EXTENSION, "")
        alone = learnt.given is None and not judge.terms.made
        self.any = alone and fixed.isprintable() and '"' not in fixed and not _is_odd(fixed)

    def verdict(self, raw: RawRow) -> Verdict | None:
        """Return what a plain row comes to; None for any other."""
        number, _, cells, _, record, _ = raw
        if type(cells) is not tuple or len(cells) != self._width:
            return None
        text = '","'.join(cells)  # as it stands in the row's line, where no cell holds what JSON escapes
        if not text.isprintable() or text.count('"') != 2 * self._width - 2 or _is_odd(text):
            return None
        asking, picture = self._asking(cells), self._picture(cells)
        if asking is None or picture is None:
            return None
        uri, name, pictures = picture
        meaning = self._learnt.meaning
        id_ = stem = cells[meaning.id].strip() if meaning.id is not None else ""
        if not id_:
            id_ = name
            stem = id_.rpartition(".")[0] or id_
        elif damaged_id(id_, dates=self._dates):
            return None
        prompt, key = self._prompt(cells), self._key(cells, stem, number)
        if not prompt or not key or not id_ or len(id_) > MAX_ID:
            return None
        place, line = same_place(key, asking.extension), ""
        if self._lines:
            group = cells[self._learnt.group].strip() if self._learnt.group is not None else ""
            line = asking.frame.line(
                number, f'"{id_}"', f'"{group}"', quoted(prompt), f'"{uri}"', f'"{key}"', f'["{text}"]', record
            )
        return id_, key, place, pictures, asking.kind, line

    def _asking(self, cells: tuple[str, ...]) -> _Asking | None:
        key = self._asked(cells)
        try:
            return self._askings[key]
        except KeyError:
            if len(self._askings) >= _REMEMBERED:
                self._askings.clear()
            found = self._askings[key] = self._worked_out(*key)
            return found

    def _worked_out(self, *texts: str) -> _Asking | None:
        model = ""
        if self._learnt.meaning.model is not None:
            model, *fields = texts
            texts = tuple(fields)
        asked, bad = self._judge.ask(model.strip(), texts)
        if asked is None or bad or asked.model.inputs < 1:
            return None
        group, name = asked.model.limit_group, asked.model.name
        price = self._judge.price(name, asked.size, (None,))
        expected, at_most, megapixels = price.expected, price.at_most, price.megapixels
        frame = Frame.of(
            group, name, asked.params, pass_urls=False, expected=expected, at_most=at_most, megapixels=megapixels
        )
        return _Asking((group, name, 0, megapixels, expected, at_most), asked.extension, frame)

    def _picture(self, cells: tuple[str, ...]) -> tuple[str, str, Pictures] | None:
        """Return the picture's URI and name, and what an output might replace; None if it is to be looked at."""
        place = self._learnt.meaning.image
        uri = cells[place].strip() if place is not None else ""
        if uri.startswith("s3://"):
            head, _, name = uri.rpartition("/")
            folder = self._folders.get(head)
            if folder is None:
                folder = self._folder(head)
            if not folder.allowed or not name:
                return None
            return uri, name, self._judge.own_pictures([Input(uri, name)]) if folder.own else ()
        # The name of a picture whose address has escapes can hold anything.
        if not uri.startswith("https://") or self._passes or "%" in uri:
            return None
        try:
            return uri, self._judge.inputs.find(uri).name, ()
        except InputError:
            return None

    def _folder(self, head: str) -> _Folder:
        if len(self._folders) >= _REMEMBERED:
            self._folders.clear()
        try:
            one = self._judge.inputs.find(f"{head}/x")
        except InputError:
            found = _Folder(allowed=False, own=False)
        else:
            # What begins with the folder of every key does so up to a slash.
            found = _Folder(allowed=True, own=bool(self._judge.own_pictures([one])))
        self._folders[head] = found
        return found

    def _prompt(self, cells: tuple[str, ...]) -> str:
        """Return the prompt; an empty text if it is to be looked at."""
        place, template = self._learnt.meaning.prompt, self._learnt.prompt
        prompt = cells[place] if place is not None else ""
        if not prompt.strip():
            values = self._in_prompt(cells)
            if template is None or not all(map(str.strip, values)):
                return ""
            prompt = template.filled(values)
            if failed_formula(prompt):
                return ""
        return prompt if len(prompt) <= MAX_PROMPT else ""

    def _key(self, cells: tuple[str, ...], stem: str, number: int) -> str:
        """Return the output key; an empty text if it is to be looked at."""
        literal = self._learnt.meaning.output
        values = self._in_key((*cells, stem, str(number)) if self._named else cells)
        if (literal is not None and cells[literal].strip()) or not all(map(str.strip, values)):
            return ""
        key = self._learnt.output.filled(values)
        # What the first conditions let pass is a plain ASCII path, of which `unsafe` has nothing to say.
        if self._all_looked_at or _is_suspect(key):
            return "" if unsafe(key, self._prefix) else key
        return key


def _is_odd(text: str) -> bool:
    """Whether a text holds what may have a meaning: an escape, a brace, an error of a formula, a rounded number."""
    return "\\" in text or "{" in text or "}" in text or "#" in text or "E+" in text


def _is_suspect(key: str) -> bool:
    """Whether a key without braces, backslashes and control characters may be unsafe all the same."""
    if not key.isascii() or len(key) > MAX_KEY_BYTES or "//" in key or "/." in key:
        return True
    return key.startswith(("/", ".")) or key.endswith("/")


def _picked(places: Iterable[int | None]) -> Callable[[tuple[str, ...]], tuple[str, ...]]:
    """Return what picks the cells at these places."""
    match [place for place in places if place is not None]:
        case []:
            return lambda _: ()
        case [place]:
            return lambda cells: (cells[place],)
        case several:
            return itemgetter(*several)
