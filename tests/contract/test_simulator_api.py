"""The simulator answers as the API's published spec says, over real sockets.

Where the facts are newer than the spec (statuses Reasoning and Generating, `cost` on the result, both seen in
2026) the spec is widened here, in `spec`, and nowhere else.
"""

from __future__ import annotations

import base64
import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
from PIL import Image

from config.catalogue import shipped_catalogue
from simulator.options import Options
from simulator.service import Addresses
from simulator.threaded import running

SPEC = Path(__file__).resolve().parents[2].parent / "shared" / "reference" / "bfl-openapi.json"
MODELS = shipped_catalogue().models
KEY = {"x-key": "a-key-for-tests"}
PRO, KONTEXT, KONTEXT_MAX = "/v1/flux-2-pro", "/v1/flux-kontext-pro", "/v1/flux-kontext-max"


class Clock:
    """A clock that only a test moves."""

    def __init__(self) -> None:
        self.now = 1_790_000_000.0

    def __call__(self) -> float:
        return self.now


def picture(size: tuple[int, int] = (160, 128)) -> str:
    out = io.BytesIO()
    Image.radial_gradient("L").resize(size).convert("RGB").save(out, "JPEG")
    return base64.b64encode(out.getvalue()).decode()


@pytest.fixture(scope="module")
def spec() -> dict[str, Any]:
    if not SPEC.exists():
        pytest.skip("the API's spec is not at hand")
    document: dict[str, Any] = json.loads(SPEC.read_text(encoding="utf-8"))
    schemas = document["components"]["schemas"]
    schemas["StatusResponse"]["enum"] += ["Reasoning", "Generating"]
    schemas["ResultResponse"]["properties"]["cost"] = {"type": ["number", "null"]}
    for name in ("AsyncResponse", "AsyncWebhookResponse", "ResultResponse", "CreditsResponse"):
        schemas[name]["additionalProperties"] = False
    return document


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def at(clock: Clock) -> Iterator[Addresses]:
    with running(Options(port=0, latency=10.0, credits=1000.0), clock=clock) as addresses:
        yield addresses


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    with httpx.Client(trust_env=False) as client:
        yield client


def valid(document: dict[str, Any], name: str, body: Any) -> Any:
    schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    jsonschema.Draft202012Validator(schema).validate(body)
    return body


def post(http: httpx.Client, at: Addresses, path: str = PRO, **body: Any) -> httpx.Response:
    return http.post(at.base_url + path, json={"prompt": "make it dusk", **body}, headers=KEY)


@pytest.mark.parametrize("model", list(MODELS.values()), ids=list(MODELS))
def test_every_model_of_the_catalogue_is_served_as_the_spec_says(
    model: Any, at: Addresses, clock: Clock, http: httpx.Client, spec: dict[str, Any]
) -> None:
    receipt = post(http, at, model.path, input_image=picture(), seed=7)

    submitted = valid(spec, "AsyncResponse", receipt.json())
    clock.now += 10.0
    ready = valid(spec, "ResultResponse", http.get(submitted["polling_url"]).json())

    assert receipt.status_code == 200
    assert ready["status"] == "Ready"
    assert ready["result"]["seed"] == 7
    assert ready["cost"] > 0


BODIES: list[dict[str, Any]] = [
    {},
    {"prompt": ""},
    {"prompt": None},
    {"prompt": 5},
    {"prompt": "p", "seed": 1},
    {"prompt": "p", "seed": None},
    {"prompt": "p", "seed": "1"},
    {"prompt": "p", "seed": 1.5},
    {"prompt": "p", "safety_tolerance": -1},
    {"prompt": "p", "safety_tolerance": 5},
    {"prompt": "p", "safety_tolerance": 6},
    {"prompt": "p", "safety_tolerance": 7},
    {"prompt": "p", "safety_tolerance": None},
    {"prompt": "p", "output_format": "png"},
    {"prompt": "p", "output_format": "gif"},
    {"prompt": "p", "output_format": None},
    {"prompt": "p", "width": 0},
    {"prompt": "p", "width": 63},
    {"prompt": "p", "width": 64, "height": 4096},
    {"prompt": "p", "guidance": 1.4},
    {"prompt": "p", "guidance": 10},
    {"prompt": "p", "steps": 0},
    {"prompt": "p", "steps": 51},
    {"prompt": "p", "prompt_upsampling": "true"},
    {"prompt": "p", "input_image": 1},
    {"prompt": "p", "input_image_2": None},
    {"prompt": "p", "webhook_secret": 1},
    {"prompt": "p", "no_such_field": 1},
]


