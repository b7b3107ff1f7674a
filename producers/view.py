"""The batch document for any batch: live from the ledger, or from the bucket once the batch has ended.

What the ledger counts and what `summary.json` adds up have the same keys, so a script need not know which of the
two it reads. `live` and `warnings` are there for a batch that still runs.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jobs.batch import Batch, BatchState, Progress, document
from jobs.bucket.layout import Layout
from jobs.bucket.port import Bucket
from jobs.errors import NotFound, RetouchError
from jobs.job import FINAL
from jobs.ledger.port import Ledger
from jobs.ledger.seen import WorkerSeen
from jobs.limit import Limit
from jobs.models import Catalogue
from jobs.outcome import FOUND, LATE
from jobs.report.summary import EXAMPLES
from jobs.report.waiting import stopped_groups
from jobs.report.wording import moment
from producers.submit import PLANNED_MARK

NO_WORKER = "No worker has been seen for 60 s: start one with `retouch worker`."
LATEST = 20
_KEYS_LISTED = 100_000
"""Keys looked through for the names of batches, at most."""
_PARTS = {"api": "The API", "storage": "The bucket"}
_STAMP = re.compile(r"-(\d{8}-\d{6})-[0-9a-f]{4,16}$")

Document = dict[str, Any]


class UnknownBatch(RetouchError):
    """There is no batch of this name."""

    def __init__(self, batch: str, nearest: Iterable[str]) -> None:
        self.nearest = tuple(nearest)
        super().__init__(f"There is no batch {batch!r}.")

    @property
    def remedy(self) -> str:
        """What to do about it."""
        if self.nearest:
            return f"Did you mean {', '.join(self.nearest)}?"
        return "`retouch status` lists the batches that there are."


class View:
    """Reads batches. Every method raises LedgerError or StorageError where the records cannot be reached."""

    def __init__(
        self, ledger: Ledger, bucket: Bucket, layout: Layout, catalogue: Catalogue, *, no_worker: str = NO_WORKER
    ) -> None:
        self._ledger = ledger
        self._bucket = bucket
        self._layout = layout
        self._catalogue = catalogue
        self.no_worker = no_worker
        """What is said when no worker has been seen."""

    def agreed(self, batch: str) -> Batch:
        """Return what was agreed about a batch.

        Raises:
            UnknownBatch: nobody knows it.
        """
        found = self._ledger.batch(batch)
        if found is not None:
            return found[0]
        text = self._read(batch, "batch.json")
        if text is None:
            raise UnknownBatch(batch, self._nearest(batch))
        return Batch.from_json(text)

    def progress(self, batch: str) -> Progress | None:
        """Return what the ledger counts of a batch, None where it does not hold it."""
        found = self._ledger.batch(batch)
        return None if found is None else found[1]

    def summary(self, batch: str) -> Document | None:
        """Return `summary.json` of a batch with what became known since, None until it is written."""
        text = self._read(batch, "summary.json")
        return None if text is None else self._with_late(batch, json.loads(text))

    def _with_late(self, batch: str, summary: Document) -> Document:
        """Add what came when the ledger had forgotten the batch, and that no report has counted yet."""
        counted = set(summary.get("late_parts", ()))
        keys = [head.key for head in self._bucket.keys(self._layout.late_parts(batch)) if head.key not in counted]
        if not keys:
            return summary
        lines = [json.loads(self._bucket.get(key)) for key in keys]
        summary = {**summary, "found": summary.get("found", 0) + sum(line["state"] == FOUND for line in lines)}
        charges = [line for line in lines if line["state"] == LATE]
        if not charges:
            return summary
        known = summary["duplicates"]
        tasks = [{"id": f"row {charge['row']}", **_charge(charge)} for charge in charges]
        cost = round(sum(charge["cost_usd"] for charge in charges), 6)
        duplicates = {
            **known,
            "tasks": known["tasks"] + len(charges),
            "cost_usd": round(known["cost_usd"] + cost, 6),
            "examples": [*known["examples"], *tasks][:EXAMPLES],
        }
        since = {"tasks": len(charges), "cost_usd": cost}
        spent = round(summary["cost_usd"] + cost, 6)
        return {**summary, "cost_usd": spent, "duplicates": duplicates, "since_report": since}

    def batch(self, batch: str) -> Document:
        """Return the document of a batch.

        Raises:
            UnknownBatch: nobody knows it; the nearest names are in the error.
        """
        found = self._ledger.batch(batch)
        if found is None or reported(*found):
            summary = self.summary(batch)
            if summary is not None:
                return {**summary, "warnings": [] if found else self._lost_round(batch, summary)}
        if found is None:
            agreed = self.agreed(batch)
            never = Progress(state=BatchState.PLANNED, cursors={}, staged={}, hot={}, counts={})
            lost = "The ledger does not hold this batch: it was never opened, or Redis was emptied."
            if self.waits(batch):
                lost = f"It waits for a yes: `retouch resume {batch}` starts it."
            return {**document(agreed, never), "warnings": [lost]}
        return self.document(*found)

    def _lost_round(self, batch: str, summary: Document) -> list[str]:
        """Return what is to be said where a round was begun after the one that this summary is about."""
        text = self._read(batch, "batch.json")
        begun = Batch.from_json(text).round if text is not None else 1
        if begun <= summary.get("round", 1):
            return []
        lost = f"Round {begun} never came to its report: Redis was emptied, or it was not opened."
        return [f"{lost} `retouch retry {batch}` runs again what is missing; what is filed costs nothing."]

    def over(self, batch: str) -> bool:
        """Whether the report of a batch's latest round lies in the bucket: then all of it is there."""
        text, summary = self._read(batch, "batch.json"), self.summary(batch)
        return text is not None and summary is not None and summary.get("round", 1) >= Batch.from_json(text).round

    def waits(self, batch: str) -> bool:
        """Whether a batch is planned and waits for a yes."""
        return _plain(batch) and self._bucket.head(self._layout.batch(batch, PLANNED_MARK)) is not None

    def workers(self) -> Sequence[WorkerSeen]:
        """Return the worker processes that were seen in the last minute."""
        return self._ledger.workers()

    def document(
        self, batch: Batch, progress: Progress, *, workers: Sequence[WorkerSeen] | None = None, uploading: bool = False
    ) -> Document:
        """Return the document of a batch that the ledger holds, with what only the living have.

        The pace is the mean over the time that the batch has been there. `workers` is given by who knows it already,
        `uploading` by who brings the batch's local pictures.
        """
        found = document(batch, progress, self._report(batch.id))
        if progress.state in (BatchState.DONE, BatchState.CANCELLED):
            return {**found, "warnings": []}
        seen = self.workers() if workers is None else workers
        seconds = self._ledger.now() - batch.created_at
        stored = found["counts"]["stored"]
        pace = stored * 60 / seconds if stored and seconds > 1 else None
        used, size = self._slots(batch)
        live = {
            "slots_used": used,
            "slots": size,
            "lowered": self.lowered(),
            "workers": len(seen),
            "images_per_minute": round(pace, 1) if pace else None,
            "eta_s": eta(found, pace),
        }
        return {**found, "live": live, "warnings": self._warnings(batch, progress, seen, uploading=uploading)}

    def _warnings(
        self, batch: Batch, progress: Progress, workers: Sequence[WorkerSeen], *, uploading: bool
    ) -> list[str]:
        """Return what a person should know about a batch that has not ended, as whole sentences."""
        found = []
        if progress.state == BatchState.OPEN and not workers:
            found.append(self.no_worker)
        if progress.state == BatchState.OPEN:
            found += _out_of_reach(workers)
            go_on = f"`retouch resume {batch.id} --group NAME` lets one go on."
            found += [f"{text} {go_on}" for text in stopped_groups(document(batch, progress))]
        at_work = {key for worker in workers for key in worker.about.get("keys", ())}
        for key, parked in self._ledger.parked_keys().items():
            if key not in at_work:  # nothing follows from it, and nobody asks about it again
                continue
            since = f"{moment(parked.since)} ({parked.why})"
            found.append(f"The API refuses the key {key} since {since}; it is asked again: `retouch keys`.")
        found += _left_out(workers)
        found += [each["sentence"] for each in self.lowered()]
        if progress.kept:
            found += self._on_disks(batch, progress)
        if progress.state == BatchState.OPEN and not uploading and _starved(batch, progress):
            found.append(
                "All pictures uploaded so far are done and more are to come: if no command is uploading them,"
                f" run `retouch resume {batch.id}` where they lie."
            )
        return found

    def _on_disks(self, batch: Batch, progress: Progress) -> list[str]:
        """Return a sentence for each worker's disk that paid results lie on."""
        spools = {spool.id: spool for spool in self._ledger.spools()}
        found = []
        for name, rows in sorted(progress.kept.items()):
            spool = spools.get(name)
            where = f"{spool.folder} of {spool.host}" if spool else f"disk {name}"
            lie = "result lies" if rows == 1 else "results lie"
            found.append(f"{rows:,} paid {lie} in {where} and will be stored by the worker there when storage answers.")
        again = f"`retouch cancel {batch.id} --kept` gives it up and `retouch retry {batch.id}` buys it again."
        return [*found, f"What lies on a disk that will not come back: {again}"]

    def _slots(self, batch: Batch) -> tuple[int, int]:
        """Return the slots taken and all there are just now, of the outermost groups that the batch uses."""
        used, known = self._ledger.slots_used(), self._catalogue.groups
        outer = {self._catalogue.lineage(group)[-1].name for group in batch.groups if group in known}
        limits = [self._ledger.limits(account) for account in self._catalogue.accounts]
        sizes = (each[name].size if name in each else known[name].size for each in limits for name in outer)
        return sum(used.get(name, 0) for name in outer), sum(sizes)

    def lowered(self) -> list[Document]:
        """Return the limit groups of which the API takes less than the catalogue says, with a sentence about each."""
        accounts = self._catalogue.accounts
        return [
            _lowered(limit, group, account, among=len(accounts))
            for account in accounts
            for group, limit in sorted(self._ledger.limits(account).items())
            if limit.lowered
        ]

    def batches(self) -> list[Document]:
        """Return the documents of the batches that the ledger holds and of the bucket's latest, newest first."""
        held = list(self._ledger.batches())
        ended = [batch for batch in self.stored()[:LATEST] if batch not in held]
        return [self.batch(batch) for batch in sorted({*held, *ended}, key=_when, reverse=True)]

    def stored(self) -> list[str]:
        """Return the names of the batches in the bucket, newest first."""
        prefix = self._layout.prefix + "batches/"
        heads = self._bucket.keys(prefix, limit=_KEYS_LISTED)
        names = {head.key[len(prefix) :].partition("/")[0] for head in heads if head.key.endswith("/batch.json")}
        return sorted(names, key=_when, reverse=True)

    def report_key(self, batch: str) -> str:
        """Return the key of a batch's page."""
        return self._layout.batch(batch, "report.html")

    def _report(self, batch: str) -> str:
        return self._layout.uri(self._bucket.name, self.report_key(batch))

    def _read(self, batch: str, name: str) -> str | None:
        if not _plain(batch):
            return None
        try:
            return self._bucket.get(self._layout.batch(batch, name)).decode()
        except NotFound:
            return None

    def _nearest(self, batch: str) -> list[str]:
        known = list(dict.fromkeys([*self._ledger.batches(), *self.stored()]))
        begins = [name for name in known if batch and name.startswith(batch)]
        close = difflib.get_close_matches(batch, known, n=5, cutoff=0.4)
        return list(dict.fromkeys(begins + close))[:5]


