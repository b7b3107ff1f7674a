"""A source profile: rules, written in TOML, for what the columns of an export mean.

Once there is one, a column means something only because a rule names it: a product's `width` of 90 cm never becomes
90 pixels. Shipped profiles are TOML files beside this module; a user's own are read from a path.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from jobs.models import Catalogue
from producers.manifest.columns import field_names
from producers.manifest.problems import ManifestError, listed, shown
from producers.manifest.spelling import hint
from producers.manifest.template import Template

MAX_BYTES = 1_000_000
_TOP = ("title", "id", "group", "prompt", "model", "references", "images", "fields", "continued", "date_ids")
_CONTINUED = ("by", "columns")
_IMAGES = ("columns", "split", "role", "position", "base", "prompt", "model")

Rule = tuple[Template, ...]
"""Templates of which the first one counts whose columns are there and not empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """Columns that hold pictures; `columns` may hold `*` and `?`. `split` parts a cell with several."""

    columns: tuple[str, ...]
    split: str
    role: str
    position: tuple[str, ...]
    base: str
    prompt: Rule
    model: Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What a source's columns mean."""

    name: str
    title: str
    id: Rule
    group: Rule
    prompt: Rule
    model: Rule
    references: tuple[Rule, ...]
    images: tuple[Images, ...]
    fields: Mapping[str, Rule]
    continued_by: tuple[str, ...]
    """A row with the same value here as the row before goes on with it: the first of these columns that is there."""
    continued: tuple[str, ...]
    """What such a row leaves empty and means all the same: columns, which may hold `*` and `?`."""
    date_ids: bool
    """Ids that look like dates are dates."""


def shipped_names() -> tuple[str, ...]:
    """Return the names of the profiles that come with Retouch."""
    found = (Path(str(entry)) for entry in files(__package__).iterdir())
    return tuple(sorted(path.stem for path in found if path.suffix == ".toml"))


def read_profile(source: str, catalogue: Catalogue) -> Profile:
    """Return the profile that `source` names: a shipped one, or the path of a TOML file.

    Raises:
        ManifestError: there is none, or it cannot be used.
    """
    path = Path(source)
    names = shipped_names()
    if path.is_file():
        text = _read(path)
    elif path.name == source and path.stem in names and path.suffix in ("", ".toml"):
        text = files(__package__).joinpath(f"{path.stem}.toml").read_text(encoding="utf-8")
    else:
        raise ManifestError(
            f"there is no source profile {shown(source)}{hint(source, names)}",
            remedy=f"the shipped ones are: {listed(names)}; `retouch columns FILE` drafts one of your own",
        )
    try:
        data = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise _bad(source, f"is not TOML ({error})", "mend it; `retouch columns FILE` shows how one looks") from None
    return _profile(path.stem, str(path) if path.is_file() else path.stem, data, catalogue)


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise _bad(str(path), "is over 1 MB", "a profile is a page of text")
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _bad(str(path), "is not UTF-8", "save it as UTF-8") from None
    except OSError as error:
        raise _bad(str(path), f"cannot be read ({error.strerror})", "check the path") from None


def _profile(name: str, source: str, data: Mapping[str, Any], catalogue: Catalogue) -> Profile:
    _check_keys(source, data, _TOP, "")
    images = data.get("images")
    if not isinstance(images, list) or not images or not all(isinstance(one, dict) for one in images):
        raise _bad(source, "names no column with pictures", 'write [[images]] and columns = ["..."]')
    fields = data.get("fields", {})
    if not isinstance(fields, dict):
        raise _bad(source, "has fields that are no table", "write [fields]")
    every = field_names(catalogue)
    for field in fields:
        if field not in every:
            raise _bad(source, f"fills {shown(field)}{hint(field, every)}", f"the fields are: {listed(every)}")
    continued = data.get("continued", {})
    if not isinstance(continued, dict):
        raise _bad(source, "has a continued that is no table", "write [continued], by = ... and columns = [...]")
    _check_keys(source, continued, _CONTINUED, "continued.")
    if len(continued) == 1:
        raise _bad(source, "has half a [continued]", "write both, by = ... and columns = [...]")
    references = data.get("references", [])
    if not isinstance(references, list):
        raise _bad(source, "has references that are no list", 'write references = ["{column}"]')
    return Profile(
        name=name,
        title=_text(source, data, "title") or name,
        id=_rule(source, data, "id"),
        group=_rule(source, data, "group"),
        prompt=_rule(source, data, "prompt"),
        model=_rule(source, data, "model"),
        references=tuple(_rule(source, {"references": one}, "references") for one in references),
        images=tuple(_images(source, one) for one in images),
        fields={field: _rule(source, fields, field) for field in fields},
        continued_by=_texts(source, continued, "by"),
        continued=_texts(source, continued, "columns"),
        date_ids=_flag(source, data, "date_ids"),
    )


def _images(source: str, data: Mapping[str, Any]) -> Images:
    _check_keys(source, data, _IMAGES, "images.")
    columns = _texts(source, data, "columns")
    if not columns:
        raise _bad(source, "has [[images]] without columns", 'write columns = ["..."]')
    return Images(
        columns=columns,
        split=_text(source, data, "split"),
        role=_text(source, data, "role"),
        position=_texts(source, data, "position"),
        base=_text(source, data, "base"),
        prompt=_rule(source, data, "prompt"),
        model=_rule(source, data, "model"),
    )


def _rule(source: str, data: Mapping[str, Any], key: str) -> Rule:
    return tuple(Template.parse(text, f"{source}: {key}") for text in _texts(source, data, key))


def _texts(source: str, data: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = data.get(key, [])
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise _bad(source, f"has a {key} that is no text", f'write {key} = "..." or {key} = ["...", "..."]')
    return tuple(one for one in found if one)


def _text(source: str, data: Mapping[str, Any], key: str) -> str:
    value = data.get(key, "")
    if not isinstance(value, str):
        raise _bad(source, f"has a {key} that is no text", f'write {key} = "..."')
    return value


def _flag(source: str, data: Mapping[str, Any], key: str) -> bool:
    value = data.get(key, False)
    if not isinstance(value, bool):
        raise _bad(source, f"has a {key} that is neither true nor false", f"write {key} = true")
    return value


def _check_keys(source: str, data: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    for key in data:
        if key not in known:
            raise _bad(source, f"has {shown(where + key)}{hint(key, known)}", f"the keys are: {listed(known)}")


def _bad(source: str, what: str, remedy: str) -> ManifestError:
    return ManifestError(f"the source profile {source} {what}", remedy=remedy)
