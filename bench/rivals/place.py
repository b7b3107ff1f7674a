"""Where the rivals find the API, the bucket and the manifest, and the synchronous calls that the Celery ones share."""

from __future__ import annotations

import base64
import csv
import os
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import httpx
from botocore.config import Config

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

API_URL = os.environ.get("RIVAL_API_URL", "")
HEADERS = {"x-key": os.environ.get("RIVAL_API_KEY", "")}
BUCKET = os.environ.get("RIVAL_S3_BUCKET", "")
REDIS_URL = os.environ.get("RIVAL_REDIS_URL", "redis://")
NAME = os.environ.get("RIVAL_NAME", "")
MANIFEST = Path(os.environ.get("RIVAL_MANIFEST", ""))
RESULTS = Path(os.environ.get("RIVAL_RESULTS", ""))
SLOTS = int(os.environ.get("RIVAL_SLOTS", "24"))
POLL_S = 0.5
"""The gap that the API's documentation shows."""

ENDED_BADLY = ("Error", "Content Moderated", "Request Moderated", "Task not found")

Row = dict[str, str]
Done = dict[str, str | float]


def rows() -> list[Row]:
    """Return the rows of the manifest."""
    with MANIFEST.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_results(done: list[Done]) -> None:
    """Write what was stored, and when."""
    with RESULTS.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["id", "task_id", "output", "stored_at"])
        writer.writeheader()
        writer.writerows(done)


@cache
def http_client() -> httpx.Client:
    """Return this process's client of the API."""
    return httpx.Client(timeout=60)


@cache
def s3_client(connections: int = 10) -> S3Client:
    """Return this process's client of the bucket's store."""
    return boto3.client(
        "s3",
        endpoint_url=os.environ["RIVAL_S3_ENDPOINT_URL"],
        aws_access_key_id=os.environ["RIVAL_S3_ACCESS_KEY_ID"],
        aws_secret_access_key=os.environ["RIVAL_S3_SECRET_ACCESS_KEY"],
        region_name=os.environ["RIVAL_S3_REGION"],
        config=Config(max_pool_connections=connections),
    )


def load(s3: S3Client, row: Row) -> bytes:
    """Return the picture of a row."""
    bucket, _, key = row["image"].removeprefix("s3://").partition("/")
    return s3.get_object(Bucket=bucket, Key=key)["Body"].read()


def store(s3: S3Client, row: Row, task_id: str, picture: bytes) -> Done:
    """Store a result and return what to say of it."""
    key = f"{NAME}/{row['id']}.jpg"
    s3.put_object(Bucket=BUCKET, Key=key, Body=picture, ContentType="image/jpeg")
    return {"id": row["id"], "task_id": task_id, "output": key, "stored_at": time.time()}


def asked(row: Row, picture: bytes) -> dict[str, str]:
    """Return the body of a request."""
    body = {"prompt": row["prompt"], "input_image": base64.b64encode(picture).decode()}
    if row.get("output_format"):
        body["output_format"] = row["output_format"]
    return body


def submit(row: Row, picture: bytes) -> dict[str, Any]:
    """Submit an edit and return its receipt; a 429 is waited out."""
    while True:
        answer = http_client().post(f"{API_URL}/v1/{row['model']}", json=asked(row, picture), headers=HEADERS)
        if answer.status_code != 429:
            answer.raise_for_status()
            receipt: dict[str, Any] = answer.json()
            return receipt
        time.sleep(1.0)


def result_url(polling_url: str) -> str | None:
    """Ask once how a task stands: the result's URL, or None while there is none."""
    return sample(http_client().get(polling_url, headers=HEADERS).raise_for_status().json())


def sample(body: dict[str, Any]) -> str | None:
    """Return the result's URL out of a poll's body, or None while there is none.

    Raises:
        RuntimeError: the edit came to nothing.
    """
    if body["status"] == "Ready":
        return str(body["result"]["sample"])
    if body["status"] in ENDED_BADLY:
        raise RuntimeError(body["status"])
    return None
