"""What a run removes from an output, and when it must not."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.integration.job import Job, digits, write_folder
from tests.jobs.finished import complete
from tests.ledger.damage import flip_column
from vision_batch.errors import HeldError
from vision_batch.jobs.backlog import Backlog
from vision_batch.jobs.predict import run_predict
from vision_batch.jobs.prepare import prepare
from vision_batch.jobs.spec import load_spec
from vision_batch.ledger.definition import read_definition
from vision_batch.ledger.lease import held_lease
from vision_batch.ledger.patch import commit_patch


@pytest.mark.parametrize("holder", ["run-3", None])
def test_what_looks_stale_stays_when_the_plan_may_be_outdated(tmp_path: Path, holder: str | None) -> None:
    """A run that was suspended for long finds the parts of its successor; its own thread may not know of it yet."""
    job = Job(tmp_path, {})
    write_folder(job.data, digits(65))
    complete(job)
    (job.data / "00064.jpg").unlink()
    prepared = prepare(load_spec(job.spec, ()))
    if holder is None:
        with pytest.raises(HeldError):
            Backlog(prepared, "run-2", prune=True)
    else:
        with held_lease(prepared.paths, holder), pytest.raises(HeldError):
            Backlog(prepared, "run-2", prune=True)
    assert len(list(job.output.glob("*.parquet"))) == 2
    with held_lease(prepared.paths, "run-4"):
        Backlog(prepared, "run-4", prune=True)
    assert len(list(job.output.glob("*.parquet"))) == 1


def test_a_new_output_knows_the_names_of_its_classes(tmp_path: Path) -> None:
    job = Job(tmp_path, {})
    write_folder(job.data, digits(3))
    prepared = prepare(load_spec(job.spec, ("model.labels=[zero, one]",)))
    with held_lease(prepared.paths, "run-1"):
        Backlog(prepared, "run-1")
    claimed = read_definition(prepared.paths)
    assert claimed is not None
    assert claimed.labels == ("zero", "one")


def parts_of(job: Job) -> dict[str, Path]:
    paths = prepare(load_spec(job.spec, ())).paths
    return {key: Path(paths.part(key, 0)) for key in ("files-000001", "files-000002")}


def test_a_damaged_part_keeps_its_errors_and_no_other_from_being_retried(tmp_path: Path) -> None:
    job = Job(tmp_path, {})
    write_folder(job.data, digits(66))
    complete(job, failed=[0])
    part = parts_of(job)["files-000001"]
    flip_column(part, "row")
    prepared = prepare(load_spec(job.spec, ()))
    with held_lease(prepared.paths, "run-2"):
        backlog = Backlog(prepared, "run-2", retry=["empty"])
    assert [(work.shard.key, list(work.patches[0].rows)) for work in backlog.works()] == [("files-000002", [0])]
    (said,) = backlog.damaged
    assert str(part) in said
    assert "verify --repair" in said


def test_a_run_that_could_not_retry_all_is_incomplete_and_says_why(tmp_path: Path) -> None:
    job = Job(tmp_path, {})
    write_folder(job.data, digits(3))
    complete(job, failed=[0])
    (part,) = job.output.glob("*.parquet")
    flip_column(part, "row")
    summary = run_predict(load_spec(job.spec, ()), retry_errors=["empty"])
    assert (summary.status, summary.images_ok, summary.images_failed) == ("incomplete", 2, 1)
    assert any(str(part) in warning and "verify --repair" in warning for warning in summary.warnings)
    assert run_predict(load_spec(job.spec, ())).status == "done", "nobody has asked for its pages"


def test_a_damaged_part_that_a_file_is_pruned_from_is_computed_whole(tmp_path: Path) -> None:
    job = Job(tmp_path, {})
    write_folder(job.data, digits(70))
    complete(job)
    parts = parts_of(job)
    flip_column(parts["files-000001"], "label")
    (job.data / "00003.jpg").unlink()
    (job.data / "00069.jpg").unlink()
    prepared = prepare(load_spec(job.spec, ()))
    with held_lease(prepared.paths, "run-2"):
        backlog = Backlog(prepared, "run-2", prune=True)
    (work,) = backlog.works()
    assert (work.shard.key, work.patches, work.done_cells) == ("files-000001", (), frozenset())
    assert [info.uri for info in backlog.old_parts([work])["files-000001"]] == [str(parts["files-000001"])]
    assert pq.read_table(parts["files-000002"])["row"].to_pylist() == [0, 1, 2, 3, 4]


def test_what_groups_were_is_collected_when_nobody_needs_it_to_patch_their_parts(tmp_path: Path) -> None:
    job = Job(tmp_path, {})
    write_folder(job.data, digits(3))
    complete(job)
    prepared = prepare(load_spec(job.spec, ()))
    (before,) = Path(prepared.paths.plan).glob("*.members")
    (job.data / "00000.jpg").write_bytes(b"changed")
    with held_lease(prepared.paths, "run-2"):
        backlog = Backlog(prepared, "run-2")
        backlog.collect()
        assert before.exists()
        (work,) = backlog.works()
        table = pq.read_table(next(job.output.glob("*.parquet"))).slice(0, 1)
        commit_patch(prepared.paths, *work.patches, table, version=work.shard.version, run="run-2")
        backlog.trouble = "what stands there now could not be looked at"
        backlog.collect()
        assert before.exists()
        backlog.look_again()
        backlog.collect()
    assert not before.exists()
    assert len(list(Path(prepared.paths.plan).glob("*.members"))) == 1
