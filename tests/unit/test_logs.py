"""Log lines: no key, no signed URL, no password, whoever wrote them."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from config.logs import Redactor, set_up_logging
from config.settings import read_settings

KEY = "CANARY-5e884898da28"
SIGNED = "https://delivery-eu1.bfl.ai/x.jpeg?se=2027-01-01&sig=CANARYSIGNATURE"


@pytest.fixture
def out(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    monkeypatch.setenv("RETOUCH_API__KEYS", KEY)
    monkeypatch.setenv("RETOUCH_REDIS__URL", "redis://:hunter22@127.0.0.1:6379/0")
    root = logging.getLogger()
    before, level, configured = root.handlers[:], root.level, structlog.get_config()
    stream = io.StringIO()
    set_up_logging(read_settings(), stream=stream)
    yield stream
    root.handlers[:] = before
    root.setLevel(level)
    structlog.configure(**configured)


def test_a_line_of_our_own_carries_its_fields_as_json(out: io.StringIO) -> None:
    structlog.get_logger("workers.edit").info("job ended", job="autumn.1", state="stored")

    line = json.loads(out.getvalue())
    assert (line["event"], line["job"], line["level"]) == ("job ended", "autumn.1", "info")


def test_keys_signatures_and_passwords_are_taken_out_of_our_lines(out: io.StringIO) -> None:
    structlog.get_logger("x").warning(f"asked {SIGNED} with {KEY}", url=SIGNED, broker="redis://:hunter22@h/0")

    text = out.getvalue()
    assert "CANARY" not in text
    assert "hunter22" not in text
    assert "delivery-eu1.bfl.ai/x.jpeg" in text


def test_they_are_taken_out_of_what_libraries_write_too(out: io.StringIO) -> None:
    logging.getLogger("some.library").error("GET %s with %s", SIGNED, KEY)

    assert "CANARY" not in out.getvalue()


def test_they_are_taken_out_of_tracebacks(out: io.StringIO) -> None:
    try:
        raise ValueError(f"{SIGNED} {KEY}")
    except ValueError:
        structlog.get_logger("x").exception("failed")

    text = out.getvalue()
    assert "ValueError" in text
    assert "CANARY" not in text


def test_httpx_does_not_tell_every_request(out: io.StringIO) -> None:
    logging.getLogger("httpx").info("HTTP Request: GET %s", SIGNED)

    assert out.getvalue() == ""


def test_a_text_without_secrets_stays_as_it_is() -> None:
    assert Redactor([]).clean("18 of 30 rows; see s3://b/k") == "18 of 30 rows; see s3://b/k"
