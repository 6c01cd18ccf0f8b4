"""A folder per class with copies of its images."""

from __future__ import annotations

from vision_batch.export.copied_image import copied_name
from vision_batch.export.job import Job
from vision_batch.export.row import is_below
from vision_batch.export.safe_name import safe_part


def write(job: Job) -> None:
    """`<label>/<image>`, where no image lies deeper: folders of its id are escaped in its name."""
    for row in job.rows_with_images():
        if is_below(row, job.options.min_score):
            job.left_out += 1
            continue
        assert row.data is not None
        name = copied_name(row.image_id, row.data, flat=True)
        job.put(row, [(f"{safe_part(row.values['label'])}/{name}", row.data)], lambda: job.count(annotations=1))
