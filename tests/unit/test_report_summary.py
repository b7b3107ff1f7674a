"""The figures of a batch: what adds up, what is grouped, and what the terminal says about it."""

from typing import Any

import pytest

from jobs.batch import Batch, BatchState, Progress, document
from jobs.job import Job, Order, State
from jobs.outcome import outcome
from jobs.report.summary import Summary, summary
from jobs.report.text import as_text
from jobs.report.wording import dollars, duration, shown, without_secrets
from jobs.request import Request
from tests.fakes import charged


def ended(state: State, *, name: str = "cup", model: str = "flux-2-pro", **changes: Any) -> dict[str, Any]:
    request = Request(model=model, prompt="p", inputs=("s3://in/a.jpg",))
    order = Order(
        batch="b", row=1, id=name, group="", limit_group="flux", request=request, output="o.{ext}", reserve=75_000
    )
    return outcome(Job(order=order, state=state, **changes))


def summed(
    *outcomes: dict[str, Any], rows: int = 0, used: int = 0, name: str = "spring", **batch: Any
) -> dict[str, Any]:
    agreed = Batch(
        id="spring-1",
        name=name,
        created_at=1.0,
        rows=rows or len(outcomes),
        groups={},
        expected=100_000,
        at_most=200_000,
        ceiling=300_000,
        allowance=0,
        **batch,
    )
    progress = Progress(
        state=BatchState.DONE, cursors={}, staged={}, hot={}, counts={"queued": 5}, settled=1, doubt_used=used
    )
    totals = Summary()
    for one in outcomes:
        totals.add(one)
    return summary(document(agreed, progress, report="s3://shop/report.html"), totals, files=["summary.json"])


def test_the_counts_are_those_of_the_outcomes_and_add_up_to_the_rows() -> None:
    told = summed(ended(State.STORED), ended(State.STORED), ended(State.FAILED), ended(State.IN_DOUBT), rows=6)

    assert told["counts"]["stored"] == 2
    assert told["counts"]["queued"] == 2
    assert sum(told["counts"].values()) == told["rows"] == 6
    assert set(told["counts"]) == {str(state) for state in State}
    assert (told["held"], told["made_it"], told["did_not_make_it"]) == (1, 2, 2)


def test_every_key_of_the_batch_document_is_still_there() -> None:
    told = summed(ended(State.STORED))

    assert {
        "batch",
        "state",
        "rows",
        "counts",
        "held",
        "reasons",
        "cost_usd",
        "expected_usd",
        "at_most_usd",
    } <= told.keys()
    assert (told["batch"], told["doubts"], told["report"]) == ("spring-1", 0, "s3://shop/report.html")


def test_money_is_added_without_drifting() -> None:
    told = summed(*[ended(State.STORED, charges=charged(100_001))] * 30)

    assert told["cost_usd"] == 3.00003
    assert told["cost_sources"] == {"receipt": 3.00003}


def test_what_earlier_rounds_cost_is_in_the_bill() -> None:
    totals = Summary()
    totals.add(ended(State.STORED, charges=charged(45_000)), earlier_usd=0.03)

    told = summary({"rows": 1, "doubt_exposure_usd": 0.0}, totals)

    assert told["cost_usd"] == 0.075


def test_reasons_say_what_happened_who_acts_and_whether_it_was_charged() -> None:
    bad = [ended(State.FAILED, name=f"r{n}", reason="lost_at_api", charges=charged(75_000)) for n in range(25)]

    (reason,) = summed(*bad)["reasons"]

    assert (reason["code"], reason["rows"], reason["cost_usd"]) == ("lost_at_api", 25, 1.875)
    assert (reason["acts"], reason["charged"], reason["retry"]) == ("the API's owner", "yes", True)
    assert reason["sentence"] == "The API never said how the task ended."
    assert reason["examples"] == [f"r{n}" for n in range(20)]


def test_the_commonest_reason_comes_first_and_cancelled_rows_last() -> None:
    gone = ended(State.CANCELLED, reason="cancelled")
    refused = ended(State.FAILED, reason="request_refused")
    empty = ended(State.FAILED, reason="image_empty")

    told = summed(gone, gone, gone, refused, empty, empty)

    assert [reason["code"] for reason in told["reasons"]] == ["image_empty", "request_refused", "cancelled"]


def test_a_reason_of_a_row_that_made_it_is_not_counted() -> None:
    assert summed(ended(State.STORED, reason="output_refused"))["reasons"] == []


def test_the_dearest_model_comes_first() -> None:
    cheap = ended(State.STORED, model="flux-2-klein-4b", charges=charged(14_000))
    dear = ended(State.STORED, model="flux-2-max", charges=charged(70_000))
    failed = ended(State.FAILED, model="flux-2-max", charges=charged(70_000))

    models = summed(cheap, cheap, dear, failed, ended(State.UNCHANGED, model="flux-2-max"))["models"]

    assert models[0] == {
        "model": "flux-2-max",
        "rows": 3,
        "stored": 1,
        "unchanged": 1,
        "did_not_make_it": 1,
        "cost_usd": 0.14,
    }
    assert (models[1]["model"], models[1]["cost_usd"]) == ("flux-2-klein-4b", 0.028)


