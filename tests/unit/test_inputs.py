"""Fetching a request's pictures: from where it is allowed, each failure by its name, unchanged where it can be."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest

from config.catalogue import shipped_catalogue
from jobs.errors import Refused, Unavailable
from jobs.pictures import identity, inspect
from jobs.request import Request
from tests.unit.desks import House, make_house, picture
from workers import inputs as fetching
from workers.hosts import FetchError
from workers.inputs import InputFailed, Inputs, Loaded

PRO = shipped_catalogue().models["flux-2-pro"]


def asked(*inputs: str, pass_urls: bool = False) -> Request:
    return Request(model="flux-2-pro", prompt="p", inputs=inputs, pass_urls=pass_urls)


def failing(house: House, *inputs: str) -> InputFailed:
    with pytest.raises(InputFailed) as caught:
        house.desk.inputs.load(asked(*inputs))
    return caught.value


def test_pictures_come_from_the_bucket_an_allowed_bucket_and_the_web_in_their_order() -> None:
    house = make_house()
    one, two, three = (picture(colour=colour) for colour in ("red", "green", "blue"))
    house.bucket.lay("1.png", one)
    house.bucket.lay("2.png", two, bucket="other")
    house.web.pages["https://shop.example/3.png"] = three

    loaded = house.desk.inputs.load(asked("s3://bucket/1.png", "s3://other/2.png", "https://shop.example/3.png"))

    assert loaded.pictures == (one, two, three)
    assert loaded.identities == (identity(one), identity(two), identity(three))


def test_a_key_with_slashes_and_question_marks_is_taken_as_it_is() -> None:
    house = make_house()
    house.bucket.lay("a/b?c#d e/ü.png", picture())

    assert house.desk.inputs.load(asked("s3://bucket/a/b?c#d e/ü.png")).pictures == (picture(),)


def test_a_bucket_that_is_not_allowed_is_not_asked() -> None:
    house = make_house()

    error = failing(house, "s3://elsewhere/1.png")

    assert (error.code, error.transient) == ("image_forbidden", False)
    assert "RETOUCH_S3__INPUT_BUCKETS" in str(error)
    assert house.bucket.calls == []


def test_a_picture_that_is_not_there_is_named() -> None:
    error = failing(make_house(), "s3://bucket/gone.png")

    assert error.code == "image_not_found"
    assert "s3://bucket/gone.png" in str(error)


def test_a_bucket_that_refuses_says_so() -> None:
    house = make_house()
    house.bucket.failing["get"] = Refused("AccessDenied")

    assert failing(house, "s3://bucket/1.png").code == "image_forbidden"


def test_a_bucket_that_is_away_is_not_the_rows_fault() -> None:
    house = make_house()
    house.bucket.failing["get"] = Unavailable("no answer")

    with pytest.raises(Unavailable):
        house.desk.inputs.load(asked("s3://bucket/1.png"))


def test_a_picture_larger_than_anything_sensible_is_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "MAX_BYTES", 10)
    house = make_house()
    house.bucket.lay("1.png", picture())

    error = failing(house, "s3://bucket/1.png")

    assert error.code == "image_too_large"
    assert "shrink" in str(error)


@pytest.mark.parametrize("transient", [True, False])
def test_what_the_web_says_is_passed_on(transient: bool) -> None:
    house = make_house()
    house.web.pages["https://x.example/"] = FetchError("url_unreachable", "busy", transient=transient)

    error = failing(house, "https://x.example/")

    assert (error.code, error.transient) == ("url_unreachable", transient)


def test_a_file_of_the_planners_disk_that_was_never_staged_has_changed() -> None:
    assert failing(make_house(), "file:///home/anna/1.png").code == "image_changed"


def test_an_url_that_the_api_fetches_itself_is_not_fetched_here() -> None:
    loaded = make_house().desk.inputs.load(asked("https://shop.example/1.png", pass_urls=True))

    assert loaded.pictures == loaded.identities == ("https://shop.example/1.png",)
    assert Inputs.encode(loaded, PRO).sent == ("https://shop.example/1.png",)


def test_with_passed_urls_a_bucket_is_still_read_here() -> None:
    house = make_house()
    house.bucket.lay("1.png", picture())

    loaded = house.desk.inputs.load(asked("s3://bucket/1.png", "https://shop.example/2.png", pass_urls=True))

    assert loaded.pictures == (picture(), "https://shop.example/2.png")


def test_a_picture_within_the_limits_is_sent_byte_for_byte_as_bare_base64() -> None:
    encoded = Inputs.encode(Loaded(pictures=(picture(),), identities=("i",), evidence=("",)), PRO)

    assert base64.b64decode(encoded.sent[0], validate=True) == picture()
    assert encoded.shrunk == ()


def test_a_picture_over_the_limits_is_shrunk_and_says_so() -> None:
    small = replace(PRO, max_input_pixels=1000)

    encoded = Inputs.encode(
        Loaded(pictures=(picture(), picture(16, 16)), identities=("i", "j"), evidence=("", "")), small
    )

    assert inspect(base64.b64decode(encoded.sent[0])).pixels <= 1000
    assert base64.b64decode(encoded.sent[1]) == picture(16, 16)
    assert len(encoded.shrunk) == 1


def test_what_is_no_picture_is_said_before_it_is_sent() -> None:
    with pytest.raises(InputFailed) as caught:
        Inputs.encode(Loaded(pictures=(b"words",), identities=("i",), evidence=("",)), PRO)

    assert caught.value.code == "image_unreadable"
