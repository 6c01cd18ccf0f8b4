"""The `run` command as a process: exit codes, JSON, interrupts, and what a finished job costs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.chaos_processes import RunProcess
from tests.integration.job import MODEL, Job, digits, write_folder, write_tar
from vision_batch.cli.main import main
from vision_batch.cluster.local_jobs import LocalJobs
from vision_batch.cluster.progress import last_progress
from vision_batch.ledger.lease import Lease
from vision_batch.ledger.paths import LedgerPaths

MakeJob = Callable[..., Job]


def command(job: Job, *arguments: str, **options: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "vision_batch", "run", str(job.spec), "--json", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=job.folder,
    )


def finish(process: subprocess.Popen[str], timeout: float = 120) -> tuple[int, dict[str, object], str]:
    with process:
        out, err = process.communicate(timeout=timeout)
    assert out, err
    return process.returncode, json.loads(out.splitlines()[-1]), err


@pytest.mark.ray
def test_a_run_on_a_fresh_local_ray(job: MakeJob) -> None:
    it = job(limits={"max_error_fraction": 0.0})
    write_folder(it.data, digits(30))
    (it.data / "bad.jpg").write_bytes(b"no picture")
    code, summary, err = finish(command(it, "--progress", "--report"))
    assert code == 3, err
    assert summary["report"] == f"{it.output}-report.html"
    page = Path(f"{it.output}-report.html").read_text("utf-8")
    assert "The input has 31 images and the output 31 rows: one for each image." in page
    assert page.count("<img ") > 30
    assert (summary["images_ok"], summary["images_failed"], summary["status"]) == (30, 1, "done")
    assert summary["first_batch_seconds"] is not None
    assert (summary["cpus"] >= 1, summary["gpus"]) == (True, 0)
    progress = last_progress(err.splitlines())
    assert progress is not None
    assert (progress.images_total, progress.images_done, progress.images_failed) == (31, 31, 1)
    assert (progress.shards_total, progress.shards_done, progress.seconds_left) == (1, 1, 0)
    assert "max_error_fraction" in err
    assert "core_worker" not in err
    assert "Traceback" not in err


@pytest.mark.ray
def test_a_finished_job_starts_no_ray_and_loads_no_torch(job: MakeJob, ray_address: str) -> None:
    it = job()
    write_folder(it.data, digits(30))
    it.run(ray_address)
    script = (
        "import sys; from vision_batch.cli.main import main; "
        f"code = main(['run', {str(it.spec)!r}]); "
        "loaded = {'ray', 'torch', 'cv2', 's3fs'} & set(sys.modules); assert not loaded, loaded; sys.exit(code)"
    )
    before = os.times()
    subprocess.run([sys.executable, "-c", script], check=True, stdout=subprocess.DEVNULL, timeout=60)
    after = os.times()
    cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
    assert cpu_s < 2  # what it takes on an idle machine; how long it takes on this one says nothing


@pytest.mark.ray
def test_a_terminated_run_keeps_what_is_whole_and_resumes(
    job: MakeJob, tmp_path: Path, ray_address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a job of this machine, which `stop` terminates. A batch takes a second as long as a file says so."""
    slow = tmp_path / "slow"
    slow.touch()
    wait = f"import os, time; os.path.exists({str(slow)!r}) and time.sleep(1)"
    it = job(code=MODEL.replace("return self.layers", f"{wait}\n        return self.layers"))
    for shard in range(30):
        write_tar(it.data / f"{shard}.tar", digits(20))
    monkeypatch.setenv("XDG_STATE_HOME", str(it.folder / "state"))
    (it.folder / "here.yaml").write_text("kind: local")
    cluster = ["--cluster", str(it.folder / "here.yaml"), "--json"]
    assert main(["submit", str(it.spec), "-o", "compute.batch_size=20", *cluster]) == 0
    job_id = json.loads(capsys.readouterr().out)["job_id"]
    jobs = LocalJobs()
    deadline = time.monotonic() + 90
    while not list(it.output.glob("*.parquet")):
        assert time.monotonic() < deadline, "no part appeared"
        assert jobs.info(job_id).state == "running", list(jobs.logs(job_id, follow=False))
        time.sleep(0.1)
    start = time.monotonic()
    assert main(["stop", job_id, *cluster]) == 0
    stopped = json.loads(capsys.readouterr().out)
    assert time.monotonic() - start < 20
    assert (stopped["state"], stopped["exit_code"]) == ("stopped", 130)
    progress = last_progress(jobs.logs(job_id, follow=False))
    assert progress is not None
    assert 0 < progress.images_done < 600
    slow.unlink()
    resumed = it.run(ray_address)
    assert (resumed.status, resumed.images_ok) == ("done", 600)
    assert resumed.images_resumed > 0