def _lowered(limit: Limit, group: str, account: str, *, among: int) -> Document:
    whose = f" of the account {account}" if among > 1 else ""
    return {
        "account": account,
        "group": group,
        "slots": limit.size,
        "most": limit.most,
        "since": limit.since,
        "sentence": f"The API takes {limit.size} tasks of {group}{whose} at a time and no more, instead of"
        f" {limit.most}, since {moment(limit.since)}: another program may use the key. More are tried by and by.",
    }


def _out_of_reach(workers: Sequence[WorkerSeen]) -> list[str]:
    """Return a sentence for each part that workers have not reached for some seconds."""
    found = []
    for part, name in _PARTS.items():
        whys = [str(worker.about["away"][part]) for worker in workers if part in worker.about.get("away", {})]
        if whys:
            whom = "the workers" if len(whys) == len(workers) else f"{len(whys)} of {len(workers)} workers"
            found.append(f"{name} does not answer {whom} ({whys[0]}): edits wait and are tried again, nothing is lost.")
    return found


def _left_out(workers: Sequence[WorkerSeen]) -> list[str]:
    """Return a sentence for each API key that workers leave out, since nobody said which account it is of."""
    keys = sorted({key for worker in workers for key in worker.about.get("unnamed", ())})
    why = "is left out, since RETOUCH_API__ACCOUNTS does not name its account: `retouch keys`."
    return [f"The key {key} {why}" for key in keys]


