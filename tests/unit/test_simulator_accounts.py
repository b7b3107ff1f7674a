"""Keys and places in flight of the simulator."""

import pytest

from config.catalogue import shipped_catalogue
from simulator.accounts import Account, Accounts, KeyRefused

CATALOGUE = shipped_catalogue()
FLUX = CATALOGUE.lineage("flux")
KONTEXT_MAX = CATALOGUE.lineage("kontext-max")


def account() -> Account:
    return Account(id="a", credits=100.0)


def test_a_full_group_gives_no_place_and_counts_the_try() -> None:
    key = account()
    taken = [key.take(FLUX, 0.0) for _ in range(FLUX[0].size)]

    over = key.take(FLUX, 0.0)

    assert all(taken)
    assert not over
    assert key.over_limit == 1
    assert key.peaks == {"flux": FLUX[0].size}


def test_places_that_another_program_holds_are_not_there_and_are_counted_apart() -> None:
    key = account()
    taken = [key.take(FLUX, 0.0, elsewhere=FLUX[0].size - 2) for _ in range(3)]

    assert taken == [True, True, False]
    assert (key.crowded_out, key.over_limit) == (1, 0)


def test_an_inner_group_fills_up_before_the_one_around_it() -> None:
    key = account()
    inner = KONTEXT_MAX[0].size
    assert all(key.take(KONTEXT_MAX, 0.0) for _ in range(inner))

    assert not key.take(KONTEXT_MAX, 0.0)
    assert key.take(FLUX, 0.0)
    assert key.in_flight == {"kontext-max": inner, "flux": inner + 1}


def test_a_full_outer_group_refuses_the_inner_one_too() -> None:
    key = account()
    assert all(key.take(FLUX, 0.0) for _ in range(FLUX[0].size))

    assert not key.take(KONTEXT_MAX, 0.0)
    assert key.in_flight["kontext-max"] == 0


def test_a_place_is_free_again_at_the_end_of_its_task_and_not_before() -> None:
    key = account()
    for _ in range(FLUX[0].size):
        key.take(FLUX, 0.0)
        key.hold_until(FLUX, 10.0)

    assert not key.take(FLUX, 9.9)
    assert key.take(FLUX, 10.0)
    assert key.in_flight["flux"] == 1


def test_a_place_given_back_is_free_at_once() -> None:
    key = account()
    for _ in range(FLUX[0].size):
        key.take(FLUX, 0.0)

    key.give_back(FLUX)

    assert key.take(FLUX, 0.0)


@pytest.mark.parametrize(
    ("key", "status", "detail"),
    [
        (None, 403, "Not authenticated"),
        ("", 403, "Not authenticated"),
        ("short", 422, "Invalid API key format"),
        ("long-but-\x07-odd", 422, "Invalid API key format"),
        ("well-formed-stranger", 403, "Not authenticated"),
    ],
)
def test_a_key_is_refused_by_its_form_first(key: str | None, status: int, detail: str) -> None:
    accounts = Accounts(credits_=1.0, keys=("the-known-key",))

    with pytest.raises(KeyRefused) as caught:
        accounts.of(key)

    assert (caught.value.status, caught.value.detail) == (status, detail)


def test_any_well_formed_key_is_known_where_none_was_listed() -> None:
    accounts = Accounts(credits_=7.0)

    assert accounts.of("any-key-at-all").credits == 7.0
    assert accounts.of("any-key-at-all") is accounts.of("any-key-at-all")


def test_keys_that_are_shared_draw_on_one_account() -> None:
    accounts = Accounts(credits_=7.0, shared=[("key-number-one", "key-number-two")])

    accounts.of("key-number-one").charge(2.0)

    assert accounts.of("key-number-two").credits == 5.0
    assert accounts.of("key-number-three").credits == 7.0


def test_the_id_of_an_account_does_not_show_its_key() -> None:
    assert "any-key" not in Accounts(credits_=1.0).of("any-key-at-all").id
