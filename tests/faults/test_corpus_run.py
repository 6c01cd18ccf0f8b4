"""The corpus through real runs of the command, as a folder and as tars: every image has its row."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.faults.corpus import GOOD, MAX_PIXELS, images
from tests.faults.corpus_tars import DAMAGE, tars
from tests.integration.job import Job
from vision_batch.datasets.folder import FolderFormat
from vision_batch.ledger.verify import verify

pytestmark = pytest.mark.ray


def run(job: Job, *options: str) -> tuple[int, dict[str, Any]]:
    """Exit code and summary of a run on a Ray of its own."""
    command = [sys.executable, "-m", "vision_batch", "run", str(job.spec), "--json", *options]
    limits = ["-o", f"limits.max_pixels={MAX_PIXELS}"]
    ended = subprocess.run([*command, *limits], capture_output=True, text=True, check=False, timeout=240)
    assert ended.stdout, ended.stderr
    return ended.returncode, json.loads(ended.stdout.splitlines()[-1])


def codes(job: Job) -> list[tuple[str, str]]:
    """Image id and what became of it, in the order of shard and row."""
    rows = job.table().select(["image_id", "error_code"]).to_pylist()
    return [(row["image_id"], row["error_code"] or GOOD) for row in rows]


def test_as_a_folder(tmp_path: Path) -> None:
    job = Job(tmp_path, {})
    job.data.mkdir()
    cases = {case.name: case for case in images() if FolderFormat().is_member(case.name)}
    for case in cases.values():
        (job.data / case.name).write_bytes(case.data)
    exit_code, summary = run(job)
    found = codes(job)
    assert sorted(name for name, _ in found) == sorted(cases)
    assert {name: code for name, code in found if code not in cases[name].codes} == {}
    assert (exit_code, summary["status"]) == (3, "done")
    assert (summary["images_total"], summary["images_ok"]) == (len(cases), [code for _, code in found].count(GOOD))
    assert verify(str(job.output), deep=True).ok


def test_as_tars(tmp_path: Path) -> None:
    job = Job(tmp_path, {})
    job.data.mkdir()
    cases = list(tars())
    for case in cases:
        (job.data / case.name).write_bytes(case.data)
    exit_code, summary = run(job, "-o", "limits.max_error_fraction=1")
    expected = {(case.name.removesuffix(".tar"), key, code) for case in cases for key, code in case.rows}
    found = [(*image_id.split("/", 1), code) for image_id, code in codes(job)]
    told = {(tar, DAMAGE if key.startswith("damage at byte") else key, code) for tar, key, code in found}
    assert told == expected
    assert len(found) == summary["images_total"] == sum(len(case.rows) for case in cases)
    assert (exit_code, summary["status"]) == (0, "done")
    assert verify(str(job.output), deep=True).ok
