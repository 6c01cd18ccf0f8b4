"""Ended jobs are remembered by number and by time; others are never removed."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from vision_batch.cluster import job_history
from vision_batch.cluster.job_folder import ASIDE, JobFolder
from vision_batch.cluster.job_history import KEPT_JOBS, KEPT_S, LEFT_S, clean
from vision_batch.ledger.holder import Holder, this_process

LONG_AGO_S = KEPT_S + 60


def job(folder: Path, name: str, begun_by: Holder | None = None) -> JobFolder:
    """One that was submitted and, where somebody is given, begun, each long ago."""
    made = JobFolder(folder / name)
    made.create({}, {})
    if begun_by is not None:
        made.claim(begun_by)
        os.utime(made.path / "process.json", (time.time() - LONG_AGO_S,) * 2)
    return made


def ended(folder: Path, name: str, ago_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    made = job(folder, name, this_process())
    then = time.time() - ago_s
    with monkeypatch.context() as patched:
        patched.setattr("vision_batch.cluster.job_folder.time.time", lambda: then)
        made.end(0)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_last_that_ended_and_all_that_ended_lately_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert KEPT_JOBS == 200
    monkeypatch.setattr(job_history, "KEPT_JOBS", 3)
    for name, ago_s in {"z": LONG_AGO_S + 3, "y": LONG_AGO_S + 2, "x": LONG_AGO_S + 1, "w": LONG_AGO_S}.items():
        ended(tmp_path, name, ago_s, monkeypatch)
    clean(tmp_path)
    assert names(tmp_path) == {"y", "x", "w"}
    for name in ("a", "b", "c", "d"):
        ended(tmp_path, name, KEPT_S - 60, monkeypatch)
    clean(tmp_path)
    assert names(tmp_path) == {"a", "b", "c", "d"}


def test_a_job_that_vanished_ended_with_its_last_beat_and_no_other_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_history, "KEPT_JOBS", 1)
    here = this_process()
    gone = Holder(host=here.host, boot=here.boot, pid_namespace=here.pid_namespace, pid=here.pid, ticks=here.ticks + 1)
    ended(tmp_path, "ended", LONG_AGO_S, monkeypatch)
    ended(tmp_path, "the last", 0.0, monkeypatch)
    job(tmp_path, "vanished", gone)
    job(tmp_path, "running", here)
    job(tmp_path, "waiting")
    (tmp_path / "somebody's").mkdir()
    clean(tmp_path)
    assert names(tmp_path) == {"the last", "running", "waiting", "somebody's"}


def test_what_killed_processes_left_half_made_or_half_removed_goes_in_the_end(tmp_path: Path) -> None:
    old, young = (tmp_path / f"{ASIDE}{age}" for age in ("old", "young"))
    for folder in (old, young):
        (folder / "package").mkdir(parents=True)
    os.utime(old, (time.time() - LEFT_S - 60,) * 2)
    clean(tmp_path)
    assert names(tmp_path) == {young.name}
