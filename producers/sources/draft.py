"""Drafts a source profile from what a table holds: which columns look like pictures and which like an id.

A draft is a proposal to be read: every column stands in it with an example, so that rules are easily added.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from urllib.parse import urlsplit

from producers.manifest.problems import ManifestError, listed
from producers.manifest.rows import Manifest, RawRow
from producers.manifest.spelling import squashed
from producers.sources.mapping import splitter

SAMPLE = 500
"""Rows that are looked at."""

_ENDING = re.compile(r"\.(?:jpe?g|png|webp|gif|bmp|tiff?)$", re.IGNORECASE)
_POSITION = re.compile(r"(?:image|picture|photo|media|bild)\w*position", re.IGNORECASE)
_SPLITS = (",", "|", ";", " ")
_IDS = (
    "sku",
    "id",
    "identifier",
    "handle",
    "urlhandle",
    "articlenumber",
    "artikelnummer",
    "artnr",
    "ean",
    "gtin",
    "uuid",
)
_GROUPS = ("parent", "parentid", "parentsku", "group", "family", "handle")


@dataclass(slots=True)
class Column:
    """What the sample shows of one column."""

    name: str
    example: str = ""
    filled: int = 0
    pictures: int = 0
    split: str = ""
    values: set[str] = field(default_factory=set)

    def see(self, text: str) -> None:
        """Take one cell."""
        text = text.strip()
        if not text:
            return
        self.filled += 1
        self.example = self.example or text
        self.values.add(text)
        split = next((s for s in _SPLITS if s in text and all(map(_is_picture, splitter(s)(text)))), "")
        if split or _is_picture(text):
            self.pictures += 1
            self.split = self.split or split

    @property
    def holds_pictures(self) -> bool:
        """Whether most of its cells name pictures."""
        return self.filled > 0 and self.pictures * 2 > self.filled


def look(manifest: Manifest) -> list[Column]:
    """Return what the first rows show of each column.

    Raises:
        ManifestError: the manifest cannot be read, or is none of tables or objects.
    """
    found: dict[str, Column] = {name: Column(name) for name in manifest.table.columns}
    for row in islice(manifest.rows(), SAMPLE):
        if not isinstance(row, RawRow):
            continue
        if isinstance(row.cells, tuple):
            for column, cell in zip(found.values(), row.cells, strict=False):
                column.see(cell)
        else:
            for name, value in row.cells.items():
                for one in value if isinstance(value, list) else [value]:
                    found.setdefault(name, Column(name)).see("" if one is None else str(one))
    return list(found.values())


def draft(title: str, columns: Sequence[Column]) -> str:
    """Return a profile as TOML, with every column and an example in comments.

    Raises:
        ManifestError: no column looks like pictures.
    """
    images = [column for column in columns if column.holds_pictures]
    if not images:
        raise ManifestError(
            "no column looks like pictures", remedy=f"the columns are: {listed([c.name for c in columns])}"
        )
    id_ = _likely(_IDS, columns) or next((c for c in columns if c.filled and len(c.values) == c.filled), None)
    group = _likely(_GROUPS, columns)
    position = next(
        (c for c in columns if _POSITION.search(squashed(c.name)) and all(map(str.isdecimal, c.values))), None
    )
    lines = [f"# A draft: read it, then `retouch plan FILE --source {title}.toml --prompt ...`", f"title = {_q(title)}"]
    several = len(images) > 1 or images[0].split or (id_ is not None and len(id_.values) < id_.filled)
    if id_ is not None:
        told = ("-{role}" if len(images) > 1 else "") + ("-{position|pad2}" if several else "")
        lines.append(f"id = {_q('{' + id_.name + '}' + told)}")
    if group is not None and group is not id_:
        lines.append(f"group = {_q('{' + group.name + '}')}")
    lines.append('# prompt = "{column}"    # where a row has its own; else --prompt')
    for column in images:
        lines += ["", "[[images]]", f"columns = [{_q(column.name)}]", f"role = {_q(_role(column.name))}"]
        if position is not None and not column.split and column is images[0]:
            lines.append(f"position = {_q(position.name)}")
        if column.split:
            lines.append(f"split = {_q(column.split)}")
    lines += [
        "",
        "# [fields]              # what the model takes, such as",
        '# seed = "{column}"',
        "",
        "# The columns:",
    ]
    lines += [f"#   {_q(column.name)}  {_q(column.example[:60])}" for column in columns]
    return "\n".join(lines) + "\n"


def _likely(names: Sequence[str], columns: Sequence[Column]) -> Column | None:
    by_name = {squashed(column.name): column for column in columns if column.filled and not column.holds_pictures}
    return next((by_name[name] for name in names if name in by_name), None)


def _role(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "picture"


def _is_picture(text: str) -> bool:
    text = text.strip()
    if "://" not in text:
        return bool(_ENDING.search(text))
    try:
        return bool(_ENDING.search(urlsplit(text).path))
    except ValueError:
        return False


def _q(text: str) -> str:
    """Return a TOML string; JSON's are among them."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
