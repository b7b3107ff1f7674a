"""Fingerprints: what makes two requests the same purchase, for ever."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobs.request import Request, fingerprint

GOLDEN: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent / "golden_fingerprints.json").read_text(encoding="utf-8")
)
ASKED = Request(
    model="flux-2-pro",
    prompt="a white wall",
    inputs=("s3://b/1.png", "s3://b/2.png"),
    params={"seed": 7, "output_format": "png"},
)
IDS = ("1" * 64, "2" * 64)


def named(request: Request, origin: str = "bfl", ids: tuple[str, ...] = IDS) -> str:
    return fingerprint(origin, request, ids)


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda golden: str(golden["what"]))
def test_a_request_that_was_ever_made_keeps_its_fingerprint(golden: dict[str, Any]) -> None:
    request = Request.from_json(golden["request"])

    assert fingerprint(golden["origin"], request, golden["identities"]) == golden["fingerprint"]


def test_the_golden_requests_are_all_different_purchases() -> None:
    assert len(GOLDEN) >= 12
    assert len({golden["fingerprint"] for golden in GOLDEN}) == len(GOLDEN)


def test_a_default_that_is_not_sent_changes_nothing() -> None:
    plain = Request(model="flux-2-pro", prompt="a", inputs=("s3://b/1.png",))

    assert named(plain, ids=IDS[:1]) == named(replace(plain, params={}), ids=IDS[:1])


def test_a_default_that_is_sent_is_part_of_what_was_asked() -> None:
    assert named(ASKED) != named(replace(ASKED, params={**ASKED.params, "safety_tolerance": 2}))


def test_the_order_of_the_parameters_does_not_matter() -> None:
    turned = dict(reversed(list(ASKED.params.items())))

    assert list(turned) != list(ASKED.params)
    assert named(replace(ASKED, params=turned)) == named(ASKED)


def test_the_order_of_the_inputs_matters() -> None:
    assert named(ASKED, ids=IDS[::-1]) != named(ASKED)


def test_where_an_input_lies_does_not_matter_but_what_it_is() -> None:
    moved = replace(ASKED, inputs=("file:///x/1.png", "https://h/2.png"))

    assert named(moved) == named(ASKED)
    assert named(ASKED, ids=("3" * 64, IDS[1])) != named(ASKED)


def test_a_simulated_result_is_never_a_real_one() -> None:
    assert len({named(ASKED, origin) for origin in ("bfl", "127.0.0.1:8080", "127.0.0.1:8081")}) == 3


@pytest.mark.parametrize(
    "change",
    [
        {"model": "flux-2-max"},
        {"prompt": "a white wall."},
        {"prompt": "A white wall"},
        {"prompt": "a white wall "},
        {"params": {"seed": 8, "output_format": "png"}},
        {"params": {"seed": 7}},
        {"params": {"seed": "7", "output_format": "png"}},
        {"params": {"seed": 7.0, "output_format": "png"}},
    ],
    ids=str,
)
def test_whatever_is_sent_otherwise_is_another_purchase(change: dict[str, Any]) -> None:
    assert named(replace(ASKED, **change)) != named(ASKED)


def test_no_part_can_pass_for_another() -> None:
    tricky = replace(ASKED, prompt='a","params":{}', params={})

    assert named(tricky) != named(replace(ASKED, prompt="a", params={}))


def test_truth_is_not_one() -> None:
    true, one = (replace(ASKED, params={"disable_pup": value}) for value in (True, 1))

    assert named(true) != named(one)


def test_looks_alike_is_not_the_same() -> None:
    composed, decomposed = (replace(ASKED, prompt=text) for text in ("caf\u00e9", "cafe\u0301"))

    assert named(composed) != named(decomposed)


@pytest.mark.parametrize("ids", [(), IDS[:1], (*IDS, "3" * 64)])
def test_every_input_needs_its_identity(ids: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="identity"):
        named(ASKED, ids=ids)


def test_what_is_not_a_number_has_no_fingerprint() -> None:
    with pytest.raises(ValueError):
        named(replace(ASKED, params={"guidance": float("nan")}))


def test_a_request_reads_back_as_it_was_written() -> None:
    text = json.dumps(ASKED.as_json())

    assert Request.from_json(json.loads(text)) == ASKED
