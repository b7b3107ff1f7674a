"""How fast a manifest is planned: the real `retouch plan` and `retouch submit`, with a real Redis and a real S3 store.

Rows a second are of the whole command, its start and its end included. Beside them stands a program that only reads
the same file with the csv module, because machines differ and are shared.
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

from bench.contest import Record, RunFailed
from bench.entrants import FIRST_CORE, PYTHON
from bench.measure import run
from bench.scenarios import BARE_CSV, PLAN, SUBMIT, Scenario
from running.programs import own_env
from running.servers import Servers

HEADER = ("sku", "image", "product_name", "surface", "category")
PROMPT = "Put the {product_name} on {surface}. Keep its shape, colours and details exactly as in the photograph."
OUTPUT = "{name}/{category}/{sku|slug}.{ext}"
COMMANDS = {
    PLAN: ("plan", "--json"),
    SUBMIT: ("submit", "--yes", "--json"),
}
_READ = "import csv, sys; print(sum(1 for _ in csv.reader(open(sys.argv[1], newline='', encoding='utf-8'))) - 1)"
_SURFACES = ("white marble", "a wooden table", "grey linen", "a concrete floor", "black slate")


def plan(name: str, scenario: Scenario, servers: Servers, folder: Path) -> Record:
    """Return what one command took for a manifest of pictures that nobody opens: no worker is started.

    Raises:
        RunFailed: it ended badly, or counted other rows than there are.
    """
    servers.redis.flushall()
    manifest = folder.parent / "shop.csv"
    if not manifest.exists():
        _write_shop(manifest, scenario.edits)
    pinned = FIRST_CORE if scenario.one_core else ()
    errors = folder / "errors"
    took = run([*pinned, *_argv(name, manifest, folder)], _env(servers), folder, errors)
    rows = (int if name == BARE_CSV else _rows)(took.out) if took.code == 0 else None
    if rows != scenario.edits:
        raise RunFailed(f"{name} ended with {took.code}, {rows} rows: {errors.read_text()[-2000:]}")
    return {
        "entrant": name,
        "edits": scenario.edits,
        "rows_a_second": scenario.edits / took.wall_s,
        "command_s": took.wall_s,
        "command_cpu_s": took.cpu_s,
        "rss_mb": took.rss_mb,
    }


def _argv(name: str, manifest: Path, folder: Path) -> list[str]:
    if name == BARE_CSV:
        return [sys.executable, "-c", _READ, str(manifest)]
    common = ("--name", folder.name, "--prompt", PROMPT, "--output", OUTPUT)
    return [*PYTHON, "producers.cli", *COMMANDS[name], str(manifest), *common]


def _env(servers: Servers) -> dict[str, str]:
    return own_env(servers.env, {"RETOUCH_API__KEYS": "never-used"})


def _rows(out: str) -> int:
    return int(json.loads(out)["rows"])


def _write_shop(path: Path, rows: int) -> None:
    """Write a table of `rows` rows as a shop would export it; the same for the same number."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        for n in range(rows):
            image = f"s3://retouch/photos/{n // 1_000:03d}/product-{n:07d}.jpg"
            name = f"Chair No. {n % 9_973} in oak, {n % 17} cm"
            writer.writerow((f"SKU-{n:07d}", image, name, _SURFACES[n % 5], f"chairs/{n % 40}"))
