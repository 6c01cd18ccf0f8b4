"""An output on S3 has its report there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import S3Bucket
from tests.report.outputs import CLASSIFICATION, make_output
from vision_batch.report.report import write_report
from vision_batch.storage.table import storage_for


@pytest.mark.s3
def test_the_page_of_an_output_on_s3(tmp_path: Path, moto_s3: S3Bucket) -> None:
    rows = {f"{n}.jpg": {"label": "cat", "label_index": 0, "score": 0.5} for n in range(3)}
    output = make_output(tmp_path, CLASSIFICATION, rows, output=f"{moto_s3.uri}/labels")
    place = write_report(output)
    assert place == f"{moto_s3.uri}/labels-report.html"
    page = storage_for(place).read(place).decode()
    assert page.count("<img ") == 3 * 3  # the least and the most certain of all, and those of the label
