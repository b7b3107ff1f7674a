"""The embedded S3 store: how SeaweedFS is started, and when it really takes objects.

It is one program with five servers in it; only the S3 one is meant for us.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from producers.stack.files import private_folder, write_private
from producers.stack.identity import Secrets
from producers.stack.part import Part, log_of, plain_env
from producers.stack.ports import HOST, PARTNER

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

BUCKET = "retouch"
REGION = "us-east-1"
_READ_S = 0.5
"""The first write may hang until the volume server has registered; a new one goes through at once."""
_PROBE = ".stack-ready"


def storage_part(data_dir: Path, *, weed: Path, port: int, secrets: Secrets, name: str = "storage") -> Part:
    """Return a SeaweedFS with one bucket, `retouch`, that asks for the generated keys.

    `port` is the first of five: S3, master, volume, filer, admin. The last four want tokens that only SeaweedFS
    itself can make, for what they serve over HTTP; its gRPC ports are open to programs on this machine.
    """
    folder = private_folder(data_dir / name)
    private_folder(folder / "data")
    identity = {
        "name": "retouch",
        "credentials": [{"accessKey": secrets.s3_access_key, "secretKey": secrets.s3_secret_key}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    write_private(folder / "s3.json", json.dumps({"identities": [identity]}))
    ports = {kind: port + i for i, kind in enumerate(("s3", "master", "volume", "filer", "admin"))}
    flags = {
        "dir": "data",
        "ip": HOST,
        "ip.bind": HOST,
        **{f"{kind}.port": str(number) for kind, number in ports.items()},
        "s3.config": "s3.json",
        "s3.iam": "false",
        "s3.port.iceberg": "0",
        "s3.port.lance": "0",
        "bucket": BUCKET,
        "webdav": "false",
        "admin.ui": "false",
        "master.telemetry": "false",
        # A single master needs no memory of an election, and winning one costs the volume server its first call,
        # after which it waits 5 s.
        "master.resumeState": "false",
    }
    kinds = ("WRITE", "READ", "FILER_WRITE", "FILER_READ")
    names = (
        "WEED_JWT_SIGNING_KEY",
        "WEED_JWT_SIGNING_READ_KEY",
        "WEED_JWT_FILER_SIGNING_KEY",
        "WEED_JWT_FILER_SIGNING_READ_KEY",
    )
    tokens = {variable: f"{secrets.storage_key}-{kind}" for variable, kind in zip(names, kinds, strict=True)}
    sockets = [f"seaweedfs-{kind}-grpc-{number + PARTNER}.sock" for kind, number in ports.items()]
    sockets += [f"seaweedfs-{kind}-{ports[kind]}.sock" for kind in ("s3", "filer")]
    return Part(
        name=name,
        # mini is the form of SeaweedFS for one machine: ready in under a second where `server` takes three to ten.
        argv=(str(weed), "mini", *(f"-{flag}={value}" for flag, value in flags.items())),
        env=plain_env(folder) | tokens,
        folder=folder,
        log=log_of(data_dir, name),
        ready=_storage_probe(storage_url(port), secrets),
        ready_within_s=60,
        stop_within_s=4,  # one in ten hangs when told to stop; a kill loses nothing that was answered
        port=port,
        leftovers=tuple(Path("/tmp") / socket for socket in sockets),  # noqa: S108 - SeaweedFS chooses this place
    )


def storage_url(port: int) -> str:
    """Return the endpoint of the embedded store."""
    return f"http://{HOST}:{port}"


def _storage_probe(endpoint_url: str, secrets: Secrets) -> Callable[[], bool]:
    """Return a check that an object can be written and read back: the port opens long before that."""
    connect = cache(lambda: _client(endpoint_url, secrets))

    def ready() -> bool:
        from botocore.exceptions import BotoCoreError, ClientError

        client = connect()
        try:
            client.put_object(Bucket=BUCKET, Key=_PROBE, Body=b"ready")
            with closing(client.get_object(Bucket=BUCKET, Key=_PROBE)["Body"]) as body:
                arrived = body.read() == b"ready"
            client.delete_object(Bucket=BUCKET, Key=_PROBE)
        except (BotoCoreError, ClientError):
            return False
        client.close()
        return arrived

    return ready


def _client(endpoint_url: str, secrets: Secrets) -> S3Client:
    """Return a client for one try at a time; made late, because it costs a third of a second in which the store can
    start."""
    import boto3
    import botocore.session
    from botocore.config import Config

    # Without the user's AWS_PROFILE: it is about another store, and may not even exist.
    without_profile = botocore.session.Session({"profile": (None, None, None, None)})
    return boto3.Session(botocore_session=without_profile).client(
        "s3",
        endpoint_url=endpoint_url,
        aws_access_key_id=secrets.s3_access_key,
        aws_secret_access_key=secrets.s3_secret_key,
        region_name=REGION,
        config=Config(
            connect_timeout=_READ_S,
            read_timeout=_READ_S,
            retries={"total_max_attempts": 1},
            s3={"addressing_style": "path"},
            proxies={},
        ),
    )
