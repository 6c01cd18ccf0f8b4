"""Decodes files, one after the other, in a process with little memory, and says what became of each.

    python -m tests.faults.judge FOLDER NAME…

prints a file's name before it is opened, so that whoever reads knows which one killed the process, then one line of
JSON. `judged` starts such processes, a new one behind every death.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np

from tests.faults.corpus import GOOD, MAX_PIXELS
from vision_batch.errors import ImageError
from vision_batch.images.preprocess import Preprocessor
from vision_batch.images.resize import limit_threads
from vision_batch.images.settings import PreprocessSettings

MEMORY_BYTES: Final = 256 << 20
"""That a process may take besides what it has when everything is imported: 80 times the pixels of MAX_PIXELS."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`code` is `good`, an error's code, `MemoryError`, or the signal that ended the process.

    `scaled_code` is the same of the picture made small; `grown_bytes` the growth of the process's peak memory.
    """

    code: str
    scaled_code: str = ""
    message: str = ""
    digest: str = ""
    width: int | None = None
    height: int | None = None
    seconds: float = 0.0
    grown_bytes: int = 0


def judged(folder: Path, names: Iterable[str], *, fresh_memory: int = 0) -> dict[str, Verdict]:
    """The verdict on every file. `fresh_memory` is what the C library fills memory with before it is used."""
    verdicts: dict[str, Verdict] = {}
    left = list(names)
    environment = {**os.environ, "MALLOC_PERTURB_": str(fresh_memory)}
    while left:
        command = [sys.executable, "-m", "tests.faults.judge", str(folder), *left]
        ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=250, env=environment)
        lines = ended.stdout.splitlines()
        verdicts |= {lines[at]: Verdict(**json.loads(lines[at + 1])) for at in range(0, len(lines) - 1, 2)}
        if ended.returncode != 0:
            assert len(lines) % 2, ended.stderr
            verdicts[lines[-1]] = Verdict(code=signal.Signals(-ended.returncode).name, message=ended.stderr[-500:])
        left = [name for name in left if name not in verdicts]
    return verdicts


def main(folder: Path, names: Sequence[str]) -> None:
    limit_threads()
    whole = Preprocessor(PreprocessSettings(), max_pixels=MAX_PIXELS)
    scaled = Preprocessor(PreprocessSettings(letterbox_px=16), max_pixels=MAX_PIXELS)
    _warm_up(whole, scaled)
    own_bytes = _memory_bytes("VmData")
    resource.setrlimit(resource.RLIMIT_DATA, (own_bytes + MEMORY_BYTES, resource.RLIM_INFINITY))
    for name in names:
        print(name, flush=True)
        data = (folder / name).read_bytes()
        print(json.dumps(asdict(_verdict(data, whole, scaled))), flush=True)


def _verdict(data: bytes, whole: Preprocessor, scaled: Preprocessor) -> Verdict:
    began, before_bytes = time.process_time(), _memory_bytes("VmHWM")
    code, message, digest, size = GOOD, "", "", (0, 0)
    try:
        shown = whole(data)
        size = shown.width, shown.height
        digest = hashlib.sha256(np.ascontiguousarray(shown.pixels)).hexdigest()
    except ImageError as error:
        code, message, size = error.code, error.message, (error.width or 0, error.height or 0)
    except MemoryError as error:
        code, message = "MemoryError", str(error)
    return Verdict(
        code=code,
        scaled_code=_code(data, scaled),
        message=message,
        digest=digest,
        width=size[0] or None,
        height=size[1] or None,
        seconds=time.process_time() - began,
        grown_bytes=_memory_bytes("VmHWM") - before_bytes,
    )


def _code(data: bytes, preprocess: Preprocessor) -> str:
    try:
        preprocess(data)
    except ImageError as error:
        return error.code
    except MemoryError:
        return "MemoryError"
    return GOOD


def _warm_up(*preprocessors: Preprocessor) -> None:
    """Every decoder and the resize have run once, so that what they load is not counted as an image's."""
    from tests.images.pictures import encoded, photo

    for format in ("JPEG", "PNG", "WEBP", "BMP", "TIFF"):
        for preprocess in preprocessors:
            preprocess(encoded(photo(64, 48), format))


def _memory_bytes(field: str) -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition(f"{field}:")[2].split()[0]) << 10


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
