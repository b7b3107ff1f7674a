"""How the simulator chooses its faults, and how it is set up."""

import pytest

from simulator.__main__ import options_from
from simulator.faults import POST, Faults, changed, chosen
from simulator.options import Options


def test_a_fault_hits_about_as_often_as_asked() -> None:
    faults = Faults(lose_answer=0.1)
    hits = [chosen(faults, POST, 3, n) for n in range(2000)]

    assert 150 < hits.count("lose_answer") < 250
    assert set(hits) == {"lose_answer", None}


def test_the_same_seed_replays_and_another_does_not() -> None:
    faults = Faults(refuse=0.3, lose_answer=0.3)
    first = [chosen(faults, POST, 3, n) for n in range(200)]

    assert first == [chosen(faults, POST, 3, n) for n in range(200)]
    assert first != [chosen(faults, POST, 4, n) for n in range(200)]


def test_turning_one_fault_on_does_not_move_another() -> None:
    alone = Faults(lose_answer=0.2)
    both = Faults(lose_answer=0.2, slow_answer=0.2)
    places = [n for n in range(500) if chosen(alone, POST, 1, n) == "lose_answer"]

    assert places
    assert all(chosen(both, POST, 1, n) == "lose_answer" for n in places)


def test_a_fault_that_does_not_exist_is_named() -> None:
    with pytest.raises(ValueError, match="lose_anser"):
        changed(Faults(), {"lose_anser": 0.5})


@pytest.mark.parametrize("figures", [{"refuse": 1.5}, {"refuse": "often"}, {"retry_after": "soon"}, {"hang_s": -1}])
def test_a_figure_that_makes_no_sense_is_refused(figures: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        changed(Faults(), figures)


def test_the_command_line_sets_options_and_faults() -> None:
    line = "--port 0 --speed 10 --key k1 --key k2 --lose-answer 0.5 --hang-s 2 --result-size 64x48"

    options = options_from([*line.split(), "--no-charge-content-moderated", "--retry-after", "date"])

    assert (options.port, options.speed, options.keys) == (0, 10.0, ("k1", "k2"))
    assert options.result_size == (64, 48)
    assert not options.charge_content_moderated
    assert options.faults == Faults(lose_answer=0.5, hang_s=2.0, retry_after="date")


def test_an_empty_command_line_gives_the_defaults() -> None:
    assert options_from([]) == Options()


def test_options_do_not_show_their_keys() -> None:
    assert "secret-key" not in repr(Options(keys=("secret-key",)))


@pytest.mark.parametrize("flag", ["--speed", "--url-life", "--retention", "--upload-mbit"])
def test_an_option_that_must_be_positive_is_named(flag: str) -> None:
    with pytest.raises(ValueError, match=flag.removeprefix("--").replace("-", " ")):
        options_from([flag, "0"])
