"""How fast a manifest is planned: the real `retouch plan` and `retouch submit`, with a real Redis and a real S3 store.

`python -m bench.plan --rows 1000000 --runs 3` prints one JSON document. Rows a second are of the whole command, its
start and its end included; how long the bare csv module takes for the same file is measured beside each run, because
machines differ and are shared.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.machine import described
from bench.measure import Run, in_mb, run, told
from running.programs import own_env
from running.servers import servers_in

HEADER = ("sku", "image", "product_name", "surface", "category")
PROMPT = "Put the {product_name} on {surface}. Keep its shape, colours and details exactly as in the photograph."
PLACES = {
    "s3": "s3://retouch/photos/{folder:03d}/product-{n:07d}.jpg",
    "https": "https://images.example.com/photos/{folder:03d}/product-{n:07d}.jpg",
}
COMMANDS = {
    "plan": ("plan", "--json"),
    "submit": ("submit", "--yes", "--json"),
}
_SURFACES = ("white marble", "a wooden table", "grey linen", "a concrete floor", "black slate")


def write_manifest(path: Path, rows: int, kind: str) -> None:
    """Write a table of `rows` rows as a shop would export it; the same for the same arguments."""
    place = PLACES[kind]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        for n in range(rows):
            image = place.format(folder=n // 1_000, n=n)
            name = f"Chair No. {n % 9_973} in oak, {n % 17} cm"
            writer.writerow((f"SKU-{n:07d}", image, name, _SURFACES[n % 5], f"chairs/{n % 40}"))


def bare_csv(path: Path) -> tuple[float, float]:
    """Return (wall, CPU) seconds that the csv module alone takes for the file."""
    wall, cpu = time.monotonic(), time.process_time()
    with path.open(newline="", encoding="utf-8") as file:
        for _ in csv.reader(file):
            pass
    return time.monotonic() - wall, time.process_time() - cpu


def measured(command: str, manifest: Path, rows: int, runs: int, env: Mapping[str, str]) -> dict[str, Any]:
    """Run a command `runs` times over a manifest and return what it took."""
    found: list[Run] = []
    bare: list[tuple[float, float]] = []
    for number in range(runs):
        bare.append(bare_csv(manifest))
        name = f"bench-{command}-{number}"
        common = ("--name", name, "--prompt", PROMPT, "--output", "{name}/{category}/{sku|slug}.{ext}")
        argv = [sys.executable, "-P", "-m", "producers.cli", *COMMANDS[command], str(manifest), *common]
        errors = manifest.with_suffix(".err")
        found.append(run(argv, env, manifest.parent, errors))
        if found[-1].code != 0 or json.loads(found[-1].out)["rows"] != rows:
            raise SystemExit(f"{command} ended with {found[-1].code}:\n{errors.read_text()[-2_000:]}")
    return {
        "command": command,
        "rows": rows,
        "rows_per_s": told((rows / one.wall_s for one in found), 0),
        "rows_per_cpu_s": told((rows / one.cpu_s for one in found), 0),
        "wall_s": told(one.wall_s for one in found),
        "cpu_s": told(one.cpu_s for one in found),
        "peak_rss_mb": told((in_mb(one.rss) for one in found), 1),
        "bare_csv_rows_per_s": told((rows / wall for wall, _ in bare), 0),
        "cpu_of_bare_csv": told(one.cpu_s / cpu for one, (_, cpu) in zip(found, bare, strict=True)),
    }


def main() -> None:
    """Measure, and print what was found."""
    about = argparse.ArgumentParser(description=__doc__)
    about.add_argument("--rows", type=int, default=1_000_000)
    about.add_argument("--runs", type=int, default=3)
    about.add_argument("--kind", choices=[*PLACES, "all"], default="s3")
    about.add_argument("--command", choices=[*COMMANDS, "all"], default="all")
    asked = about.parse_args()
    kinds = list(PLACES) if asked.kind == "all" else [asked.kind]
    commands = list(COMMANDS) if asked.command == "all" else [asked.command]
    found = []
    with TemporaryDirectory(prefix="retouch-bench-") as name, servers_in(Path(name)) as servers:
        # Nothing is ever sent there: no worker is started.
        env = own_env(servers.env, {"RETOUCH_API__KEYS": "never-used"})
        for kind in kinds:
            manifest = Path(name) / f"{kind}.csv"
            write_manifest(manifest, asked.rows, kind)
            found += [
                {"kind": kind, **measured(command, manifest, asked.rows, asked.runs, env)} for command in commands
            ]
    sys.stdout.write(json.dumps({"machine": described(), "plans": found}, indent=1))
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
