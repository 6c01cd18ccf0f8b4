"""Jobs of this machine: begun once whoever dies, gone on without their submitter, and remembered as they ended."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from tests.integration.job import Job, digits, write_folder
from tests.jobs.finished import complete
from vision_batch.cluster.job import ENDED, JobInfo
from vision_batch.cluster.job_folder import EXIT_BYTES, SILENT_S, JobFolder
from vision_batch.cluster.local_jobs import LocalJobs, jobs_folder
from vision_batch.cluster.package import JobPackage
from vision_batch.cluster.progress import last_progress
from vision_batch.errors import ClusterError
from vision_batch.ledger.holder import Holder, is_alive

SCRIPT_PROGRAM = (sys.executable, "-I", "-S")
"""Runs `job.py` of the package in the place of `vision-batch run`: what a job computes is of no interest here."""

COUNTED = "open('begun', 'a').write('x')\n"

LISTENING = """
import signal, sys, time
told = 0
def hear(number, frame):
    global told
    told += 1
signal.signal(signal.SIGTERM, hear)
print("listening", flush=True)
while not told:
    time.sleep(0.02)
time.sleep(0.3)
print("told", told, flush=True)
sys.exit(130)
"""

SUBMIT = """
import os, signal, sys
from pathlib import Path
from vision_batch.cluster import job_folder, local_jobs
from vision_batch.cluster.package import JobPackage
def die(*arguments, **options):
    os.kill(os.getpid(), signal.SIGKILL)
def last(*arguments, **options):
    run(*arguments, **options)
    die()
run = local_jobs.subprocess.run
script = Path(sys.argv[2]).read_bytes()
package = JobPackage(name="nightly", files={"job.py": script}, arguments=("job.py",), output="out")
for moment in sys.argv[3:]:
    if os.fork() == 0:
        if moment == "before-the-folder":
            Path.rename = die
        elif moment == "before-the-job":
            local_jobs.subprocess.run = die
        else:
            local_jobs.subprocess.run = last
        local_jobs.LocalJobs(Path(sys.argv[1]), (sys.executable, "-I", "-S")).submit(package, moment)
    assert os.wait()[1] == signal.SIGKILL
"""


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[LocalJobs]:
    """Those of a fresh folder; what still runs at the test's end is killed."""
    folder = tmp_path / "jobs"
    yield LocalJobs(folder, SCRIPT_PROGRAM)
    for path in folder.glob("*/"):
        while (process := JobFolder(path).process_to_stop()) is not None:
            kill(process.pid)


def package(script: str) -> JobPackage:
    files = {"spec.yaml": b"job: predict\n", "job.py": script.encode(), "plug_ins/model.py": b"# a model\n"}
    return JobPackage(name="nightly", files=files, arguments=("job.py",), output="/data/labels")


def kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def ended(jobs: LocalJobs, job_id: str = "nightly-1") -> JobInfo:
    """The job when it has ended."""
    until(lambda: jobs.info(job_id).state in ENDED, "the job has not ended")
    return jobs.info(job_id)


def log(jobs: LocalJobs, job_id: str = "nightly-1") -> list[str]:
    return list(jobs.logs(job_id, follow=False))


def pid_of(tmp_path: Path, who: str) -> int:
    path = tmp_path / "jobs" / "nightly-1" / f"{who}.json"
    until(path.exists, f"there is no {who}")
    return int(json.loads(path.read_bytes())["pid"])


def listening(jobs: LocalJobs) -> None:
    jobs.submit(package(LISTENING), "nightly-1")
    until(lambda: "listening" in log(jobs), "the job does not listen")


def test_a_job_says_how_it_ended(jobs: LocalJobs) -> None:
    ends = {
        "sys.exit(0)": ("done", 0, "done (exit code 0)"),
        "sys.exit(3)": ("failed", 3, "max_error_fraction"),
        "sys.exit(130)": ("failed", 130, "run again to resume"),
        "os.kill(os.getpid(), 9)": ("failed", -9, "killed by signal 9"),
        "os.kill(os.getpid(), 15)": ("failed", 130, "run again to resume"),  # as all are told when the machine restarts
    }
    before = time.time()
    for number, end in enumerate(ends):
        jobs.submit(package(f"import os, sys\n{end}"), f"nightly-{number}")
    for number, (state, code, said) in enumerate(ends.values()):
        info = ended(jobs, f"nightly-{number}")
        assert (info.state, info.exit_code, info.name, info.output) == (state, code, "nightly", "/data/labels")
        assert said in info.message
        assert info.submitted is not None
        assert info.ended is not None
        assert before - 1 < info.submitted.timestamp() <= info.ended.timestamp() < time.time() + 1


