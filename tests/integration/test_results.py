"""Filing and publishing, over SeaweedFS and over stores that know less: conditional PUTs ignored, or refused."""

from __future__ import annotations

import hashlib
import io
import threading
import time
import uuid
from collections.abc import Iterator
from hashlib import md5
from typing import Any

import pytest
from PIL import Image

from jobs.bucket.direct import Answer
from jobs.bucket.layout import Layout
from jobs.bucket.port import Bucket, Head
from jobs.bucket.s3 import S3Bucket, open_bucket
from jobs.errors import NotFound, Refused, Unavailable
from jobs.pictures import Picture, check_result
from running.programs import eventually
from tests.fakes import Conditional, FakeBucket
from tests.unit.desks import make_house
from workers.filed import Filed
from workers.intents import Intents
from workers.results import OutputNotOurs, Results, Standing, output_key

FP = "ab" + "12" * 31
OTHER_FP = "cd" + "34" * 31


def picture(seed: int, kind: str = "png") -> bytes:
    """Return a small picture of its own, with a length of its own too."""
    image = Image.new("RGB", (40 + seed, 30), (seed * 20 % 256, 90, 200))
    out = io.BytesIO()
    image.save(out, format=kind)
    return out.getvalue()


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def seen(data: bytes) -> Picture:
    return check_result(data, content_length=None)


@pytest.fixture(scope="module")
def store(s3_keywords: dict[str, Any]) -> Iterator[S3Bucket]:
    bucket = open_bucket(**s3_keywords)
    yield bucket
    bucket.close()


@pytest.fixture(params=["kept", "ignored", "refused", "seaweed"])
def bucket(request: pytest.FixtureRequest) -> Bucket:
    if request.param != "seaweed":
        return FakeBucket(conditional=request.param)
    found: S3Bucket = request.getfixturevalue("store")
    return found


@pytest.fixture
def out() -> str:
    return f"{uuid.uuid4().hex}/"


@pytest.fixture
def layout(out: str) -> Layout:
    return Layout(prefix=f"{out}retouch/")


@pytest.fixture
def results(bucket: Bucket, layout: Layout) -> Results:
    return Results(bucket, layout)


def file(results: Results, data: bytes, *, fresh: bool = False, job: str = "b1.0", fingerprint: str = FP) -> Filed:
    return results.file(fingerprint, data, seen(data), job=job, batch="b1", fresh=fresh)


def kept(bucket: Bucket, layout: Layout, fingerprint: str = FP) -> set[bytes]:
    """Return the bytes of everything that is kept for a fingerprint."""
    stem = layout.filed_stem(fingerprint).removesuffix(".")
    return {bucket.get(head.key) for head in bucket.keys(stem)}


def test_what_was_never_filed_is_not_found(results: Results) -> None:
    assert results.find(FP) is None


def test_a_filed_result_is_found_with_all_that_is_known_of_it(results: Results, bucket: Bucket, layout: Layout) -> None:
    data = picture(1)

    filed = file(results, data, job="b1.7")

    assert filed == Filed(
        key=layout.filed(FP, "png"),
        fingerprint=FP,
        sha256=sha(data),
        bytes=len(data),
        format="png",
        width=41,
        height=30,
        job="b1.7",
        batch="b1",
    )
    assert results.find(FP) == filed
    assert results.find(OTHER_FP) is None
    assert bucket.get(filed.key) == data
    head = bucket.head(filed.key)
    assert head is not None
    assert head.content_type == "image/png"


@pytest.mark.parametrize(("kind", "extension"), [("jpeg", "jpg"), ("webp", "webp")])
def test_a_result_is_found_whatever_its_format(results: Results, layout: Layout, kind: str, extension: str) -> None:
    file(results, picture(1, kind))

    found = results.find(FP)

    assert found is not None
    assert (found.key, found.format) == (layout.filed(FP, extension), kind)


def test_filing_the_same_bytes_again_changes_nothing(results: Results, bucket: Bucket, layout: Layout) -> None:
    first = file(results, picture(1))

    again = file(results, picture(1), job="b2.0")

    assert again.key == first.key
    found = results.find(FP)
    assert found is not None
    assert found.job == "b1.0"
    assert kept(bucket, layout) == {picture(1)}


