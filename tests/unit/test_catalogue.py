"""The model catalogue: data that is checked when it is read, prices that the reserve never undercuts."""

from importlib import resources

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from config.catalogue import read_catalogue, shipped_catalogue
from jobs.models import Model

CATALOGUE = shipped_catalogue()
MODELS = list(CATALOGUE.models.values())


def test_flux_2_pro_is_the_default() -> None:
    assert CATALOGUE.default == "flux-2-pro"


def test_every_editing_endpoint_of_flux_2_and_kontext_is_there() -> None:
    assert {model.path for model in MODELS} == {
        "/v1/flux-2-pro",
        "/v1/flux-2-pro-preview",
        "/v1/flux-2-max",
        "/v1/flux-2-flex",
        "/v1/flux-2-klein-4b",
        "/v1/flux-2-klein-9b",
        "/v1/flux-2-klein-9b-preview",
        "/v1/flux-kontext-pro",
        "/v1/flux-kontext-max",
    }


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.name)
def test_a_webhook_is_never_a_manifests_to_set(model: Model) -> None:
    assert not {"webhook_url", "webhook_secret"} & set(model.fields)


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.name)
def test_every_price_says_where_and_when_it_was_read(model: Model) -> None:
    assert model.price.source
    assert model.price.dated >= "2026-01-01"


def test_kontext_max_has_six_places_inside_the_twenty_four() -> None:
    lineage = CATALOGUE.lineage("kontext-max")

    assert [(group.name, group.size) for group in lineage] == [("kontext-max", 6), ("flux", 24)]


def test_an_edit_of_one_megapixel_costs_what_the_docs_say() -> None:
    assert CATALOGUE.models["flux-2-pro"].price.expected(1.0, 1.0) == 45_000
    assert CATALOGUE.models["flux-kontext-max"].price.expected(4.0, 1.0) == 80_000


def test_a_limit_of_ones_own_takes_the_place_of_the_catalogues() -> None:
    limited = CATALOGUE.with_limit(4)

    assert {name: group.size for name, group in limited.groups.items()} == {"flux": 4, "kontext-max": 4}
    assert CATALOGUE.with_limit(None) is CATALOGUE


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.name)
@given(
    inputs=st.lists(st.floats(0.05, 4.0), min_size=1, max_size=4),
    output=st.floats(0.05, 4.0),
)
def test_the_most_that_can_be_charged_is_never_less_than_the_likeliest(
    model: Model, inputs: list[float], output: float
) -> None:
    assert model.price.at_most(tuple(inputs), output) >= model.price.expected(sum(inputs), output)


@pytest.mark.parametrize(
    ("before", "after", "error"),
    [
        ('default = "flux-2-pro"', 'default = "flux-9"', KeyError),
        ("first = 3.0", "first = -3.0", ValidationError),
        ('limit_group = "flux"', 'limit_group = "fluxx"', KeyError),
        ('fields = ["flux2", "flex"]', 'fields = ["flux2", "felx"]', KeyError),
        ("inputs = 8", "inputs = 8\ncolour = 1", ValidationError),
    ],
)
def test_a_mistake_in_the_file_is_found_when_it_is_read(before: str, after: str, error: type[Exception]) -> None:
    text = (resources.files("config") / "models.toml").read_text(encoding="utf-8")
    assert before in text

    with pytest.raises(error):
        read_catalogue(text.replace(before, after))