def test_it_runs_in_its_package_on_record_away_from_the_terminal_and_its_submitter(
    jobs: LocalJobs, tmp_path: Path
) -> None:
    script = """
import json, os, sys
print(sorted(os.listdir()), sys.stdin.read(), os.getsid(0))
print(json.load(open("../driver.json"))["pid"] == os.getpid(), file=sys.stderr)
"""
    jobs.submit(package(script), "nightly-1")
    assert stat.S_IMODE((tmp_path / "jobs" / "nightly-1").stat().st_mode) == 0o700
    ended(jobs)
    second, first = sorted(log(jobs))
    assert first.startswith("['job.py', 'plug_ins', 'spec.yaml']  ")
    assert int(first.split()[-1]) != os.getsid(0)
    assert second == "True"


def test_a_job_whose_keeper_is_killed_as_it_begins_is_on_record(tmp_path: Path) -> None:
    """The run kills its keeper before it does anything else: nobody could write it down after that."""
    jobs = LocalJobs(tmp_path / "jobs", ("/bin/sh",))
    jobs.submit(package("kill -9 $PPID; while ! test -e go_on; do sleep 0.02; done"), "nightly-1")
    keeper = Holder(**json.loads((tmp_path / "jobs" / "nightly-1" / "process.json").read_bytes()))
    until(lambda: is_alive(keeper) is False, "the keeper lives")
    assert jobs.info("nightly-1").state == "running"
    (tmp_path / "jobs" / "nightly-1" / "package" / "go_on").touch()
    assert ended(jobs).state == "failed"


def test_a_full_disk_takes_no_end_away(jobs: LocalJobs, tmp_path: Path) -> None:
    """What is written at a job's end takes the place of what was written when it was submitted."""
    exit = tmp_path / "jobs" / "nightly-1" / "exit.json"
    jobs.submit(package(f"import os\nfound = os.stat({str(exit)!r})\nprint(found.st_ino, found.st_size)"), "nightly-1")
    assert ended(jobs).state == "done"
    assert log(jobs) == [f"{exit.stat().st_ino} {exit.stat().st_size}"]


def test_a_program_that_is_not_there_is_a_job_that_failed(tmp_path: Path) -> None:
    jobs = LocalJobs(tmp_path / "jobs", (str(tmp_path / "no_python"),))
    jobs.submit(package(""), "nightly-1")
    info = ended(jobs)
    assert (info.state, info.exit_code) == ("failed", 1)
    assert "no_python" in log(jobs)[0]


def test_a_submitter_that_ignores_its_children_learns_how_the_job_ended(jobs: LocalJobs) -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        jobs.submit(package("import sys; sys.exit(3)"), "nightly-1")
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert ended(jobs).exit_code == 3


def test_a_job_that_runs_is_running_as_soon_as_it_is_submitted(jobs: LocalJobs) -> None:
    jobs.submit(package("import time; time.sleep(60)"), "nightly-1")
    info = jobs.info("nightly-1")
    assert (info.state, info.exit_code, info.ended) == ("running", None, None)


def test_the_same_id_twice_is_one_job(jobs: LocalJobs, tmp_path: Path) -> None:
    jobs.submit(package(COUNTED), "nightly-1")
    jobs.submit(package(COUNTED), "nightly-1")
    ended(jobs)
    jobs.submit(package(COUNTED), "nightly-1")
    assert (tmp_path / "jobs" / "nightly-1" / "package" / "begun").read_text() == "x"
    assert len(jobs.list()) == 1


def test_many_submitters_at_once_begin_one_job(jobs: LocalJobs, tmp_path: Path) -> None:
    with ThreadPoolExecutor(6) as pool:
        for done in [pool.submit(jobs.submit, package(COUNTED), "nightly-1") for _ in range(6)]:
            done.result()
    assert ended(jobs).state == "done"
    assert (tmp_path / "jobs" / "nightly-1" / "package" / "begun").read_text() == "x"
    assert [path.name for path in (tmp_path / "jobs").iterdir()] == ["nightly-1"]


