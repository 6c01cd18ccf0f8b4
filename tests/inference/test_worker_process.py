"""The process of an actor: what it frees it keeps for the next chunk."""

import platform
import subprocess
import sys

import pytest

PROBE = """
import resource, sys
import numpy as np
from vision_batch.inference.worker_process import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
for turn in range(110):
    if turn == 10:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [np.empty(1 << 20, np.uint8) for _ in range(8)]
    for block in blocks:
        block[::4096] = 1
    del block, blocks
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", PROBE, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="malloc is tuned where it is glibc's")
def test_blocks_that_are_freed_come_back_without_page_faults() -> None:
    assert page_faults("kept") < page_faults("freed") / 10
