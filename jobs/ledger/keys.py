"""Every key of the ledger in Redis, with what lies there and what removes it.

A test runs a batch to its end and finds nothing left but what is listed here with an expiry.
"""

from __future__ import annotations

from dataclasses import dataclass

PREFIX = "retouch:"

DOCUMENTED: tuple[tuple[str, str, str], ...] = (
    # pattern, what it is, what removes it
    (
        "job:<job>",
        "hash: one hot job; after its end a tombstone",
        "the final transition leaves a tombstone of 60 s",
    ),
    (
        "batch:<batch>",
        "hash: what was agreed, cursors, counts, money",
        "`forget`, when the report is in the bucket",
    ),
    (
        "batch:<batch>:ends",
        "hash: how the last edits of the batch, and of each of its groups, ended",
        "`forget`, with the batch",
    ),
    ("jobs:<batch>", "set: the batch's jobs in the ledger", "the final transition of each; `forget`"),
    ("outcomes:<batch>", "list: outcomes not yet set apart", "`take_outcomes` renames it; `forget`"),
    ("outcomes:<batch>:<part>", "list: a part on its way to the bucket", "`drop_outcomes`, once it is there"),
    ("batches", "sorted set: batches by the time they were opened", "`forget`"),
    ("leases", "sorted set: owned jobs by when their lease lapses", "every transition that ends ownership"),
    ("due", "sorted set: unowned jobs by when they want a message", "`claim`; the final transition"),
    ("doubts", "sorted set: doubts by when their wait is over", "the transition that settles the doubt"),
    ("slots:<account>:<group>", "set: members job:attempt, the API's places", "transitions; `remove_strays`"),
    (
        "limit:<account>:<group>",
        "string: the size of a limit group while the API refuses more than that (see `jobs/limit.py`)",
        "the proof that all of it can be used again; expires 10 min after its last change",
    ),
    (
        "front:<account>:<group>",
        "string: while batches wait for slots, the one whose turn it is",
        "the next submission that begins; expires after 7.5 s, or when a slot was kept free for it for 2.5 s",
    ),
    (
        "bought:<fingerprint>",
        "string: the job that buys it, or `filed:` and when",
        "transitions; `forget`; `filed` expires after 2 min",
    ),
    (
        "money:<day>",
        "hash: what all batches, and each API key, have spent and reserved on a day; a simulated day is one of its own",
        "expires 8 days after its last change",
    ),
    (
        "throttle:<account>",
        "string: nobody submits while it lives",
        "expires when the API's wish is met (5 min at most)",
    ),
    (
        "account:<account>",
        "hash: what the API said of the credits while nothing was in flight",
        "never; the next reading takes its place",
    ),
    (
        "epoch",
        "hash: this ledger's life: its id, the number of its last intent, why it is guarded",
        "never; `retouch reconcile` begins another",
    ),
    (
        "parked",
        "hash: API keys (by their names) that the API refuses",
        "a probe that finds that the key works; after 8 days one that sees that no worker has it any more",
    ),
    (
        "latency:<model>",
        "hash: a histogram of how long a model's tasks took, see `jobs/latency.py`",
        "expires after 7 days",
    ),
    ("lock:<name>", "string: a lock's token", "`unlock`; expires"),
    ("op:<token>", "string: an operation that must not count twice", "expires after 15 min"),
    ("spool:<id>", "string: a worker's disk with kept results, and who works there", "expires after 30 days"),
    ("worker:<id>", "string: a worker process", "expires after 60 s"),
)


@dataclass(frozen=True, slots=True)
class Keys:
    """Makes the keys. The batch of a job is the part of its id before the last dot."""

    prefix: str = PREFIX

    def job(self, job: str) -> str:
        """Return the key of a job."""
        return f"{self.prefix}job:{job}"

    def batch(self, batch: str) -> str:
        """Return the key of a batch."""
        return f"{self.prefix}batch:{batch}"

    def jobs(self, batch: str) -> str:
        """Return the key of a batch's set of jobs."""
        return f"{self.prefix}jobs:{batch}"

    def outcomes(self, batch: str, part: int | None = None) -> str:
        """Return the key of a batch's outcomes, or of a part set apart."""
        return f"{self.prefix}outcomes:{batch}" + (f":{part}" if part is not None else "")

    def slots(self, account: str, group: str) -> str:
        """Return the key of a limit group's slots."""
        return f"{self.prefix}slots:{account}:{group}"

    def limit(self, account: str, group: str) -> str:
        """Return the key of a limit group's size, where it is not the catalogue's."""
        return f"{self.prefix}limit:{account}:{group}"

    def front(self, account: str, group: str) -> str:
        """Return the key that says which batch gets the next slot of a limit group."""
        return f"{self.prefix}front:{account}:{group}"

    def bought(self, fingerprint: str) -> str:
        """Return the key that says who buys a fingerprint."""
        return f"{self.prefix}bought:{fingerprint}"

    def money(self, day: str) -> str:
        """Return the key of a day's sums."""
        return f"{self.prefix}money:{day}"

    def throttle(self, account: str) -> str:
        """Return the key that holds submissions back."""
        return f"{self.prefix}throttle:{account}"

    def lock(self, name: str) -> str:
        """Return the key of a lock."""
        return f"{self.prefix}lock:{name}"

    def latency(self, model: str) -> str:
        """Return the key of a model's latencies."""
        return f"{self.prefix}latency:{model}"

    def op(self, token: str) -> str:
        """Return the key that remembers an operation."""
        return f"{self.prefix}op:{token}"

    def worker(self, worker: str) -> str:
        """Return the key of a worker process."""
        return f"{self.prefix}worker:{worker}"

    def spool(self, spool: str) -> str:
        """Return the key of a spool."""
        return f"{self.prefix}spool:{spool}"

    def account(self, account: str) -> str:
        """Return the key of what was read of an account's credits."""
        return f"{self.prefix}account:{account}"

    @property
    def parked(self) -> str:
        """The API keys that are parked."""
        return f"{self.prefix}parked"

    @property
    def epoch(self) -> str:
        """The ledger's life."""
        return f"{self.prefix}epoch"

    @property
    def batches(self) -> str:
        """The index of batches."""
        return f"{self.prefix}batches"

    @property
    def leases(self) -> str:
        """The index of leases."""
        return f"{self.prefix}leases"

    @property
    def due(self) -> str:
        """The index of jobs that want a message."""
        return f"{self.prefix}due"

    @property
    def doubts(self) -> str:
        """The index of doubts."""
        return f"{self.prefix}doubts"

    @property
    def freed(self) -> str:
        """The channel on which freed slots are told that are anybody's; with `:<owner>` that of one process (a channel
        holds nothing)."""
        return f"{self.prefix}freed"

    @property
    def absent(self) -> str:
        """A key that never exists. Deleting it first lets a script write at maxmemory, on 6.2 and 7 alike."""
        return f"{self.prefix}absent"
