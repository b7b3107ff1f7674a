"""What rows and batches cost and take."""

from __future__ import annotations

import pytest

from config.catalogue import shipped_catalogue
from jobs.models import PIXELS_PER_MP
from jobs.request import Request
from jobs.row import Row
from producers.price import ANY_SIZE, UNKNOWN_SIZE, Tally, default_allowance, duration, row_price

CATALOGUE = shipped_catalogue()
PRO, FLEX, KONTEXT = (CATALOGUE.models[name] for name in ("flux-2-pro", "flux-2-flex", "flux-kontext-pro"))


def row(number: int, model: str, expected: int, at_most: int) -> Row:
    return Row(
        number=number,
        id=str(number),
        group="",
        limit_group=CATALOGUE.models[model].limit_group,
        request=Request(model=model, prompt="p", inputs=("s3://b/a.jpg",)),
        output="o",
        expected=expected,
        at_most=at_most,
        cells=(),
        sizes={},
    )


def test_one_megapixel_in_and_out() -> None:
    assert row_price(PRO, [(1024, 1024)]).expected == 45_000  # 3 + 1.5 credits


def test_each_reference_is_an_input_megapixel() -> None:
    one, three = row_price(PRO, [(1024, 1024)]), row_price(PRO, [(1024, 1024)] * 3)

    assert three.expected - one.expected == 30_000


def test_an_input_over_the_limit_counts_as_it_is_after_shrinking() -> None:
    assert row_price(PRO, [(6000, 4000)]) == row_price(PRO, [(2448, 1632)])


def test_the_result_has_the_size_that_is_asked_for() -> None:
    small = row_price(PRO, [(2000, 2000)], width=1024, height=1024)

    assert small.expected < row_price(PRO, [(2000, 2000)]).expected


def test_the_result_is_reserved_with_its_sides_rounded_up_to_16() -> None:
    assert row_price(PRO, [(1000, 1000)]).at_most == 60_000  # 1008 x 1008 is 2 MP: 3 + 1.5, and 1.5 of input
    assert row_price(PRO, [(992, 992)]).at_most == 45_000


def test_a_flat_price_is_flat() -> None:
    for sizes in ([(100, 100)], [(5000, 4000)] * 4, [None]):
        price = row_price(KONTEXT, sizes)
        assert (price.expected, price.at_most) == (40_000, 40_000)


def test_an_unknown_size_is_expected_at_one_megapixel_and_reserved_at_the_most() -> None:
    unknown = row_price(PRO, [None])

    assert unknown.expected == row_price(PRO, [(1024, 1024)]).expected
    assert unknown.at_most == 150_000  # first + 4 more output megapixels + 4 of input: 3 + 6 + 6 credits


def test_a_disputed_price_is_reserved_at_the_dearer_figure() -> None:
    price = row_price(FLEX, [(1000, 1000)], width=1000, height=1000)

    assert price.at_most == 180_000  # 1008 x 1008 is 2 MP rounded up: 5 + 5 credits, 5 for the input, all x 1.2
    assert price.at_most > price.expected


@pytest.mark.parametrize("size", [(1, 1), (64, 64), (640, 480), (1024, 1024), (2048, 2048), (9000, 9000), None])
@pytest.mark.parametrize("asked", [(None, None), (640, None), (None, 640), (2048, 2048)])
@pytest.mark.parametrize("model", sorted(CATALOGUE.models))
def test_at_most_is_never_less_than_expected(
    model: str, size: tuple[int, int] | None, asked: tuple[int | None, int | None]
) -> None:
    price = row_price(CATALOGUE.models[model], [size, None], width=asked[0], height=asked[1])

    assert 0 < price.expected <= price.at_most


def test_one_side_alone_is_expected_in_the_inputs_ratio() -> None:
    assert (
        row_price(PRO, [(2000, 1000)], width=2048).expected
        == row_price(PRO, [(2000, 1000)], width=2048, height=1024).expected
    )
    assert (
        row_price(PRO, [(2000, 1000)], height=1024).expected
        == row_price(PRO, [(2000, 1000)], width=2048, height=1024).expected
    )