@pytest.mark.parametrize("model", list(MODELS.values()), ids=list(MODELS))
def test_the_simulator_and_the_spec_agree_on_what_is_valid(
    model: Any, at: Addresses, clock: Clock, http: httpx.Client, spec: dict[str, Any]
) -> None:
    operation = spec["paths"][model.path]["post"]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    judge = jsonschema.Draft202012Validator({**schema, "components": spec["components"]})

    for body in BODIES:
        answer = http.post(at.base_url + model.path, json=body, headers=KEY)
        clock.now += 100.0

        assert (answer.status_code == 200) == judge.is_valid(body), (body, answer.text)
        if answer.status_code != 200:
            assert answer.status_code == 422
            valid(spec, "HTTPValidationError", answer.json())


def test_polls_pass_the_statuses_on_the_way_in_valid_bodies(
    at: Addresses, clock: Clock, http: httpx.Client, spec: dict[str, Any]
) -> None:
    urls = [post(http, at).json()["polling_url"] for _ in range(8)]
    seen = set()

    for _ in range(21):
        seen |= {valid(spec, "ResultResponse", http.get(url).json())["status"] for url in urls}
        clock.now += 0.5

    assert seen == {"Pending", "Reasoning", "Generating", "Ready"}


def test_a_slow_task_takes_five_times_as_long(at: Addresses, clock: Clock, http: httpx.Client) -> None:
    url = post(http, at, prompt="p [[slow]]").json()["polling_url"]

    clock.now += 49.9
    before = http.get(url).json()["status"]
    clock.now += 0.2

    assert before == "Generating"
    assert http.get(url).json()["status"] == "Ready"


def test_a_webhook_changes_the_receipt_and_the_poll_goes_to_the_main_host(
    at: Addresses, clock: Clock, http: httpx.Client, spec: dict[str, Any]
) -> None:
    receipt = valid(spec, "AsyncWebhookResponse", post(http, at, webhook_url="http://example.com/hook").json())
    clock.now += 10.0

    found = http.get(f"{at.base_url}/v1/get_result", params={"id": receipt["id"]})

    assert receipt["webhook_url"] == "http://example.com/hook"
    assert found.json()["status"] == "Ready"


@pytest.mark.parametrize(
    ("headers", "status", "body"),
    [
        ({}, 403, {"detail": "Not authenticated"}),
        ({"x-key": "short"}, 422, {"detail": "Invalid API key format"}),
    ],
)
@pytest.mark.parametrize("way", ["submit", "credits"])
def test_a_bad_key_is_refused(
    way: str, headers: dict[str, str], status: int, body: Any, at: Addresses, http: httpx.Client
) -> None:
    if way == "submit":
        answer = http.post(at.base_url + PRO, json={"prompt": "p"}, headers=headers)
    else:
        answer = http.get(f"{at.base_url}/v1/credits", headers=headers)

    assert (answer.status_code, answer.json()) == (status, body)


def test_a_key_that_is_not_listed_is_refused(http: httpx.Client) -> None:
    with running(Options(port=0, keys=("the-only-known-key",))) as at:
        stranger = post(http, at)
        known = http.get(f"{at.base_url}/v1/credits", headers={"x-key": "the-only-known-key"})

    assert stranger.status_code == 403
    assert known.status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "detail"),
    [
        ("POST", "/v1/flux-9", 404, "Not Found"),
        ("GET", "/", 404, "Not Found"),
        ("GET", PRO, 405, "Method Not Allowed"),
        ("POST", "/v1/credits", 405, "Method Not Allowed"),
    ],
)
def test_an_unknown_path_or_method_is_refused_in_the_apis_form(
    method: str, path: str, status: int, detail: str, at: Addresses, http: httpx.Client
) -> None:
    answer = http.request(method, at.base_url + path, headers=KEY)

    assert (answer.status_code, answer.json()) == (status, {"detail": detail})


