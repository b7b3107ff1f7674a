"""What columns mean, and which names are taken for a slip of the finger."""

from __future__ import annotations

import pytest

from config.catalogue import shipped_catalogue
from producers.manifest.columns import understand
from producers.manifest.problems import ManifestError
from producers.manifest.spelling import closest, distance

CATALOGUE = shipped_catalogue()


def test_known_columns_are_found_by_name() -> None:
    meaning = understand(("note", "id", "image", "prompt", "model", "output", "seed"), CATALOGUE)

    assert (meaning.id, meaning.image, meaning.prompt, meaning.model, meaning.output) == (1, 2, 3, 4, 5)
    assert meaning.fields == ((6, "seed"),)
    assert meaning.known == {1, 2, 3, 4, 5, 6}


def test_input_image_is_image() -> None:
    assert understand(("input_image",), CATALOGUE).image == 0


def test_both_names_of_a_reference_are_known() -> None:
    meaning = understand(("image", "ref_1", "input_image_3"), CATALOGUE)

    assert meaning.references[:3] == (1, 2, None)


@pytest.mark.parametrize("pair", [("image", "input_image"), ("ref_1", "input_image_2"), ("ref_7", "input_image_8")])
def test_two_names_of_one_picture_are_an_error(pair: tuple[str, str]) -> None:
    with pytest.raises(ManifestError, match="mean the same picture"):
        understand(tuple(dict.fromkeys(("image", *pair))), CATALOGUE)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("promt", "prompt"),
        ("pormpt", "prompt"),
        ("Prompt", "prompt"),
        (" prompt", "prompt"),
        ("ID", "id"),
        ("Input Image", "input_image"),
        ("input-image-2", "input_image_2"),
        ("Ref 1", "ref_1"),
        ("ref1", "ref_1"),
        ("widht", "width"),
        ("hieght", "height"),
        ("ouput", "output"),
        ("guidence", "guidance"),
        ("asspect_ratoi", "aspect_ratio"),
        ("safety_tolerence", "safety_tolerance"),
        ("output_fromat", "output_format"),
    ],
)
def test_a_near_miss_of_a_known_column_is_an_error_with_both_ways_out(name: str, meant: str) -> None:
    with pytest.raises(ManifestError) as caught:
        understand(("image", name) if meant != "image" else (name,), CATALOGUE)

    assert f"looks like '{meant}'" in str(caught.value)
    assert f"--data-column '{name}'" in str(caught.value)


OWN_NAMES = (
    "title role name brand sku weight mode step size ratio width_cm height_mm images image_url image_alt model_name "
    "modell modelo modèle prompt_de outputs identifier status position seeds reference product_image with eight "
    "colour depth material price steps_count formato"
)


@pytest.mark.parametrize("name", OWN_NAMES.split())
def test_a_column_of_ones_own_is_no_near_miss(name: str) -> None:
    meaning = understand(("image", name), CATALOGUE)

    assert meaning.known == {0}


def test_a_slip_is_none_where_the_right_name_is_there_as_well() -> None:
    assert understand(("image", "prompt", "promt"), CATALOGUE).known == {0, 1}


def test_another_case_is_a_near_miss_even_where_the_right_name_is_there() -> None:
    with pytest.raises(ManifestError, match="'Prompt' looks like 'prompt'"):
        understand(("image", "prompt", "Prompt"), CATALOGUE)


@pytest.mark.parametrize("name", ["promt", "width", "ID", "webhook_url", "ref_9"])
def test_a_data_column_is_data_whatever_it_looks_like(name: str) -> None:
    meaning = understand(("image", name), CATALOGUE, frozenset({name}))

    assert meaning.known == {0}


def test_a_data_column_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ManifestError, match=r"no column 'promtp' .did you mean 'promt'"):
        understand(("image", "promt"), CATALOGUE, frozenset({"promtp"}))


@pytest.mark.parametrize("name", ["webhook_url", "webhook_secret", "Webhook-URL"])
def test_a_webhook_is_not_a_manifests_to_set(name: str) -> None:
    with pytest.raises(ManifestError, match="Retouch sets"):
        understand(("image", name), CATALOGUE)


@pytest.mark.parametrize("name", ["ref_0", "ref_8", "input_image_1", "input_image_9"])
def test_a_reference_of_no_such_number_is_an_error(name: str) -> None:
    with pytest.raises(ManifestError, match="none of this number"):
        understand(("image", name), CATALOGUE)


@pytest.mark.parametrize(
    ("a", "b", "slips"),
    [("image", "image", 0), ("imgae", "image", 1), ("imag", "image", 1), ("", "abc", 3), ("ca", "abc", 3)],
)
def test_distance_counts_slips_of_the_finger(a: str, b: str, slips: int) -> None:
    assert distance(a, b) == slips
    assert distance(b, a) == slips


def test_a_hint_is_the_closest_name_or_none() -> None:
    assert closest("flux-2-por", CATALOGUE.models) == "flux-2-pro"
    assert closest("stable-diffusion", CATALOGUE.models) is None
