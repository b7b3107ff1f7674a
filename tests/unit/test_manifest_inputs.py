"""Where a row's pictures may lie, and what is said of those that cannot be used."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from PIL import Image

from producers.manifest.inputs import Input, InputError, Inputs


def picture(path: Path, width: int = 40, height: int = 30, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    held = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(held, "PNG", **options)
    path.write_bytes(held.getvalue())
    return path


def inputs(folder: Path, *, allow_local: bool = True) -> Inputs:
    return Inputs(
        folder=folder,
        allow_local=allow_local,
        buckets=frozenset({"shop"}),
        trusted_hosts=frozenset({"pim.local", "localhost:8080", "127.0.0.1:8080"}),
    )


def refusal(folder: Path, text: str, *, allow_local: bool = True) -> InputError:
    with pytest.raises(InputError) as caught:
        inputs(folder, allow_local=allow_local).find(text)
    assert caught.value.remedy
    return caught.value


def test_a_local_picture_becomes_an_absolute_uri_with_its_size_and_stamp(tmp_path: Path) -> None:
    path = picture(tmp_path / "photos" / "Stühle 1.png")

    found = inputs(tmp_path).find("photos/Stühle 1.png")

    stat = path.stat()
    assert found == Input(path.as_uri(), "Stühle 1.png", (40, 30), (stat.st_size, stat.st_mtime_ns))


def test_a_path_may_leave_the_folder_and_the_uri_has_no_dots(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png")
    (tmp_path / "lists").mkdir()

    assert inputs(tmp_path / "lists").find("../a.png").uri == path.as_uri()


def test_a_link_is_followed_and_keeps_the_name_that_the_row_gives(tmp_path: Path) -> None:
    path = picture(tmp_path / "real.png")
    (tmp_path / "link.png").symlink_to(path)

    found = inputs(tmp_path).find("link.png")

    assert (found.uri, found.name) == (path.as_uri(), "link.png")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    error = refusal(tmp_path, "photos/a.png")

    assert error.code == "image_not_found"
    assert "photos/a.png" in str(error)


def test_backslashes_get_the_path_with_slashes_as_remedy(tmp_path: Path) -> None:
    picture(tmp_path / "photos" / "a.png")

    assert "photos/a.png" in refusal(tmp_path, r"photos\a.png").remedy


def test_a_loop_of_links_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to(tmp_path / "b.png")
    (tmp_path / "b.png").symlink_to(tmp_path / "a.png")

    assert refusal(tmp_path, "a.png").code == "image_unreadable"


def test_a_folder_is_not_a_picture(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()

    assert refusal(tmp_path, "photos").code == "image_unreadable"


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")

    assert refusal(tmp_path, "pipe.png").code == "image_unreadable"


def test_a_name_that_is_too_long_is_an_error(tmp_path: Path) -> None:
    assert refusal(tmp_path, "x" * 5_000).code == "image_unreadable"


@pytest.mark.parametrize(
    ("content", "code"),
    [(b"", "image_empty"), (b"hello, this is a text", "image_unreadable"), (b"<svg></svg>", "image_unreadable")],
)
def test_a_file_that_is_no_picture_is_an_error(tmp_path: Path, content: bytes, code: str) -> None:
    (tmp_path / "a.jpg").write_bytes(content)

    assert refusal(tmp_path, "a.jpg").code == code


def test_local_files_are_for_the_command_line_only(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")

    assert refusal(tmp_path, "a.png", allow_local=False).code == "local_refused"


def test_a_file_that_is_named_again_is_not_opened_again(tmp_path: Path) -> None:
    path = picture(tmp_path / "logo.png")
    reader = inputs(tmp_path)
    first = reader.find("logo.png")

    path.unlink()

    assert reader.find("logo.png") is first


def test_an_object_of_an_allowed_bucket_is_taken_as_it_is(tmp_path: Path) -> None:
    assert inputs(tmp_path).find("s3://shop/a b/Stühle%20.jpg") == Input("s3://shop/a b/Stühle%20.jpg", "Stühle%20.jpg")


def test_another_bucket_is_refused_with_the_setting_that_allows_it(tmp_path: Path) -> None:
    error = refusal(tmp_path, "s3://private/a.jpg")

    assert error.code == "bucket_refused"
    assert "RETOUCH_S3__INPUT_BUCKETS" in error.remedy


@pytest.mark.parametrize(
    "uri", ["s3://shop", "s3://shop/", "s3:///a.jpg", "s3://shop/folder/", "s3://shop/a\u202e.jpg"]
)
def test_an_address_of_no_object_is_an_error(tmp_path: Path, uri: str) -> None:
    assert refusal(tmp_path, uri).code == "image_not_found"


def test_a_web_address_is_taken_as_it_is(tmp_path: Path) -> None:
    url = "https://shop.example/p/St%C3%BChle.jpg?w=100&sig=abc"

    assert inputs(tmp_path).find(url) == Input(url, "Stühle.jpg")


@pytest.mark.parametrize(
    "url",
    [
        "http://shop.example/a.jpg",
        "https://user:secret@shop.example/a.jpg",
        "https://user@shop.example/a.jpg",
        "https:///a.jpg",
        "https://shop.example:8443/a.jpg",
        "https://shop.example:99999/a.jpg",
        "https://[::1/a.jpg",
        "https://shop.example/a b.jpg",
        "https://shop.example/a\n.jpg",
        "https://shop.example\\@evil.example/a.jpg",
        "http://localhost:8081/a.jpg",
        "https://localhost/a.jpg",
        "https://pim.localhost/a.jpg",
        "https://10.0.0.1/a.jpg",
        "https://127.0.0.1/a.jpg",
        "https://169.254.169.254/latest/meta-data/",
        "https://[fe80::1]/a.jpg",
        "https://[fe80::1%25eth0]/a.jpg",
        "https://[::ffff:192.168.0.1]/a.jpg",
        "https://127.1/a.jpg",
        "https://0x7f.1/a.jpg",
        "file:///etc/passwd",
        "FILE:/etc/passwd",
        "ftp://shop.example/a.jpg",
        "data:image/png;base64,AAAA",
        "javascript:alert(1)",
        "HTTPS://shop.example/a.jpg",
        "S3://shop/a.jpg",
    ],
)
def test_an_address_that_is_not_fetched_is_refused(tmp_path: Path, url: str) -> None:
    assert refusal(tmp_path, url).code == "url_refused"


@pytest.mark.parametrize(
    "url",
    [
        "http://pim.local/a.jpg",
        "http://localhost:8080/a.jpg",
        "https://pim.local:8443/a.jpg",
        "http://127.0.0.1:8080/a.jpg",
    ],
)
def test_a_trusted_host_may_be_plain_http_and_on_any_port(tmp_path: Path, url: str) -> None:
    assert inputs(tmp_path).find(url).uri == url


def test_a_host_in_another_alphabet_is_left_to_the_worker(tmp_path: Path) -> None:
    url = "https://bücher.example/a.jpg"

    assert inputs(tmp_path).find(url).uri == url


def test_a_refusal_never_shows_what_may_be_a_signature_or_a_password(tmp_path: Path) -> None:
    signed = "http://shop.example/a.jpg?sig=CANARY"
    named = [f"https://u:CANARY@{rest}" for rest in ("shop.example/a.jpg", "shop.example/a b.jpg", "/a.jpg")]
    for url in (signed, *named):
        error = refusal(tmp_path, url)
        assert "CANARY" not in str(error) + error.remedy


def beside(text: str) -> Input:
    dropped = Inputs(
        folder=Path(),
        allow_local=False,
        buckets=frozenset({"shop"}),
        trusted_hosts=frozenset(),
        relative_to="s3://drop/inbox/team/",
    )
    return dropped.find(text)


def test_a_path_in_a_dropped_manifest_starts_at_its_folder_in_the_bucket() -> None:
    assert beside("photos/Stühle 1.png") == Input("s3://drop/inbox/team/photos/Stühle 1.png", "Stühle 1.png")


@pytest.mark.parametrize("text", ["../other/a.png", "/etc/passwd", "a/../../b.png", "a//b.png", "a\\b.png", "./a.png"])
def test_a_path_in_a_dropped_manifest_never_leaves_its_folder(text: str) -> None:
    with pytest.raises(InputError) as caught:
        beside(text)

    assert caught.value.code == "local_refused"


def test_a_dropped_manifest_may_name_allowed_buckets_only() -> None:
    assert beside("s3://shop/a.png").uri == "s3://shop/a.png"
    with pytest.raises(InputError, match="not among those"):
        beside("s3://drop/inbox/other/a.png")


def test_a_dropped_manifest_names_no_file_of_the_server() -> None:
    with pytest.raises(InputError, match="file: is no place"):
        beside("file:///etc/passwd")


def test_a_name_in_another_unicode_form_is_the_same_name(tmp_path: Path) -> None:
    path = picture(tmp_path / "Mo\u0308bel" / "Stu\u0308hle.png")

    found = inputs(tmp_path).find("Möbel/Stühle.png")

    assert found.uri == path.as_uri()
    assert found.name == "Stühle.png"


@pytest.mark.parametrize(
    ("there", "asked"), [("photos/A.PNG", "photos/a.png"), ("Fotos/a.png", "fotos/a.png"), ("ﬁg 1.png", "fig 1.png")]
)
def test_a_near_miss_in_case_or_form_is_named(tmp_path: Path, there: str, asked: str) -> None:
    picture(tmp_path / there)

    error = refusal(tmp_path, asked)

    assert error.code == "image_not_found"
    assert there in error.remedy


@pytest.mark.parametrize("cut", [2, 300])
def test_a_jpeg_without_its_end_is_truncated(tmp_path: Path, cut: int) -> None:
    held = io.BytesIO()
    Image.effect_noise((120, 90), 60).save(held, "JPEG")
    (tmp_path / "a.jpg").write_bytes(held.getvalue()[:-cut])

    assert refusal(tmp_path, "a.jpg").code == "image_truncated"


def test_what_a_camera_adds_after_the_end_of_a_jpeg_is_no_harm(tmp_path: Path) -> None:
    held = io.BytesIO()
    Image.effect_noise((120, 90), 60).save(held, "JPEG")
    (tmp_path / "a.jpg").write_bytes(held.getvalue() + b"\0" * 5_000)

    assert inputs(tmp_path).find("a.jpg").size == (120, 90)


def test_a_picture_of_169_megapixels_is_refused_from_its_header(tmp_path: Path) -> None:
    held = io.BytesIO()
    Image.new("1", (13_000, 13_000)).save(held, "PNG")
    (tmp_path / "bomb.png").write_bytes(held.getvalue())

    assert refusal(tmp_path, "bomb.png").code == "image_too_large"
