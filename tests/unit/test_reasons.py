"""The reason codes: one table, and nothing in the code says a code that it does not have."""

import re
from pathlib import Path

from jobs.reasons import FLAGS, REASONS, ROW_REASONS, WAIT_REASONS

ROOT = Path(__file__).resolve().parents[2]


def codes_said_in(*folders: str) -> set[str]:
    text = "".join(path.read_text(encoding="utf-8") for folder in folders for path in (ROOT / folder).rglob("*.py"))
    return set(re.findall(r'(?:code=|after_failure\(\w+, |InputFailed\(|reason=)"([a-z_]+)"', text))


def test_every_code_that_a_worker_says_is_in_the_table() -> None:
    said = codes_said_in("workers", "jobs")

    assert said
    assert said <= set(REASONS)


def test_every_code_that_a_picture_or_an_address_can_fail_with_is_in_the_table() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "jobs" / "pictures").rglob("*.py"))
    said = set(re.findall(r'"(image_[a-z_]+)"', text)) | set(
        re.findall(r'"(url_[a-z_]+)"', (ROOT / "workers" / "hosts.py").read_text(encoding="utf-8"))
    )

    assert said
    assert said <= set(ROW_REASONS)


def test_a_batch_waits_for_the_reasons_of_the_contract() -> None:
    assert set(WAIT_REASONS) == {"operator", "proof", "cap", "failures", "key", "storage", "staging", "doubt"}


def test_every_reason_is_one_sentence_for_a_person() -> None:
    for reason in REASONS.values():
        assert reason.sentence.endswith("."), reason.code
        assert len(reason.sentence) < 120, reason.code


def test_no_flag_is_also_a_reason() -> None:
    assert not set(FLAGS) & set(REASONS)
