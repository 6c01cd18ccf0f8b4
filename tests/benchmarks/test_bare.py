from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.benchmarks.bare import DecodeLoop, WholeLoop
from tests.benchmarks.photos import make_jpegs, write_tars
from tests.benchmarks.work import SCHEMA

PREPROCESS = {"resize_px": [32, 32]}


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    write_tars(tmp_path / "data", make_jpegs(40, 30, 3), 5)
    return [str(path) for path in (tmp_path / "data").iterdir()]


def test_decode_loop_counts_what_it_decoded(files: list[str]) -> None:
    assert DecodeLoop(format="webdataset", preprocess=PREPROCESS).prepared(files)() == 5


def test_whole_loop_writes_a_row_for_every_image(files: list[str], tmp_path: Path) -> None:
    loop = WholeLoop(format="webdataset", preprocess=PREPROCESS, out=tmp_path / "out")
    assert loop.prepared(files)() == 5
    (part,) = (tmp_path / "out").iterdir()
    rows = pq.read_table(part)
    assert rows.schema.equals(SCHEMA)
    assert rows["image_id"].to_pylist() == [f"00000/{number:08d}" for number in range(5)]
    assert rows["label_index"].null_count == 0
