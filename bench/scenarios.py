"""What is measured: each scenario is a value, in its full form and in a quick one that says less in less time.

A quick form has fewer edits and the same edits: their length and size are never scaled, since what is wasted between
two edits is judged beside them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

RETOUCH, SCRIPT, BLOCKING, COUNTDOWN = "retouch", "script", "celery-blocking", "celery-countdown"
PLAN, SUBMIT, BARE_CSV = "retouch plan", "retouch submit", "csv module"
MODEL = "flux-2-pro"
KONTEXT_MAX = "flux-kontext-max"
PHOTOGRAPH = ("--result-size", "1024x1024", "--result-grain", "0.07")
"""About 200 KB as a JPEG."""
SMALL = ("--result-size", "256x256", "--result-grain", "0.07")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One question. Seconds, KB of 1,000 bytes, megabits of 10**6."""

    name: str
    title: str
    entrants: tuple[str, ...]
    edits: int
    quick_edits: int | None = None
    """None: the quick form leaves it out."""
    slots: int = 24
    latency_s: float = 7.0
    spread: float = 0.15
    even: bool = True
    """Whether that is the share by which tasks are shorter or longer at most, else the sigma of a lognormal."""
    picture_kb: int = 200
    pictures: int = 480
    """How many different ones there are; the rows take them in turn."""
    result: tuple[str, ...] = PHOTOGRAPH
    upload_mbit: float | None = None
    output_format: str = ""
    """What every row asks for; empty: the model's own."""
    kontext_max_share: float = 0.0
    """The share of the rows, the last ones, that are for Kontext [max], of which 6 may be in flight."""
    one_core: bool = False
    """Whether what is measured runs on one core alone, and everything else on the others."""
    kind: str = "contest"
    """`contest`: entrants in turn, to the end. `memory` and `urgent`: Retouch alone, cut off (`bench/big.py`). `plan`:
    commands that edit nothing (`bench/plan.py`)."""
    alike: bool = False
    """Whether rows of one picture ask for the same edit: one of them is edited, the others end unchanged, as copies."""
    marks: tuple[int, ...] = ()
    """After how many rows memory is looked at."""
    quick_marks: tuple[int, ...] = ()
    monitored: bool = False
    """Whether Redis tells every command as it comes (MONITOR), which costs it some time."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Settings of Retouch that this needs beside the limit."""

    def quick(self) -> Scenario | None:
        """Return the quick form, or None where there is none."""
        return None if self.quick_edits is None else replace(self, edits=self.quick_edits, marks=self.quick_marks)

    def simulator(self, seed: int) -> list[str]:
        """Return the options of the API for it."""
        options = ["--seed", str(seed), "--latency", f"{self.latency_s:g}", "--spread", f"{self.spread:g}"]
        options += ["--credits", "100000000", *self.result]
        if self.even:
            options.append("--even")
        if self.slots != 24:
            options += ["--active-limit", str(self.slots)]
        if self.upload_mbit is not None:
            options += ["--upload-mbit", f"{self.upload_mbit:g}"]
        return options


def retouch(workers: int) -> str:
    """Return the name of Retouch with so many workers."""
    return RETOUCH if workers == 1 else f"{RETOUCH}-{workers}"


_WORKERS = Scenario(
    name="workers",
    title="1, 2 and 4 workers: 24 slots, 3 s an edit, 200 KB in and out",
    entrants=(retouch(1), retouch(2), retouch(4)),
    edits=480,
    quick_edits=144,
    latency_s=3.0,
)

_FAST = Scenario(
    name="core",
    title="One worker on one core: 500 slots, 1 s tasks, 256 px results",
    entrants=(RETOUCH, SCRIPT),
    edits=5000,
    quick_edits=1200,
    slots=500,
    latency_s=1.0,
    picture_kb=20,
    pictures=200,
    result=SMALL,
    one_core=True,
    settings={"RETOUCH_WORKER__SPOOL_BYTES": "16GiB"},
)

