"""The results on disk: a JSON file for each scenario, and what several runs say together."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.figures import Spread, spread
from bench.scenarios import Scenario

FOLDER = Path(__file__).resolve().parent / "results"
QUICK = FOLDER / "quick"

Run = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """All runs of one scenario, in the order in which they were made."""

    scenario: Scenario
    quick: bool
    day: str
    machine: Mapping[str, Any]
    runs: Sequence[Run]

    def of(self, entrant: str) -> list[Run]:
        """Return the runs of one entrant."""
        return [run for run in self.runs if run["entrant"] == entrant]

    def spread(self, entrant: str, figure: str, *, an_edit: bool = False) -> Spread | None:
        """Return a figure over an entrant's runs, divided by its edits if asked; None where a run has none."""
        runs = self.of(entrant)
        values = [run[figure] / (run["edits"] if an_edit else 1) for run in runs if run.get(figure) is not None]
        return spread(values) if values and len(values) == len(runs) else None


def write(folder: Path, measured: Measured) -> Path:
    """Write a result and return where."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{measured.scenario.name}.json"
    path.write_text(json.dumps(asdict(measured), indent=1) + "\n", encoding="utf-8")
    return path


def read(name: str, folder: Path = FOLDER) -> Measured | None:
    """Return what was measured of a scenario: in its full form, else in its quick one, else None."""
    for path in (folder / f"{name}.json", folder / "quick" / f"{name}.json"):
        if path.exists():
            document = json.loads(path.read_text(encoding="utf-8"))
            known: dict[str, Any] = {
                key: tuple(v) if isinstance(v, list) else v for key, v in document["scenario"].items()
            }
            return Measured(**(document | {"scenario": Scenario(**known)}))
    return None
