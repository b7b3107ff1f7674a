"""The S3 store of the local stack, once for a test process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.acceptance.harness import servers_in


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Return what `open_bucket` takes: bucket, endpoint_url, access_key_id, secret_access_key, region."""
    names = ("bucket", "endpoint_url", "access_key_id", "secret_access_key", "region")
    with servers_in(tmp_path_factory.mktemp("servers")) as found:
        yield {name: found.env[f"RETOUCH_S3__{name.upper()}"] for name in names}