@pytest.mark.ray
def test_a_run_that_is_terminated_while_ray_starts_is_interrupted(job: MakeJob) -> None:
    it = job()
    write_folder(it.data, digits(30))
    run = RunProcess(["run", str(it.spec), "--json"], it.folder / "log.txt", {})
    try:
        while not run.processes("gcs"):
            assert run.exit_code is None, run.said()
            time.sleep(0.01)
        run.terminate()
        assert run.wait(60) == 130
        assert json.loads(run.said().splitlines()[-1])["status"] == "interrupted"
    finally:
        run.kill_all()


@pytest.mark.ray
def test_a_run_that_lost_its_lease_ends_and_leaves_the_next_one_alone(job: MakeJob) -> None:
    """As it is when a machine was suspended, and another one has followed."""
    it = job(code=MODEL.replace("return self.layers", "import time; time.sleep(0.3)\n        return self.layers"))
    for shard in range(30):
        write_tar(it.data / f"{shard}.tar", digits(40))
    paths = LedgerPaths(str(it.output))
    process = command(it, "-o", "compute.batch_size=20")
    deadline = time.monotonic() + 90
    while not list(it.output.glob("*.parquet")):
        assert time.monotonic() < deadline, "no part appeared"
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    Path(paths.lease).unlink()
    next_run = Lease(paths, "next")
    next_run.take(print, patience_s=0)
    taken = Path(paths.lease).read_bytes()
    code, summary, err = finish(process)
    assert (code, summary["exit_code"]) == (5, 5)
    assert "run next" in err
    assert Path(paths.lease).read_bytes() == taken
    assert len(list(it.output.glob("*.parquet"))) < 30


def refused(job: Job, *arguments: str) -> str:
    """What is said, in the words of standard error, when nothing may be started."""
    code, summary, err = finish(command(job, *arguments), timeout=60)
    assert code == 2, err
    assert summary["problems"], summary
    return err


def test_an_empty_input_is_refused(job: MakeJob) -> None:
    it = job()
    it.data.mkdir()
    assert "input" in refused(it)


def test_an_input_that_does_not_exist_is_refused(job: MakeJob) -> None:
    assert "data" in refused(job())


def test_a_folder_of_other_files_is_refused(job: MakeJob) -> None:
    it = job()
    it.data.mkdir()
    (it.data / "notes.txt").write_text("no image")
    assert "txt" in refused(it)


def test_a_parquet_without_the_image_column_is_refused(job: MakeJob) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    it = job()
    it.data.mkdir()
    pq.write_table(pa.table({"picture": [b"x"]}), it.data / "a.parquet")
    assert "picture" in refused(it)


def test_every_problem_of_a_spec_is_told_at_once(job: MakeJob) -> None:
    it = job(preproces={"crop_px": 3}, task={"type": "clasification"}, output={"uri": "data/out"})
    err = refused(it)
    assert "preprocess" in err
    assert "classification" in err


def test_an_output_inside_the_input_is_refused(job: MakeJob) -> None:
    it = job(output={"uri": "data/out"})
    write_folder(it.data, digits(1))
    assert "output.uri" in refused(it)


def test_an_output_that_cannot_be_written_is_refused(job: MakeJob) -> None:
    it = job(output={"uri": "/proc/nowhere"})
    write_folder(it.data, digits(1))
    assert "output.uri" in refused(it)


def test_a_pickle_as_weights_is_refused(job: MakeJob) -> None:
    it = job(model={"source": "python:model_code:build", "weights": "weights.pt"})
    write_folder(it.data, digits(1))
    (it.folder / "weights.pt").write_bytes(b"\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00.")
    assert "safetensors" in refused(it)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_input_without_permission_is_refused(job: MakeJob) -> None:
    it = job()
    write_folder(it.data, digits(1))
    it.data.chmod(0)
    assert "input.uri" in refused(it)


def test_the_same_file_listed_twice_is_read_once_with_a_warning(job: MakeJob) -> None:
    it = job(input={"uri": ["data/", "data/00000.jpg"]})
    write_folder(it.data, digits(3))
    command_line = [sys.executable, "-m", "vision_batch", "plan", str(it.spec), "--json"]
    done = subprocess.run(command_line, check=True, capture_output=True, text=True, timeout=60)
    forecast = json.loads(done.stdout.splitlines()[-1])
    assert forecast["images_total"] == 3
    assert "several inputs" in " ".join(forecast["warnings"])
    assert not Path(it.output).exists()
