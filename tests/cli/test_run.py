"""The `run` command where it starts nothing: refusals, a finished job, exit codes and what it prints."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.integration.job import Job, digits, write_folder
from tests.jobs.finished import complete
from vision_batch.cli.main import main
from vision_batch.cli.moment import parse_moment
from vision_batch.cli.run import (
    ERROR_CODES,
    error_codes,
    exit_code,
    print_summary,
    query_command,
)
from vision_batch.cli.termination import terminated_like_interrupted
from vision_batch.cluster.progress import last_progress
from vision_batch.jobs.summary import RunSummary, Status
from vision_batch.ledger.lease import held_lease
from vision_batch.ledger.paths import LedgerPaths

Capture = pytest.CaptureFixture[str]

PROMISED = {
    "run_id",
    "status",
    "images_total",
    "images_ok",
    "images_failed",
    "images_resumed",
    "images_retried",
    "shards_total",
    "shards_done",
    "seconds",
    "first_batch_seconds",
    "images_per_second",
    "bottleneck",
    "output",
}

SUMMARY = RunSummary(
    run_id="20260131-1",
    status="done",
    precision="fp32",
    images_total=100_000,
    images_ok=99_990,
    images_failed=10,
    images_resumed=4_096,
    images_retried=0,
    files_pruned=0,
    failures={"unreadable": 7, "empty": 3},
    shards_total=25,
    shards_done=25,
    seconds=81.26,
    first_batch_seconds=12.34,
    images_per_second=1_391.6,
    bottleneck="decode: 7.9 of 8 CPUs are busy",
    output="/data/labels",
    warnings=("2 files no longer in the input",),
)


def shown(summary: RunSummary, capsys: Capture) -> list[str]:
    print_summary(summary)
    return capsys.readouterr().out.splitlines()


def test_the_summary_says_what_a_person_wants_to_know(capsys: Capture) -> None:
    assert shown(SUMMARY, capsys)[:-1] == [
        "done: 100,000 of 100,000 images have their row",
        "  images      99,990 predicted, 10 failed, 4,096 done before",
        "  failures    empty 3, unreadable 7",
        "  shards      25 of 25",
        "  time        81.3 s; first batch after 12.3 s, then 1,392 images/s",
        "  limited by  decode: 7.9 of 8 CPUs are busy",
        "  warning     2 files no longer in the input",
        "  output      /data/labels",
    ]


def test_the_summary_ends_with_a_query(capsys: Capture) -> None:
    assert shown(SUMMARY, capsys)[-1] == f"  query       {query_command('/data/labels')}"


def test_retried_images_are_said_where_there_are_any(capsys: Capture) -> None:
    assert shown(replace(SUMMARY, images_retried=1_200), capsys)[1].endswith("4,096 done before, 1,200 retried")


def test_pruned_files_are_said_where_there_are_any(capsys: Capture) -> None:
    assert shown(replace(SUMMARY, files_pruned=3), capsys)[2] == "  pruned      the rows of 3 files that left the input"


def test_a_run_that_was_little_more_than_its_start_is_told_so(capsys: Capture) -> None:
    assert shown(replace(SUMMARY, bottleneck=None), capsys)[5].startswith("  limited by  its start: too little came")


def test_what_did_not_happen_is_not_said(capsys: Capture) -> None:
    quiet = replace(
        SUMMARY,
        images_failed=0,
        failures={},
        first_batch_seconds=None,
        images_per_second=None,
        bottleneck=None,
        warnings=(),
    )
    lines = shown(quiet, capsys)
    assert [line.split()[0] for line in lines[1:]] == ["images", "shards", "time", "output", "query"]
    assert lines[3] == "  time        81.3 s"


def test_one_batch_has_no_pace(capsys: Capture) -> None:
    lines = shown(replace(SUMMARY, images_per_second=None), capsys)
    assert "  time        81.3 s; first batch after 12.3 s" in lines


def test_an_unknown_total_is_a_question_mark(capsys: Capture) -> None:
    lines = shown(replace(SUMMARY, status="interrupted", images_total=None), capsys)
    assert lines[0] == "interrupted: 100,000 of ? images have their row"


@pytest.mark.parametrize(
    ("status", "ok", "failed", "allowed", "code"),
    [
        ("done", 100, 0, 0.0, 0),
        ("done", 99, 1, 0.0, 3),
        ("done", 95, 5, 0.05, 0),
        ("done", 94, 6, 0.05, 3),
        ("done", 0, 10, 1.0, 0),
        ("done", 0, 0, 0.0, 0),
        ("incomplete", 100, 0, 0.05, 4),
        ("incomplete", 1, 99, 0.05, 4),
        ("interrupted", 100, 0, 0.05, 130),
        ("interrupted", 1, 99, 0.05, 130),
    ],
)
def test_interrupted_outranks_incomplete_outranks_too_many_errors(
    status: Status, ok: int, failed: int, allowed: float, code: int
) -> None:
    summary = replace(SUMMARY, status=status, images_ok=ok, images_failed=failed)
    assert exit_code(summary, allowed) == code


@pytest.mark.parametrize(
    "name", ["labels", "my labels", "it's", 'the "good" ones', "$HOME `id` !", "ünï;cödé & co", "'\"'", "100%"]
)
def test_the_query_can_be_pasted_into_a_shell(tmp_path: Path, name: str) -> None:
    output = tmp_path / name
    output.mkdir()
    pq.write_table(pa.table({"image_id": ["a.jpg"], "label": ["a tabby cat"]}), output / "part-0.parquet")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", query_command(str(output))],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "PATH": path},
    )
    assert done.returncode == 0, done.stderr
    assert "a tabby cat" in done.stdout


def refusal(capsys: Capture, *arguments: str) -> str:
    assert main(["run", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


@pytest.mark.parametrize(
    ("options", "refused"),
    [
        (["--limit", "5"], "found no --output; expected --output URI too"),
        (["--limit", "0", "--output", "x"], "found 0; expected a number above 0"),
        (["--limit", "-1", "--output", "x"], "found -1; expected a number above 0"),
    ],
)
def test_a_trial_needs_a_number_and_an_output_of_its_own(
    tmp_path: Path, capsys: Capture, options: list[str], refused: str
) -> None:
    job = Job(tmp_path, {})
    write_folder(job.data, digits(1))
    message = refusal(capsys, str(job.spec), *options)
    assert message.startswith(f"error: --limit: {refused}")
    assert not job.output.exists()


@pytest.mark.parametrize(
    ("texts", "codes"),
    [
        ([], ()),
        (["empty"], ("empty",)),
        (["empty,missing", "truncated", "empty"], ("empty", "missing", "truncated")),
        (["missing, empty"], ("missing", "empty")),
        (["all"], ERROR_CODES),
        (["empty", "all"], ERROR_CODES),
    ],
)
def test_codes_to_retry_are_separated_by_commas_or_spaces(texts: list[str], codes: tuple[str, ...]) -> None:
    assert error_codes(texts) == codes


def test_codes_that_there_are_not_are_all_named(tmp_path: Path, capsys: Capture) -> None:
    job = Job(tmp_path, {})
    assert main(["run", str(job.spec), "--retry-errors", "emty,missing", "lost"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert [line.split(";")[0] for line in said] == [
        "error: --retry-errors: found 'emty'",
        "error: --retry-errors: found 'lost'",
    ]
    assert all("expected all, or of empty, missing, unreadable" in line for line in said)


def test_uris_are_of_the_scheduled_time(tmp_path: Path, capsys: Capture) -> None:
    job = Job(tmp_path, {"output": {"uri": "out-{date}/{scheduled_time}"}})
    write_folder(job.data, digits(3))
    night = "2026-11-21T01:30:00+02:00"
    complete(job, moment=parse_moment(night))
    assert main(["run", str(job.spec), "--json", "--scheduled-time", night]) == 0
    output = json.loads(capsys.readouterr().out)["output"]
    assert output == str(tmp_path / "out-2026-11-20" / "20261120T233000Z")


def test_sigterm_interrupts_once() -> None:
    before = signal.getsignal(signal.SIGTERM)
    in_order = False
    with pytest.raises(KeyboardInterrupt), terminated_like_interrupted():
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGTERM)
            in_order = True
    assert in_order
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_limit_that_is_no_number(capsys: Capture) -> None:
    assert "'many'" in refusal(capsys, "spec.yaml", "--limit", "many", "--output", "x")


def test_a_spec_that_is_not_there(tmp_path: Path, capsys: Capture) -> None:
    assert "no such file" in refusal(capsys, str(tmp_path / "spec.yaml"))


@pytest.fixture
def finished(tmp_path: Path) -> Job:
    """Forty images, of which two failed."""
    job = Job(tmp_path, {})
    write_folder(job.data, digits(40))
    complete(job, failed={3, 17})
    return job


def test_a_finished_job_is_said_again(finished: Job, capsys: Capture) -> None:
    assert main(["run", str(finished.spec), "--json"]) == 0
    captured = capsys.readouterr()
    (line,) = captured.out.splitlines()
    summary = json.loads(line)
    assert summary.keys() >= PROMISED
    assert (summary["status"], summary["images_total"], summary["images_ok"]) == ("done", 40, 38)
    assert (summary["images_resumed"], summary["failures"]) == (40, {"empty": 2})
    assert summary["output"] == str(finished.output)
    assert captured.err.startswith("done: 40 of 40 images have their row\n")


def test_a_report_is_written_where_it_is_asked_for(finished: Job, capsys: Capture) -> None:
    assert main(["run", str(finished.spec), "--json", "--report"]) == 0
    place = f"{finished.output}-report.html"
    assert json.loads(capsys.readouterr().out)["report"] == place
    assert Path(place).read_text("utf-8").startswith("<!doctype html>")


def test_a_report_that_fails_spoils_no_run(finished: Job, capsys: Capture) -> None:
    Path(f"{finished.output}-report.html").mkdir()
    assert main(["run", str(finished.spec), "--json", "--report"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["report"] is None
    assert "warning: no report: " in shown.err


def test_a_report_whose_process_dies_spoils_no_run(
    finished: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """As that of a decoder does, of a picture that kills it."""
    dying = tmp_path / "python"
    dying.write_text("#!/bin/sh\nkill -SEGV $$\n")
    dying.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(dying))
    assert main(["run", str(finished.spec), "--json", "--report"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["report"] is None
    assert "warning: no report: its process was killed by signal 11; " in shown.err


def test_a_run_that_finds_nothing_to_do_has_a_progress_line_too(finished: Job, capsys: Capture) -> None:
    assert main(["run", str(finished.spec), "--progress", "--json"]) == 0
    captured = capsys.readouterr()
    progress = last_progress(captured.err.splitlines())
    assert progress is not None
    assert (progress.images_total, progress.images_done, progress.images_failed) == (40, 40, 2)
    assert (progress.shards_total, progress.shards_done, progress.seconds_left) == (1, 1, 0)
    assert json.loads(captured.out)["status"] == "done"


def test_a_foreign_parquet_file_in_the_output_is_worth_a_warning(finished: Job, capsys: Capture) -> None:
    foreign = finished.output / "foreign.parquet"
    pq.write_table(pa.table({"a": [1]}), foreign)
    try:
        assert main(["run", str(finished.spec)]) == 0
    finally:
        foreign.unlink()
    assert f"warning     {foreign}: a Parquet file that vision-batch did not write; readers" in capsys.readouterr().out


def test_too_many_errors_are_said_with_the_limit(finished: Job, capsys: Capture) -> None:
    assert main(["run", str(finished.spec), "-o", "limits.max_error_fraction=0.04"]) == 3
    assert "limits.max_error_fraction = 0.04" in capsys.readouterr().err


def test_pruning_needs_no_ray(finished: Job, capsys: Capture) -> None:
    (finished.data / "00003.jpg").unlink()
    (finished.data / "00004.jpg").unlink()
    assert main(["run", str(finished.spec), "--json", "--address", "127.0.0.1:1"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["images_ok"], summary["files_pruned"]) == (38, 0)
    assert any("run with --prune" in warning for warning in summary["warnings"])
    assert main(["run", str(finished.spec), "--json", "--prune", "--address", "127.0.0.1:1"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["images_ok"], summary["failures"], summary["files_pruned"]) == (37, {"empty": 1}, 2)
    assert main(["verify", str(finished.output), "--deep"]) == 0


def test_a_trial_is_not_pruned(tmp_path: Path, capsys: Capture) -> None:
    assert "one of them" in refusal(capsys, str(tmp_path / "spec.yaml"), "--prune", "--limit", "5", "--output", "x")


@pytest.mark.parametrize(
    ("override", "row"),
    [
        ("task.top_k=2", "task.top_k 2 3"),
        ("preprocess.resize_px=[28, 24]", "preprocess.resize_px [28, 24] [28, 28]"),
        ("compute.precision=bf16", 'precision "bf16" "fp32"'),
        ("model.labels=[a, b]", 'model.labels "2, sha256'),
        ("limits.max_pixels=1000", "limits.max_pixels 1000 178956970"),
    ],
)
def test_another_definition_is_refused_with_what_differs_and_the_ways_out(
    finished: Job, capsys: Capture, override: str, row: str
) -> None:
    before = sorted(finished.output.rglob("*"))
    assert main(["run", str(finished.spec), "-o", override]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    first, header, *differences, ways_out = (" ".join(line.split()) for line in captured.err.splitlines())
    assert first == "error: the output belongs to another definition; use another output, or undo:"
    assert header == "what found expected"
    assert any(difference.startswith(row) for difference in differences), differences
    assert ways_out.startswith(f"output.uri {finished.output}, which belongs to the definition of 20")
    assert ways_out.endswith("another output.uri for this definition, or a spec brought back to what is recorded")
    assert sorted(finished.output.rglob("*")) == before


def test_a_changed_plug_in_is_another_definition(finished: Job, capsys: Capture) -> None:
    code = finished.folder / "model_code.py"
    code.write_text(code.read_text() + "# a word more\n")
    assert main(["run", str(finished.spec)]) == 2
    assert "model.plugin_sha256" in capsys.readouterr().err


@pytest.mark.parametrize(
    "override",
    ["batch_size=7", "layout=split", "predictors=1", "preprocessors=1", "gpus_per_predictor=0", "precision=fp32"],
)
def test_what_cannot_change_a_prediction_may_differ(finished: Job, capsys: Capture, override: str) -> None:
    assert main(["run", str(finished.spec), "-o", f"compute.{override}"]) == 0
    assert capsys.readouterr().out.startswith("done: 40 of 40")


def test_a_run_beside_another_is_refused_and_told_who_holds_the_output(finished: Job, capsys: Capture) -> None:
    with held_lease(LedgerPaths(str(finished.output)), "20260102T030405.678Z-1a2b3c4d"):
        assert main(["run", str(finished.spec), "--json"]) == 5
    captured = capsys.readouterr()
    assert json.loads(captured.out)["exit_code"] == 5
    assert captured.err.startswith(
        f"error: {finished.output}: run 20260102T030405.678Z-1a2b3c4d (process {os.getpid()}"
    )


@pytest.mark.parametrize("overrides", [[], ["-o", "task.top_k=2"], ["-o", "input.uri=empty/"]])
def test_the_lease_is_given_back_however_a_run_ends(finished: Job, overrides: list[str], capsys: Capture) -> None:
    (finished.folder / "empty").mkdir()
    assert main(["run", str(finished.spec), *overrides]) == (2 if overrides else 0)
    assert not Path(LedgerPaths(str(finished.output)).lease).exists()


def test_a_first_run_that_finds_no_image_leaves_the_output_to_the_next_definition(
    tmp_path: Path, capsys: Capture
) -> None:
    job = Job(tmp_path, {"input": {"uri": "data/", "format": "folder"}})
    job.data.mkdir()
    assert main(["run", str(job.spec)]) == 2
    assert not [path for path in job.output.rglob("*") if path.is_file()]