def test_an_estimate_adds_up_and_has_a_line_for_each_model() -> None:
    tally = Tally(CATALOGUE)
    tally.add(row(1, "flux-kontext-max", 80_000, 80_000))
    for number in (2, 3):
        tally.add(row(number, "flux-2-pro", 45_000, 60_000))

    estimate = tally.estimate(allowance=0)

    assert (estimate.rows, estimate.expected, estimate.at_most) == (3, 170_000, 200_000)
    assert [(line.model, line.rows) for line in estimate.models] == [("flux-2-pro", 2), ("flux-kontext-max", 1)]
    assert tally.groups == {"flux": 2, "kontext-max": 1}


def test_the_allowance_for_doubts_is_part_of_the_most() -> None:
    tally = Tally(CATALOGUE)
    tally.add(row(1, "flux-2-pro", 45_000, 60_000))

    assert tally.estimate().at_most == 60_000 + 120_000
    assert tally.estimate(allowance=5).at_most == 60_005


@pytest.mark.parametrize(
    ("expected", "dearest", "allowance"),
    [(0, 0, 0), (1_000_000, 45_000, 90_000), (30_000_000, 45_000, 300_000), (900_000_000, 45_000, 1_000_000)],
)
def test_doubts_may_cost_1_percent_but_two_edits_at_least_and_1_dollar_at_most(
    expected: int, dearest: int, allowance: int
) -> None:
    assert default_allowance(expected, dearest) == allowance


def test_two_edits_over_a_dollar_are_still_capped() -> None:
    assert default_allowance(1_000_000, 600_000) == 1_000_000


def test_the_slowest_limit_group_decides_how_long_a_batch_takes() -> None:
    assert duration({"flux-2-pro": 240}, CATALOGUE) == pytest.approx(240 * 12.5 / 24)
    assert duration({"flux-kontext-max": 60}, CATALOGUE) == pytest.approx(60 * 7.4 / 6)


def test_models_of_an_inner_group_take_places_of_the_outer_one_too() -> None:
    both = duration({"flux-2-pro": 240, "flux-kontext-max": 60}, CATALOGUE)

    assert both == pytest.approx((240 * 12.5 + 60 * 7.4) / 24)


def test_a_batch_takes_at_least_as_long_as_one_edit() -> None:
    assert duration({"flux-2-max": 1}, CATALOGUE) == 38
    assert duration({}, CATALOGUE) == 0


def test_a_megapixel_is_two_to_the_twentieth() -> None:
    assert PIXELS_PER_MP == 1024 * 1024


def test_the_items_of_an_estimate_are_edits_by_size_and_references_and_add_up() -> None:
    tally = Tally(CATALOGUE)
    small = row(1, "flux-2-pro", 45_000, 60_000)
    more = Request(model="flux-2-pro", prompt="p", inputs=("s3://b/a.jpg", "s3://b/b.jpg"))
    tally.add(small._replace(megapixels=1))
    tally.add(small._replace(megapixels=1))
    tally.add(small._replace(megapixels=2, request=more))
    tally.add(small._replace(megapixels=UNKNOWN_SIZE, at_most=150_000))
    tally.add(row(5, "flux-kontext-max", 80_000, 80_000))

    estimate = tally.estimate(allowance=7)

    assert [(item.kind, item.title, item.rows) for item in estimate.items] == [
        ("unknown_size", "FLUX.2 [pro], unknown size", 1),
        ("edits", "FLUX.2 [pro], up to 1 MP", 2),
        ("edits", "FLUX.2 [pro], up to 2 MP, 1 reference", 1),
        ("edits", "FLUX.1 Kontext [max]", 1),
        ("new_attempts", "new attempts", 5),
        ("moderation", "moderation", 5),
        ("doubts", "doubts asked again", 5),
    ]
    assert sum(item.expected for item in estimate.items) == estimate.expected
    assert sum(item.at_most for item in estimate.items) == estimate.at_most


def test_a_price_says_which_size_it_is_for() -> None:
    assert row_price(PRO, [(1024, 1024)]).megapixels == 1
    assert row_price(PRO, [(1500, 1000)]).megapixels == 2
    assert row_price(PRO, [(1024, 1024), None]).megapixels == UNKNOWN_SIZE
    assert row_price(KONTEXT, [None]).megapixels == ANY_SIZE
