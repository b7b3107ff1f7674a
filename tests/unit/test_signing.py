"""Whatever is asked of a store is signed as botocore, the owner's own client, signs it."""

from __future__ import annotations

import string
import time
from typing import Any
from urllib.parse import quote

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials
from hypothesis import given
from hypothesis import strategies as st

from jobs.bucket.signing import Signer, query_text

ANY = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=12)
WORDS = st.text(string.ascii_letters + string.digits + " !\"#$&'()*+,-./:;=?@[]^_`{|}~", max_size=20)
NAMES = st.text(string.ascii_lowercase + string.digits + "-", min_size=1, max_size=10).map("x-amz-meta-{}".format)
SECRET = "wJalrXUtnFEMI/K7MDENG"


@given(
    method=st.sampled_from(["GET", "HEAD", "PUT", "DELETE"]),
    key=ANY,
    query=st.dictionaries(ANY.filter(bool), ANY, max_size=3),
    headers=st.dictionaries(NAMES, WORDS, max_size=4),
    token=st.sampled_from(["", "a-token=="]),
    at=st.floats(1_600_000_000, 1_900_000_000),
)
def test_a_request_is_signed_as_botocore_signs_it(
    method: str, key: str, query: dict[str, str], headers: dict[str, str], token: str, at: float
) -> None:
    path, payload = f"/shop/{quote(key, safe='/~')}", "0" * 64
    theirs = AWSRequest(
        method=method,
        url=f"https://s3.example.com{path}" + (f"?{query_text(query)}" if query else ""),
        headers={**headers, "x-amz-content-sha256": payload, "host": "s3.example.com"},
    )
    theirs.context["timestamp"] = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(at))
    auth: Any = S3SigV4Auth(ReadOnlyCredentials("AKIDEXAMPLE", SECRET, token or None), "s3", "eu-central-1")
    auth.payload = lambda _request: payload
    auth._modify_request_before_signing(theirs)
    canonical = auth.canonical_request(theirs)
    auth._inject_signature_to_request(theirs, auth.signature(auth.string_to_sign(theirs, canonical), theirs))

    signer = Signer("AKIDEXAMPLE", SECRET, "eu-central-1", token)
    ours = signer.signed(method, path, query, {"host": "s3.example.com", **headers}, payload, at)

    assert ours["authorization"] == theirs.headers["Authorization"]
    assert ours["x-amz-date"] == theirs.headers["X-Amz-Date"]
    assert ours.get("x-amz-security-token") == theirs.headers.get("X-Amz-Security-Token")


def test_who_signs_can_be_printed_without_the_secret() -> None:
    shown = repr(Signer("AKIDEXAMPLE", SECRET, "eu-central-1", "a-token"))

    assert "AKIDEXAMPLE" in shown
    assert SECRET not in shown
    assert "a-token" not in shown
