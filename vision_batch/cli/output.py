"""Where commands write: text for people by `print`, the one JSON object by `emit_json`.

With `--json`, `main` reserves standard output: `print` then goes to standard error, also in libraries, and only
`emit_json` reaches standard output. So a command prints what it has to say and need not ask which way it was called.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from typing import Any, TextIO

_reserved: TextIO | None = None


@contextmanager
def reserved_stdout() -> Iterator[None]:
    """Keeps standard output for `emit_json`; everything printed inside goes to standard error."""
    global _reserved
    _reserved = sys.stdout
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _reserved = None


def emit_json(value: Mapping[str, Any]) -> None:
    """Writes `value` as one line of JSON on the process's standard output."""
    print(json.dumps(value), file=_reserved or sys.stdout, flush=True)


def warn(text: str) -> None:
    """Prints one line on standard error."""
    print(f"warning: {text}", file=sys.stderr, flush=True)