def test_doubts_and_second_charges_are_told_apart() -> None:
    second = {"task_id": "t2", "cost_usd": 0.045}
    told = summed(
        {
            **ended(State.STORED, doubts=1, attempt=2, charges=charged(90_000, attempt=2), name="twice"),
            "duplicates": [second],
        },
        ended(State.STORED, doubts=1, attempt=1),
        ended(State.IN_DOUBT, doubts=1, held=True),
        used=75_000,
    )

    assert told["doubt"] == {
        "rows": 3,
        "times": 3,
        "held": 1,
        "resubmitted_at_most": 1,
        "paid_twice_at_most_usd": 0.075,
    }
    assert told["duplicates"] == {
        "rows": 1,
        "tasks": 1,
        "cost_usd": 0.045,
        "examples": [{"id": "twice", "task_id": "t2", "cost_usd": 0.045}],
    }


def test_flags_are_counted_zeros_included() -> None:
    told = summed(
        ended(State.STORED, flags=("input_shrunk", "size_differs")), ended(State.STORED, flags=("input_shrunk",))
    )

    assert told["flags"] == {"input_shrunk": 2, "format_differs": 0, "size_differs": 1, "cost_not_believed": 0}


def test_the_pace_is_measured_from_the_first_submission_to_the_last_end() -> None:
    first = ended(State.STORED, queued_at=10.0, submitted_at=100.0, stored_at=110.0, ended_at=110.0)
    last = ended(State.STORED, queued_at=10.0, submitted_at=105.0, stored_at=130.0, ended_at=130.0)
    never_fed = ended(State.CANCELLED, queued_at=1.0, ended_at=9_999.0)

    told = summed(first, last, never_fed)

    assert (told["first_at"], told["last_at"], told["duration_s"]) == (100.0, 130.0, 30.0)
    assert told["images_per_minute"] == 4.0


def test_a_batch_with_nothing_to_measure_has_no_pace() -> None:
    told = summed(ended(State.CANCELLED))

    assert (told["duration_s"], told["images_per_minute"], told["first_at"]) == (0.0, None, None)


def test_the_closing_text_says_what_happened_and_who_acts() -> None:
    told = summed(
        ended(State.STORED, charges=charged(45_000), submitted_at=100.0, ended_at=160.0),
        ended(State.FAILED, reason="image_empty"),
        ended(State.IN_DOUBT, reason="in_doubt", doubts=1),
    )

    text = as_text(told)

    assert text.splitlines() == [
        "spring (spring-1)",
        "3 rows: 1 stored, 1 failed, 1 held in doubt",
        "Spent $0.045 (expected $0.10, at most $0.20)",
        "Took 1 min 00 s, 1 images a minute",
        "What did not make it:",
        "       1  image_empty  The file is empty. (photographer; a retry can help)",
        "       1  in_doubt     The API may have charged; Retouch does not ask again by itself. "
        "(operator; a retry can help)",
        "In doubt at some time: 1 row; nothing was resubmitted out of the allowance",
        "Report: s3://shop/report.html",
    ]


def test_the_closing_text_says_that_a_batch_was_simulated() -> None:
    assert "SIMULATED" in as_text(summed(ended(State.STORED), simulated=True))
    assert "SIMULATED" not in as_text(summed(ended(State.STORED)))


def test_a_batch_s_name_cannot_command_the_terminal() -> None:
    text = as_text(summed(ended(State.STORED), name="\x1b[2Jspring\x07\u202egpj"))

    assert not {"\x1b", "\x07", "\u202e"} & set(text)
    assert "spring" in text


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, "$0.00"),
        (0.045, "$0.045"),
        (1.5, "$1.50"),
        (12_345.678, "$12,345.678"),
        (0.0517, "$0.0517"),
        (100, "$100.00"),
    ],
)
def test_an_amount_has_two_digits_and_more_where_they_matter(amount: float, text: str) -> None:
    assert dollars(amount) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (3_600, "1 h 00 min"), (200_000, "2 d 7 h")],
)
def test_a_duration_has_its_two_largest_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_the_signature_of_a_url_is_left_out_wherever_it_stands() -> None:
    text = "GET https://x.example/a.jpg?sig=SECRET failed, then HTTP://y.example/b#tok=SECRET"

    assert without_secrets(text) == "GET https://x.example/a.jpg?… failed, then HTTP://y.example/b?…"


def test_invisible_text_becomes_visible_and_scripts_stay_whole() -> None:
    assert shown("a\u202eb\x00c\ud800 d\u2066") == "a⟨U+202E⟩b⟨U+0000⟩c⟨U+D800⟩ d⟨U+2066⟩"
    assert shown("👩\u200d🎨 می\u200cخواهم\n x") == "👩\u200d🎨 می\u200cخواهم x"


def test_a_long_text_is_shortened_to_its_limit() -> None:
    assert shown("x" * 1_000, 20) == "x" * 19 + "…"
    assert shown("x" * 20, 20) == "x" * 20
