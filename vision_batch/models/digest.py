"""What a model's files hold: their SHA-256, and whether they are what can be loaded without unpickling."""

from __future__ import annotations

import hashlib
from pathlib import Path

from vision_batch.errors import ForbiddenError, NotFoundError, Problem, SpecError
from vision_batch.models.node_copy import changed, node_copy, node_digest, out_of_reach
from vision_batch.storage.table import storage_for
from vision_batch.storage.uri import scheme

BLOCK_BYTES = 8 << 20
HEAD_BYTES = 9
CONVERT = (
    'python -c "import torch, safetensors.torch as s; '
    "s.save_file({k: v.contiguous() for k, v in torch.load('IN', weights_only=True).items()}, 'OUT.safetensors')\""
)


def file_digest(uri: str, *, where: str) -> str:
    """SHA-256 of one object, hexadecimal; SpecError, naming `where`, if it cannot be read."""
    try:
        return _remote_digest(uri) if scheme(uri) else _digest(uri)
    except (NotFoundError, ForbiddenError) as error:
        raise SpecError(Problem(where, str(error), "a file that can be read")) from error


def weights_digest(uri: str) -> str:
    """SHA-256 of safetensors weights; SpecError if the file is anything else, or cannot be read."""
    digest = file_digest(uri, where="model.weights")
    if reason := not_safetensors(storage_for(uri).read_range(uri, 0, HEAD_BYTES)):
        raise SpecError(
            Problem("model.weights", f"{uri} {reason}", f"safetensors; convert a file you trust: {CONVERT}")
        )
    return digest


def read_checked(uri: str, sha256: str) -> bytes:
    """A whole file; ModelError if it is not the one that was digested, or is not there. S3's come by way of a copy."""
    if scheme(uri):
        return node_copy(uri, sha256).read_bytes()
    try:
        data = storage_for(uri).read(uri)
    except (NotFoundError, ForbiddenError) as error:
        raise out_of_reach(error) from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise changed(uri)
    return data


def checked_file(uri: str, sha256: str) -> Path:
    """A file of this machine that holds what was digested; ModelError if there is none."""
    if scheme(uri):
        return node_copy(uri, sha256)
    try:
        if _digest(uri) != sha256:
            raise changed(uri)
    except (NotFoundError, ForbiddenError) as error:
        raise out_of_reach(error) from error
    return Path(uri)


def _remote_digest(uri: str) -> str:
    try:
        return node_digest(uri)
    except OSError:  # this machine has no room for a copy, and may need none: workers load models
        return _digest(uri)


def _digest(uri: str) -> str:
    """Read in blocks: weights may be larger than the memory of the driver."""
    digest = hashlib.sha256()
    storage = storage_for(uri)
    with storage.open(storage.stat(uri)) as reader:
        while block := reader.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def not_safetensors(head: bytes) -> str | None:
    """Why a file that begins so is none, None if it is one.

    Safetensors begin with the length of a JSON object, 8 bytes, little-endian, at most 100 MB (safetensors 0.8).
    """
    if int.from_bytes(head[:8], "little") <= 100_000_000 and head[8:9] == b"{":
        return None
    if head.startswith(b"PK\x03\x04"):
        return "is a zip archive as torch.save writes it: a pickle, which can run any code when it is loaded"
    if head[:1] == b"\x80":
        return "is a pickle, which can run any code when it is loaded"
    return "is not a safetensors file"
