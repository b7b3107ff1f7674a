"""What a process learns of how long tasks take, and what the processes learn from each other."""

from __future__ import annotations

import pytest

from config.catalogue import shipped_catalogue
from jobs.errors import LedgerError
from jobs.latency import WEIGHT, Histogram, bin_of
from jobs.ledger.memory import MemoryLedger
from workers.pace import NEW, Pace

MODEL = shipped_catalogue().models["flux-2-pro"]
OTHER = shipped_catalogue().models["flux-kontext-max"]
MODELS = {model.name: model for model in (MODEL, OTHER)}


class Told(dict[str, Histogram]):
    """What was told of each model, to one who knew nothing before."""

    def __call__(self, model: str, news: Histogram) -> Histogram:
        self[model] = dict(news)
        return news


def taught(seconds: float, times: int = NEW) -> Pace:
    pace = Pace()
    for _ in range(times):
        pace.saw(MODEL, seconds, seconds)
    return pace


def test_a_model_that_nobody_saw_is_looked_at_now_and_then_whatever_the_catalogue_says() -> None:
    pace = Pace()

    waits = [pace.wait(MODEL, age) for age in (0.0, 1.0)]

    assert 0.1 <= waits[0] <= 0.55
    assert 0.1 <= waits[1] <= 0.66


def test_the_first_look_at_a_known_model_is_about_when_its_tasks_end() -> None:
    assert 9.0 < taught(10.0).wait(MODEL, 0.0) < 10.5


def test_some_tasks_that_were_seen_are_not_all_that_counts() -> None:
    assert taught(10.0, NEW - 1).wait(MODEL, 0.0) <= 0.55


def test_each_model_is_learnt_by_itself() -> None:
    assert taught(10.0).wait(OTHER, 0.0) <= 0.55


def test_a_task_ended_somewhere_between_two_looks() -> None:
    told = Told()
    pace = Pace()
    pace.saw(MODEL, 4.0, 6.0)
    pace.wait(MODEL, 0.0)

    pace.share(MODELS, told)

    assert told == {MODEL.name: {bin_of(5.0): WEIGHT}}


def test_a_task_that_nobody_looked_at_for_long_teaches_nothing() -> None:
    """A machine that slept for half an hour would make every doubt wait for as long."""
    pace = taught(5.0)

    pace.saw(MODEL, 2.0, 1802.0)

    assert pace.longest(MODEL) == MODEL.latency.p999_s


def test_processes_learn_from_each_other() -> None:
    ledger, new = MemoryLedger(shipped_catalogue(), clock=lambda: 0.0), Pace()
    seen = taught(10.0)
    seen.wait(MODEL, 0.0)
    seen.share(MODELS, ledger.learn)
    new.wait(MODEL, 0.0)

    new.share(MODELS, ledger.learn)

    assert 9.0 < new.wait(MODEL, 0.0) < 10.5


def test_what_was_told_is_not_told_again_and_what_could_not_be_told_is() -> None:
    ledger, pace = MemoryLedger(shipped_catalogue(), clock=lambda: 0.0), taught(10.0)

    def away(model: str, news: Histogram) -> Histogram:
        raise LedgerError("away")

    pace.wait(MODEL, 0.0)
    with pytest.raises(LedgerError):
        pace.share(MODELS, away)
    pace.share(MODELS, ledger.learn)
    pace.wait(MODEL, 0.0)
    pace.share(MODELS, ledger.learn)

    assert sum(ledger.learn(MODEL.name, {}).values()) == NEW * WEIGHT


def test_a_model_that_nobody_uses_is_not_asked_about() -> None:
    told = Told()

    Pace().share(MODELS, told)

    assert told == {}


def test_a_slower_api_is_followed_once_that_was_shared() -> None:
    pace = taught(3.0, 1000)
    for _ in range(1000):
        pace.saw(MODEL, 10.0, 10.0)
    pace.wait(MODEL, 0.0)

    pace.share(MODELS, lambda _model, _news: {bin_of(3.0): 10 * WEIGHT, bin_of(10.0): 500 * WEIGHT})

    later = [pace.wait(MODEL, age) for age in (3.5, 9.0)]
    assert later[0] > 1.0
    assert later[1] < 1.5


def test_a_task_may_take_as_long_as_the_catalogue_says_or_as_was_seen() -> None:
    assert taught(5.0).longest(MODEL) == MODEL.latency.p999_s
    assert taught(500.0).longest(MODEL) > 490


def test_what_is_typical_is_the_slowest_that_was_seen_and_the_catalogues_word_before() -> None:
    slowest = max(model.latency.median_s for model in MODELS.values())

    assert Pace().typical(MODELS.values()) == slowest
    assert taught(30.0, NEW - 1).typical(MODELS.values()) == slowest
    assert taught(3.0).typical(MODELS.values()) == pytest.approx(3.0, rel=0.05)
    assert Pace().typical([]) == 0.0
