"""Names of stored objects: absolute local paths without a scheme, or `s3://bucket/key`, in which nothing is escaped."""

from __future__ import annotations

import os
import re
from pathlib import Path

from vision_batch.errors import Problem, SpecError

SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
GLOB = re.compile(r"[*?\[]")


def scheme(uri: str) -> str:
    """`s3` for s3://…, the empty string for a local path."""
    match = SCHEME.match(uri)
    return match[1].lower() if match else ""


def normalise(uri: str, base_folder: Path) -> str:
    """An absolute local path or an s3:// URI, without slashes at its end; SpecError for any other scheme.

    `file://` is stripped, `~` is expanded and relative paths are taken from `base_folder`. The text after `s3://` is
    the bucket and the key as they are: nothing in it is an escape.
    """
    kind = scheme(uri)
    if kind == "s3":
        bucket, _, key = uri[len("s3://") :].partition("/")
        if not bucket:
            raise SpecError(Problem(uri, "no bucket", "s3://bucket/prefix"))
        return f"s3://{bucket}/{key}".rstrip("/")
    if kind not in ("", "file"):
        raise SpecError(Problem(shown(uri), f"the scheme {kind}://", "a local path, file:// or s3://"))
    path = os.path.expanduser(uri[len("file://") :] if kind else uri)
    return os.path.abspath(os.path.join(base_folder.absolute(), path))


def shown(uri: str) -> str:
    """`uri` as a message may show it: of foreign schemes without user, password, query and fragment."""
    kind, separator, rest = uri.partition("://")
    if scheme(uri) in ("", "s3"):
        return uri
    authority, slash, path = rest.partition("/")
    return re.split("[?#]", f"{kind}{separator}{authority.rpartition('@')[2]}{slash}{path}")[0]


def join(uri: str, *parts: str) -> str:
    """`uri` and `parts` with one slash between each; slashes inside a part stay."""
    joined = uri
    for part in parts:
        joined = f"{joined.removesuffix('/')}/{part}"
    return joined


def relative_to(uri: str, root: str) -> str:
    """What follows `root` and its slash in `uri`, empty for `root` itself; ValueError for what is not inside."""
    if uri == root:
        return ""
    folder = f"{root.removesuffix('/')}/"
    if not uri.startswith(folder):
        raise ValueError(f"{uri} is not inside {root}")
    return uri[len(folder) :]


def is_inside(uri: str, root: str) -> bool:
    """Whether `uri` is `root` or below it, by name."""
    return uri == root or uri.startswith(f"{root.removesuffix('/')}/")


def parent(uri: str) -> str:
    """The folder that holds `uri`; a bucket and the file system's root are their own parents."""
    head, _, _ = _path(uri).rpartition("/")
    return _root(uri) + head if head else _root(uri).removesuffix("/") or "/"


def name(uri: str) -> str:
    """What follows the last slash; empty for a bucket and for the file system's root."""
    return _path(uri).rpartition("/")[2]


def is_glob(uri: str) -> bool:
    """Whether `uri` has one of the characters * ? ["""
    return GLOB.search(_path(uri)) is not None


def bucket_and_key(uri: str) -> tuple[str, str]:
    """The two halves of an s3:// URI; the key is empty for a bucket."""
    bucket, _, key = uri[len("s3://") :].partition("/")
    return bucket, key


def _root(uri: str) -> str:
    return f"s3://{bucket_and_key(uri)[0]}/" if scheme(uri) == "s3" else "/"


def _path(uri: str) -> str:
    """The part of `uri` that has folders, without the slash in front."""
    return bucket_and_key(uri)[1] if scheme(uri) == "s3" else uri.removeprefix("/")
