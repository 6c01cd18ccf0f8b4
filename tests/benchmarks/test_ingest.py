"""The benchmark of training input itself, with few images."""

from __future__ import annotations

from pathlib import Path

from tests.benchmarks.ingest import BATCH_IMAGES, ImageFiles, open_ingest, prepare, real_over_resident


def test_both_sides_make_the_same_images(tmp_path: Path) -> None:
    prepare(tmp_path, 70)
    assert len(ImageFiles(tmp_path)) == 70
    pixels, label = ImageFiles(tmp_path)[69]
    assert (tuple(pixels.shape), label) == ((224, 224, 3), 1)
    ingest = open_ingest(tmp_path)
    batches = list(ingest.batches(epoch=0, start=0, rank=0, workers=1, batch_images=BATCH_IMAGES))
    ingest.close()
    assert [batch.pixels.shape for batch in batches] == [(64, 224, 224, 3), (6, 224, 224, 3)]
    assert 0 < real_over_resident(tmp_path) <= 1
