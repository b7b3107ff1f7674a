"""The shared S3 store, in the words of `open_bucket`, and one that answers by a script."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.scripted import Script, scripted
from tests.servers import RunningS3


@pytest.fixture(scope="session")
def s3_keywords(s3: RunningS3) -> dict[str, Any]:
    """Return what `open_bucket` takes: bucket, endpoint_url, access_key_id, secret_access_key, region."""
    names = ("bucket", "endpoint_url", "access_key_id", "secret_access_key", "region")
    return {name: getattr(s3, name) for name in names}


@pytest.fixture(scope="module")
def server() -> Iterator[Script]:
    with scripted() as script:
        yield script