@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_a_second_result_is_kept_beside_the_first(results: Results, bucket: Bucket, layout: Layout, kind: str) -> None:
    first = file(results, picture(1))
    if isinstance(bucket, FakeBucket):
        bucket.modified += 1
    else:  # a store tells times in whole seconds
        began = int(time.time())
        eventually(lambda: int(time.time()) > began, 5, "the next second")

    second = file(results, picture(2, kind), job="b2.0")

    assert results.find(FP) == first
    assert second.sha256 == sha(picture(2, kind))
    assert bucket.get(second.key) == picture(2, kind)
    assert kept(bucket, layout) == {picture(1), picture(2, kind)}


@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_a_fresh_result_becomes_the_filed_one_and_the_old_one_is_kept(
    results: Results, bucket: Bucket, layout: Layout, kind: str
) -> None:
    file(results, picture(1))

    fresh = file(results, picture(2, kind), fresh=True, job="b2.0")

    assert fresh.key == layout.filed(FP, "jpg" if kind == "jpeg" else "png")
    assert results.find(FP) == fresh
    assert kept(bucket, layout) == {picture(1), picture(2, kind)}
    assert bucket.get(layout.earlier(FP, sha(picture(1)), "png")) == picture(1)
    assert len(list(bucket.keys(layout.filed_stem(FP)))) == 1


def test_a_result_that_is_only_kept_beside_is_found(results: Results, bucket: Bucket, layout: Layout) -> None:
    file(results, picture(1))
    second = file(results, picture(2))
    bucket.delete(layout.filed(FP, "png"))
    bucket.delete(layout.earlier(FP, sha(picture(1)), "png"))

    assert results.find(FP) == second


def test_fresh_with_nothing_filed_files(results: Results) -> None:
    filed = file(results, picture(1), fresh=True)

    assert results.find(FP) == filed


def test_a_fresh_result_filed_twice_is_filed_once(results: Results, bucket: Bucket, layout: Layout) -> None:
    file(results, picture(1, "jpeg"))
    first = file(results, picture(2), fresh=True)

    again = file(results, picture(2), fresh=True)

    assert again == first
    assert results.find(FP) == first
    assert kept(bucket, layout) == {picture(1, "jpeg"), picture(2)}


def test_a_fresh_result_takes_over_where_its_first_try_stopped_half_way(layout: Layout) -> None:
    bucket = FakeBucket()
    results = Results(bucket, layout)
    file(results, picture(1, "jpeg"))
    bucket.failing["delete"] = Unavailable()
    with pytest.raises(Unavailable):
        file(results, picture(2), fresh=True)

    bucket.failing.clear()
    filed = file(results, picture(2), fresh=True)

    assert results.find(FP) == filed
    assert kept(bucket, layout) == {picture(1, "jpeg"), picture(2)}


@pytest.mark.parametrize(("conditional", "fresh"), [("ignored", False), ("refused", False), ("kept", True)])
def test_a_result_that_is_written_over_at_once_is_kept_all_the_same(
    layout: Layout, conditional: Conditional, fresh: bool
) -> None:
    class Raced(FakeBucket):
        def put(self, key: str, data: bytes, **options: Any) -> str:
            etag = super().put(key, data, **options)
            if key == layout.filed(FP, "png"):
                self.lay(key, picture(3))
            return etag

    bucket = Raced(conditional=conditional)

    filed = file(Results(bucket, layout), picture(1), fresh=fresh)

    assert kept(bucket, layout) == {picture(1), picture(3)}
    assert filed.sha256 == sha(picture(1))


def test_the_filed_result_is_found_before_earlier_ones_in_whatever_order_the_store_lists(layout: Layout) -> None:
    class Backwards(FakeBucket):
        def keys(self, prefix: str, *, limit: int | None = None, bucket: str = "") -> Iterator[Head]:
            return reversed(list(super().keys(prefix, limit=limit)))

    results = Results(Backwards(), layout)
    first = file(results, picture(1))
    file(results, picture(2))

    assert results.find(FP) == first


