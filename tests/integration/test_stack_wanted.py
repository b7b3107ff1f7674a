"""Which parts a command runs by itself, and which mixtures it refuses."""

from collections.abc import Mapping

import pytest

from config.settings import Settings, SettingsError, read_settings
from producers.stack.wanted import Wanted, what_is_wanted

Part = Mapping[str, Mapping[str, object]]
REDIS = {"redis": {"url": "redis://redis.internal:6379/0"}}
S3 = {"s3": {"bucket": "catalogue"}}
KEY = {"api": {"keys": ["a-real-looking-key"]}}
OWN_API = {"api": {"base_url": "http://127.0.0.1:9000"}}


def given(*parts: Part) -> Settings:
    return read_settings(_env_file=None, **{name: value for part in parts for name, value in part.items()})


def wanted(*servers: str, workers: int = 1) -> Wanted:
    return Wanted(
        redis="redis" in servers, storage="storage" in servers, simulator="simulator" in servers, workers=workers
    )


def test_with_nothing_set_everything_is_embedded() -> None:
    assert what_is_wanted(given(), simulate=False, with_worker=False) == wanted("redis", "storage", "simulator")


def test_a_key_alone_means_the_real_api_with_an_embedded_redis_and_store() -> None:
    assert what_is_wanted(given(KEY), simulate=False, with_worker=False) == wanted("redis", "storage")


def test_a_base_url_alone_stands_for_an_api() -> None:
    assert what_is_wanted(given(OWN_API), simulate=False, with_worker=False) == wanted("redis", "storage")


def test_simulate_is_stronger_than_a_key() -> None:
    found = what_is_wanted(given(KEY), simulate=True, with_worker=False)

    assert found == wanted("redis", "storage", "simulator")


def test_simulate_with_a_bucket_is_what_the_user_asked_for() -> None:
    assert what_is_wanted(given(S3), simulate=True, with_worker=False) == wanted("redis", "simulator")


def test_a_bucket_and_a_key_leave_the_redis_to_embed() -> None:
    assert what_is_wanted(given(S3, KEY), simulate=False, with_worker=False) == wanted("redis")


def test_a_bucket_without_a_key_is_an_error_that_offers_both_ways_out() -> None:
    with pytest.raises(SettingsError, match=r"RETOUCH_S3__BUCKET.*RETOUCH_API__KEYS.*BFL_API_KEY.*--simulate"):
        what_is_wanted(given(S3), simulate=False, with_worker=False)


def test_a_redis_of_ones_own_has_workers_of_its_own() -> None:
    assert what_is_wanted(given(REDIS, S3, KEY), simulate=False, with_worker=False) == wanted(workers=0)


def test_a_worker_is_started_beside_a_redis_of_ones_own_when_asked_for() -> None:
    assert what_is_wanted(given(REDIS, S3, KEY), simulate=False, with_worker=True) == wanted(workers=1)


def test_a_producer_beside_somebody_elses_workers_needs_no_key() -> None:
    assert what_is_wanted(given(REDIS, S3), simulate=False, with_worker=False) == wanted(workers=0)


def test_a_worker_beside_a_redis_of_ones_own_needs_a_key() -> None:
    with pytest.raises(SettingsError, match="RETOUCH_API__KEYS"):
        what_is_wanted(given(REDIS, S3), simulate=False, with_worker=True)


@pytest.mark.parametrize("more", [{}, KEY, OWN_API])
def test_a_remote_redis_with_an_embedded_store_is_refused(more: Part) -> None:
    with pytest.raises(SettingsError, match="RETOUCH_S3__BUCKET"):
        what_is_wanted(given(REDIS, more), simulate=False, with_worker=False)


def test_a_remote_redis_with_an_embedded_simulator_is_refused() -> None:
    with pytest.raises(SettingsError, match="RETOUCH_API__BASE_URL"):
        what_is_wanted(given(REDIS, S3, KEY), simulate=True, with_worker=False)


def test_simulate_beside_an_api_of_ones_own_is_a_contradiction() -> None:
    with pytest.raises(SettingsError, match=r"RETOUCH_API__BASE_URL.*--simulate"):
        what_is_wanted(given(OWN_API), simulate=True, with_worker=False)
