"""What only Redis can get wrong: keys left behind, a full memory, lost replies, a Redis that is away."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from config.catalogue import shipped_catalogue
from jobs import events as e
from jobs.batch import BatchState
from jobs.errors import LedgerError
from jobs.ledger.change import Closed
from jobs.ledger.keys import DOCUMENTED, PREFIX, Keys
from jobs.ledger.redis import RedisLedger, connect
from jobs.ledger.scripts import Scripts, source
from jobs.ledger.seen import WorkerSeen
from jobs.money import DAYS_KEPT
from jobs.states import apply

if TYPE_CHECKING:
    from tests.contract.conftest import House

PATTERNS = [re.compile(re.sub(r"<[a-z]+>", "[^:]+", PREFIX + pattern)) for pattern, _, _ in DOCUMENTED]
KEYS = Keys()
TODAY = "2026-11-22"


def keys(client: redis.Redis) -> list[str]:
    """Return every key in Redis but the one that stays as long as the ledger lives."""
    return sorted(str(key) for key in client.scan_iter("*") if key != KEYS.epoch)


# -- nothing is left behind


class Watched(Scripts):
    """Scripts that check after each of their calls that no undocumented key is there."""

    def __init__(self, client: redis.Redis) -> None:
        super().__init__(client)
        self.seen: set[str] = set()

    def __call__(self, name: str, keys_: Sequence[str], args: Sequence[str | int]) -> list[Any]:
        answer = super().__call__(name, keys_, args)
        self.seen |= set(keys(self._client))
        return answer


def a_batch_to_its_end(house: House) -> None:
    """Bring one batch through every kind of end."""
    ledger = house.ledger
    house.open(groups={"flux": 12, "kontext-max": 2})
    house.feed(12)
    house.feed(2, group="kontext-max")
    ledger.lock("tick", "a", 10)
    ledger.see_worker(WorkerSeen(id="w1", threads=4, edits=0, seen_at=0.0))
    house.stored("b.0")
    house.stored("b.1000")
    house.moved(house.ready("b.1"), e.UrlExpired(), house.fetchable(), e.Kept(detail=""), house.filed())
    house.moved(house.claimed("b.2"), e.Unchanged(result=house.filed().result, fingerprint="f", how="copied"))
    house.moved(house.begun("b.3"), e.Moderated(code="request_moderated", detail=""))
    house.moved(house.running("b.4"), e.Failed(code="lost_at_api", detail="", paid=True))
    house.moved(house.running("b.5"), e.AttemptFailed(code="api_error", detail="", wait=0))
    house.stored("b.5")
    house.moved(house.held("b.6"), house.accepted(), house.fetchable(), house.filed())
    house.moved(house.doubted("b.7"), e.Cancelled())
    doubt = house.doubted("b.8")
    ledger.resubmit(doubt, apply(doubt, e.Resubmitted(), ledger.now()))
    late = house.moved(house.load("b.8"), house.accepted(), house.fetchable())
    house.moved(late, e.Failed(code="not_delivered", detail=""))
    house.held("b.9")
    house.moved(house.claimed("b.10"), e.GivenBack(wait=60))
    ledger.throttle(5)
    ledger.take_outcomes("b")
    ledger.late_receipt("b", "{}", 5)
    house.cancel()
    for job in ("b.10", "b.11", "b.1001"):
        house.moved(house.claimed(job), e.Cancelled())
    ledger.unlock("tick", "a")
    ledger.drop_outcomes("b", 1)
    part = ledger.take_outcomes("b")
    assert part is not None
    ledger.drop_outcomes("b", part[0])
    ledger.set_state("b", BatchState.DONE, "", only_from=[BatchState.CANCELLED])


def test_every_key_of_a_batchs_life_is_documented(on_redis: tuple[House, redis.Redis]) -> None:
    house, client = on_redis
    assert isinstance(house.ledger, RedisLedger)
    watched = house.ledger._run = Watched(client)

    a_batch_to_its_end(house)

    assert len(watched.seen) > 30
    assert [key for key in sorted(watched.seen) if not any(p.fullmatch(key) for p in PATTERNS)] == []


def test_a_forgotten_batch_leaves_only_what_expires(on_redis: tuple[House, redis.Redis]) -> None:
    house, client = on_redis
    a_batch_to_its_end(house)

    house.ledger.forget("b")

    left = keys(client)
    assert left, "tombstones and filed fingerprints are still there"
    assert [key for key in left if client.ttl(key) < 0] == []
    house.later(901)
    assert keys(client) == [KEYS.money(TODAY)]
    house.later(DAYS_KEPT * 86_400)
    assert keys(client) == []


def test_a_batch_that_is_forgotten_too_early_leaves_only_slots_and_the_strays_take_those(
    on_redis: tuple[House, redis.Redis],
) -> None:
    house, client = on_redis
    house.open()
    house.feed(5)
    house.stored("b.4")
    house.ledger.take_outcomes("b")
    house.running("b.0")
    house.doubted("b.1")
    house.held("b.2")
    house.claimed("b.3")
    house.ledger.late_receipt("b", "{}", 1)

    house.ledger.forget("b")
    house.ledger.remove_strays()

    assert [key for key in keys(client) if client.ttl(key) < 0] == []


def test_a_slot_of_an_earlier_attempt_is_a_stray(on_redis: tuple[House, redis.Redis]) -> None:
    house, client = on_redis
    job = house.moved(house.running(house.one()), e.AttemptFailed(code="api_error", detail="", wait=0))
    house.running(job.id)
    client.sadd(KEYS.slots("main", "flux"), "b.0:1")

    freed = house.ledger.remove_strays()

    assert freed == 1
    assert client.smembers(KEYS.slots("main", "flux")) == {"b.0:2"}


# -- a full memory


@pytest.fixture
def full(on_redis: tuple[House, redis.Redis]) -> tuple[House, redis.Redis]:
    """A house with work in hand; `fill` makes its Redis full."""
    house, client = on_redis
    house.open(allowance=0)
    house.feed(9)
    return house, client


def fill(client: redis.Redis) -> None:
    """Let Redis refuse every command that may need memory, whatever scripts it knows already."""
    client.script_flush()
    client.config_set("maxmemory-policy", "noeviction")
    client.config_set("maxmemory", 1)
    with pytest.raises(redis.OutOfMemoryError):
        client.set("retouch:probe", "x")


def test_at_maxmemory_what_is_known_is_recorded(full: tuple[House, redis.Redis]) -> None:
    house, client = full
    submitting, sent, running = house.begun("b.0"), house.ledger.mark_sent(house.begun("b.1")), house.running("b.2")
    held, kept = house.held("b.3"), house.moved(house.ready("b.4"), e.Kept(detail="x" * 500))
    fill(client)

    house.moved(submitting, house.accepted(), house.fetchable(), house.filed())
    house.moved(sent, e.Doubted(detail="timeout", wait=45))
    house.moved(running, e.GivenBack(wait=0))
    house.moved(held, house.accepted())
    house.moved(kept, house.filed())
    house.ledger.late_receipt("b", "{}", 5)

    assert house.counts() == {"stored": 2, "in_doubt": 1, "running": 2, "queued": 4}
    assert house.progress().settled == 4 * 45_000 + 5
    assert house.ledger.outcomes_waiting("b")[0] == 4


def test_at_maxmemory_nothing_new_is_taken_and_nothing_is_half_done(full: tuple[House, redis.Redis]) -> None:
    house, client = full
    claimed, begun = house.claimed("b.0"), house.begun("b.1")
    doubt = house.doubted("b.2")
    fill(client)
    was, stood = house.books(), keys(client)

    with pytest.raises(LedgerError):
        house.ledger.begin(claimed, house.to_begin(claimed))
    with pytest.raises(LedgerError):
        house.ledger.feed("b", "flux", 9, house.orders([9, 10]), low=1)
    with pytest.raises(LedgerError):
        house.ledger.feed("b", "flux", 9, [], low=5)
    with pytest.raises(LedgerError):
        house.open("c")
    with pytest.raises(LedgerError):
        house.ledger.mark_sent(begun)
    again = apply(doubt, e.Resubmitted(), house.ledger.now())
    assert house.ledger.resubmit(doubt, again).closed is Closed.NO_ALLOWANCE

    assert house.books() == was
    assert keys(client) == stood


def test_at_maxmemory_the_house_is_still_kept(full: tuple[House, redis.Redis]) -> None:
    house, client = full
    mine, lost = house.claimed("b.0"), house.running("b.1")
    house.doubted("b.2", wait=0)
    house.stored("b.3")
    given_back = house.moved(house.ready("b.4"), e.GivenBack(wait=0))
    house.later(20)
    fill(client)

    assert house.ledger.renew("w1", {mine.id: mine.fence}) == []
    client.config_set("maxmemory", 0)
    house.later(10)
    fill(client)
    assert [job.id for job in house.ledger.lapsed(9)] == [lost.id]
    assert house.ledger.doubts_due(9) == ["b.2"]
    assert given_back.id in {hint.job for hint in house.ledger.due(9)}
    assert house.claimed(given_back.id).state == given_back.state
    assert house.ledger.lock("tick", "a", 10)
    assert house.ledger.remove_strays() == 0
    house.ledger.throttle(5)
    house.ledger.see_worker(WorkerSeen(id="w1", threads=4, edits=0, seen_at=0.0))
    part = house.ledger.take_outcomes("b")
    assert part is not None
    house.ledger.drop_outcomes("b", part[0])
    house.pause("storage")
    house.resume()
    house.cancel()


def test_when_there_is_room_again_the_work_goes_on(full: tuple[House, redis.Redis]) -> None:
    house, client = full
    claimed = house.claimed("b.0")
    fill(client)
    with pytest.raises(LedgerError):
        house.ledger.begin(claimed, house.to_begin(claimed))

    client.config_set("maxmemory", 0)

    assert house.ledger.begin(claimed, house.to_begin(claimed)).closed is None


# -- replies and Redis itself


def test_scripts_survive_a_redis_that_forgot_them(on_redis: tuple[House, redis.Redis]) -> None:
    house, client = on_redis
    house.one()

    client.script_flush()

    assert house.claimed("b.0").owner == "w1"


def test_every_script_is_plain_lua_that_6_2_compiles(on_redis: tuple[House, redis.Redis]) -> None:
    _, client = on_redis
    shared = {"clock", "seats", "money", "change"}
    names = {path.name.removesuffix(".lua") for path in (resources.files("jobs.ledger") / "lua").iterdir()} - shared

    for name in sorted(names):
        assert not source(name).startswith("#!")
        client.script_load(source(name))

    assert len(names) > 15


def test_a_redis_that_is_away_is_a_ledger_error_without_its_address(tmp_path: Path) -> None:
    client = redis.Redis(unix_socket_path=str(tmp_path / "secret"), retry=Retry(NoBackoff(), 0))
    ledger = RedisLedger(client, shipped_catalogue())

    for act in (ledger.now, ledger.batches, ledger.workers, lambda: ledger.load("b.1"), lambda: ledger.throttle(1)):
        with pytest.raises(LedgerError, match="RETOUCH_REDIS__URL") as caught:
            act()
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["redis://u:p@h:1/0", "rediss://h:1/0", "unix:///tmp/s"])
def test_every_kind_of_address_makes_a_client(url: str) -> None:
    client = connect(url)

    assert client.connection_pool.make_connection() is not None
