"""A folder of masks as truth."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from vision_batch.errors import SpecError
from vision_batch.evaluation import truth_masks
from vision_batch.evaluation.settings import TruthSettings
from vision_batch.evaluation.truth import open_truth


def test_masks_are_called_by_their_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(truth_masks, "BATCH_BYTES", 3)
    for name in ("b/2.png", "a.tar/1.PNG", "b/notes.txt", "b/3.x.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name[-5:].encode())
    truth = open_truth(TruthSettings(uri=str(tmp_path)), "mask_png")
    batches = list(truth.batches([]))
    assert [batch.num_rows for batch in batches] == [1, 1, 1]
    assert pa.Table.from_batches(batches).to_pydict() == {
        "image_id": ["a.tar/1.PNG", "b/2.png", "b/3.x.png"],
        "truth": [b"1.PNG", b"2.png", b"x.png"],
    }
    assert truth.by_file_name


def test_a_folder_without_masks_is_no_truth(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    truth = open_truth(TruthSettings(uri=str(tmp_path)), "mask_png")
    with pytest.raises(SpecError, match="without PNGs"):
        list(truth.batches([]))


def test_masks_tell_pixels_only(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="a truth that has boxes"):
        open_truth(TruthSettings(uri=str(tmp_path), format="masks"), "boxes")
