"""How large a result is and what it costs: pure arithmetic over the catalogue.

The size that counts is that of the picture as the model sees it, after the API has shrunk it and cut its edges
to a multiple of 16, so a price can be a little under one reckoned from the file.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.models import MICROS_PER_CREDIT, PIXELS_PER_MP, Model

Size = tuple[int, int]

STEP = 16
SMALLEST = 64
DEFAULT: Size = (1024, 1024)
NARROWEST = 9 / 21
"""Results of the fixed-size models lie between 9:21 and 21:9 (spec, aspect_ratio)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """What a request costs (credits) and the megapixels (2**20 pixels, 2 decimals) it was reckoned from."""

    cost: float
    input_mp: float
    output_mp: float


def within(size: Size, pixels: int) -> Size:
    """Return `size` shrunk to at most `pixels`, its ratio kept, each side cut to a multiple of 16 (64 at least)."""
    width, height = size
    scale = min(1.0, math.sqrt(pixels / (width * height)))
    return _stepped(width * scale), _stepped(height * scale)


def _stepped(side: float) -> int:
    return max(SMALLEST, int(side + 1e-6) // STEP * STEP)


def ratio_of(text: str) -> float:
    """Return the ratio of an aspect like 16:9.

    Raises:
        ValueError: it is not one, or it lies outside 21:9 to 9:21.
    """
    if re.fullmatch(r"[1-9]\d{0,3}:[1-9]\d{0,3}", text) is None:
        raise ValueError("Aspect ratio should be two whole numbers, such as 16:9")
    width, height = (int(part) for part in text.split(":"))
    if not NARROWEST - 1e-9 <= width / height <= 1 / NARROWEST + 1e-9:
        raise ValueError("Aspect ratio should be between 21:9 and 9:21")
    return width / height


def output_size(model: Model, params: Mapping[str, Any], first: Size | None) -> Size:
    """Return the size of the result for validated `params` and the size of the edited picture, upright."""
    if model.output_pixels is not None:
        asked = params.get("aspect_ratio")
        width, height = first or DEFAULT
        ratio = ratio_of(asked) if asked else min(max(width / height, NARROWEST), 1 / NARROWEST)
        side = math.sqrt(model.output_pixels / ratio)
        return round(side * ratio / STEP) * STEP, round(side / STEP) * STEP
    width, height = within(first or DEFAULT, model.max_output_pixels)
    wanted = (params.get("width") or width, params.get("height") or height)
    return within(wanted, model.max_output_pixels)


def bill(model: Model, inputs: Sequence[Size], output: Size, factor: float) -> Bill:
    """Return the price of an edit by the catalogue's rule, times `factor`."""
    seen = [within(size, model.max_output_pixels) for size in inputs]
    input_mp = round(sum(width * height for width, height in seen) / PIXELS_PER_MP, 2)
    output_mp = round(output[0] * output[1] / PIXELS_PER_MP, 2)
    cost = model.price.expected(input_mp, output_mp) / MICROS_PER_CREDIT * factor
    return Bill(cost=round(cost, 4), input_mp=input_mp, output_mp=output_mp)
