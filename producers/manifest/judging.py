"""Judges a raw row by itself: makes it a row of the plan, or says what is wrong with it, whatever the others are.

All that is the same for the whole batch is worked out once, when the columns are known: a million rows follow. What
only the rows before it can tell (`producers.manifest.apart`) is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from jobs.request import Request
from jobs.row import Picture, Row
from producers.manifest.asking import Asked, check_batch_wide, work_out
from producers.manifest.columns import REFERENCES, understand
from producers.manifest.damage import damaged_id, failed_formula, remedy_of
from producers.manifest.inputs import Input, Inputs
from producers.manifest.learnt import Templates, Terms, check_group, learn
from producers.manifest.output import OPEN_EXTENSION, same_place, unsafe
from producers.manifest.pictures import find_pictures
from producers.manifest.problems import ManifestError, RowProblem, listed, problem, shown
from producers.manifest.rows import RawRow
from producers.manifest.spelling import hint
from producers.manifest.template import EmptyValue
from producers.price import RowPrice, row_price

MAX_PROMPT = 32_000
"""Characters; the API takes up to 32,000 tokens (docs), and a token is a character at least."""
MAX_ID = 512
"""Characters."""

_REMEMBERED = 4_096

_YES = frozenset({"1", "true", "yes", "y"})


class Judged(NamedTuple):
    """What a row by itself comes to. (A tuple, because a million of them are made.)

    `id`, and the `place` that its output `key` folds to, are to be kept apart from those of the rows before; each is
    empty where there is none, or where it is wrong anyway. `pictures` are those that an output might replace: the
    row's URI and the place. A problem of the id comes between `before` and `after`, one of the key behind them;
    `row` is None where there is any problem.
    """

    line: int
    row: Row | None
    id: str
    key: str
    place: str
    pictures: tuple[tuple[str, str], ...]
    before: tuple[RowProblem, ...] = ()
    after: tuple[RowProblem, ...] = ()


class Judge:
    """Judges the rows of one manifest, in any order (those of JSON lines in their own).

    Raises:
        ManifestError: what is wrong for every row: columns, templates, batch-wide values.
    """

    def __init__(self, terms: Terms) -> None:
        options = terms.options
        check_batch_wide(options, terms.catalogue)
        self.terms = terms
        self.inputs = Inputs(
            folder=terms.folder,
            allow_local=options.allow_local,
            buckets=options.buckets,
            trusted_hosts=options.trusted_hosts,
            relative_to=options.relative_to,
        )
        self._options = options
        self._templates = Templates(options)
        # Most rows of a batch ask for the same, and share references.
        self.ask = lru_cache(maxsize=_REMEMBERED)(self._work_out)
        self.price = lru_cache(maxsize=_REMEMBERED)(self._price_of)
        self._learn(terms.columns)

    @property
    def used(self) -> frozenset[str]:
        """The columns that mean something to this batch."""
        return frozenset(self.learnt.columns[at] for at in self.learnt.used)

    def judge(self, raw: RawRow) -> Judged:
        """Return what a row by itself comes to.

        Raises:
            ManifestError: a key of a JSON row is a near-miss of a known name.
        """
        before: list[RowProblem] = []
        cells = self._cells(raw, before)
        if cells is None:
            return Judged(raw.line, None, "", "", "", (), tuple(before))
        inputs = find_pictures(cells, self.learnt.meaning, self.learnt.given, self.inputs, before)
        asked = self._find_asked(cells, inputs, before)
        prompt = self._find_prompt(cells, before)
        literal = self._literal_key(cells)
        id_, stem = self._find_id(cells, inputs, literal, before)
        after: list[RowProblem] = []
        key = self._find_output(cells, stem, literal, raw.number, after)
        place = same_place(key, asked.extension) if key and asked is not None else ""
        pictures = self.own_pictures(inputs) if place else ()
        if before or after or asked is None:
            return Judged(raw.line, None, id_, key, place, pictures, tuple(before), tuple(after))
        price = self.price(asked.model.name, asked.size, tuple([one.size for one in inputs]))
        uris = tuple([one.uri for one in inputs])
        row = Row(
            raw.number,
            id_,
            cells[self.learnt.group].strip() if self.learnt.group is not None else "",
            asked.model.limit_group,
            Request(
                model=asked.model.name,
                prompt=prompt,
                inputs=uris,
                params=asked.params,
                pass_urls=self._passes(cells) and all(uri.startswith("https://") for uri in uris),
            ),
            key,
            price.expected,
            price.at_most,
            raw.cells,
            {one.uri: one.stamp for one in inputs if one.stamp is not None},
            raw.record,
            self._picture(raw) if raw.mapped else None,
            price.megapixels,
        )
        return Judged(raw.line, row, id_, key, place, pictures)

    def own_pictures(self, inputs: Sequence[Input]) -> tuple[tuple[str, str], ...]:
        """Return (URI, place) of those pictures that an output of this batch might replace."""
        own, folder = self.learnt.own, self.learnt.own_folder
        if not own:
            return ()
        places = [(one.uri, same_place(one.uri[len(own) :], "")) for one in inputs if one.uri.startswith(own)]
        return tuple([one for one in places if one[1].startswith(folder)])

    def column_of(self, raw: RawRow) -> str:
        """Return where the picture stands in the user's own row, if a source profile found it there."""
        return raw.mapped[self.terms.made.index("column")] if raw.mapped else ""

    def finish(self) -> None:
        """Check, after the last row of JSON lines, that every name that was used was a key of some row.

        Raises:
            ManifestError: one was not.
        """
        templates, learnt = self._templates, self.learnt
        for source, bound in ((templates.prompt, learnt.prompt), (templates.output, learnt.output)):
            if source is not None and bound is not None and bound.missing:
                name = bound.missing[0]
                raise ManifestError(
                    f"{source.about} uses {{{name}}}, and no row has such a key{hint(name, self.learnt.columns)}",
                    remedy=f"the keys are: {listed(self.learnt.columns)}",
                )
        if not self.terms.columns:
            check_group(learnt, self._options)
            if not self.terms.made:
                understand(self.learnt.columns, self.terms.catalogue, self._options.data_columns)

    def _learn(self, columns: tuple[str, ...]) -> None:
        self.learnt = learn(columns, self.terms, self._templates)
        self._where = {name: at for at, name in enumerate(columns)}
        self.ask.cache_clear()

    def _picture(self, raw: RawRow) -> Picture:
        made = dict(zip(self.terms.made, raw.mapped, strict=True))
        return Picture(made["column"], made["role"], made["position"], made["image"])

    def _cells(self, raw: RawRow, found: list[RowProblem]) -> tuple[str, ...] | None:
        """Return the row as texts in the order of the columns."""
        cells = raw.cells
        if isinstance(cells, tuple):
            if len(cells) == len(self.learnt.columns):
                return (raw.filled or cells) + raw.mapped
            message = f"the row has {len(cells)} cells and the header {len(self.learnt.columns)}"
            many = len(cells) > len(self.learnt.columns)
            right = "quote a cell that holds a delimiter" if many else "add the missing delimiters"
            found.append(problem("", "row_cells", message, right))
            return None
        if not self._where.keys() >= cells.keys():
            new = (*self.learnt.columns, *(key for key in cells if key not in self._where))
            try:
                self._learn(new)
            except ManifestError as error:
                raise ManifestError(error.message, remedy=error.remedy, line=raw.line, column=error.column) from None
        for name, value in cells.items():
            if isinstance(value, (dict, list)) and self._where[name] in self.learnt.used:
                kind = "a list" if isinstance(value, list) else "an object"
                found.append(problem(name, "value_nested", f"{name} is {kind}", "write a text, a number or true/false"))
        return None if found else (*(_as_text(cells.get(name)) for name in self.learnt.columns), *raw.mapped)

    def _passes(self, cells: tuple[str, ...]) -> bool:
        """Whether the API is to fetch this row's URLs itself."""
        place = self.learnt.meaning.pass_urls
        return self._options.pass_urls or (place is not None and cells[place].strip().lower() in _YES)

    def _find_asked(self, cells: tuple[str, ...], inputs: list[Input], found: list[RowProblem]) -> Asked | None:
        place = self.learnt.meaning.model
        name = cells[place].strip() if place is not None else ""
        asked, bad = self.ask(name, tuple([cells[at] for at, _ in self.learnt.meaning.fields]))
        found.extend(bad)
        if asked is not None and len(inputs) > asked.model.inputs:
            limit = asked.model.inputs
            message = f"{asked.model.title} takes {limit} pictures, and the row has {len(inputs)}"
            right = f"leave out {len(inputs) - limit}, or use another model"
            found.append(problem(REFERENCES[limit - 1][0], "references_too_many", message, right))
        return asked

    def _work_out(self, name: str, texts: tuple[str, ...]) -> tuple[Asked | None, tuple[RowProblem, ...]]:
        given = {name: text for (_, name), text in zip(self.learnt.meaning.fields, texts, strict=True)}
        return work_out(name, given, self._options, self.terms.catalogue, decimal_comma=self.terms.decimal_comma)

    def _price_of(
        self, model: str, wanted: tuple[int | None, int | None], sizes: tuple[tuple[int, int] | None, ...]
    ) -> RowPrice:
        width, height = wanted
        return row_price(self.terms.catalogue.models[model], sizes, width=width, height=height)

    def _find_prompt(self, cells: tuple[str, ...], found: list[RowProblem]) -> str:
        place = self.learnt.meaning.prompt
        prompt = cells[place] if place is not None else ""
        if not prompt.strip():
            template = self.learnt.prompt
            if template is None:
                found.append(problem("prompt", "prompt_missing", "the row has no prompt", "fill it, or give --prompt"))
                return ""
            try:
                prompt = template.render(cells)
            except EmptyValue as empty:
                message = f"{empty.column} is empty, and the prompt template uses it"
                right = "fill it, or give the row a prompt of its own"
                found.append(problem(empty.column, "value_missing", message, right))
                return ""
            failure = failed_formula(prompt)
            if failure:
                found.append(problem("prompt", "value_damaged", f"the prompt {failure}", "mend the table's formula"))
        if len(prompt) > MAX_PROMPT:
            message = f"the prompt is {len(prompt):,} characters long"
            found.append(problem("prompt", "prompt_too_long", message, f"{MAX_PROMPT:,} are allowed"))
        return prompt

    def _find_id(
        self, cells: tuple[str, ...], inputs: list[Input], literal: str, found: list[RowProblem]
    ) -> tuple[str, str]:
        """Return the row's id, and what stands for it in a key: a file name goes there without its ending."""
        place = self.learnt.meaning.id
        id_ = stem = cells[place].strip() if place is not None else ""
        # Where the key is given, a wrong id cannot file a result under a wrong name; `failed.csv` gives all of them.
        damage = damaged_id(id_, dates=self._options.date_ids or bool(literal))
        if not id_:
            if not inputs:
                return "", ""  # what is wrong with the picture has been said
            id_ = inputs[0].name
            stem = id_.rpartition(".")[0] or id_
        if not id_:
            found.append(problem("id", "id_missing", "the picture's address has no file name", "give the row an id"))
            return "", ""
        if damage:
            found.append(problem("id", "id_damaged", f"the id {shown(id_)} {damage}", remedy_of(damage)))
        if not id_.isprintable() or len(id_) > MAX_ID:
            long = len(id_) > MAX_ID
            what = f"is over {MAX_ID} characters long" if long else "holds control or invisible characters"
            found.append(problem("id", "id_unsafe", f"the id {shown(id_)} {what}", "use a shorter, plain id"))
        return id_, stem

    def _literal_key(self, cells: tuple[str, ...]) -> str:
        place = self.learnt.meaning.output
        return cells[place].strip() if place is not None else ""

    def _find_output(
        self, cells: tuple[str, ...], stem: str, literal: str, number: int, found: list[RowProblem]
    ) -> str:
        """Return the output key; an empty text where there is none, or it is not safe."""
        key = literal
        if not literal:
            for at in self.learnt.in_key:  # a key that would be made of what a spreadsheet has damaged
                text = cells[at].strip()
                damage = damaged_id(text, dates=True) if text else ""
                if damage:
                    name = self.learnt.columns[at]
                    message = f"{name} is in the output key, and {shown(text)} {damage}"
                    found.append(problem(name, "id_damaged", message, remedy_of(damage)))
            if not stem:
                return ""  # the row has no id, which has been said
            try:
                key = self.learnt.output.render((*cells, stem, str(number)), fold=False)
            except EmptyValue as empty:
                message = f"{empty.column} is empty, and the output template uses it"
                right = "fill it, or give the row an output of its own"
                found.append(problem(empty.column, "value_missing", message, right))
                return ""
        if not literal and key.count(OPEN_EXTENSION) != self.learnt.open_places:
            why = "takes {ext} from a cell"
        else:
            why = unsafe(key, self._options.prefix)
        if why:
            right = "write a plain path such as autumn/chair.{ext}, or use {column|slug} in --output"
            found.append(problem("output", "output_unsafe", f"the output key {shown(key)} {why}", right))
            return ""
        return key


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, (dict, list)):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
