"""The `compare` command: lines for people, an object for programs, Parquet of what changed."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vision_batch.cli.main import main
from vision_batch.evaluation import changed_images

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def outputs(tmp_path: Path) -> list[str]:
    ids = [f"{number}.jpg" for number in range(40)]
    truth = ["cat", "dog"] * 20
    labels = {"a": ["cat"] * 40, "b": [*truth[:38], None, "dog"]}
    for name, of in labels.items():
        (tmp_path / name).mkdir()
        codes = pa.array([None if label else "truncated" for label in of], pa.string())
        table = pa.table({"image_id": ids, "error_code": codes, "label": of})
        pq.write_table(table.slice(1) if name == "b" else table, tmp_path / name / "p.parquet", row_group_size=25)
    pq.write_table(pa.table({"image_id": ids, "label": truth}), tmp_path / "truth.parquet")
    return [str(tmp_path / name) for name in labels]


def test_a_person_sees_what_changed_and_which_is_better(outputs: list[str], tmp_path: Path, capsys: Capture) -> None:
    assert main(["compare", *outputs, "--truth", str(tmp_path / "truth.parquet"), "--bootstrap", "100"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "classification: 39 images in both, 20 changed"
    assert "  1           images only in A" in shown
    assert "  1           failed only in B" in shown
    assert "  20          cat -> dog: 1.jpg, 3.jpg, 5.jpg" in shown
    assert "by the truth of 39 images: B is better in accuracy, by more than noise" in shown
    assert any(line.startswith("  accuracy                     0.4872 -> 0.9744  +0.4872 (95 %: +0.") for line in shown)
    assert "  McNemar's test: 1 only A has right, 20 only B; p = 2.1e-05" in shown


def test_a_program_gets_one_object_and_parquet(
    outputs: list[str], tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    to = tmp_path / "to"
    monkeypatch.setattr(changed_images, "ROWS", 1)
    assert main(["compare", *outputs, "--to", str(to), "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    found = json.loads(line)
    assert (found["images"], found["changed"], found["agreement"]["same_label"]) == (39, 20, pytest.approx(18 / 38))
    assert found["judgement"] is None
    assert json.loads((to / "comparison.json").read_text()) == found
    assert sorted(file.name for file in to.iterdir()) == [
        "changed-000000.parquet",
        "changed-000001.parquet",
        "comparison.json",
    ]
    rows = pq.read_table(sorted(map(str, to.glob("*.parquet")))).to_pylist()
    assert len(rows) == 21
    assert rows[0] == {"image_id": "1.jpg", "a": "cat", "b": "dog", "agreement": 0.0}
    assert {"image_id": "38.jpg", "a": None, "b": "truncated", "agreement": None} in rows

    monkeypatch.undo()
    assert main(["compare", *outputs, "--to", str(to)]) == 0
    assert f"  results     {to}\n" in capsys.readouterr().out
    assert sorted(file.name for file in to.glob("*.parquet")) == ["changed-000000.parquet"]
    assert len(pq.read_table(to / "changed-000000.parquet")) == 21


def test_results_are_not_written_among_predictions(outputs: list[str], capsys: Capture) -> None:
    assert main(["compare", *outputs, "--to", f"{outputs[0]}/changed"]) == 2
    assert "expected a folder that is not in" in capsys.readouterr().err


def test_a_truth_is_told_as_evaluate_is(outputs: list[str], tmp_path: Path, capsys: Capture) -> None:
    known = pq.read_table(tmp_path / "truth.parquet").rename_columns(["file", "category"])
    pq.write_table(known, tmp_path / "known")
    columns = ["--truth-column", "category", "--id-column", "file", "--truth-format", "parquet"]
    truth = ["--truth", str(tmp_path / "known"), *columns]
    assert main(["compare", *outputs, *truth, "--bootstrap", "0", "--json"]) == 0
    first = json.loads(capsys.readouterr().out)["judgement"]["differences"][0]
    assert (first["metric"], first["a"]) == ("accuracy", pytest.approx(19 / 39))
    assert main(["compare", *outputs, *columns]) == 2
    expected = "--truth: found nothing, with --truth-format, --truth-column, --id-column; expected the URI of the truth"
    assert expected in capsys.readouterr().err
