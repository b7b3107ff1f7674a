"""Where everything of Retouch lies in the bucket. Every key of ours is made here and starts with the prefix."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

_STAGED = re.compile(r"inputs/([0-9a-f]{2})/([0-9a-f]{64})\.[a-z]+")


@dataclass(frozen=True, slots=True)
class Layout:
    """The keys under one prefix (default `retouch/`)."""

    prefix: str = "retouch/"

    def filed(self, fingerprint: str, extension: str) -> str:
        """Return the key of a result as the API delivered it; `extension` is jpg, png or webp."""
        return f"{self.filed_stem(fingerprint)}{extension}"

    def filed_stem(self, fingerprint: str) -> str:
        """Return what the filed result's key starts with, whatever its format."""
        return f"{self.prefix}results/{fingerprint[:2]}/{fingerprint}."

    def earlier(self, fingerprint: str, sha256: str, extension: str) -> str:
        """Return the key under which a filed result is kept when `--fresh` buys it anew."""
        return f"{self.prefix}results/{fingerprint[:2]}/{fingerprint}/{sha256[:16]}.{extension}"

    def staged(self, sha256: str, extension: str) -> str:
        """Return the key of a staged local picture."""
        return f"{self.prefix}inputs/{sha256[:2]}/{sha256}.{extension}"

    def staged_sha256(self, key: str) -> str:
        """Return the sha256 that a staged picture's key names; empty for any other key."""
        found = _STAGED.fullmatch(key.removeprefix(self.prefix)) if key.startswith(self.prefix) else None
        return found[2] if found is not None and found[2].startswith(found[1]) else ""

    def name(self, name: str, file: str = "") -> str:
        """Return the key of a file of what is known of a batch name's rows, or its folder where no file is given.

        A name may hold any letters and slashes; its hash stands for it.
        """
        return f"{self.prefix}names/{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}/{file}"

    def batch(self, batch: str, name: str = "") -> str:
        """Return the key of a file of a batch, or its folder where no name is given."""
        return f"{self.prefix}batches/{batch}/{name}"

    def plan(self, batch: str, round_: int, group: str, chunk: int) -> str:
        """Return the key of a chunk of the plan: rows `chunk * chunk_rows` and on of one limit group."""
        return self.batch(batch, f"plan/{round_}/{group}/{chunk:06d}.jsonl")

    def staged_plan(self, batch: str, round_: int, group: str, chunk: int) -> str:
        """Return the key of a chunk whose local inputs have been staged."""
        return self.batch(batch, f"staged/{round_}/{group}/{chunk:06d}.jsonl")

    def idle(self, batch: str, chunk: int) -> str:
        """Return the key of a chunk of the manifest's rows that are no jobs."""
        return self.batch(batch, f"idle/{chunk:06d}.jsonl")

    def unchanged(self, batch: str, chunk: int) -> str:
        """Return the key of a chunk of the rows that the plan itself has settled."""
        return self.batch(batch, f"unchanged/{chunk:06d}.jsonl")

    def gone(self, batch: str, chunk: int) -> str:
        """Return the key of a chunk of the outputs that the plan found to lie at their keys no more."""
        return self.batch(batch, f"gone/{chunk:06d}.jsonl")

    def settled(self, batch: str, chunk: int) -> str:
        """Return the key of a part of the outcomes that the plan itself has written."""
        return self.batch(batch, f"outcomes/plan-{chunk:06d}.jsonl")

    def before_round(self, batch: str, round_: int, name: str) -> str:
        """Return the key of what was known before a later round began: `first.json` (the batch as first agreed) and
        `summary.json` (what had come of it)."""
        return self.batch(batch, f"rounds/{round_:06d}/{name}")

    def outcomes(self, batch: str, part: int, data: bytes) -> str:
        """Return the key of a part of the outcomes: the same bytes have the same key, other bytes never do.

        A ledger that went back in time numbers its parts anew; they must not write over those of the time that was.
        """
        return self.batch(batch, f"outcomes/{part:06d}-{hashlib.sha256(data).hexdigest()[:12]}.jsonl")

    def intents(self, batch: str, round_: int) -> str:
        """Return what the keys of a round's intents start with."""
        return self.batch(batch, f"intents/{round_:06d}/")

    def intent(self, batch: str, round_: int, row: int, attempt: int) -> str:
        """Return the key of what is known of one submission from before its POST on."""
        return f"{self.intents(batch, round_)}{row:09d}.{attempt}.json"

    def life(self, place: str) -> str:
        """Return the key of what was last seen of the ledger at an address (a short hash of it)."""
        return f"{self.prefix}ledgers/{place}.json"

    def late(self, batch: str, task_id: str) -> str:
        """Return the key of a part of the outcomes that came when the ledger had forgotten the batch: one line."""
        return f"{self.late_parts(batch)}{hashlib.sha256(task_id.encode()).hexdigest()[:16]}.jsonl"

    def found(self, batch: str, task_id: str) -> str:
        """Return the key of such a part that says that a task's result is filed although no job waited for it."""
        return self.late(batch, f"found {task_id}")

    def late_parts(self, batch: str) -> str:
        """Return what the keys of such parts start with."""
        return self.batch(batch, "outcomes/late-")

    def uri(self, bucket: str, key: str) -> str:
        """Return the `s3://` URI of a key."""
        return f"s3://{bucket}/{key}"
