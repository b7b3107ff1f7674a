"""The pictures and the manifests of the benchmarks, the same in every run."""

from __future__ import annotations

import csv
import io
import random
from functools import lru_cache
from pathlib import Path

from PIL import Image

from bench.scenarios import KONTEXT_MAX, MODEL, Scenario
from jobs.bucket.s3 import S3Bucket

SIDE = 1024
QUALITIES = range(95, 4, -1)


def upload_pictures(bucket: S3Bucket, scenario: Scenario) -> list[str]:
    """Put the pictures of a scenario into the bucket and return their URIs."""
    uris = []
    for number in range(min(scenario.pictures, scenario.edits)):
        key = f"bench/originals/{scenario.picture_kb}/{number:04d}.jpg"
        bucket.put(key, picture(number, scenario.picture_kb), content_type="image/jpeg")
        uris.append(f"s3://{bucket.name}/{key}")
    return uris


def prompt(number: int) -> str:
    """Return the prompt of a row; no other row has it."""
    return f"put it on white, view {number}"


def write_manifest(path: Path, scenario: Scenario, pictures: list[str], first: int = 0) -> None:
    """Write the manifest of a scenario, its rows numbered from `first` on; the key of each row's result is its own."""
    fields = ["id", "image", "prompt", "model", *(["output_format"] if scenario.output_format else [])]
    first_max = round(scenario.edits * (1 - scenario.kontext_max_share))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fields)
        writer.writeheader()
        for number in range(first, first + scenario.edits):
            row = {
                "id": f"row-{number:06d}",
                "image": pictures[number % len(pictures)],
                "prompt": prompt(0 if scenario.alike else number),
                "model": MODEL if number - first < first_max else KONTEXT_MAX,
            }
            writer.writerow(row | ({"output_format": scenario.output_format} if scenario.output_format else {}))


def picture(number: int, kilobytes: int) -> bytes:
    """Return a JPEG of about so many KB (20 at least) whose pixels are like no other number's."""
    ground, quality = _ground(kilobytes)
    image = ground.copy()
    patch = random.Random(number).randbytes(32 * 32 * 3)
    image.paste(Image.frombytes("RGB", (32, 32), patch).resize((64, 64)), (16, 16))
    return _encoded(image, quality)


@lru_cache(maxsize=4)
def _ground(kilobytes: int) -> tuple[Image.Image, int]:
    """Return a photograph-like picture, and the quality at which it weighs about so many KB."""
    side = SIDE if kilobytes >= 100 else SIDE // 4
    ramp = Image.linear_gradient("L")
    smooth = Image.merge("RGB", (ramp.rotate(90), ramp, ramp.rotate(180))).resize((side, side))
    noise = Image.frombytes("RGB", (side, side), random.Random(0).randbytes(side * side * 3))
    image = Image.blend(smooth, noise, 0.12)
    quality = next((q for q in QUALITIES if len(_encoded(image, q)) <= kilobytes * 1000), QUALITIES[-1])
    return image, quality


def _encoded(image: Image.Image, quality: int) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return out.getvalue()
