"""Two minutes of chaos leave every image with its one row; and what chaos looks for it finds."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.faults.chaos_dataset import DATASETS, GOOD, Dataset, Links, Tars, contents
from tests.faults.chaos_place import LocalPlace
from tests.faults.chaos_processes import RunProcess
from tests.faults.chaos_table import look, wrong_ending, wrong_rows

REFERENCE: list[dict[str, Any]] = [
    {"label": str(number), "score": number / 1000, "error_code": None, "width": 32, "height": 32}
    for number in range(len(contents()))
]


@pytest.mark.ray
@pytest.mark.timeout(900)
def test_two_minutes_of_chaos(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.faults.chaos", "--minutes", "2", "--folder", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "violations: 0" in done.stdout
    assert not list(tmp_path.iterdir())


def a_dataset(folder: Path, kind: type[Dataset] = Tars) -> Dataset:
    return kind(LocalPlace(folder), random.Random(0))


def write_table(folder: Path, dataset: Dataset, *changes: dict[str, Any]) -> None:
    """The right table in two parts; `changes` are merged into its first rows."""
    rows = [
        {"shard": "a", "row": number, "image_id": image_id, **REFERENCE[content]}
        for number, (image_id, content) in enumerate(sorted(dataset.current.items()))
    ]
    for row, change in zip(rows, changes, strict=False):
        row.update(change)
    (folder / "out").mkdir(exist_ok=True)
    table = pa.Table.from_pylist(rows)
    for part, some in enumerate((table.slice(0, 100), table.slice(100))):
        pq.write_table(some, folder / "out" / f"part-{part}.parquet")


def findings(folder: Path, dataset: Dataset) -> tuple[list[str], list[str]]:
    """What is wrong with the table in mid-run and at the end."""
    seen = look(LocalPlace(folder))
    return list(wrong_rows(seen, dataset, REFERENCE)), list(wrong_ending(seen, dataset.current, REFERENCE))


@pytest.mark.parametrize("kind", DATASETS)
def test_the_right_table_passes(tmp_path: Path, kind: type[Dataset]) -> None:
    dataset = a_dataset(tmp_path, kind)
    write_table(tmp_path, dataset, {"score": REFERENCE[next(iter(dataset.current.values()))]["score"] + 5e-6})
    assert findings(tmp_path, dataset) == ([], [])


def test_rows_that_are_missing_are_found_at_the_end(tmp_path: Path) -> None:
    dataset = a_dataset(tmp_path)
    write_table(tmp_path, dataset)
    (tmp_path / "out" / "part-0.parquet").unlink()
    meanwhile, ending = findings(tmp_path, dataset)
    assert meanwhile == []
    assert any("200 rows for 300 images" in finding for finding in ending)
    assert any("100 images missing" in finding for finding in ending)


def test_rows_that_are_there_twice_are_found_at_once(tmp_path: Path) -> None:
    dataset = a_dataset(tmp_path)
    write_table(tmp_path, dataset)
    (tmp_path / "out" / "copy.parquet").write_bytes((tmp_path / "out" / "part-0.parquet").read_bytes())
    meanwhile, _ = findings(tmp_path, dataset)
    assert [finding.split(":")[0] for finding in meanwhile] == [
        "100 rows twice by ('image_id',)",
        "100 rows twice by ('shard', 'row')",
    ]


@pytest.mark.parametrize("change", [{"label": "x"}, {"score": 2.0}, {"width": None}, {"image_id": "nobody"}])
def test_a_wrong_row_is_found_at_once(tmp_path: Path, change: dict[str, Any]) -> None:
    dataset = a_dataset(tmp_path)
    write_table(tmp_path, dataset, change)
    meanwhile, ending = findings(tmp_path, dataset)
    assert len(meanwhile) == 1
    assert ending


@pytest.mark.parametrize("kind", DATASETS)
def test_an_earlier_prediction_is_right_until_the_end(tmp_path: Path, kind: type[Dataset]) -> None:
    dataset = a_dataset(tmp_path, kind)
    write_table(tmp_path, dataset)
    dataset.change()
    meanwhile, ending = findings(tmp_path, dataset)
    assert meanwhile == []
    assert ending


@pytest.mark.parametrize("kind", DATASETS)
def test_an_error_may_be_seen_until_its_image_is_mended(tmp_path: Path, kind: type[Dataset]) -> None:
    dataset = a_dataset(tmp_path, kind)
    write_table(tmp_path, dataset)
    for _ in range(30):
        dataset.mend()
    assert max(dataset.current.values()) < GOOD
    meanwhile, ending = findings(tmp_path, dataset)
    assert meanwhile == []
    assert ending
    write_table(tmp_path, dataset)
    assert findings(tmp_path, dataset) == ([], [])


def test_a_mended_picture_leaves_the_table_that_names_it_alone(tmp_path: Path) -> None:
    dataset = a_dataset(tmp_path, Links)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "data").glob("*.parquet")}
    dataset.mend()
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert dataset.awaits_retry
    dataset.change()
    assert {path: path.stat().st_mtime_ns for path in before} != before


@pytest.mark.parametrize("kind", DATASETS)
def test_rows_of_what_was_removed_are_wrong_at_the_end_only(tmp_path: Path, kind: type[Dataset]) -> None:
    dataset = a_dataset(tmp_path, kind)
    write_table(tmp_path, dataset)
    dataset.remove()
    meanwhile, ending = findings(tmp_path, dataset)
    assert meanwhile == []
    assert any("50 images not of the input" in finding for finding in ending)


def test_an_input_is_never_empty(tmp_path: Path) -> None:
    dataset = a_dataset(tmp_path)
    for _ in range(20):
        dataset.remove()
    assert dataset.current


def test_a_part_that_is_not_whole_cannot_be_read(tmp_path: Path) -> None:
    write_table(tmp_path, a_dataset(tmp_path))
    part = tmp_path / "out" / "part-0.parquet"
    part.write_bytes(part.read_bytes()[:-10])
    with pytest.raises(pa.ArrowException):
        look(LocalPlace(tmp_path))


def test_the_processes_of_a_command_are_found_and_killed(tmp_path: Path) -> None:
    run = RunProcess(["--help"], tmp_path / "log.txt", {})
    assert run.wait(60) == 0
    assert "verify" in run.said()
    assert run.processes() == []
    run = RunProcess(["schema"], tmp_path / "log.txt", {})
    assert [process.role for process in run.processes()] in ([], ["leader"])
    assert run.kill_all() <= 1
    assert run.exit_code in (0, -9)
