"""The substituter of prompts and keys: values are data, and nothing is looked at twice."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.manifest.problems import ManifestError
from producers.manifest.template import EmptyValue, Template

COLUMNS = {"product_name": 0, "surface": 1, "a.b": 2, "x|y": 3}

printable = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1)


def render(source: str, *values: str) -> str:
    cells = [*values, *[""] * (len(COLUMNS) - len(values))]
    return Template.parse(source, "--prompt").bind(COLUMNS).render(cells)


def test_a_column_is_replaced_by_its_value() -> None:
    assert render("put the {product_name} on {surface}", "chair", "oak") == "put the chair on oak"


def test_doubled_braces_are_braces() -> None:
    assert render("{{{product_name}}} }} {{surface}}", "chair") == "{chair} } {surface}"


def test_a_name_with_a_dot_or_a_bar_is_just_a_name() -> None:
    assert render("{a.b} {x|y}", "", "", "one", "two") == "one two"


@pytest.mark.parametrize(
    "hole", ["product_name.__class__", "product_name[0]", "product_name!r", "product_name:>10", "0", "product_name "]
)
def test_there_is_no_access_index_conversion_or_format(hole: str) -> None:
    with pytest.raises(ManifestError, match="no such column"):
        render(f"the {{{hole}}}", "chair")


def test_an_unknown_column_is_one_error_that_lists_the_columns_and_the_likely_one() -> None:
    with pytest.raises(ManifestError) as caught:
        render("the {product_nam}", "chair")

    assert "{product_nam}" in str(caught.value)
    assert "did you mean 'product_name'" in str(caught.value)
    assert "surface" in caught.value.remedy


@pytest.mark.parametrize("source", ["a { b", "a } b", "{}", "{ }", "{{a}", "{product_name", "{pro{duct}name}"])
def test_a_brace_without_meaning_is_an_error(source: str) -> None:
    with pytest.raises(ManifestError):
        render(source, "chair")


def test_a_prompt_has_no_filters() -> None:
    with pytest.raises(ManifestError, match=r"filter '\|slug'"):
        render("the {product_name|slug}", "chair")


def test_a_filter_is_applied_where_it_is_offered() -> None:
    bound = Template.parse("{product_name|loud}", "--output").bind(COLUMNS, filters={"loud": str.upper})

    assert bound.render(["chair"]) == "CHAIR"


@pytest.mark.parametrize("empty", ["", "  ", "\n"])
def test_an_empty_value_of_a_used_column_is_told(empty: str) -> None:
    with pytest.raises(EmptyValue) as caught:
        render("the {product_name}", empty)

    assert caught.value.column == "product_name"


def test_an_empty_value_of_an_unused_column_is_nothing() -> None:
    assert render("the {product_name}", "chair", "") == "the chair"


def test_control_characters_of_a_value_become_a_space() -> None:
    assert render("<{product_name}>", "a\r\nb\tc\u2028d\x07e") == "<a b c d e>"


def test_line_ends_of_the_template_itself_stay() -> None:
    assert render("one\n{product_name}", "two") == "one\ntwo"


@given(value=printable, literal=printable.filter(lambda text: "{" not in text and "}" not in text))
def test_a_value_stands_in_the_prompt_as_it_is(value: str, literal: str) -> None:
    assert render(f"{literal}{{product_name}}{literal}", value) == f"{literal}{value}{literal}"


@given(inner=st.sampled_from(["{surface}", "{{surface}}", "{product_name}", "{", "}}", "{ext}"]), around=printable)
def test_a_value_with_braces_is_never_substituted_again(inner: str, around: str) -> None:
    value = around + inner + around

    assert render("{product_name} on {surface}", value, "oak") == f"{value} on oak"


@given(st.text(max_size=40))
def test_any_text_can_be_written_as_a_template_by_doubling_its_braces(text: str) -> None:
    assert render(text.replace("{", "{{").replace("}", "}}")) == text


@given(st.text("{}ab|.!:[]0 ", max_size=20))
def test_a_template_gives_a_text_or_a_clear_error_and_nothing_else(source: str) -> None:
    try:
        rendered = render(source, "chair", "oak", "c", "d")
    except ManifestError as error:
        assert error.remedy  # noqa: PT017 - either way is right
    else:
        assert isinstance(rendered, str)
