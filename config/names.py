"""The names of all settings, and what somebody meant who wrote one that is none.

A variable that nobody reads is a money cap that does not hold; so one that was meant for Retouch is an error.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Iterator
from typing import Any

PREFIX = "RETOUCH_"
NO_SETTINGS = frozenset({"RETOUCH_DEBUG"})
_A_CLUSTERS_OWN = re.compile(r"_(SERVICE_(HOST|PORT)(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?)$")
"""How the variables end that Kubernetes sets in every pod for a service that is named `retouch-…`."""


def variables(section: Any, before: str = PREFIX) -> Iterator[tuple[Any, str, str]]:
    """Yield every setting: the class that it stands in, its name there, and the variable that sets it."""
    for name, field in section.model_fields.items():
        if hasattr(field.annotation, "model_fields"):
            yield from variables(field.annotation, f"{before}{name.upper()}__")
        else:
            alias = field.validation_alias
            yield section, name, before + name.upper() if alias is None else alias.choices[0]


def mistaken(given: Iterable[str], settings: Any) -> list[str]:
    """Return a sentence for each variable of `given` that was meant for `settings`, and is none of them."""
    known = [variable for _, _, variable in variables(settings)]
    sections = {f"{PREFIX}{name}".upper() for name in settings.model_fields}
    unknown = sorted({name.upper() for name in given} - {*known, *sections, *NO_SETTINGS})
    return list(filter(None, (_sentence(name, known) for name in unknown if name.startswith(PREFIX))))


def _sentence(name: str, known: Collection[str]) -> str:
    if _A_CLUSTERS_OWN.search(name) or any(name.startswith(f"{each}__") for each in known):  # or a part of one
        return ""
    if meant := difflib.get_close_matches(name, known, 1, cutoff=0.85):
        return f"there is no setting {name}: did you mean {meant[0]}?"
    return f"there is no setting {name}" if "__" in name else ""
