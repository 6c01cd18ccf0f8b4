"""A stage whose images say what they do to the process that works on them."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from vision_batch.datasets.sample import Sample
from vision_batch.errors import ImageError, ModelError
from vision_batch.inference.chunk import DecodedChunk, EncodedChunk, Place, Row
from vision_batch.inference.stage import Stage
from vision_batch.inference.stopwatch import Stopwatch


def make(folder: Path) -> Stage:
    """Notes its start in `folder`."""
    with (folder / "starts").open("a") as starts:
        starts.write(f"{os.getpid()}\n")
    return Stage(device="toy:0", run=partial(run, folder))


def make_none(how: str) -> Stage:
    """Dies, or fails, before there is a stage."""
    act(how, Path())
    raise ModelError("no weights")


def run(folder: Path, chunks: Iterator[EncodedChunk], watch: Stopwatch) -> Iterator[DecodedChunk]:
    for chunk in chunks:
        rows = [Row(row=sample.row, image_id=sample.image_id) for sample in chunk.samples]
        for sample, row in zip(chunk.samples, rows, strict=True):
            try:
                if sample.error is not None:
                    raise sample.error
                act(bytes(sample.data or b"").decode(), folder)
            except ImageError as error:
                row.fail(error)
        good = [position for position, row in enumerate(rows) if row.error_code is None]
        watch.add("decode", 1.0)
        pixels = np.array([rows[i].row for i in good], np.uint8).reshape(-1, 1, 1, 1) * np.ones((1, 1, 1, 3), np.uint8)
        yield DecodedChunk(place=chunk.place, rows=rows, good=good, pixels=pixels)


def act(what: str, folder: Path) -> None:
    match what:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "half":  # of an answer: the length of 100 bytes, and 10 of them
            os.write(int(sys.argv[1]), (100).to_bytes(4, "big") + bytes(10))
            os.kill(os.getpid(), signal.SIGRTMIN + 1)
        case "exit":
            sys.exit(3)
        case "memory":
            raise MemoryError
        case "grow":
            held = []
            while True:
                held.append(np.ones(16 << 20, np.uint8))
        case "wait":
            (folder / "waiting").touch()
            time.sleep(60 if not (folder / "go").exists() else 0)
        case "once":
            if not (folder / "killed").exists():
                (folder / "killed").touch()
                os.kill(os.getpid(), signal.SIGKILL)
        case "bad":
            raise ImageError("unreadable", "bad")
        case "model":
            raise ModelError("does not fit")
        case "bug":
            raise KeyError("bug")


def chunk(*what: str) -> EncodedChunk:
    """Images that do `what`."""
    place = Place(shard="s", version="v", cell=0, index=0, ends_cell=True, last_cell=True)
    samples = tuple(Sample(row=i, image_id=f"i{i}", data=memoryview(text.encode())) for i, text in enumerate(what))
    return EncodedChunk(place=place, samples=samples)


def starts(folder: Path) -> int:
    """How many processes have made the stage."""
    path = folder / "starts"
    return len(path.read_text().splitlines()) if path.exists() else 0
