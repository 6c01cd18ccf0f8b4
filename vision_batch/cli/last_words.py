"""Says what became of a run whose process was ended without a word.

Ray's core ends a driver at once (`_exit`) when its node's raylet is gone, or the cluster's head for a minute: no line
of Python runs after that. kill -9 and the kernel when memory runs out do the same. So a small process stands by that
speaks when the pipe from its driver closes before the driver has taken its leave.
"""

from __future__ import annotations

import json as json_module
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from vision_batch.cli.exit_code import ExitCode

WORDS = (
    "this run's process was ended without a word: by Ray, because its node or the cluster's head is gone, or from "
    "outside (kill -9, out of memory); what was committed stays, run again to resume"
)

WITNESS = """
import sys
if not sys.stdin.buffer.read():
    print(sys.argv[1], file=sys.stderr)
    if len(sys.argv) > 2:
        print(sys.argv[2])
"""


@contextmanager
def last_words(*, json: bool) -> Iterator[None]:
    """Has the error printed, and as an object with `json`, if this process is ended during the block."""
    failure = {"status": "failed", "exit_code": int(ExitCode.FAILED), "error": WORDS, "problems": []}
    words = [f"error: {WORDS}", *([json_module.dumps(failure)] if json else [])]
    witness = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", WITNESS, *words],
        stdin=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is not for it
    )
    try:
        yield
    finally:
        with suppress(OSError):  # killed with everybody else
            witness.communicate(b"in order")
