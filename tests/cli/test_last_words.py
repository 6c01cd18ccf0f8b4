"""A run whose process is ended without a word is not silent; one that ends in order is not talked over."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from vision_batch.cli.last_words import WORDS


def end(how: str, *, as_json: bool) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a process that ends inside the block."""
    code = (
        "import os, signal, sys\nfrom vision_batch.cli.last_words import last_words\n"
        f"with last_words(json={as_json}):\n    {how}"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("how", "code"),
    [("os._exit(1)", 1), ("os.kill(os.getpid(), signal.SIGKILL)", -9), ("os.abort()", -6)],
    ids=["by Ray's core", "by kill -9", "by an abort"],
)
def test_a_process_that_is_ended_has_last_words(how: str, code: int) -> None:
    assert end(how, as_json=False) == (code, "", f"error: {WORDS}\n")


def test_last_words_as_json() -> None:
    _, out, err = end("os._exit(1)", as_json=True)
    assert json.loads(out) == {"status": "failed", "exit_code": 1, "error": WORDS, "problems": []}
    assert err == f"error: {WORDS}\n"


@pytest.mark.parametrize(("how", "code"), [("pass", 0), ("sys.exit(4)", 4)])
def test_a_process_that_ends_in_order_has_none(how: str, code: int) -> None:
    assert end(how, as_json=True) == (code, "", "")


def test_an_error_is_told_by_itself_only() -> None:
    code, out, err = end("raise ValueError('its own')", as_json=True)
    assert (code, out) == (1, "")
    assert "its own" in err
    assert WORDS not in err