_MILLION = Scenario(
    name="memory",
    title="Memory beside a batch of 1,000,000 planned rows, 20 ms an edit",
    entrants=(RETOUCH,),
    kind="memory",
    edits=1_000_000,
    quick_edits=50_000,
    latency_s=0.02,
    picture_kb=20,
    pictures=50,
    result=SMALL,
    marks=(5_000, 20_000, 40_000),
    quick_marks=(300, 600, 1_200),
)

_PLAN = Scenario(
    name="plan",
    title="Planning 1,000,000 CSV rows of `s3://` pictures, two cores",
    entrants=(PLAN, SUBMIT, BARE_CSV),
    kind="plan",
    edits=1_000_000,
    quick_edits=50_000,
    pictures=0,
)

SCENARIOS = (
    Scenario(
        name="slots",
        title="24 slots, 7 s ± 15 % an edit, 200 KB in and out",
        entrants=(RETOUCH, SCRIPT, BLOCKING, COUNTDOWN),
        edits=480,
        quick_edits=72,
    ),
    Scenario(
        name="tail",
        title="The same with a long tail: lognormal, sigma 15 %",
        entrants=(RETOUCH, SCRIPT),
        edits=480,
        quick_edits=72,
        even=False,
    ),
    Scenario(
        name="upload",
        title="24 slots, 7 s ± 15 % an edit, bodies of 400 KB at 8 Mbit/s up",
        entrants=(RETOUCH, SCRIPT),
        edits=480,
        quick_edits=72,
        picture_kb=300,
        upload_mbit=8.0,
    ),
    _WORKERS,
    replace(
        _WORKERS,
        name="long",
        title="1,920 rows: 24 slots, 3 s an edit, 200 KB in and out",
        entrants=(RETOUCH, SCRIPT),
        edits=1920,
        quick_edits=None,
    ),
    Scenario(
        name="mixed",
        title="Sorted by model: 80 % FLUX.2 [pro], then 20 % Kontext [max] (6 of the 24 slots)",
        entrants=(RETOUCH, SCRIPT),
        edits=480,
        kontext_max_share=0.2,
        output_format="jpeg",
    ),
    Scenario(
        name="traffic",
        title="What clients ask of Redis: 24 slots, 3 s an edit",
        entrants=(RETOUCH, BLOCKING, COUNTDOWN),
        edits=480,
        quick_edits=96,
        latency_s=3.0,
        monitored=True,
    ),
    _PLAN,
    replace(_PLAN, name="plan-one-core", title="The same on one core", quick_edits=None, one_core=True),
    _MILLION,
    replace(
        _MILLION,
        name="unchanged",
        title="Memory beside such a batch whose rows are copies of 50 edits",
        alike=True,
        marks=(5_000, 20_000, 50_000, 100_000, 200_000, 300_000, 400_000, 500_000),
    ),
    Scenario(
        name="urgent",
        title="Ten rows beside a batch of 1,000,000 that runs, 7 s an edit",
        entrants=(RETOUCH,),
        kind="urgent",
        edits=1_000_000,
        quick_edits=5_000,
        picture_kb=20,
        pictures=50,
        result=SMALL,
    ),
    Scenario(
        name="thousand",
        title="1,000 slots, 40 s an edit, 200 KB in and out",
        entrants=(RETOUCH, retouch(2), SCRIPT),
        edits=4000,
        quick_edits=2000,
        slots=1000,
        latency_s=40.0,
        pictures=200,
        settings={"RETOUCH_WORKER__SPOOL_BYTES": "32GiB"},
    ),
    _FAST,
    *(
        replace(
            _FAST,
            name=f"core-{slots}",
            title=f"One worker on one core: {slots} slots, 1 s tasks, 256 px results",
            edits=20 * slots,
            quick_edits=None,
            slots=slots,
        )
        for slots in (24, 50, 100, 200)
    ),
    *(
        replace(
            _FAST,
            name=f"core-{form}",
            title=f"One worker on one core: 500 slots, 1 s tasks, 1 megapixel {form.upper()} results",
            entrants=(RETOUCH,),
            edits=2000,
            quick_edits=None,
            result=PHOTOGRAPH,
            output_format=form,
        )
        for form in ("jpeg", "webp", "png")
    ),
)
