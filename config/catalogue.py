"""Reads the model catalogue (`models.toml`) into the types of `jobs.models`.

A mistake in the file is found here, at start, and named; nothing later has to doubt a figure.
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from typing import Literal

from pydantic import BaseModel, ConfigDict, PositiveFloat, PositiveInt

from jobs.models import Catalogue, Field, Latency, LimitGroup, Model, Price

MAX_INPUT_BYTES = 20_000_000
"""The API takes pictures of up to 20 MB (docs, Kontext and FLUX.2 editing pages)."""

MAX_OUTPUT_PIXELS = 4_194_304
"""The largest result, 2048 x 2048 or as many pixels in another shape (docs, FLUX.2 editing page)."""

PROMPT = Field(name="prompt", type="string", about="what to do with the picture")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Field(_Strict):
    type: Literal["string", "integer", "number", "boolean"]
    nullable: bool = False
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    pattern: str = ""
    default: str | int | float | bool | None = None
    about: str = ""


class _Price(_Strict):
    first: PositiveFloat
    more_output: float = 0.0
    input: float = 0.0
    ceiling_factor: float = 1.0
    source: str
    dated: str


class _Latency(_Strict):
    median_s: PositiveFloat
    p999_s: PositiveFloat


class _Group(_Strict):
    size: PositiveInt
    inside: str | None = None


class _Model(_Strict):
    title: str
    path: str
    fields: tuple[str, ...]
    inputs: PositiveInt
    limit_group: str
    output_format: Literal["jpeg", "png"]
    output_pixels: PositiveInt | None = None
    max_input_pixels: PositiveInt
    price: _Price
    latency: _Latency
    give_up_s: PositiveFloat
    note: str = ""


class _File(_Strict):
    dated: str
    default: str
    groups: dict[str, _Group]
    fields: dict[str, dict[str, _Field]]
    models: dict[str, _Model]


def read_catalogue(text: str) -> Catalogue:
    """Return the catalogue written in `text` (TOML).

    Raises:
        pydantic.ValidationError: a table has a wrong shape.
        KeyError: a model names a field set or a limit group that the file does not have.
    """
    file = _File.model_validate(tomllib.loads(text))
    groups = {name: LimitGroup(name=name, size=g.size, inside=g.inside) for name, g in file.groups.items()}
    models = {}
    for name, m in file.models.items():
        fields = {"prompt": PROMPT}
        for set_name in m.fields:
            for field_name, f in file.fields[set_name].items():
                fields[field_name] = Field(name=field_name, **f.model_dump())
        models[name] = Model(
            name=name,
            title=m.title,
            path=m.path,
            fields=fields,
            inputs=m.inputs,
            limit_group=groups[m.limit_group].name,
            output_format=m.output_format,
            output_pixels=m.output_pixels,
            max_input_bytes=MAX_INPUT_BYTES,
            max_input_pixels=m.max_input_pixels,
            max_output_pixels=MAX_OUTPUT_PIXELS,
            price=Price(**m.price.model_dump()),
            latency=Latency(**m.latency.model_dump()),
            give_up_s=m.give_up_s,
            note=m.note,
        )
    return Catalogue(dated=file.dated, default=models[file.default].name, models=models, groups=groups)


@cache
def shipped_catalogue() -> Catalogue:
    """Return the catalogue that this release carries."""
    return read_catalogue((resources.files("config") / "models.toml").read_text(encoding="utf-8"))