def test_a_submitter_that_is_killed_leaves_one_job(jobs: LocalJobs, tmp_path: Path) -> None:
    script = tmp_path / "job.py"
    script.write_text(COUNTED + "import time; time.sleep(0.5)")
    moments = ("before-the-folder", "before-the-job", "after-the-job-began")
    command = [sys.executable, "-c", SUBMIT, str(tmp_path / "jobs"), str(script), *moments]
    subprocess.run(command, check=True, timeout=60)
    assert [(info.job_id, info.state) for info in jobs.list()] == [
        ("before-the-job", "pending"),
        ("after-the-job-began", "running"),
    ]
    for moment in moments:
        jobs.submit(package(script.read_text()), moment)
    for moment in moments:
        assert ended(jobs, moment).state == "done"
        assert (tmp_path / "jobs" / moment / "package" / "begun").read_text() == "x"


def test_a_job_that_was_told_to_stop_ends_in_order_and_is_told_once(jobs: LocalJobs) -> None:
    listening(jobs)
    jobs.stop("nightly-1")
    jobs.stop("nightly-1")
    assert ended(jobs).state == "stopped"
    assert log(jobs) == ["listening", "told 1"]
    jobs.stop("nightly-1")  # it has ended: nothing is done


def test_a_job_that_does_not_listen_yet_is_stopped_too(jobs: LocalJobs) -> None:
    jobs.submit(package("import time; time.sleep(60)"), "nightly-1")
    jobs.stop("nightly-1")
    info = ended(jobs)
    assert (info.state, info.exit_code) == ("stopped", 130)


