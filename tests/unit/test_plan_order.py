"""Rows that come first although others were before them: fed in that order, and reported in the manifest's."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from jobs.batch import Batch
from jobs.bucket.layout import Layout
from jobs.bucket.rows import rows_of
from jobs.request import Request
from jobs.row import Row
from producers.submit import PlanWriter
from tests.fakes import FakeBucket

LAYOUT = Layout()


def make_row(number: int, group: str, *, local: bool) -> Row:
    uri = f"file:///{number}.png" if local else f"s3://bucket/{number}.png"
    return Row(
        number=number,
        id=f"r{number} \ud83d \u2028",
        group="",
        limit_group=group,
        request=Request(model="flux-2-pro", prompt="on\nwhite", inputs=(uri,)),
        output=f"{number}.png",
        expected=1,
        at_most=1,
        cells=(),
        sizes={},
    )


def planned(rows: list[tuple[str, bool]], bucket: FakeBucket, *, local: bool = False) -> Batch:
    """Plan rows of these limit groups, of which those with True come last."""
    with PlanWriter(bucket, LAYOUT, "b") as writer:
        for number, (group, last) in enumerate(rows, 1):
            (writer.write_last if last else writer.write)(make_row(number, group, local=local))
        writer.close()
        writer.keep()
    return Batch(
        id="b",
        name="b",
        created_at=0.0,
        rows=len(rows),
        groups=dict(writer.groups),
        ahead=writer.ahead,
        chunk_rows=writer.chunk_rows,
        expected=0,
        at_most=0,
        ceiling=0,
        allowance=0,
    )


def fed(batch: Batch, bucket: FakeBucket, group: str) -> list[int]:
    """Return the rows of a limit group in the order in which they are fed."""
    chunks = range(-(-batch.groups.get(group, 0) // batch.chunk_rows))
    texts = (bucket.get(LAYOUT.plan("b", 1, group, chunk)).decode() for chunk in chunks)
    return [json.loads(line)["number"] for text in texts for line in text.split("\n") if line]


@given(
    st.lists(st.tuples(st.sampled_from(["flux", "kontext"]), st.booleans()), min_size=1, max_size=300), st.booleans()
)
def test_rows_that_come_last_are_fed_after_the_others_and_each_row_is_read_back_in_its_place(
    rows: list[tuple[str, bool]], local: bool
) -> None:
    bucket = FakeBucket()

    batch = Batch.from_json(planned(rows, bucket, local=local).as_json())

    for group in batch.groups:
        mine = [(last, number) for number, (of, last) in enumerate(rows, 1) if of == group]
        assert fed(batch, bucket, group) == [number for _, number in sorted(mine)]
    assert [row.number for row in rows_of(batch, bucket, LAYOUT)] == list(range(1, len(rows) + 1))


def test_a_plan_in_which_nothing_comes_last_says_nothing_of_it() -> None:
    assert planned([("flux", False)] * 3, FakeBucket()).ahead == {}
