"""Every request that the client can build is one that the API's own description accepts.

Where the facts are newer than that description, this says which: `disable_pup` (FLUX.2 [pro] and [max], seen by
validators of August 2026) is not in it. It would be ignored there, and is left out of the comparison.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config.catalogue import shipped_catalogue
from jobs.models import Field, Model
from jobs.request import Request
from workers.api.protocol import build

SPEC_FILE = Path(__file__).resolve().parents[2].parent / "shared" / "reference" / "bfl-openapi.json"
NEWER_THAN_THE_SPEC = {"disable_pup"}

CATALOGUE = shipped_catalogue()

pytestmark = pytest.mark.skipif(not SPEC_FILE.exists(), reason="the API's description is not beside the project")


def spec() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(SPEC_FILE.read_text(encoding="utf-8"))
    return loaded


def schema_of(path: str) -> dict[str, Any]:
    document = spec()
    body = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
    name = body["$ref"].rsplit("/", 1)[-1]
    schema = dict(document["components"]["schemas"][name])
    schema["properties"] = dict(schema["properties"])
    return {**schema, "additionalProperties": False, "components": document["components"]}


def values(field: Field) -> st.SearchStrategy[Any]:
    if field.choices:
        return st.sampled_from(field.choices)
    if field.pattern:
        return st.builds(lambda w, h: f"{w}:{h}", st.integers(9, 21), st.integers(9, 21))
    match field.type:
        case "integer":
            return st.integers(int(field.minimum or 0), int(field.maximum or 2**31))
        case "number":
            return st.floats(field.minimum or 0.0, field.maximum or 100.0)
        case "boolean":
            return st.booleans()
        case _:
            return st.text(max_size=50)


@st.composite
def requests(draw: st.DrawFn, model: Model) -> tuple[Request, list[bytes | str]]:
    names = draw(st.sets(st.sampled_from(sorted(set(model.fields) - {"prompt"}))))
    params = {name: draw(values(model.fields[name])) for name in sorted(names)}
    n = draw(st.integers(1, model.inputs))
    picture: st.SearchStrategy[bytes | str] = st.sampled_from(
        [b"aGVsbG8=", "https://example.com/a.jpg", 'https://example.com/"\\ü.jpg']
    )
    pictures: list[bytes | str] = [draw(picture) for _ in range(n)]
    request = Request(
        model=model.name,
        prompt=draw(st.text(max_size=100)),
        inputs=tuple(f"s3://b/{i}" for i in range(n)),
        params=params,
    )
    return request, pictures


@pytest.mark.parametrize("model", CATALOGUE.models.values(), ids=lambda m: m.name)
def test_every_request_that_can_be_built_is_one_that_the_api_describes(model: Model) -> None:
    schema = schema_of(model.path)
    validator = jsonschema.Draft202012Validator(schema)

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(requests(model))
    def holds(asked: tuple[Request, list[bytes | str]]) -> None:
        request, pictures = asked

        body = json.loads(build(model, request, pictures))

        fields = {"prompt": request.prompt, **request.params}
        sent = [picture.decode() if isinstance(picture, bytes) else picture for picture in pictures]
        assert body == fields | {model.input_field(n): picture for n, picture in enumerate(sent)}
        known = {key: value for key, value in body.items() if key not in NEWER_THAN_THE_SPEC}
        validator.validate(known)

    holds()


@pytest.mark.parametrize("model", CATALOGUE.models.values(), ids=lambda m: m.name)
def test_the_catalogue_lists_every_field_of_the_api_but_those_that_are_retouchs_own(model: Model) -> None:
    described = set(schema_of(model.path)["properties"])
    pictures = {model.input_field(n) for n in range(model.inputs)}
    our_own = {"webhook_url", "webhook_secret"}
    not_offered = {"input_image_blob_path"}  # a path in the API's own storage, of no use to anybody outside

    ours = set(model.fields) | pictures

    assert ours - described <= NEWER_THAN_THE_SPEC
    assert described - ours <= our_own | not_offered


@pytest.mark.parametrize("model", CATALOGUE.models.values(), ids=lambda m: m.name)
def test_the_catalogues_ranges_and_defaults_are_those_of_the_api(model: Model) -> None:
    described = schema_of(model.path)["properties"]

    for name, field in model.fields.items():
        if name in NEWER_THAN_THE_SPEC or name == "prompt":
            continue
        options = [described[name], *described[name].get("anyOf", [])]
        for bound, ours in (("minimum", field.minimum), ("maximum", field.maximum)):
            theirs = next((o[bound] for o in options if bound in o), None)
            if theirs is not None:
                assert ours == theirs, (name, bound)
        if field.default is not None:
            assert described[name].get("default") == field.default, name
