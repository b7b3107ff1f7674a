"""What `retouch explain` says of a row, by what is known of it."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.batch import Batch, BatchState, Progress
from jobs.request import Request
from jobs.row import Row
from producers.cli.explaining import before_it_ran, in_words

BATCH = Batch(
    id="autumn-1",
    name="autumn",
    created_at=1.0,
    rows=100,
    groups={"flux": 100},
    expected=1,
    at_most=2,
    ceiling=2,
    allowance=0,
)


def row(image: str = "https://example.com/a.jpg") -> Row:
    return Row(
        number=7,
        id="a",
        group="",
        limit_group="flux",
        request=Request(model="flux-2-pro", prompt="x", inputs=(image,), params={}),
        output="autumn/a.{ext}",
        expected=1,
        at_most=2,
        cells=(),
        sizes={},
    )


def progress(state: BatchState = BatchState.OPEN, reason: str = "", staged: int = 100) -> Progress:
    return Progress(state=state, reason=reason, cursors={}, staged={"flux": staged}, hot={}, counts={})


def known(state: str, **more: Any) -> dict[str, Any]:
    blank = {"output": "autumn/a.png", "cost_usd": 0.0, "flags": [], "reason": "", "detail": "", "attempt": 1}
    return {**blank, "state": state, **more}


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        (known("stored", cost_usd=0.045), "It ran, and its result is autumn/a.png. It cost $0.045."),
        (known("stored", flags=["black"]), "It is flagged: black."),
        (known("unchanged"), "filed already, so nothing was bought"),
        (known("failed", reason="image_not_found", detail="s3://b/k"), "There is no picture at this place. s3://b/k"),
        (known("cancelled"), "the batch was cancelled first"),
        (known("doubt", reason="lost_at_api"), "Nobody knows whether it was bought"),
        (known("running", attempt=2), "It is under way: running, attempt 2."),
    ],
)
def test_an_outcome_is_said_in_words(outcome: dict[str, Any], said: str) -> None:
    assert said in in_words(outcome)


def test_a_row_behind_too_many_doubts_is_not_said_to_go_on_with_resume() -> None:
    said = before_it_ran(BATCH, row("https://x/a.jpg"), progress(BatchState.PAUSED, "doubt"))

    assert "`retouch retry --in-doubt`" in said
    assert "resume" not in said


@pytest.mark.parametrize(
    ("found", "image", "said"),
    [
        (None, "https://x/a.jpg", "nobody has opened the batch"),
        (progress(BatchState.PAUSED, "cap"), "https://x/a.jpg", "the batch is paused ("),
        (progress(BatchState.CANCELLED), "https://x/a.jpg", "was cancelled first"),
        (progress(staged=5), "file:///a.jpg", "not uploaded yet"),
        (progress(staged=5), "https://x/a.jpg", "waits behind the rows before it"),
        (progress(), "file:///a.jpg", "waits behind the rows before it"),
    ],
)
def test_a_row_that_has_not_run_says_what_it_waits_for(found: Progress | None, image: str, said: str) -> None:
    assert said in before_it_ran(BATCH, row(image), found)
