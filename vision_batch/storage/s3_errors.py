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

from vision_batch.errors import ChangedError, ForbiddenError, NotFoundError, StorageError
from vision_batch.storage.retry import TransientError

FAULTS = (ClientError, BotoCoreError, ResponseParserError, TransportError, asyncio.TimeoutError, OSError)
"""All that a request can raise."""

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
FORBIDDEN_CODES = {"ExpiredToken", "InvalidToken", "TokenRefreshRequired", "AuthorizationHeaderMalformed"}
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


def translate(error: BaseException, uri: str) -> StorageError | TransientError:
    """The error that a fault of one request to `uri` stands for; TransientError where a retry may help."""
    if isinstance(error, ClientError):
        return _from_answer(error, uri)
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
    return TransientError(type(error).__name__)


def _from_answer(error: ClientError, uri: str) -> StorageError | TransientError:
    answer = error.response.get("Error", {})
    metadata = error.response.get("ResponseMetadata", {})
    code, status = str(answer.get("Code", "")), int(metadata.get("HTTPStatusCode", 0))
    text = f"{status} {code}" if code != str(status) else code
    message = answer.get("Message") or ""
    said = f"{text}: {message}" if message and message not in (code, "None") else text
    if status == 404 or code in MISSING_CODES:
        return NotFoundError(uri, said)
    if code in PASSING_CODES or status == 429 or (status >= 500 and status != 501):
        return TransientError(text, retry_after_s=_retry_after_s(metadata))
    if status in (401, 403) or code in FORBIDDEN_CODES:
        return ForbiddenError(uri, said)
    if status == 412:
        return ChangedError(uri, said)
    return StorageError(uri, said)


def _retry_after_s(metadata: dict[str, object]) -> float:
    """Seconds of a Retry-After header; its other form, a date, is ignored."""
    headers = metadata.get("HTTPHeaders")
    value = headers.get("retry-after", "") if isinstance(headers, dict) else ""
    return float(value) if value.isdigit() else 0.0
