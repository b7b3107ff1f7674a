"""Logging: structured lines in which no key, signed URL or prompt can stand.

Libraries that print signed URLs at INFO are turned down to WARNING, and a filter takes query strings and known
secrets out of whatever still comes through, tracebacks included.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterable, MutableMapping
from typing import Any, TextIO

import structlog
from pydantic import SecretStr

from config.settings import Settings

_LOUD = (
    "celery.worker.strategy",
    "celery.app.trace",
    "httpx",
    "httpcore",
    "urllib3",
    "botocore",
    "boto3",
    "s3transfer",
    "kombu",
    "amqp",
)
_QUERY = re.compile(r"(https?://[^\s\"'<>?]+)\?[^\s\"'<>]*")
_USERINFO = re.compile(r"(\w+://)[^\s/@]+@")


class Redactor:
    """Takes secrets out of text: query strings, passwords in URLs, and the values it was given."""

    def __init__(self, secrets: Iterable[SecretStr | None]) -> None:
        values = [s.get_secret_value() for s in secrets if s is not None]
        self._secrets = [value for value in values if len(value) >= 4]

    def clean(self, text: str) -> str:
        """Return `text` without them."""
        for secret in self._secrets:
            text = text.replace(secret, "[secret]")
        return _USERINFO.sub(r"\1[secret]@", _QUERY.sub(r"\1?[…]", text))

    def __call__(self, _logger: object, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        return {key: self.clean(value) if isinstance(value, str) else value for key, value in event.items()}


def redactor_of(settings: Settings) -> Redactor:
    """Return a redactor that knows every secret of the settings."""
    url = settings.redis.url
    return Redactor([*settings.api.all_keys(), settings.s3.access_key_id, settings.s3.secret_access_key, url])


def set_up_logging(settings: Settings, *, level: str = "INFO", stream: TextIO | None = None) -> None:
    """Send every log line of this process to `stream` (default stderr): for people on a terminal, else as JSON."""
    out = stream or sys.stderr
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    renderer = structlog.dev.ConsoleRenderer() if out.isatty() else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, redactor_of(settings), renderer],
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _LOUD:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("PIL").setLevel(logging.CRITICAL)  # it complains of damaged pictures; the row's reason says it
