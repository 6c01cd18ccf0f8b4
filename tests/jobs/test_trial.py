"""A trial takes the first N images, whatever the shards they are in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.integration.job import Job, digits, write_folder, write_parquet, write_tar
from vision_batch.datasets.shard import Shard
from vision_batch.jobs.forecast import plan_input
from vision_batch.jobs.prepare import Prepared, prepare
from vision_batch.jobs.spec import load_spec
from vision_batch.jobs.trial import row_limits
from vision_batch.ledger.definition import CELL_ROWS
from vision_batch.storage.object_info import ObjectInfo


def limits(job: Job, limit: int | None) -> dict[str, int] | None:
    prepared = prepare(load_spec(job.spec), limit=limit)
    return row_limits(prepared, plan_input(prepared, cell_rows=CELL_ROWS).shards)


@pytest.fixture
def tars(tmp_path: Path) -> Job:
    """Three tars of ten images."""
    job = Job(tmp_path, {})
    for name in "abc":
        write_tar(job.data / f"{name}.tar", digits(10))
    return job


@pytest.mark.parametrize(
    ("limit", "taken"),
    [
        (None, None),
        (1, {"a.tar": 1}),
        (10, {"a.tar": 10}),
        (11, {"a.tar": 10, "b.tar": 1}),
        (30, {"a.tar": 10, "b.tar": 10, "c.tar": 10}),
        (1000, {"a.tar": 10, "b.tar": 10, "c.tar": 10}),
    ],
)
def test_tars_are_read_as_far_as_the_limit_reaches(tars: Job, limit: int | None, taken: dict[str, int] | None) -> None:
    assert limits(tars, limit) == taken


def test_tars_beyond_the_limit_are_not_opened(tars: Job) -> None:
    (tars.data / "b.tar").write_bytes(b"no tar at all")
    assert limits(tars, 10) == {"a.tar": 10}


def test_the_error_row_of_a_damaged_tar_is_an_image_like_others(tars: Job) -> None:
    path = tars.data / "a.tar"
    path.write_bytes(path.read_bytes()[:2000])
    counted = limits(tars, 1000)
    assert counted is not None
    assert 1 <= counted.pop("a.tar") < 10
    assert counted == {"b.tar": 10, "c.tar": 10}


def test_parquet_files_say_how_many_rows_they_have(tmp_path: Path) -> None:
    job = Job(tmp_path, {})
    for name, rows in (("a", 7), ("b", 5)):
        write_parquet(job.data / f"{name}.parquet", digits(rows))
    taken = limits(job, 9)
    assert taken is not None
    assert list(taken.values()) == [7, 2]


def test_files_of_a_folder_are_taken_in_order(tmp_path: Path) -> None:
    job = Job(tmp_path, {})
    write_folder(job.data, digits(100))
    assert limits(job, 70) == {"files-000001": 64, "files-000002": 6}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    job = Job(tmp_path_factory.mktemp("job"), {})
    write_folder(job.data, digits(1))
    return prepare(load_spec(job.spec))


@given(rows=st.lists(st.integers(0, 50)), limit=st.integers(1, 500))
def test_the_first_images_are_taken_and_no_others(prepared: Prepared, rows: list[int], limit: int) -> None:
    shards = [
        Shard(key=f"{number}", input_name="", root="/in", format="folder", files=(), rows=count)
        for number, count in enumerate(rows)
    ]
    taken = row_limits(replace(prepared, limit=limit), shards)
    assert taken is not None
    images = [(shard.key, row) for shard in shards for row in range(shard.rows or 0)]
    assert [(key, row) for key, count in taken.items() for row in range(count)] == images[:limit]


def test_a_shard_that_was_counted_is_not_read_again(prepared: Prepared) -> None:
    gone = ObjectInfo(uri="/in/gone.tar", size_bytes=1, version="1")
    shard = Shard(key="gone.tar", input_name="", root="/in", format="webdataset", files=(gone,), rows=4)
    assert row_limits(replace(prepared, limit=3), [shard]) == {"gone.tar": 3}
