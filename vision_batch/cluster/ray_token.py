"""The token that opens a Ray cluster: from the environment or a file, as Ray itself takes it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from vision_batch.errors import Problem, SpecError

TOKEN, TOKEN_PATH = "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"


def read_token(environment: Mapping[str, str] = os.environ) -> str:
    """The token in RAY_AUTH_TOKEN, or in the file that RAY_AUTH_TOKEN_PATH names; SpecError where there is none."""
    token = environment.get(TOKEN, "").strip()
    if not token and (path := environment.get(TOKEN_PATH)):
        token = _in_file(Path(path))
    if not token:
        raise SpecError(Problem(TOKEN, "no token", f"the cluster's token in {TOKEN}, or its file in {TOKEN_PATH}"))
    if not token.isascii() or not token.isprintable() or " " in token:
        raise SpecError(Problem(TOKEN, "a token with characters that no header can hold", "the token and no more"))
    return token


def _in_file(path: Path) -> str:
    try:
        token = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not ASCII"
        raise SpecError(Problem(TOKEN_PATH, f"{path}: {reason}", "a readable file that holds the token")) from error
    if not token:
        raise SpecError(Problem(TOKEN_PATH, f"{path}: nothing in it", "a readable file that holds the token"))
    return token