def test_a_job_that_is_stopped_before_it_began_never_begins(
    jobs: LocalJobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("vision_batch.cluster.local_jobs._start", lambda job, job_id: None)
        jobs.submit(package(COUNTED), "nightly-1")
    assert jobs.info("nightly-1").state == "pending"
    jobs.stop("nightly-1")
    jobs.submit(package(COUNTED), "nightly-1")
    assert jobs.info("nightly-1").state == "stopped"
    assert not (tmp_path / "jobs" / "nightly-1" / "package" / "begun").exists()


def test_a_job_that_vanished_has_failed(jobs: LocalJobs, tmp_path: Path) -> None:
    listening(jobs)
    kill(pid_of(tmp_path, "process"))
    assert jobs.info("nightly-1").state == "running"
    kill(pid_of(tmp_path, "driver"))
    info = ended(jobs)
    assert (info.state, info.exit_code) == ("failed", None)
    assert "vanished" in info.message
    jobs.stop("nightly-1")
    jobs.submit(package(LISTENING), "nightly-1")
    assert jobs.info("nightly-1").state == "failed"


def test_a_run_whose_keeper_was_killed_can_be_stopped(jobs: LocalJobs, tmp_path: Path) -> None:
    listening(jobs)
    kill(pid_of(tmp_path, "process"))
    jobs.stop("nightly-1")
    until(lambda: "told 1" in log(jobs), "the run was not told")


@pytest.mark.parametrize(("silent_s", "state"), [(0.0, "running"), (SILENT_S + 60, "failed")])
def test_a_process_that_cannot_be_seen_is_judged_by_its_beat(
    jobs: LocalJobs, tmp_path: Path, silent_s: float, state: str
) -> None:
    """As it is in another container: the same folder, other processes."""
    jobs.submit(package(""), "nightly-1")
    ended(jobs)
    folder = tmp_path / "jobs" / "nightly-1"
    (folder / "exit.json").write_bytes(b" " * EXIT_BYTES)
    for name in ("process.json", "driver.json"):
        facts: dict[str, Any] = json.loads((folder / name).read_bytes())
        (folder / name).write_text(json.dumps({**facts, "pid_namespace": "pid:[1]"}))
    os.utime(folder / "process.json", (time.time() - silent_s,) * 2)
    assert jobs.info("nightly-1").state == state
    if state == "running":
        with pytest.raises(ClusterError, match="another machine or"):
            jobs.stop("nightly-1")


def test_a_log_is_followed_to_its_end(jobs: LocalJobs, tmp_path: Path) -> None:
    script = """
import os, sys, time
print("one", flush=True)
while not os.path.exists("go on"):
    time.sleep(0.02)
sys.stdout.buffer.write(b"tw\\xff\\r\\nthree\\n\\nlast")
"""
    jobs.submit(package(script), "nightly-1")
    lines = jobs.logs("nightly-1", follow=True)
    assert list(islice(lines, 1)) == ["one"]
    (tmp_path / "jobs" / "nightly-1" / "package" / "go on").touch()
    assert list(lines) == ["tw\N{REPLACEMENT CHARACTER}\r", "three", "", "last"]
    assert log(jobs)[0] == "one"


def test_jobs_are_listed_in_the_order_of_their_submission(jobs: LocalJobs, tmp_path: Path) -> None:
    assert jobs.list() == []
    for job_id in ("b", "a", "c"):
        jobs.submit(package(""), job_id)
    (tmp_path / "jobs" / "somebody's").mkdir()
    assert [info.job_id for info in jobs.list()] == ["b", "a", "c"]
    for job_id in ("b", "a", "c"):
        ended(jobs, job_id)


def test_a_job_that_ended_can_be_forgotten(jobs: LocalJobs, tmp_path: Path) -> None:
    listening(jobs)
    with pytest.raises(ClusterError, match="is running"):
        jobs.forget("nightly-1")
    jobs.stop("nightly-1")
    ended(jobs)
    for _ in range(2):
        jobs.forget("nightly-1")
        assert jobs.list() == []
        assert list((tmp_path / "jobs").iterdir()) == []


def test_a_damaged_job_is_named_and_in_nobodys_way(jobs: LocalJobs, tmp_path: Path) -> None:
    jobs.submit(package(""), "nightly-1")
    ended(jobs)
    for name in ("exit.json", "job.json"):
        (tmp_path / "jobs" / "nightly-1" / name).write_bytes(b"{\0\0")
        for ask in (jobs.list, lambda: jobs.info("nightly-1")):
            with pytest.raises(ClusterError, match="damaged"):
                ask()
    jobs.submit(package(""), "nightly-2")
    assert ended(jobs, "nightly-2").state == "done"


def test_old_jobs_are_forgotten_when_new_ones_come(jobs: LocalJobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vision_batch.cluster.job_history.KEPT_JOBS", 1)
    monkeypatch.setattr("vision_batch.cluster.job_history.KEPT_S", 0.0)
    for job_id in ("a", "b", "c"):
        jobs.submit(package(""), job_id)
        ended(jobs, job_id)
    assert [info.job_id for info in jobs.list()] == ["b", "c"]


@pytest.mark.parametrize("job_id", ["none", "../jobs", "", ".new", "a/b"])
def test_a_job_that_there_is_not(jobs: LocalJobs, job_id: str) -> None:
    for ask in (jobs.info, jobs.stop, lambda job_id: jobs.logs(job_id, follow=False)):
        with pytest.raises(ClusterError):
            ask(job_id)


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "jobs").write_text("a file")
    with pytest.raises(ClusterError, match="jobs"):
        LocalJobs(tmp_path / "jobs", SCRIPT_PROGRAM).submit(package(""), "nightly-1")


def test_a_process_that_does_not_start_is_told(jobs: LocalJobs, monkeypatch: pytest.MonkeyPatch) -> None:
    for program, said in {"/bin/false": "did not start", "/bin/true": "before it began"}.items():
        monkeypatch.setattr(sys, "executable", program)
        with pytest.raises(ClusterError, match=said):
            jobs.submit(package(""), "nightly-1")
        assert jobs.info("nightly-1").state == "pending"


def test_jobs_lie_where_the_state_of_programs_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert jobs_folder() == tmp_path / "vision-batch" / "jobs"
    monkeypatch.setenv("HOME", str(tmp_path))
    for relative in ("", "state"):
        monkeypatch.setenv("XDG_STATE_HOME", relative)
        assert jobs_folder() == tmp_path / ".local" / "state" / "vision-batch" / "jobs"


def test_a_real_run_is_a_job(tmp_path: Path) -> None:
    """One that finds nothing to do, and so needs no Ray."""
    job = Job(tmp_path, {"input": {"uri": str(tmp_path / "data")}, "output": {"uri": str(tmp_path / "out")}})
    write_folder(job.data, digits(5))
    complete(job, failed=[1])
    package = JobPackage(
        name="nightly",
        files={"spec.yaml": job.spec.read_bytes(), "model_code.py": (tmp_path / "model_code.py").read_bytes()},
        arguments=("run", "spec.yaml", "--progress", "--json"),
        output=str(job.output),
    )
    jobs = LocalJobs(tmp_path / "jobs")
    jobs.submit(package, "nightly-1")
    info = ended(jobs)
    assert (info.state, info.exit_code) == ("failed", 3)
    lines = log(jobs)
    progress = last_progress(lines)
    assert progress is not None
    assert (progress.images_done, progress.images_failed) == (5, 1)
    assert any('"status": "done"' in line for line in lines)
