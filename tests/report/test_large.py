"""Millions of rows make no larger page, and take no more memory than few."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

MEASURE = """
import sys
from pathlib import Path
from vision_batch.report.report import render_report
page = render_report(sys.argv[1])
status = Path("/proc/self/status").read_text()  # getrusage would tell of the process that has started this one
print(len(page), int(status.partition("VmHWM:")[2].split()[0]) // 1024)
"""
FILE_ROWS = 500_000


def written(folder: Path, files: int) -> Path:
    """Classes, scores, sizes and some errors, at random; nearly as large as an output's own parts."""
    folder.mkdir()
    names = pa.array([f"class {number}" for number in range(1000)])
    for number in range(files):
        random = np.random.default_rng(number)
        failed = random.random(FILE_ROWS) < 0.01
        sides = [pa.array(random.integers(50, 5000, FILE_ROWS), pa.int32(), mask=failed) for _ in range(2)]
        columns = {
            "image_id": pa.array([f"{number}/{row}.jpg" for row in range(FILE_ROWS)]),
            "error_code": pa.array(np.full(FILE_ROWS, "empty"), pa.string(), mask=~failed),
            "width": sides[0],
            "height": sides[1],
            "label": names.take(pa.array(random.integers(0, 1000, FILE_ROWS), mask=failed)),
            "score": pa.array(random.random(FILE_ROWS), pa.float32(), mask=failed),
        }
        pq.write_table(pa.table(columns), folder / f"{number:03d}.parquet", row_group_size=1 << 16)
    return folder


def measured(folder: Path) -> tuple[int, int]:
    """Letters of the page, and the most memory that making it took, MiB."""
    command = [sys.executable, "-c", MEASURE, str(folder)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=240).stdout
    letters, memory = map(int, shown.split())
    return letters, memory


@pytest.mark.slow
def test_ten_times_the_rows_take_the_same_memory(tmp_path: Path) -> None:
    few, few_memory = measured(written(tmp_path / "few", 1))
    many, many_memory = measured(written(tmp_path / "many", 10))
    assert many < 1.1 * few < 500_000
    assert many_memory < few_memory + 100
    assert many_memory < 600
