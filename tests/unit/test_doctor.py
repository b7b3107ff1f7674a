"""What the doctor makes of facts that no test server can be brought to: packages of others, clocks, replicas."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from pydantic import SecretStr

from config.settings import read_settings
from jobs.accounts import key_name
from jobs.bucket.layout import Layout
from producers.doctor import machine
from producers.doctor.api_part import look_at_accounts
from producers.doctor.bucket_part import look_at_bucket
from producers.doctor.findings import Verdict
from producers.doctor.machine import ROOMS, judged_packages, look_at_local_stack, look_at_packages
from producers.doctor.redis_part import Facts, judged
from producers.stack.identity import Identity, Secrets, save_identity
from producers.stack.ports import choose_ports
from tests.fakes import Conditional, FakeBucket

HEALTHY = {"redis_version": "7.2.4", "role": "master", "maxmemory_policy": "noeviction", "aof_enabled": 1}


def test_the_packages_of_this_test_are_our_own() -> None:
    assert [finding.verdict for finding in look_at_packages()] == [Verdict.OK]


def test_a_package_from_elsewhere_is_named_with_its_place(tmp_path: Path) -> None:
    origins: dict[str, Path | None] = {room: tmp_path / room for room in ROOMS}
    origins["jobs"] = Path("/srv/elsewhere/jobs")

    found = judged_packages(origins, {}, tmp_path)

    assert [finding.verdict for finding in found] == [Verdict.BROKEN]
    assert found[0].sentence == "The package `jobs` is not Retouch's own: it comes from /srv/elsewhere/jobs."
    assert "/srv/elsewhere out of PYTHONPATH" in found[0].remedy


def test_a_distribution_that_brings_a_package_of_the_same_name_is_named(tmp_path: Path) -> None:
    origins: dict[str, Path | None] = {room: tmp_path / room for room in ROOMS}

    found = judged_packages(origins, {"config": ["python-config", "retouch"], "jobs": ["retouch"]}, tmp_path)

    assert [finding.verdict for finding in found] == [Verdict.BROKEN]
    assert "`pip uninstall python-config`" in found[0].remedy


@pytest.mark.parametrize(
    ("facts", "word"),
    [
        ({"redis_version": "6.0.16"}, "6.2"),
        ({"role": "slave"}, "replica"),
        ({"cluster_enabled": 1}, "cluster"),
        ({"aof_last_write_status": "err"}, "refuses every write"),
        ({"maxmemory": 100_000_000, "used_memory": 99_000_000}, "full"),
    ],
)
def test_a_redis_on_which_no_batch_can_run_is_broken(facts: dict[str, object], word: str) -> None:
    found = [f for f in judged(Facts(info={**HEALTHY, **facts}, appendfsync="always")) if f.verdict != Verdict.OK]

    assert [finding.verdict for finding in found] == [Verdict.BROKEN]
    assert word in found[0].sentence
    assert found[0].remedy


def test_volatile_eviction_without_a_maxmemory_is_only_a_warning() -> None:
    found = judged(Facts(info={**HEALTHY, "maxmemory_policy": "volatile-lru"}, appendfsync="always"))

    weak = [finding for finding in found if finding.verdict != Verdict.OK]
    assert [finding.verdict for finding in weak] == [Verdict.WARNING]
    assert "locks" in weak[0].sentence


@pytest.mark.parametrize(("ahead_s", "which"), [(90.0, "90 s ahead of"), (-90.0, "90 s behind")])
def test_clocks_that_differ_are_told(ahead_s: float, which: str) -> None:
    found = [f for f in judged(Facts(info=HEALTHY, appendfsync="always", ahead_s=ahead_s)) if f.verdict != Verdict.OK]

    assert [finding.verdict for finding in found] == [Verdict.WARNING]
    assert which in found[0].sentence


def test_a_redis_that_hides_its_configuration_is_not_blamed() -> None:
    found = judged(Facts(info=HEALTHY))

    assert {finding.verdict for finding in found} == {Verdict.OK}
    assert any("does not tell" in finding.sentence for finding in found)


def test_a_port_that_another_program_has_taken_is_named(tmp_path: Path) -> None:
    port = choose_ports({"redis": 1})["redis"]
    save_identity(tmp_path, Identity(secrets=Secrets.new(), ports={"redis": port}))

    with socket.create_server(("127.0.0.1", port)):
        found = look_at_local_stack(read_settings(data_dir=tmp_path), {"redis"})

    weak = [finding for finding in found if finding.verdict != Verdict.OK]
    assert [(finding.part, finding.verdict) for finding in weak] == [("ports", Verdict.WARNING)]
    assert str(port) in weak[0].sentence


@pytest.mark.parametrize(("room", "verdict"), [(5_000_000, Verdict.BROKEN), (500_000_000, Verdict.WARNING)])
def test_a_disk_with_little_room_is_told_before_it_is_full(
    room: int, verdict: Verdict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "room_for", lambda _: room)

    found = look_at_local_stack(read_settings(data_dir=tmp_path / "data"), {"redis"})

    (little,) = (finding for finding in found if finding.verdict != Verdict.OK)
    assert (little.part, little.verdict) == ("folder", verdict)
    assert "Make room" in little.remedy


def test_a_data_folder_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")

    found = look_at_local_stack(read_settings(data_dir=tmp_path / "data"), {"redis"})

    assert ("folder", Verdict.BROKEN) in [(finding.part, finding.verdict) for finding in found]


@pytest.mark.parametrize("conditional", ["ignored", "refused"])
def test_a_store_without_conditional_deletes_leaves_what_was_taken_in_the_inbox_and_says_so(
    conditional: Conditional,
) -> None:
    bucket = FakeBucket(conditional=conditional)

    found = look_at_bucket(bucket, Layout())

    (finding,) = (finding for finding in found if "inbox" in finding.sentence)
    assert finding.verdict is Verdict.WARNING
    assert "receipt" in finding.remedy
    assert list(bucket.keys("")) == []


def test_of_a_store_with_conditional_deletes_nothing_is_said_of_the_inbox() -> None:
    found = look_at_bucket(FakeBucket(), Layout())

    assert [finding.verdict for finding in found] == [Verdict.OK, Verdict.OK]


def test_a_key_that_may_be_of_any_of_several_accounts_is_named_with_what_to_write() -> None:
    secret = SecretStr("a-key-of-nobody-knows-whom")
    name = key_name(secret.get_secret_value())
    several = read_settings(_env_file=None, api={"accounts": {"0a1b2c3d": "main", "ffffffff": "studio"}})

    (found,) = look_at_accounts(several.api, [secret])

    assert (found.verdict, name in found.sentence) == (Verdict.WARNING, True)
    assert found.remedy.startswith(f"Add {name}=main")


def test_of_keys_of_one_account_nothing_is_said() -> None:
    assert look_at_accounts(read_settings(_env_file=None).api, [SecretStr("a-key")]) == []
