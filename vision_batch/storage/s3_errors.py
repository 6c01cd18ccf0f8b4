"""What S3 and the network say, in the words of `vision_batch.errors`: translated here and only here."""

from __future__ import annotations

import asyncio

from aiohttp import ClientError as TransportError
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    IncompleteReadError,
    MetadataRetrievalError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
)
from botocore.exceptions import ConnectionError as BotoConnectionError
from botocore.parsers import ResponseParserError

from vision_batch.errors import ChangedError, ForbiddenError, NotFoundError, StorageError, UnavailableError
from vision_batch.storage.retry import TransientError

FAULTS = (ClientError, BotoCoreError, ResponseParserError, TransportError, asyncio.TimeoutError, OSError, RuntimeError)
"""All that a request can raise; RuntimeErrors are of sessions that are closed, or of expired credentials."""

PASSING = (HTTPClientError, BotoConnectionError, CredentialRetrievalError, MetadataRetrievalError)
"""Those of botocore's own errors that another attempt may not meet; the others say that the configuration is wrong."""

MISSING_CODES = {
    "NoSuchKey",
    "NoSuchBucket",
    "NoSuchVersion",
    "NotFound",
    "InvalidBucketName",
    "KeyTooLongError",
    "InvalidObjectName",
}
CREDENTIAL_CODES = {
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidToken",
    "TokenRefreshRequired",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "AuthorizationHeaderMalformed",
    "RequestTimeTooSkewed",
}
"""Not that something is forbidden, but that the credentials are wrong or no longer valid; some come with status 400."""

FULL_CODES = {"QuotaExceeded", "InsufficientStorage", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded"}
PASSING_CODES = {
    "SlowDown",
    "RequestTimeout",
    "InternalError",
    "ServiceUnavailable",
    "Throttling",
    "ThrottlingException",
    "RequestLimitExceeded",
    "BandwidthLimitExceeded",
    "ConditionalRequestConflict",
    "OperationAborted",
    "IncompleteBody",
    "BadDigest",
    "XAmzContentSHA256Mismatch",
}
NO_CREDENTIALS = "no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
RENEW = "renew them, then run again to resume"
FREE_SPACE = "no space or quota left: free some, then run again to resume"

SOURCES = {
    "env": "the environment (AWS_ACCESS_KEY_ID, AWS_SESSION_TOKEN)",
    "shared-credentials-file": "the shared credentials file",
    "config-file": "the AWS configuration file",
    "custom-process": "the profile's credential_process",
}
"""What botocore's shorter names of sources mean; its others, as sso or iam-role, speak for themselves."""


def translate(error: BaseException, uri: str, source: str = "") -> StorageError | TransientError:
    """The error that a fault of one request to `uri` stands for; TransientError where a retry may help.

    `source` is where the request's credentials came from, in botocore's word.
    """
    if isinstance(error, ClientError):
        return _from_answer(error, uri, source)
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return ForbiddenError(uri, NO_CREDENTIALS)
    if isinstance(error, ProfileNotFound):
        return ForbiddenError(uri, str(error))
    if isinstance(error, ParamValidationError):  # an empty or impossible bucket or key: nothing can have that name
        return NotFoundError(uri, "is not a name that an object can have")
    if isinstance(error, IncompleteReadError):
        return TransientError("body cut short")
    if isinstance(error, BotoCoreError) and not isinstance(error, PASSING):
        return StorageError(uri, str(error))
    if isinstance(error, CredentialRetrievalError | MetadataRetrievalError):
        return TransientError(" ".join(str(error).split()))
    if isinstance(error, RuntimeError) and "still expired" in str(error):  # botocore, of credentials it refreshed
        return ForbiddenError(uri, f"{_named(source)} gave credentials that have expired: {RENEW}")
    return TransientError(type(error).__name__)


def _from_answer(error: ClientError, uri: str, source: str) -> StorageError | TransientError:
    answer = error.response.get("Error", {})
    metadata = error.response.get("ResponseMetadata", {})
    code, status = str(answer.get("Code", "")), int(metadata.get("HTTPStatusCode", 0))
    text = f"{status} {code}" if code != str(status) else code
    message = answer.get("Message") or ""
    said = f"{text}: {message}" if message and message not in (code, "None") else text
    if status == 404 or code in MISSING_CODES:
        return NotFoundError(uri, said)
    if status == 507 or code in FULL_CODES:
        return UnavailableError(uri, f"{said}; {FREE_SPACE}")
    if code in PASSING_CODES or status == 429 or (status >= 500 and status != 501):
        return TransientError(text, retry_after_s=_retry_after_s(metadata))
    if code in CREDENTIAL_CODES:
        return ForbiddenError(uri, f"{said}; the credentials are from {_named(source)}: {RENEW}")
    if status in (401, 403):
        return ForbiddenError(uri, said)
    if status == 412:
        return ChangedError(uri, said)
    return StorageError(uri, said)


def _named(source: str) -> str:
    return SOURCES.get(source, source or "an unknown source")


def _retry_after_s(metadata: dict[str, object]) -> float:
    """Seconds of a Retry-After header; its other form, a date, is ignored."""
    headers = metadata.get("HTTPHeaders")
    value = headers.get("retry-after", "") if isinstance(headers, dict) else ""
    return float(value) if value.isdigit() else 0.0
