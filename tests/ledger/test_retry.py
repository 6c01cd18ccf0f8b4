"""Which rows are processed again when a user asks for error codes."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from tests.ledger.damage import flip_column
from tests.ledger.outputs import CELL_ROWS, Output, cell_table, new_output, sealed
from vision_batch.errors import PartError
from vision_batch.ledger.part import commit_part
from vision_batch.ledger.patch import Patch
from vision_batch.ledger.retry import with_retries
from vision_batch.ledger.row_set import RowSet


@pytest.fixture
def output(tmp_path: Path) -> Output:
    """Three groups of files; the second has failed at rows 1 and 3, the third at row 0."""
    output = new_output(tmp_path, images=3 * CELL_ROWS)
    for work, errors in zip(output.todo(), ([], [1, 3], [0]), strict=True):
        table = cell_table(work.shard.key, 0, CELL_ROWS, errors=errors)
        if errors:
            found = table["error_code"].to_pylist()
            codes = pa.array([code and ("truncated" if row == 3 else code) for row, code in enumerate(found)])
            table = table.set_column(table.schema.get_field_index("error_code"), "error_code", codes)
        commit_part(output.paths, table, sealed(table, shard=work.shard.key, version=work.shard.version))
    return output


def rows(output: Output, *codes: str, run: str = "run-2") -> dict[str, list[tuple[int, ...]]]:
    patches, damaged = with_retries({}, output.look().current, codes, run)
    assert not damaged
    assert all(patch.retried == len(patch.rows) for found in patches.values() for patch in found)
    return {shard: [tuple(patch.rows) for patch in found] for shard, found in patches.items()}


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ((), {}),
        (("missing",), {}),
        (("empty",), {"files-000002": [(1,)], "files-000003": [(0,)]}),
        (("truncated",), {"files-000002": [(3,)]}),
        (("empty", "truncated"), {"files-000002": [(1, 3)], "files-000003": [(0,)]}),
    ],
)
def test_exactly_the_rows_with_the_codes(
    output: Output, codes: tuple[str, ...], expected: dict[str, list[tuple[int, ...]]]
) -> None:
    assert rows(output, *codes) == expected


def test_what_the_run_itself_has_written_is_not_tried_for_ever(output: Output) -> None:
    assert rows(output, "empty", run="run-1") == {}


def test_parts_without_such_errors_are_not_opened(output: Output) -> None:
    state = output.look()
    Path(output.paths.part("files-000001", 0)).unlink()
    assert set(with_retries({}, state.current, ["empty"], "run-2")[0]) == {"files-000002", "files-000003"}


def test_a_part_that_was_replaced_since_is_left_to_the_next_look(output: Output) -> None:
    state = output.look()
    Path(output.paths.part("files-000003", 0)).unlink()
    assert set(with_retries({}, state.current, ["empty"], "run-2")[0]) == {"files-000002"}


def test_a_damaged_part_is_said_and_the_others_are_retried(output: Output) -> None:
    part = output.paths.part("files-000002", 0)
    flip_column(Path(part), "row")
    patches, (error,) = with_retries({}, output.look().current, ["empty", "truncated"], "run-2")
    assert set(patches) == {"files-000003"}
    assert (type(error), error.uri) == (PartError, part)
    assert "damaged" in error.message


def test_a_patch_of_a_changed_group_gets_the_error_rows_that_stay(output: Output) -> None:
    base = next(part for part in output.look().current if part.record.shard == "files-000002")
    changed = Patch(base=base, rows=RowSet.of((0, 1)), dropped=RowSet.of((2,)), added=1)
    patches, _ = with_retries({"files-000002": changed}, (), ["empty", "truncated"], "run-2")
    assert patches == {
        "files-000002": (Patch(base=base, rows=RowSet.of((0, 1, 3)), dropped=RowSet.of((2,)), added=1, retried=1),)
    }
    flip_column(Path(base.info.uri), "row")
    assert with_retries({"files-000002": changed}, (), ["empty"], "run-2") == ({}, []), "all of it is computed anyway"
