"""The simulator's reading of a POST body; verdicts are compared with the published spec in tests/contract."""

import json
from typing import Any

import pytest

from config.catalogue import shipped_catalogue
from simulator.validation import Asked, Invalid, read_body

MODELS = shipped_catalogue().models


def read(model: str, body: Any, content_type: str = "application/json") -> Asked:
    return read_body(MODELS[model], content_type, json.dumps(body).encode())


def complaint(model: str, body: Any) -> dict[str, Any]:
    with pytest.raises(Invalid) as caught:
        read(model, body)
    (found,) = caught.value.complaints
    return found


def test_a_prompt_alone_is_a_request() -> None:
    asked = read("flux-2-pro", {"prompt": "make it dusk"})

    assert asked.prompt == "make it dusk"
    assert asked.params == {}
    assert asked.pictures == ()


def test_a_missing_prompt_is_named_where_it_should_be() -> None:
    found = complaint("flux-2-pro", {"seed": 1})

    assert found == {"loc": ["body", "prompt"], "msg": "Field required", "type": "missing"}


def test_an_empty_prompt_is_taken() -> None:
    assert read("flux-2-pro", {"prompt": ""}).prompt == ""


@pytest.mark.parametrize(
    ("model", "field", "value", "kind"),
    [
        ("flux-2-pro", "seed", "42", "int_type"),
        ("flux-2-pro", "seed", True, "int_type"),
        ("flux-2-pro", "seed", 1.5, "int_type"),
        ("flux-2-pro", "width", 0, "greater_than_equal"),
        ("flux-2-pro", "height", 63, "greater_than_equal"),
        ("flux-2-pro", "safety_tolerance", 6, "less_than_equal"),
        ("flux-2-pro", "safety_tolerance", None, "int_type"),
        ("flux-2-pro", "output_format", "gif", "enum"),
        ("flux-2-pro", "input_image", 7, "string_type"),
        ("flux-2-flex", "guidance", 1.4, "greater_than_equal"),
        ("flux-2-flex", "steps", 51, "less_than_equal"),
        ("flux-kontext-pro", "safety_tolerance", 7, "less_than_equal"),
        ("flux-kontext-pro", "aspect_ratio", "wide", "string_pattern_mismatch"),
        ("flux-kontext-pro", "aspect_ratio", "4:1", "value_error"),
        ("flux-kontext-pro", "prompt_upsampling", "yes", "bool_type"),
        ("flux-2-pro", "webhook_url", "nowhere", "url_parsing"),
        ("flux-2-pro", "webhook_url", "http://h/" + "a" * 2083, "url_parsing"),
        ("flux-2-pro", "webhook_secret", 5, "string_type"),
    ],
)
def test_a_value_that_does_not_suit_its_field_is_refused(model: str, field: str, value: Any, kind: str) -> None:
    found = complaint(model, {"prompt": "p", field: value})

    assert found["loc"] == ["body", field]
    assert found["type"] == kind


@pytest.mark.parametrize("field", ["seed", "width", "output_format", "input_image", "webhook_url"])
def test_null_is_taken_where_the_field_may_be_null(field: str) -> None:
    assert read("flux-2-pro", {"prompt": "p", field: None}).pictures == ()


def test_every_mistake_is_named_at_once() -> None:
    with pytest.raises(Invalid) as caught:
        read("flux-2-pro", {"seed": "x", "width": 1})

    assert [c["loc"][1] for c in caught.value.complaints] == ["prompt", "seed", "width"]


def test_an_unknown_field_is_ignored() -> None:
    asked = read("flux-2-pro", {"prompt": "p", "aspect_ratio": "16:9", "colour": "red"})

    assert asked.params == {}


def test_pictures_come_in_their_order_and_no_more_than_the_model_takes() -> None:
    body = {"prompt": "p", "input_image_3": "c", "input_image": "a", "input_image_2": "b", "input_image_5": "e"}

    assert read("flux-2-klein-4b", body).pictures == ("a", "b", "c")


@pytest.mark.parametrize("raw", [b"[1]", b"null", b'"text"'])
def test_a_body_that_is_no_object_is_refused(raw: bytes) -> None:
    with pytest.raises(Invalid) as caught:
        read_body(MODELS["flux-2-pro"], "application/json", raw)

    assert caught.value.complaints[0]["loc"] == ["body"]


def test_broken_json_is_refused_with_its_place() -> None:
    with pytest.raises(Invalid) as caught:
        read_body(MODELS["flux-2-pro"], "application/json", b'{"prompt": ')

    assert caught.value.complaints[0]["type"] == "json_invalid"


def test_a_body_of_another_content_type_is_not_read_as_json() -> None:
    with pytest.raises(Invalid):
        read("flux-2-pro", {"prompt": "p"}, content_type="text/plain")
