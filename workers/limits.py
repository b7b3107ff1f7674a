"""What a 429 makes of the number of places, and what makes them more again; the law is `jobs.limit`.

A limit that cannot be told or read is a hint lost: the API refuses again, and nothing is paid for a refusal.
"""

from __future__ import annotations

from collections.abc import Collection

import structlog

from jobs.errors import LedgerError
from jobs.job import Job
from jobs.ledger.port import Law, Ledger, Places
from jobs.limit import Limit
from jobs.models import Catalogue
from jobs.retry import throttled_wait

log = structlog.get_logger(__name__)


class Limits:
    """One process's view of the limit groups. Any number of threads may use it."""

    def __init__(self, ledger: Ledger, catalogue: Catalogue) -> None:
        self._ledger = ledger
        self._catalogue = catalogue
        self._touched: Collection[tuple[str, str]] = ()
        """(account, limit group)"""

    def look(self) -> None:
        """Know of which groups the API refuses more, so that submissions that it takes are counted.

        Raises:
            LedgerError: the ledger cannot be asked.
        """
        accounts = self._catalogue.accounts
        self._touched = {(account, group) for account in accounts for group in self._ledger.limits(account)}

    def refused(self, job: Job, asked: float | None, *, rate: bool) -> float:
        """Take in a 429, and return for how many seconds all are held back: as the API asks, else 1 s to 20 s.

        Where it was for too many tasks in flight (not for their rate), the job's group is lowered: which of the groups
        around it was full the API does not say, and whatever is, this one can have no more.
        """
        group = job.order.limit_group

        def law(limit: Limit, places: Places) -> Limit:
            if rate:
                return limit.slowed(intent=job.intent, latest=places.latest)
            return limit.refused(intent=job.intent, latest=places.latest, now=self._ledger.now())

        limit = self._adjusted(job.account, group, law)
        wait = throttled_wait(asked, max(limit.strikes - 1, 0) if limit else job.waits)
        try:
            self._ledger.throttle(wait, account=job.account)
        except LedgerError as error:  # the others find out by themselves; this answer must still be written down
            log.warning("throttle not told", why=str(error))
        return wait

    def taken(self, job: Job) -> None:
        """Count a submission that the API took, while less than the catalogue's size is used."""
        for group in self._catalogue.lineage(job.order.limit_group):
            if (job.account, group.name) not in self._touched:
                continue

            def law(limit: Limit, places: Places) -> Limit:
                full = places.used >= limit.size
                return limit.taken(intent=job.intent, latest=places.latest, full=full, now=self._ledger.now())

            self._adjusted(job.account, group.name, law)

    def _adjusted(self, account: str, group: str, law: Law) -> Limit | None:
        sizes: list[int] = []

        def noted(limit: Limit, places: Places) -> Limit:
            sizes[:] = [limit.size]
            return law(limit, places)

        try:
            limit = self._ledger.adjust(group, noted, account=account)
        except LedgerError as error:
            log.warning("limit not told", account=account, group=group, why=str(error))
            return None
        self._touched = {*self._touched, (account, group)}
        if limit.size != sizes[0]:
            log.info("limit changed", account=account, group=group, was=sizes[0], size=limit.size, catalogue=limit.most)
        return limit
