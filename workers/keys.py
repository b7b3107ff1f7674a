"""The API keys of this process: which one to submit with, and which one a task was submitted with.

A key that the API refuses is parked for all processes (the ledger says so) until a probe finds that it works again.
A key behind which submissions only fail is rested for a while, then tried with one job. Where the API as a whole was
away (it did not even say what credits are left), the rest ends as soon as it is back.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from jobs.accounts import MAIN
from workers.api.client import Key

PARKED_S = 60.0
"""A job whose keys are all parked looks again after this; the probe of a parked key comes as often."""

NO_CREDITS = "HTTP 402"
"""What the reason for which a key is parked begins with where the key is good, and its account has no credits."""

RUN = 5
"""So many submissions in a row without an answer, or with a 5xx, rest a key."""

REST_S, LONGEST_REST_S = 5.0, 20.0
"""Half a minute after an outage a batch should be as fast as before, and a trial may cost a doubt: three a minute."""

SPENT_S = 60.0
"""A key whose money for the day is gone is asked for again after so long, or where there is no other."""

LOOK_S = 1.0
"""So often the API is asked, for nothing, whether it answers a key that rests: recovery should not wait for a rest."""


@dataclass(slots=True)
class _Trouble:
    """Submissions with a key that failed in a row, and until when it rests."""

    failures: int = 0
    rest_s: float = 0.0
    until: float = 0.0
    trying: bool = False
    """One job has been let through, and nothing is known of it yet."""
    away: bool = False
    """Since the last failure the API has answered nothing at all."""


def _nobody(_: str) -> int:
    return 0


class KeyRing:
    """Hands out keys in turn, but none that is parked, rests or is nobody's. Any number of threads may use it."""

    def __init__(self, keys: Sequence[Key], now: Callable[[], float]) -> None:
        self._keys: Mapping[str, Key] = {}
        self._unnamed: Sequence[str] = ()
        self._parked: Mapping[str, str] = {}
        """Why, by the name of the key."""
        self._spent: dict[str, float] = {}
        self._trouble: dict[str, _Trouble] = {}
        self._turn = 0
        self._now = now
        self._lock = threading.Lock()
        self.replace(keys)

    @property
    def ids(self) -> Sequence[str]:
        """The names of all keys that are handed out."""
        return list(self._keys)

    @property
    def unnamed(self) -> Sequence[str]:
        """The names of keys that are left out: it is not said which account's places they take."""
        return self._unnamed

    @property
    def works(self) -> bool:
        """Whether a key is not parked."""
        with self._lock:
            return bool(self._keys.keys() - self._parked.keys())

    def replace(self, keys: Sequence[Key]) -> bool:
        """Have these keys from now on; return whether that changes anything."""
        with self._lock:
            was, self._keys = self._keys, {key.id: key for key in keys if key.account}
            self._unnamed = [key.id for key in keys if not key.account]
            return was != self._keys

    def parked(self, whys: Mapping[str, str]) -> None:
        """Know that these keys are parked, each with why, and no others."""
        with self._lock:
            self._parked = dict(whys)

    def next(self, waiting: Callable[[str], int] = _nobody) -> Key | None:
        """Return the next key that can be submitted with, or None; one that has money left for the day comes first.

        Of several it is one of the account for whose places fewest wait (`waiting` says how many): so every account has
        somebody who waits, and a place that is freed anywhere is used.
        """
        with self._lock:
            self._turn += 1
            keys = [key for key in self._keys.values() if key.id not in self._parked]
            turn = self._turn % max(len(keys), 1)
            asked = {account: waiting(account) for account in {key.account for key in keys}}
            in_turn = sorted(keys[turn:] + keys[:turn], key=lambda key: (self._is_spent(key.id), asked[key.account]))
            return next((key for key in in_turn if self._rested(key.id)), None)

    def spent(self, key_id: str) -> bool:
        """Leave a key, whose money for the day is gone, for others; return whether one of them may have some."""
        with self._lock:
            self._spent[key_id] = self._now() + SPENT_S
            return any(not self._is_spent(other) for other in self._keys.keys() - self._parked.keys())

    def _is_spent(self, key_id: str) -> bool:
        return self._now() < self._spent.get(key_id, 0.0)

    def usable(self, key_id: str) -> bool:
        """Whether a key is there, and not parked."""
        with self._lock:
            return key_id in self._keys.keys() - self._parked.keys()

    def park(self, key_id: str, why: str = "") -> bool:
        """Submit with this key no more; return whether another one is left."""
        with self._lock:
            self._parked = {**self._parked, key_id: why}
            return bool(self._keys.keys() - self._parked.keys())

    def failed(self, key_id: str) -> None:
        """Note that a submission had no answer, or a 5xx: after some in a row the key rests, each time longer."""
        with self._lock:
            trouble = self._trouble.setdefault(key_id, _Trouble())
            trouble.failures += 1
            if trouble.failures >= RUN and (trouble.trying or self._now() >= trouble.until):
                trouble.rest_s = min(max(trouble.rest_s * 2, REST_S), LONGEST_REST_S)
                trouble.until = self._now() + trouble.rest_s
                trouble.trying = trouble.away = False

    def resting(self) -> Sequence[Key]:
        """Return the keys that rest, and are not parked."""
        with self._lock:
            tired = {id_ for id_, trouble in self._trouble.items() if trouble.failures >= RUN}
            return [key for key in self._keys.values() if key.id in tired - self._parked.keys()]

    def looked(self, key_id: str, *, answers: bool) -> None:
        """Note whether the API answers a resting key at all. An API that is back is tried at once, and by one job.

        One that answers this and fails submissions only is left its rest: each trial may cost an edit.
        """
        with self._lock:
            trouble = self._trouble.get(key_id)
            if trouble is None or trouble.failures < RUN:
                return
            if trouble.away and answers:
                trouble.rest_s, trouble.until = 0.0, self._now()
            trouble.away = not answers

    def answered(self, key_id: str) -> None:
        """Note that the API answered a submission: the key needs no rest."""
        with self._lock:
            self._trouble.pop(key_id, None)

    def of(self, key_id: str) -> Key | None:
        """Return a key by its name, parked or not."""
        return self._keys.get(key_id)

    def to_poll(self, key_id: str, account: str = MAIN) -> Key | None:
        """Return the key to look at a task with: the one it was submitted with, else one of its account that works.

        A key that only lacks credits is known to the API, and looking costs nothing, so it comes next; one that is
        refused is of no use. To another account the API need not know the task, so rather than with a key of one it is
        asked with none: the API's own description of polls names no key.
        """
        with self._lock:
            ours = [key for key in self._keys.values() if key.id == key_id or key.account == account]
            own_first = sorted(ours, key=lambda key: key.id != key_id)
            usable = [key for key in own_first if key.id not in self._parked]
            poor = [key for key in own_first if self._parked.get(key.id, "").startswith(NO_CREDITS)]
        return next(iter(usable + poor), None)

    def _rested(self, key_id: str) -> bool:
        """Whether a key may be tried: after a rest by one job, which holds it back for all others until it is known."""
        trouble = self._trouble.get(key_id)
        if trouble is None or trouble.failures < RUN:
            return True
        if self._now() < trouble.until:
            return False
        trouble.until = self._now() + max(trouble.rest_s, REST_S)
        trouble.trying = True
        return True
