"""Reading `schedules.toml`."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from producers.schedules.file import ScheduleError, read_schedules

GOOD = """
[[schedule]]
name = "autumn"
cron = "30 23 * * *"
time_zone = "Europe/Berlin"
manifest = "exports/autumn.csv"
max_cost_usd = 25
catch_up = "all"
[schedule.flags]
prompt = "put it on white"
field = { seed = 7 }
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "schedules.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_schedule_is_read_with_its_defaults(tmp_path: Path) -> None:
    found = read_schedules(written(tmp_path, GOOD))["autumn"]

    assert found.manifest == str(tmp_path / "exports/autumn.csv")
    assert (found.max_cost_usd, found.catch_up, found.tolerance, found.settle_s) == (25, "all", 0.2, 60)
    assert found.flags.field == {"seed": 7}
    assert found.times.hours == (23,)


def test_a_manifest_in_a_bucket_stays_as_it_is(tmp_path: Path) -> None:
    text = GOOD.replace("exports/autumn.csv", "s3://shop/autumn.csv")

    assert read_schedules(written(tmp_path, text))["autumn"].manifest == "s3://shop/autumn.csv"


JOINED = """
[[schedule]]
name = "autumn"
cron = "30 23 * * *"
max_cost_usd = 25
[schedule.manifest]
prefix = "photos"
table = "products.csv"
pattern = "{sku}_{position}.{ext}"
join = "sku"
"""


def test_pictures_and_a_table_are_one_setting_and_both_start_at_the_file(tmp_path: Path) -> None:
    found = read_schedules(written(tmp_path, JOINED))["autumn"]

    assert found.places == (str(tmp_path / "photos"), str(tmp_path / "products.csv"))
    assert found.source == f"{tmp_path / 'photos'} joined with {tmp_path / 'products.csv'} by sku"


def test_a_prefix_of_a_bucket_is_one_with_its_last_slash_forgotten(tmp_path: Path) -> None:
    text = JOINED.replace('"photos"', '"s3://shop/photos"').replace('"products.csv"', '"s3://shop/products.csv"')

    assert read_schedules(written(tmp_path, text))["autumn"].places == ("s3://shop/photos/", "s3://shop/products.csv")


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ('table = "products.csv"', "", "schedule autumn: manifest.table is missing"),
        ('join = "sku"', 'join = "ean"', "the pattern has no {ean}; it names sku, position"),
        ("{sku}_{position}.{ext}", "{sku}{position}", "nothing stands between"),
        ('"products.csv"', '"s3://shop/products.csv"', "one in a bucket goes with pictures in a bucket"),
        ('"photos"', '"https://shop.example/"', "give a path, s3://bucket/key or s3://bucket/prefix/"),
        ('"products.csv"', '"tables/"', "give a file, or s3://bucket/key"),
        ('join = "sku"', 'join = "sku"\n[schedule.flags]\npattern = "{sku}.{ext}"', "has a pattern already"),
    ],
)
def test_what_cannot_be_joined_is_said_before_the_night(tmp_path: Path, old: str, new: str, why: str) -> None:
    assert old in JOINED

    with pytest.raises(ScheduleError, match=re.escape(why)):
        read_schedules(written(tmp_path, JOINED.replace(old, new)))


def test_a_profile_beside_the_file_is_found_from_anywhere(tmp_path: Path) -> None:
    text = GOOD + 'source = "akeneo.toml"\n'

    assert read_schedules(written(tmp_path, text))["autumn"].flags.source == str(tmp_path / "akeneo.toml")
    assert read_schedules(written(tmp_path, text.replace(".toml", "")))["autumn"].flags.source == "akeneo"


def test_an_empty_file_has_no_schedules(tmp_path: Path) -> None:
    assert read_schedules(written(tmp_path, "")) == {}


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("max_cost_usd = 25", "", "schedule autumn: max_cost_usd is missing: say what a run may cost"),
        ("max_cost_usd = 25", "max_cost_usd = 0", "max_cost_usd: .*greater than 0"),
        ("cron =", "corn =", "corn is not known here"),
        ("30 23 * * *", "30 25 * * *", "schedule autumn: cron: .*25"),
        ("Europe/Berlin", "Europe/Berlino", "'Europe/Berlino' is no time zone"),
        ("Europe/Berlin", "../etc/passwd", "is no time zone"),
        ('"autumn"', '"Autumn night"', "lower-case letters"),
        ("exports/autumn.csv", "https://shop/a.csv", "give a path, s3://bucket/key"),
        ("exports/autumn.csv", "s3://shop/", "for the pictures under it"),
        ('catch_up = "all"', 'catch_up = "some"', "catch_up"),
        ("prompt =", "promt =", "flags.promt is not known here"),
        ("[[schedule]]", "[schedule]", r"begin each schedule with \[\[schedule\]\]"),
        ("[[schedule]]", "[[schedules]]", "'schedules' means nothing here"),
        ("25", "", "Invalid value"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, old: str, new: str, why: str) -> None:
    with pytest.raises(ScheduleError, match=why):
        read_schedules(written(tmp_path, GOOD.replace(old, new, 1)))


def test_every_mistake_is_in_the_one_error(tmp_path: Path) -> None:
    text = GOOD.replace("max_cost_usd = 25", "") + GOOD.replace("30 23", "99 23").replace('"autumn"', '"winter"')

    with pytest.raises(ScheduleError, match=r"autumn: max_cost_usd.*winter: cron"):
        read_schedules(written(tmp_path, text))


def test_two_schedules_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ScheduleError, match="2 schedules have this name"):
        read_schedules(written(tmp_path, GOOD + GOOD))


def test_a_missing_file_says_where_it_is_looked_for(tmp_path: Path) -> None:
    with pytest.raises(ScheduleError, match="RETOUCH_SCHEDULES"):
        read_schedules(tmp_path / "schedules.toml")


def test_a_schedule_may_say_how_urgent_its_runs_are_and_when_they_are_to_be_done(tmp_path: Path) -> None:
    text = GOOD.replace("max_cost_usd", 'priority = "low"\nby = "06:00"\nmax_cost_usd')
    plain = read_schedules(written(tmp_path, GOOD))["autumn"]
    found = read_schedules(written(tmp_path, text))["autumn"]

    now = datetime(2026, 11, 22, 22, 30, tzinfo=UTC).timestamp()
    assert (plain.priority, plain.due_after(now)) == ("normal", 0.0)
    assert found.priority == "low"
    assert datetime.fromtimestamp(found.due_after(now), UTC) == datetime(2026, 11, 23, 5, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('priority = "high"', "schedule autumn: priority"),
        ('by = "2026-11-23T06:00"', "by: '2026-11-23T06:00' is no time of day; write one such as 06:00"),
    ],
)
def test_an_urgency_that_means_nothing_is_named(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(ScheduleError, match=re.escape(said)):
        read_schedules(written(tmp_path, GOOD.replace("max_cost_usd", f"{line}\nmax_cost_usd")))
