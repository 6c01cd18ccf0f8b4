"""Careful reading: a shard that kills whoever reads it costs child processes, and the shards behind it are read."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.inference import deadly
from tests.inference.deadly import chunk
from vision_batch.datasets.shard import Shard
from vision_batch.errors import ShardError, UnavailableError
from vision_batch.inference.child_process import STARTS
from vision_batch.inference.chunk import EncodedChunk
from vision_batch.inference.shard_reading import Read, reading
from vision_batch.ledger.state import Work
from vision_batch.storage.object_info import ObjectInfo


def read(folder: Path, work: Work) -> Iterator[EncodedChunk]:
    """Each line of the shard's file is a chunk, or says what reading it does."""
    with (folder / "opened").open("a") as opened:
        opened.write(f"{work.shard.key} {os.getpid()}\n")
    for line in (folder / work.shard.key).read_text().splitlines():
        if line == "refused":
            raise UnavailableError(work.shard.key, "no answer")
        deadly.act(line, folder)
        yield chunk(line)


def opened(folder: Path, key: str) -> list[int]:
    """The processes that have read the shard."""
    lines = [line.split() for line in (folder / "opened").read_text().splitlines()]
    return [int(pid) for name, pid in lines if name == key]


@pytest.fixture
def work(tmp_path: Path) -> Callable[..., Work]:
    def write(key: str, *lines: str) -> Work:
        (tmp_path / key).write_text("\n".join(lines))
        file = ObjectInfo(uri=f"/in/{key}", size_bytes=1, version="v")
        return Work(
            shard=Shard(key=key, input_name="", root="/in", format="parquet", files=(file,)), done_cells=frozenset()
        )

    return write


@pytest.fixture
def carefully(tmp_path: Path) -> Iterator[Read]:
    with reading(partial(read, tmp_path), careful=True) as it:
        yield it


def texts(chunks: Iterator[EncodedChunk]) -> list[str]:
    return [bytes(sample.data or b"").decode() for each in chunks for sample in each.samples]


def test_at_full_speed_the_actor_reads_by_itself(tmp_path: Path, work: Callable[..., Work]) -> None:
    with reading(partial(read, tmp_path), careful=False) as it:
        assert texts(it(work("a", "x", "y"))) == ["x", "y"]
    assert opened(tmp_path, "a") == [os.getpid()]


def test_careful_works_share_a_child_that_ends_with_the_call(tmp_path: Path, work: Callable[..., Work]) -> None:
    with reading(partial(read, tmp_path), careful=True) as it:
        assert texts(it(work("a", "x", "y"))) == ["x", "y"]
        assert texts(it(work("b"))) == []
        assert texts(it(work("c", "z"))) == ["z"]
    (pid,) = {*opened(tmp_path, "a"), *opened(tmp_path, "b"), *opened(tmp_path, "c")}
    assert pid != os.getpid()
    assert not Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize(("what", "how"), [("kill", "SIGKILL"), ("segfault", "SIGSEGV"), ("memory", "out of memory")])
def test_a_shard_that_kills_its_readers_is_given_up_and_the_next_is_read(
    tmp_path: Path, work: Callable[..., Work], carefully: Read, what: str, how: str
) -> None:
    chunks = carefully(work("a", "x", what, "y"))
    assert texts(iter([next(chunks)])) == ["x"]
    with pytest.raises(ShardError, match=rf"/in/a: its reading kills: {STARTS} processes.*chunk 1 of a.*{how}"):
        next(chunks)
    assert len(opened(tmp_path, "a")) == STARTS
    assert texts(carefully(work("b", "z"))) == ["z"]


def test_a_child_that_dies_once_costs_no_chunk(tmp_path: Path, work: Callable[..., Work], carefully: Read) -> None:
    """Of what it reads, or of a kill from outside between two chunks: its successor goes on where it was."""
    assert texts(carefully(work("a", "x", "once", "y"))) == ["x", "once", "y"]
    chunks = carefully(work("b", "x", "y"))
    before = texts(iter([next(chunks)]))
    os.kill(opened(tmp_path, "b")[0], signal.SIGKILL)
    assert before + texts(chunks) == ["x", "y"]


def test_what_the_storage_says_is_raised_here(work: Callable[..., Work], carefully: Read) -> None:
    for _ in range(2):
        chunks = carefully(work("a", "x", "refused"))
        assert texts(iter([next(chunks)])) == ["x"]
        with pytest.raises(UnavailableError, match="no answer"):
            next(chunks)
