"""`vision-batch export`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.export.predicted import BOXES, CLASSIFIED, ERROR, box, classified, pictures, predicted
from vision_batch.cli.exit_code import ExitCode
from vision_batch.cli.main import main


def test_what_was_written_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = pictures(tmp_path / "in", "a.png", "b.png")
    rows = {"a.png": {"boxes": [box(0, 0, 1, 1)]}, "b.png": ERROR}
    output = predicted(tmp_path, settings, [BOXES], rows.__getitem__)
    to = str(tmp_path / "to")
    assert main(["export", output, "--format", "yolo", "--to", to, "--json"]) == ExitCode.DONE
    captured = capsys.readouterr()
    told = {"images": 1, "annotations": 1, "left_out": 0, "errors": {"empty": 1}}
    assert json.loads(captured.out) == {"format": "yolo", "to": to, "files": 3, **told}
    assert captured.err.splitlines() == [
        f"{to}: 1 images, 1 annotations in 3 files",
        "  error       1 empty; listed in _errors.csv",
    ]


def test_images_that_could_not_be_copied_make_it_incomplete(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = predicted(tmp_path, pictures(tmp_path / "in", "a.png"), CLASSIFIED, lambda name: classified(score=0.25))
    arguments = ["export", output, "--format", "folders", "--to", str(tmp_path / "to")]
    assert main([*arguments, "--min-score", "0.5"]) == ExitCode.DONE
    assert "left out    1 images of a lower score" in capsys.readouterr().out
    (tmp_path / "in" / "a.png").unlink()
    assert main(arguments) == ExitCode.INCOMPLETE
    assert "error       1 not_copied" in capsys.readouterr().out


def test_what_does_not_fit_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = predicted(tmp_path, pictures(tmp_path / "in", "a.png"), CLASSIFIED, lambda name: classified())
    assert main(["export", output, "--format", "coco", "--to", str(tmp_path / "to")]) == ExitCode.WRONG
    fitting = "csv, labelstudio, folders, webdataset"
    assert f"expected for these predictions {fitting}" in capsys.readouterr().err
    assert main(["export", str(tmp_path / "no"), "--format", "csv", "--to", str(tmp_path / "to")]) == ExitCode.WRONG
    assert not (tmp_path / "to").exists()
