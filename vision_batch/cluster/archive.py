"""A job as one zip file: `vision_batch/`, this very version as source, and `job/`, the package's files."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import vision_batch
from vision_batch.cluster.package import JobPackage

JOB_FOLDER = "job"
PACKAGE_FOLDER = "vision_batch"
OLDEST = (1980, 1, 1, 0, 0, 0)
"""Every member's time: the same content is the same archive."""
PLAIN_FILE = 0o644 << 16


def archive(package: JobPackage) -> bytes:
    """The zip file. The same package gives the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in sorted([*_own_files(), *_job_files(package)]):
            member = zipfile.ZipInfo(name, OLDEST)
            member.compress_type = zipfile.ZIP_DEFLATED
            member.external_attr = PLAIN_FILE
            file.writestr(member, data)
    return buffer.getvalue()


def archive_name(data: bytes) -> str:
    """A name after the content, as Ray names what is uploaded to it."""
    return f"_ray_pkg_{hashlib.sha256(data).hexdigest()[:32]}.zip"


def _own_files() -> Iterator[tuple[str, bytes]]:
    """Everything that the installed package consists of, but no bytecode."""
    root = Path(vision_batch.__file__).parent
    for path in root.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            yield f"{PACKAGE_FOLDER}/{path.relative_to(root).as_posix()}", path.read_bytes()


def _job_files(package: JobPackage) -> Iterator[tuple[str, bytes]]:
    return ((f"{JOB_FOLDER}/{name}", data) for name, data in package.files.items())
