"""Cells become values of a field's type, or a sentence about what would be right."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.catalogue import shipped_catalogue
from jobs.models import Field
from jobs.request import Param
from producers.manifest.values import BadValue, check_size, parse_value, unknown_field

MODELS = shipped_catalogue().models
FLEX, KONTEXT = MODELS["flux-2-flex"], MODELS["flux-kontext-pro"]


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("seed", "4101", 4101),
        ("seed", " 7 ", 7),
        ("seed", "-1", -1),
        ("guidance", "4.50", 4.5),
        ("guidance", "5", 5.0),
        ("guidance", "5.0", 5.0),
        ("seed", "12.0", 12),
        ("width", "64", 64),
        ("prompt_upsampling", "0", False),
        ("prompt_upsampling", "false", False),
        ("prompt_upsampling", "No", False),
        ("prompt_upsampling", "TRUE", True),
        ("prompt_upsampling", "1", True),
        ("output_format", "webp", "webp"),
    ],
)
def test_a_cell_becomes_a_value_of_its_fields_type(name: str, text: str, value: Param) -> None:
    found = parse_value(FLEX.fields[name], text)

    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("name", "text", "remedy"),
    [
        ("seed", "1.000", "a whole number"),
        ("seed", "4,01E+12", "a whole number"),
        ("seed", "9" * 5_000, "a whole number"),
        ("seed", "１２", "a whole number"),
        ("width", "63", "from 64 to 8192"),
        ("width", "8193", "from 64 to 8192"),
        ("width", "90 cm", "from 64 to 8192"),
        ("steps", "0", "from 1 to 50"),
        ("guidance", "4,5", "not a comma"),
        ("guidance", "nan", "from 1.5 to 10"),
        ("guidance", "1e400", "from 1.5 to 10"),
        ("guidance", "10.01", "from 1.5 to 10"),
        ("prompt_upsampling", "maybe", "true or false"),
        ("output_format", "jpg", "write jpeg"),
        ("output_format", "JPEG", "write jpeg"),
        ("output_format", "tiff", "one of jpeg, png, webp"),
    ],
)
def test_a_wrong_cell_is_told_what_would_be_right(name: str, text: str, remedy: str) -> None:
    with pytest.raises(BadValue) as caught:
        parse_value(FLEX.fields[name], text)

    assert name in str(caught.value)
    assert remedy in caught.value.remedy


@pytest.mark.parametrize("text", ["1:1", "16:9", "21:9", "9:21", "3:7"])
def test_a_ratio_within_the_limits_is_taken(text: str) -> None:
    assert parse_value(KONTEXT.fields["aspect_ratio"], text) == text


@pytest.mark.parametrize("text", ["22:9", "9:22", "99:1", "16:09:00", "4/3", "1.5", "0:1", "4:3\n4:3"])
def test_a_ratio_outside_the_limits_or_no_ratio_is_refused(text: str) -> None:
    with pytest.raises(BadValue):
        parse_value(KONTEXT.fields["aspect_ratio"], text)


def test_a_size_over_what_the_model_makes_is_refused() -> None:
    with pytest.raises(BadValue, match="4,194,304 at most"):
        check_size(FLEX, 4096, 2048)

    check_size(FLEX, 2048, 2048)
    check_size(FLEX, 8192, None)


def test_a_field_of_another_model_names_the_models_that_have_it() -> None:
    error = unknown_field(KONTEXT, "width", MODELS)

    assert str(error) == "FLUX.1 Kontext [pro] has no field width"
    assert error.remedy.startswith("leave the cell empty, or use flux-2-pro")


@given(st.sampled_from(sorted(FLEX.fields)), st.text(max_size=30))
def test_any_cell_gives_a_value_or_a_remedy(name: str, text: str) -> None:
    try:
        value = parse_value(FLEX.fields[name], text)
    except BadValue as error:
        assert error.remedy  # noqa: PT017 - either way is right
    else:
        assert parse_value(FLEX.fields[name], str(value)) == value


@given(st.floats(min_value=1.5, max_value=10))
def test_a_number_that_is_written_out_is_read_back(value: float) -> None:
    field = Field(name="guidance", type="number", minimum=1.5, maximum=10)

    assert parse_value(field, str(value)) == value
