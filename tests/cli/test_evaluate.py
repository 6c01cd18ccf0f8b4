"""The `evaluate` command: a table for people, an object for programs, files for both."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.evaluation.classified import Classified, classified
from vision_batch.cli.main import main

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def case(tmp_path: Path) -> Classified:
    """Predictions with their own truth, and a column to slice by, in `p`."""
    case = classified(300, 12, failed=0.1)
    (tmp_path / "p").mkdir()
    rows = case.rows().append_column("input_site", pa.array(["north", "south", "north"] * 100))
    pq.write_table(rows, tmp_path / "p" / "p.parquet")
    return case


def test_a_person_sees_values_with_intervals_classes_slices_and_what_failed(
    case: Classified, tmp_path: Path, capsys: Capture
) -> None:
    options = ["--by", "input_site", "--bootstrap", "50"]
    assert main(["evaluate", str(tmp_path / "p"), *options]) == 0
    shown = capsys.readouterr().out.splitlines()
    failed = int(case.failed.sum())
    assert shown[0] == f"classification: 300 images with a truth, of which {failed} failed"
    (accuracy,) = [line for line in shown if line.startswith("  accuracy ")]
    right = ((case.predicted == case.truth) & ~case.failed).mean()
    assert accuracy.split()[1] == f"{right:.4f}"
    assert accuracy.split()[3] == "to"
    (heading,) = [line for line in shown if line.startswith("  class ")]
    assert heading.startswith("  class (10 worst of 12)")
    assert heading.split()[-6:] == ["average_precision", "roc_auc", "precision", "recall", "f1", "support"]
    assert [line.split()[0] for line in shown if line.startswith("  input_site=")] == [
        "input_site=north",
        "input_site=south",
    ]
    assert shown[-1] == f"  results     {tmp_path / 'p'}-evaluation"


def test_a_program_gets_one_object_and_the_files(case: Classified, tmp_path: Path, capsys: Capture) -> None:
    to = tmp_path / "to"
    assert main(["evaluate", str(tmp_path / "p"), "--bootstrap", "0", "--to", str(to), "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    found = json.loads(line)
    assert found["images"] == 300
    assert found["images_failed"] == case.failed.sum()
    assert found["output"] == str(to)
    table = pq.read_table(to / "metrics.parquet").to_pylist()
    of_all = {row["metric"]: row["value"] for row in table if row["class"] is row["slice"] is None}
    assert {name: value for name, value in of_all.items() if value is not None} == found["metrics"]


def test_the_truth_may_lie_elsewhere_in_columns_of_any_name(case: Classified, tmp_path: Path, capsys: Capture) -> None:
    rows = pq.read_table(tmp_path / "p" / "p.parquet")
    truth = rows.select(["image_id", "truth"]).slice(100).rename_columns(["key", "species"])
    pq.write_table(truth, tmp_path / "t.parquet")
    options = ["--truth", str(tmp_path / "t.parquet"), "--id-column", "key", "--truth-column", "species"]
    assert main(["evaluate", str(tmp_path / "p"), *options, "--bootstrap", "0"]) == 0
    shown = capsys.readouterr().out
    assert "classification: 200 images with a truth" in shown
    assert "  left out    100 images that have no truth" in shown


def test_foreign_labels_do_nothing_to_the_terminal(tmp_path: Path, capsys: Capture) -> None:
    hostile = ["\x1b[31mred\x1b[0m", "two\nlines", "x" * 300]
    rows = pa.table({"image_id": ["1", "2", "3"], "label": hostile, "truth": hostile, "site": hostile})
    pq.write_table(rows, tmp_path / "p.parquet")
    assert main(["evaluate", str(tmp_path / "p.parquet"), "--by", "site", "--bootstrap", "0"]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "two\ufffdlines" in out
    assert "x" * 50 not in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--by", "site"], "evaluate.by: found no column 'site'"),
        (["--bootstrap", "-1"], "bootstrap: found the number -1"),
        (["--failed", "maybe"], "failed: found 'maybe'"),
        (["--truth", "nowhere"], "expected where the truth is"),
        (["--to", "p/inside"], "--to: found"),
    ],
)
@pytest.mark.usefixtures("case")
def test_what_is_wrong_is_said_before_anything_is_written(
    options: list[str], message: str, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", "p", *options]) == 2
    assert message in capsys.readouterr().err
    assert [entry.name for entry in tmp_path.iterdir()] == ["p"]


def test_predictions_that_are_not_there_are_said_too(tmp_path: Path, capsys: Capture) -> None:
    assert main(["evaluate", str(tmp_path / "p")]) == 2
    assert "expected a Parquet file, folder or glob" in capsys.readouterr().err


@pytest.mark.usefixtures("case")
def test_neither_torch_nor_ray_is_imported(tmp_path: Path) -> None:
    code = (
        "import sys; from vision_batch.cli.main import main; main(sys.argv[1:]);"
        "assert {'torch', 'ray'}.isdisjoint(sys.modules)"
    )
    command = [sys.executable, "-c", code, "evaluate", str(tmp_path / "p"), "--bootstrap", "2"]
    subprocess.run(command, check=True, timeout=60)


@pytest.mark.usefixtures("case")
@pytest.mark.parametrize("command", [["evaluate", "p"], ["compare", "p", "p"]])
def test_sigterm_ends_it_in_order(command: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def stopped(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(f"vision_batch.evaluation.{command[0]}.{command[0]}", stopped)
    assert main(command) == 130