def reported(batch: Batch, progress: Progress) -> bool:
    """Whether the report in the bucket, if there is one, is about the round that the ledger holds."""
    if progress.state not in (BatchState.DONE, BatchState.CANCELLED):
        return False
    return batch.round == 1 or progress.finished_at > 0


def eta(found: Mapping[str, Any], per_minute: float | None) -> float | None:
    """Return the seconds that the rows left will take at this pace, None where nobody can know."""
    if not per_minute or found["state"] == BatchState.PAUSED:
        return None
    counts = found["counts"]
    rows = found["rows"] - sum(counts[state] for state in FINAL) - found["held"]
    return round(float(rows) * 60 / per_minute, 1)


def _starved(batch: Batch, progress: Progress) -> bool:
    if not batch.local or progress.live:
        return False
    return all(progress.cursors.get(group, 0) >= progress.staged.get(group, 0) for group in batch.groups) and any(
        progress.staged.get(group, 0) < rows for group, rows in batch.groups.items()
    )


def _when(batch: str) -> tuple[str, str]:
    stamp = _STAMP.search(batch)
    return (stamp.group(1) if stamp else "", batch)


def _charge(line: Mapping[str, Any]) -> Document:
    return {"task_id": line["task_id"], "cost_usd": line["cost_usd"]}


def _plain(batch: str) -> bool:
    """Whether this can be a batch's name: it becomes part of a key."""
    return re.fullmatch(r"[A-Za-z0-9-]{1,100}", batch) is not None
