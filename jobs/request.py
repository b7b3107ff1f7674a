"""What is asked of the API, and the fingerprint that says whether two requests are the same purchase.

The fingerprint may never change for a request that was ever made: a catalogue would be bought again. A golden
file of requests holds it (`tests/unit/golden_fingerprints.json`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

Param = str | int | float | bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One edit to ask for: a model, a rendered prompt, pictures in order, and the fields that are sent.

    `inputs` are URIs (`s3://`, `https://`, and `file://` until they are staged); the first is the edited picture.
    With `pass_urls` the API fetches the `https://` inputs itself.
    """

    model: str
    prompt: str
    inputs: tuple[str, ...]
    params: Mapping[str, Param] = field(default_factory=dict)
    pass_urls: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return the JSON form; `from_json` reads it back."""
        return {
            "model": self.model,
            "prompt": self.prompt,
            "inputs": list(self.inputs),
            "params": dict(self.params),
            "pass_urls": self.pass_urls,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Return the request that `as_json` wrote."""
        return cls(
            model=data["model"],
            prompt=data["prompt"],
            inputs=tuple(data["inputs"]),
            params=dict(data["params"]),
            pass_urls=data["pass_urls"],
        )


def fingerprint(origin: str, request: Request, identities: Sequence[str]) -> str:
    """Return the hex sha256 under which the result of `request` is filed.

    Args:
        origin: the API's name (`bfl`) or, for another host, its `host:port`; a simulated result is never a real one.
        request: what is sent. A default that is not sent has no part in it.
        identities: one for each input, in order: `jobs.pictures.identity` of its bytes, or its URL under `pass_urls`.
    """
    if len(identities) != len(request.inputs):
        raise ValueError("every input needs its identity")
    asked = {
        "version": 1,
        "origin": origin,
        "operation": "edit",
        "model": request.model,
        "prompt": request.prompt,
        "params": dict(sorted(request.params.items())),
        "inputs": list(identities),
    }
    text = json.dumps(asked, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
