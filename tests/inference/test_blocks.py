"""Works are dealt out in order, each once, in few blocks that get smaller towards the end."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from vision_batch.datasets.shard import Shard
from vision_batch.inference.blocks import runs, work_blocks, works_of
from vision_batch.ledger.state import Work


@given(st.integers(0, 200_000), st.integers(1, 3_000))
def test_every_work_is_dealt_once_and_in_order(count: int, readers: int) -> None:
    dealt = list(runs(count, readers))
    assert all(start < stop for start, stop in dealt)
    assert all(before[1] == after[0] for before, after in pairwise(dealt))
    assert count == 0 or (dealt[0][0], dealt[-1][1]) == (0, count)


@given(st.integers(1, 200_000), st.integers(1, 3_000))
def test_no_block_is_a_large_share_of_what_is_left(count: int, readers: int) -> None:
    for start, stop in runs(count, readers):
        assert stop - start <= max(1, (count - start) / (2 * readers))


def test_a_few_shards_are_a_block_each() -> None:
    assert list(runs(1000, 2)) == [(number, number + 1) for number in range(1000)]


def test_very_many_shards_are_few_blocks_and_the_last_are_small() -> None:
    sizes = [stop - start for start, stop in runs(100_000, 2)]
    assert 1000 <= len(sizes) < 1050
    assert sizes == sorted(sizes, reverse=True)
    assert (sizes[0], sizes[-4:]) == (100, [1, 1, 1, 1])


def test_a_block_is_one_row_of_works() -> None:
    shards = [Shard(key=f"{number}.tar", input_name="", root="/in", format="webdataset") for number in range(2500)]
    works = [Work(shard=shard, done_cells=frozenset()) for shard in shards]
    blocks = work_blocks(works, 2)
    assert [work for block in blocks for work in works_of(block)] == works
    assert (blocks[0].num_rows, len(works_of(blocks[0]))) == (1, 3)
