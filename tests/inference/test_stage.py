"""What is begun ahead of those who wait for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vision_batch.errors import NotFoundError
from vision_batch.inference.stage import ahead


@given(st.integers(0, 12), st.integers(1, 5))
def test_as_many_are_begun_as_may_be_and_none_is_lost_or_moved(total: int, count: int) -> None:
    begun = 0

    def source() -> Iterator[int]:
        nonlocal begun
        for item in range(total):
            begun += 1
            yield item

    for taken, item in enumerate(ahead(source(), count)):
        assert item == taken
        assert begun == min(total, taken + count)
    assert begun == total


@pytest.mark.parametrize("count", [1, 3, 9])
def test_what_ends_the_source_costs_nothing_that_came_before(count: int) -> None:
    def source() -> Iterator[int]:
        yield from range(5)
        raise NotFoundError("s3://b/a.tar", "it is gone")

    taken = []
    with pytest.raises(NotFoundError, match="it is gone"):
        taken.extend(ahead(source(), count))
    assert taken == [0, 1, 2, 3, 4]