def test_a_poll_needs_an_id_and_no_key(at: Addresses, http: httpx.Client, spec: dict[str, Any]) -> None:
    without = http.get(f"{at.base_url}/v1/get_result")
    keyless = http.get(post(http, at).json()["polling_url"])

    assert without.status_code == 422
    valid(spec, "HTTPValidationError", without.json())
    assert keyless.json()["status"] == "Pending"


def test_a_task_is_found_in_its_region_only(at: Addresses, http: httpx.Client) -> None:
    receipt = post(http, at).json()

    elsewhere = http.get(f"{at.base_url}/v1/get_result", params={"id": receipt["id"]})

    assert receipt["polling_url"].startswith(at.regions[0])
    assert (elsewhere.status_code, elsewhere.json()) == (404, {"detail": "Task not found"})


def test_tasks_are_spread_over_the_regions(http: httpx.Client) -> None:
    with running(Options(port=0, regions=2, latency=0.0)) as at:
        urls = [post(http, at).json()["polling_url"] for _ in range(16)]

    assert {url.partition("/v1/")[0] for url in urls} == set(at.regions)


def test_without_regions_the_main_host_serves_the_polls(http: httpx.Client) -> None:
    with running(Options(port=0, regions=0, latency=0.0)) as at:
        url = post(http, at).json()["polling_url"]

        assert url.startswith(at.base_url)
        assert http.get(url).json()["status"] == "Ready"


def test_an_ended_task_is_forgotten_after_its_retention(
    at: Addresses, clock: Clock, http: httpx.Client, spec: dict[str, Any]
) -> None:
    url = post(http, at).json()["polling_url"]
    clock.now += 10.0 + 1800.0

    body = valid(spec, "ResultResponse", http.get(url).json())

    assert body["status"] == "Task not found"


@pytest.mark.parametrize(
    ("mark", "status", "charged"),
    [("request", "Request Moderated", 0.0), ("content", "Content Moderated", 3.0)],
)
def test_moderation_names_its_reasons_and_charges_only_for_what_was_made(
    mark: str,
    status: str,
    charged: float,
    at: Addresses,
    clock: Clock,
    http: httpx.Client,
    spec: dict[str, Any],
) -> None:
    receipt = post(http, at, prompt=f"p [[{mark}-moderated]]").json()
    clock.now += 10.0

    body = valid(spec, "ResultResponse", http.get(receipt["polling_url"]).json())
    balance = valid(spec, "CreditsResponse", http.get(f"{at.base_url}/v1/credits", headers=KEY).json())

    assert body["status"] == status
    assert body["result"] is None
    assert body["details"]["Moderation Reasons"]
    assert balance["credits"] == 1000.0 - charged


def test_the_price_is_echoed_by_the_newer_models_and_settled_later_by_kontext(
    at: Addresses, clock: Clock, http: httpx.Client
) -> None:
    newer = post(http, at, input_image=picture((1024, 1024))).json()
    older = post(http, at, KONTEXT, input_image=picture((1024, 1024))).json()
    clock.now += 10.0

    assert (newer["cost"], newer["input_mp"], newer["output_mp"]) == (4.5, 1.0, 1.0)
    assert older["cost"] is None
    assert http.get(older["polling_url"]).json()["cost"] == 4.0
    assert http.get(f"{at.base_url}/v1/credits", headers=KEY).json() == {"credits": 1000.0 - 4.5 - 4.0}


def test_a_key_without_credits_is_refused_and_holds_no_place(http: httpx.Client) -> None:
    with running(Options(port=0, credits=5.0, active_limit=2, latency=1000.0)) as at:
        answers = [post(http, at).status_code for _ in range(4)]
        refusal = post(http, at)
        http.post(f"{at.base_url}/admin/credits", json={"credits": 100.0})
        again = post(http, at)

    assert answers == [200, 402, 402, 402]
    assert refusal.json() == {"detail": "Insufficient credits"}
    assert again.status_code == 200


def test_places_can_be_held_by_another_program_for_a_while(at: Addresses, http: httpx.Client) -> None:
    told = http.post(f"{at.base_url}/admin/elsewhere", json={"places": 22})
    answers = [post(http, at).status_code for _ in range(3)]
    http.post(f"{at.base_url}/admin/elsewhere", json={"places": 0})
    after = post(http, at)
    wrong = http.post(f"{at.base_url}/admin/elsewhere", json={"places": -1})
    totals = http.get(f"{at.base_url}/admin/ledger?summary=1").json()

    assert told.json() == {"places": 22}
    assert answers == [200, 200, 429]
    assert after.status_code == 200
    assert wrong.status_code == 422
    assert (totals["crowded_out"], totals["over_limit"]) == (1, 0)


