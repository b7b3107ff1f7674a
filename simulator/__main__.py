"""The command line of the simulator: `python -m simulator --port 8787 --speed 10`.

Every figure of `Faults` is an option of its own (`--lose-answer 0.05`).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from simulator.faults import FIGURES, RETRY_AFTER_FORMS, Faults
from simulator.main import USAGE, run
from simulator.options import Options


def options_from(arguments: Sequence[str]) -> Options:
    """Return the options that a command line asks for.

    Raises:
        ValueError: a figure that makes no sense.
        SystemExit: the command line cannot be read.
    """
    given = vars(_parser().parse_args(arguments))
    given["keys"] = tuple(given.get("keys", ()))
    given["shared"] = tuple(tuple(keys.split(",")) for keys in given.get("shared", ()))
    faults = Faults(**{name: given.pop(name) for name in FIGURES if name in given})
    return Options(faults=faults, **given)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="simulator",
        description="A stand-in for the BFL API, on this machine only.",
        argument_default=argparse.SUPPRESS,
    )
    add = parser.add_argument
    add("--port", type=int, help="main port; the regions and downloads take the next ones; 0: any (8787)")
    add("--regions", type=int, help="region hosts, each on its own port (1)")
    add("--seed", type=int, help="of latencies, faults and regions (0)")
    add("--speed", type=float, help="how many times faster than the real models (1)")
    add("--latency", type=float, metavar="S", help="median seconds of every model (the catalogue's)")
    add("--spread", type=float, help="sigma of the lognormal latency (the catalogue's; 0 with --latency)")
    add("--even", action="store_true", help="latencies lie evenly within that share of the median instead")
    add("--credits", type=float, help="what every key starts with (100000)")
    add("--price-factor", type=float, help="times the catalogue's price (1)")
    add("--key", dest="keys", action="append", help="a key to know, may be repeated (any key)")
    add("--share", dest="shared", action="append", metavar="KEY,KEY", help="keys of one account, may be repeated")
    add("--url-life", type=float, metavar="S", help="how long a result URL works (600)")
    add("--retention", type=float, metavar="S", help="how long an ended task is found (1800)")
    add("--active-limit", type=int, help="tasks in flight per account (the catalogue's)")
    add("--elsewhere", type=int, metavar="N", help="places of each key that another program holds (0)")
    add("--result-size", type=_size, metavar="WxH", help="load tests: one ready picture for every result")
    add("--result-grain", type=float, metavar="SHARE", help="load tests: noise in that picture, 0 to 1 (0)")
    add("--upload-mbit", type=float, metavar="N", help="megabits a second at which each body arrives (no limit)")
    add("--ledger", type=Path, metavar="FILE", help="append every accepted task as a JSON line")
    add("--ports-file", type=Path, metavar="FILE", help="write base_url and trusted_hosts here when listening")
    add("--allow-remote", action="store_true", help="fetch pictures and call webhooks on other machines")
    add("--charge-request-moderated", action=argparse.BooleanOptionalAction, help="(no)")
    add("--charge-content-moderated", action=argparse.BooleanOptionalAction, help="(yes)")
    add("--charge-errors", action=argparse.BooleanOptionalAction, help="(no)")
    injected = parser.add_argument_group("faults", "probabilities from 0 to 1, chosen by --seed; all 0")
    for name in FIGURES:
        flag = f"--{name.replace('_', '-')}"
        if name == "retry_after":
            injected.add_argument(flag, choices=RETRY_AFTER_FORMS, help="how a 429 names its time (seconds)")
        else:
            injected.add_argument(flag, type=float, metavar="S" if name.endswith("_s") else "P")
    return parser


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    try:
        return int(width), int(height)
    except ValueError:
        raise argparse.ArgumentTypeError("give it as width x height, such as 256x256") from None


def main() -> int:
    """Run the simulator from the command line."""
    try:
        options = options_from(sys.argv[1:])
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return USAGE
    return run(options)


if __name__ == "__main__":
    sys.exit(main())
