"""What the store's answers mean: boto3's many errors as the four that callers tell apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from botocore import exceptions as boto

from jobs.errors import BadCredentials, NotFound, PreconditionFailed, Refused, StorageError, Unavailable

_TROUBLE = (
    boto.ConnectionError,
    boto.HTTPClientError,
    boto.IncompleteReadError,
    boto.ChecksumError,
    boto.FlexibleChecksumError,
    boto.CredentialRetrievalError,
    boto.TokenRetrievalError,
)
"""No answer, half an answer, or no credentials from a service that may have them in a minute."""

_BUSY = frozenset({"RequestTimeout", "OperationAborted", "SlowDown", "TooManyRequests", "ThrottlingException"})
"""Codes that mean `later`, although some of them come with a 4xx."""

_NOBODY = frozenset(
    {"InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "RequestTimeTooSkewed"}
)
"""Codes that would be the answer whatever was asked for."""

_REMEDIES: Mapping[str, str] = {
    "NoSuchBucket": "there is no such bucket; create it or correct RETOUCH_S3__BUCKET",
    "InvalidAccessKeyId": "it does not know the access key; check RETOUCH_S3__ACCESS_KEY_ID",
    "SignatureDoesNotMatch": "the secret is not the access key's; check RETOUCH_S3__SECRET_ACCESS_KEY",
    "ExpiredToken": "the credentials have expired; renew them",
    "InvalidToken": "the session token is not valid; renew the credentials",
    "RequestTimeTooSkewed": "this machine's clock is wrong; set it",
    "PermanentRedirect": "the bucket lies in another region; set RETOUCH_S3__REGION",
    "AuthorizationHeaderMalformed": "the bucket lies in another region; set RETOUCH_S3__REGION",
    "InvalidObjectState": "the object lies in an archive; restore it first",
    "KeyTooLongError": "S3 takes 1,024 bytes at most; shorten the key",
    "NotImplemented": "the store does not know this request; choose a store that does",
}


@dataclass(frozen=True, slots=True)
class Deed:
    """Something that is asked of the store: its verb, and the rights that it takes."""

    verb: str
    rights: str


READ = Deed("be read", "s3:GetObject")
LOOK = Deed("be looked up", "s3:GetObject and, to tell absent from forbidden, s3:ListBucket")
WRITE = Deed("be written", "s3:PutObject")
COPY = Deed("be copied to", "s3:GetObject and s3:PutObject")
LIST = Deed("be listed", "s3:ListBucket")
DELETE = Deed("be deleted", "s3:DeleteObject")


@contextmanager
def asking(deed: Deed, where: str, *, absent: str = "") -> Iterator[None]:
    """Turn boto's errors into ours; `absent` is what a 404 is about, where that is not `where`.

    Their own texts are left out: they may quote addresses and what was sent.
    """
    try:
        yield
    except boto.ClientError as error:
        raise _meaning(error, deed, where, absent or where) from None
    except _TROUBLE as error:
        raise Unavailable(f"{where} cannot {deed.verb} now: {type(error).__name__}") from None
    except boto.ParamValidationError:
        raise Refused(f"{where} cannot {deed.verb}: S3 takes no such name or metadata; correct it") from None
    except boto.NoCredentialsError:
        raise BadCredentials(
            f"{where} cannot {deed.verb}: there are no credentials; set RETOUCH_S3__ACCESS_KEY_ID and"
            " RETOUCH_S3__SECRET_ACCESS_KEY, or the usual AWS_* variables"
        ) from None
    except boto.BotoCoreError as error:
        raise Refused(
            f"{where} cannot {deed.verb}: {type(error).__name__}; check the RETOUCH_S3__ and AWS_* settings"
        ) from None


def _meaning(error: boto.ClientError, deed: Deed, where: str, absent: str) -> StorageError:
    """Return which of our errors the store's answer is."""
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if status == 412 or code in ("PreconditionFailed", "ConditionalRequestConflict"):
        return PreconditionFailed(f"{where}: something else lies there already")
    if code in _NOBODY:
        return BadCredentials(f"{where} cannot {deed.verb}: {_REMEDIES[code]}")
    if code in _REMEDIES:
        return Refused(f"{where} cannot {deed.verb}: {_REMEDIES[code]}")
    if status == 404 or code == "NoSuchKey":
        return NotFound(f"{absent}: nothing lies there")
    if status == 501:
        return Refused(f"{where} cannot {deed.verb}: {_REMEDIES['NotImplemented']}")
    answer = f"{status} {code}" if code != str(status) else code
    if status >= 500 or status == 429 or code in _BUSY:
        return Unavailable(f"{where} cannot {deed.verb} now: the store answers {answer}")
    if status in (401, 403):
        return Refused(f"{where} cannot {deed.verb}: the store answers {answer}; give the credentials {deed.rights}")
    return Refused(f"{where} cannot {deed.verb}: the store answers {answer}; check the name and the rights")