def test_a_result_that_changes_while_it_is_set_aside_is_kept_under_its_own_name(layout: Layout) -> None:
    class Raced(FakeBucket):
        def get(self, key: str, **options: Any) -> bytes:
            if key == layout.filed(FP, "png"):
                self.lay(key, picture(3))
            return super().get(key, **options)

    bucket = Raced()
    results = Results(bucket, layout)
    file(results, picture(1))

    file(results, picture(2), fresh=True)

    assert bucket.get(layout.earlier(FP, sha(picture(3)), "png")) == picture(3)
    assert bucket.head(layout.earlier(FP, sha(picture(1)), "png")) is None


@pytest.mark.parametrize("fresh", [False, True])
def test_results_of_one_fingerprint_filed_at_once_are_all_kept(
    results: Results, bucket: Bucket, layout: Layout, fresh: bool
) -> None:
    delivered = [picture(number, kind) for number in range(4) for kind in ("png", "jpeg")]
    start, filed = threading.Barrier(len(delivered)), {}

    def deliver(number: int) -> None:
        start.wait()
        filed[number] = file(results, delivered[number], fresh=fresh, job=f"b1.{number}")

    threads = [threading.Thread(target=deliver, args=(number,)) for number in range(len(delivered))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert kept(bucket, layout) == set(delivered)
    assert {number: found.sha256 for number, found in filed.items()} == {
        number: sha(data) for number, data in enumerate(delivered)
    }
    assert results.find(FP) is not None


@pytest.mark.parametrize("fresh", [False, True])
def test_each_of_them_can_still_be_published(results: Results, bucket: Bucket, out: str, fresh: bool) -> None:
    filed = [file(results, picture(number), fresh=fresh) for number in range(3)]

    published = [results.publish(one, f"{out}shop/{number}.{{ext}}", job="b1.0") for number, one in enumerate(filed)]

    assert [bucket.get(one.key) for one in published] == [picture(number) for number in range(3)]


def test_a_result_without_metadata_is_read_and_believed(results: Results, bucket: Bucket, layout: Layout) -> None:
    bucket.put(layout.filed(FP, "png"), picture(1), content_type="image/png")

    found = results.find(FP)

    assert found is not None
    assert (found.sha256, found.format, found.width, found.job) == (sha(picture(1)), "png", 41, "")


def test_metadata_that_contradicts_the_object_is_not_believed(results: Results, bucket: Bucket, layout: Layout) -> None:
    filed = file(results, picture(1))
    head = bucket.head(filed.key)
    assert head is not None
    assert len(picture(2, "webp")) != filed.bytes
    bucket.put(filed.key, picture(2, "webp"), metadata=head.metadata)

    found = results.find(FP)

    assert found is not None
    assert (found.sha256, found.format) == (sha(picture(2, "webp")), "webp")


@pytest.mark.parametrize("damaged", [b"", b"<html>", picture(1)[:-20]])
def test_what_is_no_whole_picture_is_not_filed_and_gives_way(
    results: Results, bucket: Bucket, layout: Layout, damaged: bytes
) -> None:
    bucket.put(layout.filed(FP, "png"), damaged)
    before = results.find(FP)

    filed = file(results, picture(2))

    assert before is None
    assert results.find(FP) == filed
    assert kept(bucket, layout) == {damaged, picture(2)}


def test_a_store_that_keeps_conditions_gets_one_put_a_result(layout: Layout) -> None:
    bucket = FakeBucket()
    results = Results(bucket, layout)
    file(results, picture(1))
    bucket.calls.clear()

    file(results, picture(2), fingerprint=OTHER_FP)

    assert [method for method, _ in bucket.calls] == ["put"]


def test_such_a_store_gets_one_copy_where_nothing_lies_at_the_output(layout: Layout) -> None:
    bucket = FakeBucket()
    results = Results(bucket, layout)
    results.publish(file(results, picture(1)), "a.png", job="b1.0")
    filed = file(results, picture(2), fingerprint=OTHER_FP)
    bucket.calls.clear()

    published = results.publish(filed, "b.png", job="b1.1")

    assert bucket.calls == [("copy", "b.png")]
    assert (published.how, published.etag, bucket.get("b.png")) == ("copied", filed.etag, picture(2))


def test_a_copy_whose_mark_is_another_one_is_looked_at(layout: Layout) -> None:
    class Sealed(FakeBucket):
        """Encrypts each object with a key of its own, so that equal bytes have unequal marks."""

        def copy(self, source: str, target: str, **changes: Any) -> str:
            super().copy(source, target, **changes)
            return f"of {target}"

    bucket = Sealed()
    results = Results(bucket, layout)
    filed = file(results, picture(1))

    published = results.publish(filed, "a.png", job="b1.0")

    assert ("head", "a.png") in bucket.calls
    assert (published.key, bucket.get("a.png")) == ("a.png", picture(1))


def test_what_was_set_aside_since_it_was_found_is_published_from_there(layout: Layout) -> None:
    bucket = FakeBucket()
    results = Results(bucket, layout)
    first = file(results, picture(1))
    file(results, picture(2), fresh=True, job="b2.0")

    published = results.publish(first, "a.png", job="b1.0")

    assert bucket.get("a.png") == picture(1)
    assert published.how == "copied"


def test_whether_a_store_keeps_conditions_is_tried_once(layout: Layout) -> None:
    bucket = FakeBucket(conditional="refused")
    results = Results(bucket, layout)

    for number in range(3):
        file(results, picture(number))

    assert len([key for method, key in bucket.calls if "probe/" in key]) == 2


def test_a_bucket_that_may_not_be_written_says_so(layout: Layout) -> None:
    bucket = FakeBucket()
    bucket.failing["put"] = Refused("no right to write")

    with pytest.raises(Refused, match="no right to write"):
        file(Results(bucket, layout), picture(1))


def test_nothing_at_the_output_is_free(results: Results, out: str) -> None:
    assert results.check_output(out + "a.png", FP) is Standing.FREE


def test_an_object_of_somebody_else_is_left_alone(results: Results, bucket: Bucket, out: str) -> None:
    filed = file(results, picture(1))
    bucket.put(out + "a.png", b"theirs", metadata={"author": "somebody"})

    assert results.check_output(out + "a.png", FP) is Standing.NOT_OURS
    with pytest.raises(OutputNotOurs, match=r"a\.png.*--overwrite"):
        results.publish(filed, out + "a.png", job="b1.0")
    assert bucket.get(out + "a.png") == b"theirs"


def test_with_overwrite_it_is_replaced(results: Results, bucket: Bucket, out: str) -> None:
    filed = file(results, picture(1))
    bucket.put(out + "a.png", b"theirs")

    assert results.check_output(out + "a.png", FP, overwrite=True) is Standing.TO_OVERWRITE
    published = results.publish(filed, out + "a.png", job="b1.0", overwrite=True)

    assert (published.how, published.replaced_sha256) == ("copied", "")
    assert bucket.get(out + "a.png") == picture(1)


def test_a_published_result_carries_its_type_and_where_it_came_from(results: Results, bucket: Bucket, out: str) -> None:
    filed = file(results, picture(1, "jpeg"))

    published = results.publish(filed, out + "Stühle/größe 2.{ext}", job="b2.9")

    assert (published.key, published.how) == (out + "Stühle/größe 2.jpg", "copied")
    head = bucket.head(published.key)
    assert head is not None
    assert head.content_type == "image/jpeg"
    assert {name: value for name, value in head.metadata.items() if name != "retouch-key"} == {
        "retouch-job": "b2.9",
        "retouch-fingerprint": FP,
        "retouch-sha256": filed.sha256,
        "retouch-bytes": str(filed.bytes),
        "retouch-format": "jpeg",
        "retouch-width": "41",
        "retouch-height": "30",
    }


def test_publishing_again_copies_nothing(results: Results, out: str) -> None:
    filed = file(results, picture(1))
    results.publish(filed, out + "ä.{ext}", job="b1.0")

    again = results.publish(filed, out + "ä.{ext}", job="b2.0")

    assert (again.how, again.replaced_sha256) == ("kept", "")
    assert results.check_output(out + "ä.png", FP, sha256=filed.sha256) is Standing.OURS_SAME
    assert results.check_output(out + "ä.png", FP) is Standing.OURS_SAME


def test_our_own_earlier_object_is_replaced_and_named(results: Results, bucket: Bucket, out: str) -> None:
    results.publish(file(results, picture(1)), out + "a.png", job="b1.0")
    standing = results.check_output(out + "a.png", OTHER_FP)

    published = results.publish(file(results, picture(2), fingerprint=OTHER_FP), out + "a.png", job="b2.0")

    assert standing is Standing.OURS_OTHER
    assert (published.how, published.replaced_sha256) == ("copied", sha(picture(1)))
    assert bucket.get(out + "a.png") == picture(2)


def test_a_fresh_result_replaces_the_one_before_it(results: Results, bucket: Bucket, out: str) -> None:
    results.publish(file(results, picture(1)), out + "a.png", job="b1.0")
    fresh = file(results, picture(2), fresh=True)
    standing = results.check_output(out + "a.png", FP, sha256=fresh.sha256)

    published = results.publish(fresh, out + "a.png", job="b2.0")

    assert standing is Standing.OURS_OTHER
    assert published.replaced_sha256 == sha(picture(1))
    assert bucket.get(out + "a.png") == picture(2)


def test_a_result_that_was_set_aside_since_it_was_found_is_published_all_the_same(
    results: Results, bucket: Bucket, out: str
) -> None:
    found = file(results, picture(1))
    file(results, picture(2), fresh=True)

    published = results.publish(found, out + "a.png", job="b1.0")

    assert bucket.get(published.key) == picture(1)


def test_a_result_that_is_gone_is_said_to_be_gone(results: Results, bucket: Bucket, out: str) -> None:
    found = file(results, picture(1))
    for head in list(bucket.keys(out)):
        bucket.delete(head.key)

    with pytest.raises(NotFound, match="run the row again"):
        results.publish(found, out + "a.png", job="b1.0")
    assert bucket.head(out + "a.png") is None


def test_what_a_user_wrote_over_ours_is_theirs(results: Results, bucket: Bucket, out: str) -> None:
    filed = file(results, picture(1))
    results.publish(filed, out + "a.png", job="b1.0")

    bucket.put(out + "a.png", picture(1))

    assert results.check_output(out + "a.png", FP) is Standing.NOT_OURS


def test_what_a_user_edited_in_place_is_theirs_even_with_our_metadata(
    results: Results, bucket: Bucket, out: str
) -> None:
    results.publish(file(results, picture(1)), out + "a.png", job="b1.0")
    head = bucket.head(out + "a.png")
    assert head is not None

    bucket.put(out + "a.png", picture(1) + b"retouched by hand", metadata=head.metadata)

    assert results.check_output(out + "a.png", FP) is Standing.NOT_OURS


def test_what_a_user_copied_to_another_key_is_theirs(results: Results, bucket: Bucket, out: str) -> None:
    results.publish(file(results, picture(1)), out + "a.png", job="b1.0")

    bucket.copy(out + "a.png", out + "b.png")

    assert results.check_output(out + "b.png", FP) is Standing.NOT_OURS
    assert results.check_output(out + "a.png", FP) is Standing.OURS_SAME


@pytest.mark.parametrize("folder", ["results/", "inputs/", "batches/", "/results/"])
def test_retouchs_own_files_are_no_output_even_with_overwrite(
    results: Results, bucket: Bucket, layout: Layout, folder: str
) -> None:
    filed = file(results, picture(1))
    key = f"{layout.prefix}{folder}{FP[:2]}/{FP}.png"

    assert results.check_output(key, OTHER_FP, overwrite=True) is Standing.NOT_OURS
    with pytest.raises(OutputNotOurs, match="choose another output"):
        results.publish(filed, key, job="b1.0", overwrite=True)


def test_somebody_who_writes_right_after_the_copy_is_not_overwritten(layout: Layout) -> None:
    class Raced(FakeBucket):
        def copy(self, source: str, target: str, **changes: Any) -> str:
            etag = super().copy(source, target, **changes)
            self.lay(target, b"theirs")
            return etag

    bucket = Raced(conditional="ignored")
    results = Results(bucket, layout)

    with pytest.raises(OutputNotOurs):
        results.publish(file(results, picture(1)), "a.png", job="b1.0")

    assert bucket.get("a.png") == b"theirs"


class Beaten(FakeBucket):
    """Somebody writes to `a.png` after we have looked and before our copy comes."""

    wrote = 0

    def copy(self, source: str, target: str, **changes: Any) -> str:
        if target == "a.png" and self.wrote < 1:
            self.wrote += 1
            self.lay(target, b"theirs")
        return super().copy(source, target, **changes)


@pytest.mark.parametrize("there", ["nothing", "ours"])
def test_somebody_who_writes_between_our_look_and_our_copy_is_not_overwritten(layout: Layout, there: str) -> None:
    bucket = Beaten(conditional="kept")
    results = Results(bucket, layout)
    if there == "ours":
        bucket.wrote = 1
        results.publish(file(results, picture(2), fingerprint=OTHER_FP), "a.png", job="b1.0")
        bucket.wrote = 0

    with pytest.raises(OutputNotOurs):
        results.publish(file(results, picture(1)), "a.png", job="b1.1")

    assert bucket.get("a.png") == b"theirs"


def test_with_overwrite_somebody_who_writes_in_between_is_overwritten(layout: Layout) -> None:
    bucket = Beaten(conditional="kept")
    results = Results(bucket, layout)

    published = results.publish(file(results, picture(1)), "a.png", job="b1.0", overwrite=True)

    assert (published.how, bucket.get("a.png")) == ("copied", picture(1))


def test_an_answer_to_a_copy_that_was_lost_is_no_somebody_else(layout: Layout) -> None:
    class Lost(FakeBucket):
        def copy(self, source: str, target: str, **changes: Any) -> str:
            etag = super().copy(source, target, **changes)
            if target == "a.png":
                etag = super().copy(source, target, **changes)  # as the client does by itself
            return etag

    bucket = Lost()
    results = Results(bucket, layout)

    published = results.publish(file(results, picture(1)), "a.png", job="b1.0")

    assert published.key == "a.png"
    assert bucket.get("a.png") == picture(1)


@pytest.fixture
def deaf(store: S3Bucket, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let every straight PUT and DELETE reach the store, whose answer is lost; gives what was so sent."""
    sent: list[str] = []
    direct = store._direct
    assert direct is not None
    ask = direct.ask

    def lost(method: str, *args: Any, **more: Any) -> Answer | None:
        answer = ask(method, *args, **more)
        if method not in {"PUT", "DELETE"}:
            return answer
        if answer is not None:
            sent.append(method)
        return None

    monkeypatch.setattr(direct, "ask", lost)
    return sent


def test_a_result_is_filed_and_published_once_although_every_first_answer_is_lost(
    store: S3Bucket, deaf: list[str], layout: Layout, out: str
) -> None:
    results = Results(store, layout)

    filed = file(results, picture(1))
    published = results.publish(filed, f"{out}a.png", job="b1.0")

    assert deaf
    assert kept(store, layout) == {picture(1)}
    assert (published.key, store.get(f"{out}a.png")) == (f"{out}a.png", picture(1))
    assert published.replaced_sha256 == ""


def test_an_intent_is_its_writers_own_although_the_answer_to_it_is_lost(
    store: S3Bucket, deaf: list[str], layout: Layout
) -> None:
    house = make_house(intents=True)
    house.open()
    job = house.begun()
    intents = Intents(store, layout, on=True)

    intents.declare(job, "epoch")
    intents.withdraw(job)

    assert deaf == ["PUT", "DELETE"]
    assert list(store.keys(f"{layout.prefix}batches/")) == []


def test_a_copy_that_comes_out_short_is_made_again_and_at_last_not_believed(layout: Layout) -> None:
    class Short(FakeBucket):
        def copy(self, source: str, target: str, **changes: Any) -> str:
            self.calls.append(("copy", target))
            self.lay(target, b"half", metadata=changes["metadata"])
            return md5(b"half", usedforsecurity=False).hexdigest()

    bucket = Short()
    results = Results(bucket, layout)

    with pytest.raises(Unavailable, match=r"a\.png"):
        results.publish(file(results, picture(1)), "a.png", job="b1.0")

    assert bucket.calls.count(("copy", "a.png")) > 1


def test_the_extension_is_that_of_the_real_format() -> None:
    assert output_key("shop/{ext}/a.{ext}", "jpeg") == "shop/jpg/a.jpg"
    assert output_key("shop/a.png", "webp") == "shop/a.png"