def test_the_in_flight_limit_is_kept_and_counted_until_the_tasks_end(
    at: Addresses, clock: Clock, http: httpx.Client
) -> None:
    full = [post(http, at).status_code for _ in range(24)]
    over = post(http, at)
    clock.now += 10.0
    after = post(http, at)
    totals = http.get(f"{at.base_url}/admin/ledger?summary=1").json()

    assert full == [200] * 24
    assert over.status_code == 429
    assert over.headers["Retry-After"] == "1"
    assert after.status_code == 200
    (key,) = totals["keys"].values()
    assert key["peaks"] == {"flux": 24}
    assert totals["over_limit"] == 1


def test_kontext_max_has_a_limit_of_its_own_inside(at: Addresses, http: httpx.Client) -> None:
    full = [post(http, at, KONTEXT_MAX).status_code for _ in range(6)]

    assert full == [200] * 6
    assert post(http, at, KONTEXT_MAX).status_code == 429
    assert [post(http, at).status_code for _ in range(18)] == [200] * 18
    assert post(http, at).status_code == 429


def test_the_limit_is_counted_for_each_key(at: Addresses, http: httpx.Client) -> None:
    for _ in range(24):
        post(http, at)

    other = http.post(at.base_url + PRO, json={"prompt": "p"}, headers={"x-key": "another-test-key"})

    assert other.status_code == 200


def test_a_refused_body_leaves_its_place_free(at: Addresses, http: httpx.Client) -> None:
    refused = [post(http, at, seed="x").status_code for _ in range(30)]

    assert refused == [422] * 30
    assert post(http, at).status_code == 200


@pytest.mark.parametrize(
    "image", ["data:image/jpeg;base64," + picture(), "bm8gcGljdHVyZQ==", "not base64", "http://example.com/x.jpg"]
)
def test_a_picture_that_cannot_be_used_ends_its_task_in_error(
    image: str, at: Addresses, clock: Clock, http: httpx.Client, spec: dict[str, Any]
) -> None:
    receipt = post(http, at, input_image=image)
    clock.now += 10.0

    body = valid(spec, "ResultResponse", http.get(receipt.json()["polling_url"]).json())

    assert receipt.status_code == 200
    assert body["status"] == "Error"
    assert body["details"] == {"error": "Invalid or corrupted image input"}


def test_a_picture_that_is_cut_off_ends_its_task_in_error_and_is_not_charged(
    at: Addresses, clock: Clock, http: httpx.Client
) -> None:
    whole = base64.b64decode(picture((640, 512)))
    url = post(http, at, input_image=base64.b64encode(whole[: len(whole) // 2]).decode()).json()["polling_url"]
    clock.now += 10.0

    assert http.get(url).json()["status"] == "Error"
    assert http.get(url).json()["result"] is None
    assert http.get(f"{at.base_url}/v1/credits", headers=KEY).json() == {"credits": 1000.0}


def test_a_body_of_several_megabytes_is_taken(at: Addresses, clock: Clock, http: httpx.Client) -> None:
    noise = io.BytesIO()
    Image.effect_noise((1600, 1200), 80).convert("RGB").save(noise, "PNG", compress_level=0)
    receipt = post(http, at, input_image=base64.b64encode(noise.getvalue()).decode()).json()
    clock.now += 10.0

    assert len(noise.getvalue()) > 5_000_000
    assert receipt["input_mp"] == 1.83
    assert http.get(receipt["polling_url"]).json()["status"] == "Ready"


def test_a_body_takes_as_long_as_the_line_needs_for_it(http: httpx.Client) -> None:
    with running(Options(port=0, latency=0.0, result_size=(64, 64), upload_mbit=0.4)) as at:
        began = time.time()

        answer = http.post(at.base_url + PRO, json={"prompt": "p", "input_image": picture((1200, 900))}, headers=KEY)
        (task,) = http.get(f"{at.base_url}/admin/ledger").json()["entries"]

    assert task["accepted_at"] - began >= len(answer.request.content) * 8 / 0.4e6
