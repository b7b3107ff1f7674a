"""The simulator's edit, and the sizes and prices of results."""

import io
from hashlib import sha256

import pytest
from PIL import Image, ImageChops, ImageStat

from config.catalogue import shipped_catalogue
from jobs.models import Model
from simulator.inputs import InputError, Reader, is_loopback
from simulator.picture import MARK_GROUND, TREATMENTS, edit, stamped, treatment_for
from simulator.sizes import bill, output_size

MODELS = shipped_catalogue().models
PRO, KONTEXT = MODELS["flux-2-pro"], MODELS["flux-kontext-pro"]


def photograph(size: tuple[int, int] = (160, 128), format_: str = "JPEG") -> bytes:
    out = io.BytesIO()
    Image.radial_gradient("L").resize(size).convert("RGB").save(out, format_)
    return out.getvalue()


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def test_an_edit_differs_visibly_from_its_input() -> None:
    before = photograph((320, 256), "PNG")
    after = opened(edit([before], (320, 256), "make it warm", 1, "png"))

    difference = ImageStat.Stat(ImageChops.difference(opened(before), after)).mean

    assert max(difference) > 8


@pytest.mark.parametrize("size", [(1024, 768), (160, 128), (64, 64), (64, 512)])
def test_the_mark_is_in_the_corner_whatever_the_size(size: tuple[int, int]) -> None:
    after = opened(edit([photograph(size, "PNG")], size, "p", 1, "png")).convert("RGB")

    corner = after.crop((size[0] // 4, 0, size[0], size[1] // 2))
    pixels = corner.getcolors(maxcolors=corner.width * corner.height)

    assert pixels is not None
    assert sum(count for count, colour in pixels if colour == MARK_GROUND) > 20
    assert sum(count for count, colour in pixels if colour != MARK_GROUND) > 20


def test_the_frame_goes_all_the_way_round() -> None:
    after = opened(edit([photograph()], (160, 128), "p", 1, "png"))
    corners = {after.getpixel(at) for at in [(0, 0), (159, 0), (0, 127), (159, 127)]}

    assert len(corners) == 1


def test_every_treatment_is_some_prompts_and_a_prompt_keeps_its_own() -> None:
    found = {treatment_for(f"prompt {n}").name for n in range(100)}

    assert found == {treatment.name for treatment in TREATMENTS}
    assert treatment_for("prompt 1") is treatment_for("prompt 1")


@pytest.mark.parametrize("format_", ["jpeg", "png", "webp"])
def test_the_same_request_gives_the_same_bytes_and_another_seed_others(format_: str) -> None:
    source = photograph()
    first = edit([source], (160, 128), "p", 1, format_)

    assert first == edit([source], (160, 128), "p", 1, format_)
    assert first != edit([source], (160, 128), "p", 2, format_)
    assert opened(first).format == format_.upper()


def test_a_reference_shows_in_the_result() -> None:
    source = photograph()

    assert edit([source], (160, 128), "p", 1, "png") != edit([source, source], (160, 128), "p", 1, "png")


def test_orientation_is_applied_before_the_edit() -> None:
    upright = Image.linear_gradient("L").resize((128, 160)).convert("RGB")  # dark above, light below
    out, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6  # to be shown turned by a quarter, clockwise
    upright.transpose(Image.Transpose.ROTATE_90).save(out, "JPEG", exif=exif)
    turned = out.getvalue()

    found = Reader().inspect(turned, 10**6)
    after = opened(edit([turned], output_size(PRO, {}, found.size), "p", 1, "png"))

    above, below = (ImageStat.Stat(after.crop((20, y, 100, y + 20)).convert("L")).mean[0] for y in (30, 130))
    assert found.size == after.size == (128, 160)
    assert below > above + 60


def test_transparency_becomes_white() -> None:
    out = io.BytesIO()
    Image.new("RGBA", (64, 64), (0, 0, 0, 0)).save(out, "PNG")
    prompt = next(f"p{n}" for n in range(100) if treatment_for(f"p{n}").name == "grey")

    after = opened(edit([out.getvalue()], (64, 64), prompt, 10, "png"))

    assert after.getpixel((20, 50)) == (255, 255, 255)


def test_a_picture_that_is_cut_off_cannot_be_edited() -> None:
    source = photograph((640, 512))

    with pytest.raises(InputError):
        edit([source[: len(source) // 2]], (640, 512), "p", 1, "jpeg")


@pytest.mark.parametrize("data", [b"", b"no picture", b"\xff\xd8\xff\xe0"])
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    with pytest.raises(InputError):
        Reader().inspect(data, 10**6)


def test_a_picture_of_more_bytes_than_allowed_is_refused() -> None:
    with pytest.raises(InputError, match="bytes"):
        Reader().inspect(photograph(), 100)


def test_a_format_that_the_api_is_not_known_to_read_is_refused() -> None:
    out = io.BytesIO()
    Image.new("RGB", (64, 64)).save(out, "TIFF")

    with pytest.raises(InputError):
        Reader().inspect(out.getvalue(), 10**6)


def test_a_data_uri_is_refused() -> None:
    with pytest.raises(InputError):
        Reader().from_base64("data:image/png;base64,aGVsbG8=", 10**6)


@pytest.mark.parametrize("format_", ["jpeg", "png", "webp"])
def test_ready_pictures_are_distinct_yet_whole(format_: str) -> None:
    tokens = [sha256(str(n).encode()).hexdigest() for n in range(3)]
    pictures = [stamped((96, 64), format_, token) for token in tokens]

    assert len(set(pictures)) == 3
    assert all(opened(data).size == (96, 64) and opened(data).format == format_.upper() for data in pictures)


def test_a_ready_picture_with_grain_weighs_as_much_as_a_photograph() -> None:
    smooth, grainy = (len(stamped((512, 512), "jpeg", "0" * 64, grain)) for grain in (0.0, 0.07))

    assert grainy > 2 * smooth


@pytest.mark.parametrize(
    ("params", "first", "expected"),
    [
        ({}, (1000, 750), (992, 736)),
        ({}, (1024, 768), (1024, 768)),
        ({}, (30, 30), (64, 64)),
        ({}, None, (1024, 1024)),
        ({"width": 512}, (1024, 768), (512, 768)),
        ({"width": 100, "height": 90}, (1024, 768), (96, 80)),
        ({"width": None, "height": None}, (1024, 768), (1024, 768)),
    ],
)
def test_a_flux2_result_follows_the_input_or_the_sides_asked_for(
    params: dict[str, int | None], first: tuple[int, int] | None, expected: tuple[int, int]
) -> None:
    assert output_size(PRO, params, first) == expected


@pytest.mark.parametrize("first", [(6000, 3000), (2050, 2050), (20_000, 300)])
def test_a_flux2_result_is_at_most_four_megapixels(first: tuple[int, int]) -> None:
    width, height = output_size(PRO, {}, first)

    assert width * height <= PRO.max_output_pixels
    assert width % 16 == height % 16 == 0


@pytest.mark.parametrize(
    ("params", "ratio"), [({}, 4 / 3), ({"aspect_ratio": "16:9"}, 16 / 9), ({"aspect_ratio": "9:21"}, 9 / 21)]
)
def test_a_kontext_result_is_about_one_megapixel_in_the_ratio_asked_for(params: dict[str, str], ratio: float) -> None:
    width, height = output_size(KONTEXT, params, (4000, 3000))

    assert width * height == pytest.approx(1_048_576, rel=0.03)
    assert width / height == pytest.approx(ratio, rel=0.03)


def test_the_price_is_the_catalogues_for_real_megapixels() -> None:
    found = bill(PRO, [(1024, 1024), (512, 512)], (2048, 1024), 1.0)

    assert (found.input_mp, found.output_mp) == (1.25, 2.0)
    assert found.cost == pytest.approx(3.0 + 1.5 + 1.25 * 1.5)
    assert bill(PRO, [(1024, 1024), (512, 512)], (2048, 1024), 2.0).cost == pytest.approx(2 * found.cost)


@pytest.mark.parametrize("model", list(MODELS.values()), ids=list(MODELS))
@pytest.mark.parametrize("first", [(640, 480), (1500, 1001), (5000, 4000)])
def test_no_price_is_above_the_most_that_the_catalogue_reckons(model: Model, first: tuple[int, int]) -> None:
    known = model
    size = output_size(known, {}, first)
    most = known.price.at_most((first[0] * first[1] / 2**20,), size[0] * size[1] / 2**20)

    assert bill(known, [first], size, 1.0).cost * 10_000 <= most


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://127.0.0.1:8333/b/k?sig=x", True),
        ("http://localhost/x", True),
        ("http://[::1]:80/x", True),
        ("http://127.0.0.1.example.com/x", False),
        ("http://169.254.169.254/x", False),
        ("http://example.com/", False),
        ("http://[broken/", False),
    ],
)
def test_only_this_machine_is_loopback(url: str, local: bool) -> None:
    assert is_loopback(url) is local
