"""Writes the pages that are drawn from tables: `make docs`. A test holds them to what this would write."""

from __future__ import annotations

import ast
import inspect
import itertools
from pathlib import Path
from typing import Any

from pydantic import ByteSize

from bench.page import pages as benchmarks
from config.catalogue import shipped_catalogue
from config.names import variables
from config.sections import TestSettings
from config.settings import Settings
from jobs.ledger.keys import DOCUMENTED, PREFIX
from jobs.reasons import as_markdown
from jobs.states import diagram

FOLDER = Path(__file__).resolve().parent

STATES = """# The states of a job

Drawn from the table in `jobs/states.py` by `make docs`. `apply(job, event, at)` is the only way a state changes; an
illegal move raises and changes nothing. In Redis a transition is a compare-and-set on (state, attempt, fence, held).

```mermaid
{diagram}
```

| state | what is durable |
|---|---|
| queued | the request is known, due at a time |
| submitting | slot, money and fingerprint are claimed, the intent is written |
| in_doubt | the submission may have been taken, and charged |
| running | the receipt is in hand |
| ready | the result's URL and its deadline are known |
| kept | the checked bytes are on one worker's disk |
| stored, unchanged, moderated, failed, cancelled | final within the round |

Knowledge is never refused: a receipt that arrives for a job that has ended moves nothing, is recorded as a duplicate
with its cost, and is shown. If even its batch has left the ledger, it goes into the bucket as a part of its own
(`outcomes/late-….jsonl`); `retouch status` and `retouch report` add it, and so does the next report.
"""

REASONS = """# Reason codes

Drawn from the table in `jobs/reasons.py` by `make docs`. Every view (screen, JSON, report) reads the same table.

"""

SETTINGS = """# Settings

Drawn from `config/sections.py` and `config/settings.py` by `make docs`. They are read from the environment and from a
file `.env` where a command is started; the environment wins. An empty variable is one that is not set, and a
name that was meant for one of these and is none of them is an error. Lists are parted
by commas. Where a secret may lie in a file, the variable itself wins over the file.

`retouch doctor` says which of them point where. `RETOUCH_DEBUG=1` shows the traceback of an error that ends a command.

| variable | default | what it is for |
|---|---|---|
"""


def settings() -> str:
    """Return the page of everything that can be set."""
    rows = [
        f"| `{variable}` | {_shown(section.model_fields[name].default)} | {_texts(section)[name]} |"
        for section, name, variable in variables(Settings)
        if section is not TestSettings
    ]
    return SETTINGS + "\n".join(rows) + "\n"


def _texts(section: type) -> dict[str, str]:
    """Return the text below each field of a class."""
    body = ast.parse(inspect.getsource(section)).body[0].body  # type: ignore[attr-defined]  # it is a class
    return {
        field.target.id: " ".join(text.value.value.split())
        for field, text in itertools.pairwise(body)
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr)
    }


def _shown(default: Any) -> str:
    if default in (None, (), {}):
        return "none"
    if isinstance(default, bool):
        return "true" if default else "false"
    if isinstance(default, ByteSize):
        return f"`{default.human_readable()}`"
    if isinstance(default, tuple):
        return f"`{','.join(map(str, default))}`"
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"


def keys() -> str:
    """Return the page of the ledger's keys."""
    lines = [
        "# The ledger's keys in Redis",
        "",
        f"Drawn from `jobs/ledger/keys.py` by `make docs`. Every key starts with `{PREFIX}`; a test runs a batch to",
        "its end and finds nothing left but what expires by itself. Celery's own keys start with `retouch:celery:`.",
        "",
        "| key | what it is | what removes it |",
        "|---|---|---|",
    ]
    lines += [f"| `{pattern}` | {what} | {removed} |" for pattern, what, removed in DOCUMENTED]
    return "\n".join(lines) + "\n"


def models() -> str:
    """Return the page of the model catalogue."""
    catalogue = shipped_catalogue()
    lines = [
        "# The model catalogue",
        "",
        f"Drawn from `config/models.toml` (as known on {catalogue.dated}) by `make docs`. Prices in US cents: the",
        f"first output megapixel, each further one, each input megapixel. The default is `{catalogue.default}`.",
        "",
        "| model | pictures | fields | price (first / more / input) | in flight | source |",
        "|---|---|---|---|---|---|",
    ]
    for model in catalogue.models.values():
        fields = ", ".join(f"`{name}`" for name in model.fields if name != "prompt")
        price = f"{model.price.first:g} / {model.price.more_output:g} / {model.price.input:g}"
        places = " inside ".join(str(group.size) for group in catalogue.lineage(model.limit_group))
        source = f"{model.price.source} ({model.price.dated})"
        lines.append(f"| `{model.name}` | {model.inputs} | {fields} | {price} | {places} | {source} |")
    return "\n".join(lines) + "\n"


def pages() -> dict[str, str]:
    """Return every drawn page by its file name."""
    return {
        "state-machine.md": STATES.format(diagram=diagram()),
        "reasons.md": REASONS + as_markdown(),
        "redis-keys.md": keys(),
        "models.md": models(),
        "settings.md": settings(),
        **benchmarks(),
    }


if __name__ == "__main__":
    for name, text in pages().items():
        (FOLDER / name).parent.mkdir(exist_ok=True)
        (FOLDER / name).write_text(text, encoding="utf-8")
