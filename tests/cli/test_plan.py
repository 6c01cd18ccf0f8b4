"""The `plan` command: says what a run would do, opens no tar and writes nothing."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.job import Job, digits, write_folder, write_parquet, write_tar
from tests.jobs.finished import complete
from tests.privileges import without_privileges
from vision_batch.cli.main import main
from vision_batch.cli.moment import parse_moment
from vision_batch.inference.layout import Node, Resources
from vision_batch.ledger.paths import LedgerPaths
from vision_batch.ledger.run_record import RunRecord, write_run
from vision_batch.ledger.state import IMAGE_BYTES

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _on_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path, {})


def plan(job: Job, capsys: Capture, *options: str) -> tuple[dict[str, Any], str]:
    """The JSON object, and what a person is told."""
    assert main(["plan", str(job.spec), "--json", *options]) == 0
    captured = capsys.readouterr()
    (line,) = captured.out.splitlines()
    return json.loads(line), captured.err


def refusal(job: Job, capsys: Capture, *options: str) -> str:
    assert main(["plan", str(job.spec), *options]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err


def files(folder: Path) -> dict[Path, tuple[int, int]]:
    """Everything below a folder, with sizes and times of modification."""
    return {path: (path.lstat().st_size, path.lstat().st_mtime_ns) for path in folder.rglob("*")}


def test_the_format_that_auto_chose_is_said(job: Job, capsys: Capture) -> None:
    write_folder(job.data, digits(100))
    forecast, said = plan(job, capsys)
    assert (forecast["format"], forecast["shards_total"], forecast["images_total"]) == ("folder", 2, 100)
    assert "input       folder: 2 shards, 100 images\n" in said


def test_parquet_files_tell_their_rows(job: Job, capsys: Capture) -> None:
    write_parquet(job.data / "a.parquet", digits(120))
    forecast, _ = plan(job, capsys)
    assert (forecast["format"], forecast["images_total"]) == ("parquet", 120)


def test_tars_have_an_estimate_from_their_bytes(job: Job, capsys: Capture) -> None:
    job.data.mkdir()
    for name in "abc":
        (job.data / f"{name}.tar").write_bytes(bytes(10 * IMAGE_BYTES))
    forecast, said = plan(job, capsys)
    assert (forecast["format"], forecast["images_total"], forecast["images_estimate"]) == ("webdataset", None, 30)
    assert "input       webdataset: 3 shards, about 30 images\n" in said


def test_without_json_it_is_all_on_standard_output(job: Job, capsys: Capture) -> None:
    write_folder(job.data, digits(3))
    assert main(["plan", str(job.spec)]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("input       folder: 1 shards, 3 images\n")
    assert captured.out.endswith(f"output      {job.output}\n")
    assert captured.err == ""


def test_other_files_are_counted_and_some_named(job: Job, capsys: Capture) -> None:
    write_folder(job.data, digits(3))
    for number in range(12):
        (job.data / f"notes-{number:02d}.txt").touch()
    forecast, said = plan(job, capsys)
    assert forecast["ignored"] == 12
    assert forecast["ignored_examples"] == [f"notes-{number:02d}.txt" for number in range(10)]
    assert "ignored     12 other files, as notes-00.txt, notes-01.txt" in said


def test_nothing_ignored_is_not_said(job: Job, capsys: Capture) -> None:
    write_folder(job.data, digits(3))
    forecast, said = plan(job, capsys)
    assert (forecast["ignored"], forecast["ignored_examples"]) == (0, [])
    assert "ignored     " not in said


@pytest.mark.parametrize(
    ("options", "name", "reason"),
    [
        ([], "joined", "without GPUs"),
        (["-o", "compute.layout=joined"], "joined", "the spec asks for it"),
        (["-o", "compute.layout=joined", "-o", "compute.batch_size=7"], "joined", "the spec asks for it"),
    ],
)
def test_the_layout_is_said_with_its_reason(
    job: Job, capsys: Capture, options: list[str], name: str, reason: str
) -> None:
    write_folder(job.data, digits(3))
    forecast, said = plan(job, capsys, *options)
    layout = forecast["layout"]
    assert layout["name"] == name
    assert reason in layout["reason"]
    assert f"layout      {name}, because {layout['reason']}\n" in said
    assert f"{layout['batch_rows']} images, precision {forecast['precision']}\n" in said
    assert layout["predictors"] >= 1


@pytest.mark.parametrize(("gpus", "expected"), [(0, "fp32"), (1, "auto")])
def test_a_precision_of_auto_is_tried_by_the_first_run_where_there_are_gpus(
    job: Job, capsys: Capture, monkeypatch: pytest.MonkeyPatch, gpus: int, expected: str
) -> None:
    resources = Resources(nodes=(Node(cpus=8, gpus=gpus),))
    monkeypatch.setattr("vision_batch.jobs.forecast.machine_resources", lambda: resources)
    write_folder(job.data, digits(3))
    forecast, said = plan(job, capsys, "-o", "compute.precision=auto")
    assert forecast["precision"] == expected
    assert f"images, precision {expected}\n" in said


def test_a_batch_size_of_the_spec_is_in_the_layout(job: Job, capsys: Capture) -> None:
    write_folder(job.data, digits(3))
    forecast, said = plan(job, capsys, "-o", "compute.batch_size=7")
    assert forecast["layout"]["batch_rows"] == 7
    assert "batches of 7 images" in said
    assert "batches of up to 128 images" in plan(job, capsys)[1]


def progress(forecast: dict[str, Any]) -> tuple[int, int, int, int]:
    return (
        forecast["shards_total"],
        forecast["shards_done"],
        forecast["shards_remaining"],
        forecast["images_done"],
    )


def test_what_is_done_and_what_remains(job: Job, capsys: Capture) -> None:
    write_folder(job.data, digits(200))
    assert progress(plan(job, capsys)[0]) == (4, 0, 4, 0)
    complete(job, shards=3)
    forecast, said = plan(job, capsys)
    assert progress(forecast) == (4, 3, 1, 192)
    assert "done        3 shards, 192 images\nremaining   1 shards\n" in said
    complete(job)
    assert progress(plan(job, capsys)[0]) == (4, 4, 0, 200)


def test_new_files_remain(job: Job, capsys: Capture) -> None:
    write_folder(job.data, digits(10))
    complete(job)
    (job.data / "new.jpg").write_bytes(digits(1)[0])
    assert progress(plan(job, capsys)[0]) == (2, 1, 1, 10)


def test_parts_of_changed_files_would_be_replaced(job: Job, capsys: Capture) -> None:
    write_folder(job.data, digits(70))
    complete(job)
    (job.data / "00000.jpg").write_bytes(digits(2)[1] + b"changed")
    forecast, said = plan(job, capsys)
    assert (forecast["stale_parts"], *progress(forecast)) == (1, 2, 1, 1, 6)
    assert "stale       1 parts of changed input would be replaced\n" in said


def test_what_the_input_has_become_is_counted_by_file(job: Job, capsys: Capture) -> None:
    write_folder(job.data, digits(70))
    complete(job)
    (job.data / "00000.jpg").write_bytes(b"changed")
    (job.data / "00001.jpg").unlink()
    (job.data / "00069.jpg").unlink()
    (job.data / "new.jpg").write_bytes(b"new")
    forecast, said = plan(job, capsys)
    counts = {name: forecast[name] for name in ("files_new", "files_changed", "files_removed", "rows_prunable")}
    assert counts == {"files_new": 1, "files_changed": 1, "files_removed": 2, "rows_prunable": 2}
    assert "files       1 new, 1 changed, 2 removed\n" in said
    assert "prunable    2 rows of what left the input; run --prune removes them\n" in said


def write_rates(path: Path, output: Path, more: str = "") -> str:
    """A rate card, and in `output` the run that tells what it does not."""
    counts = {"images_per_second": 50.0, "cpus": 2, "gpus": 0}
    run = RunRecord(
        run_id="20260102T030405.678Z-1a2b3c4d",
        status="done",
        started="",
        definition="",
        output="",
        version="",
        spec={},
        counts=counts,
    )
    write_run(LedgerPaths(str(output)), run)
    big = "{cpus: 10, price_per_hour: 3600, images_per_second: {per_core: 1}}"
    path.write_text(f"nodes: {{big: {big}, small: {{cpus: 1, price_per_hour: 7200}}}}\n{more}")
    return str(path)


def test_what_is_left_costs_by_the_rate_card_and_by_the_newest_run(job: Job, capsys: Capture, tmp_path: Path) -> None:
    write_folder(job.data, digits(100))
    complete(job, shards=1)
    forecast, said = plan(job, capsys, "--rate-card", write_rates(tmp_path / "rates.yaml", job.output))
    left = 100 - forecast["images_done"]
    assert forecast["cost"]["images"] == left > 0
    assert [node["name"] for node in forecast["cost"]["nodes"]] == ["small", "big"]
    assert [node["images_per_second"] for node in forecast["cost"]["nodes"]] == [25, 10]
    assert [node["cost"] for node in forecast["cost"]["nodes"]] == pytest.approx([left / 25 * 2, left / 10])
    assert (
        f"cost        of {left} images without a row, on\n            1 small: 0.00 h, {left / 12.5:.2f} USD; " in said
    )
    assert "25 images/s each, bound by cpus (run 20260102T030405.678Z-1a2b3c4d)" in said


def test_the_runs_of_a_trial_may_tell_the_pace(job: Job, capsys: Capture, tmp_path: Path) -> None:
    write_folder(job.data, digits(100))
    forecast, said = plan(job, capsys, "--rate-card", write_rates(tmp_path / "rates.yaml", tmp_path / "trial"))
    assert forecast["cost"]["nodes"][-1]["images_per_second"] is None
    assert "no run in the output on such nodes is long enough to tell" in said
    _, said = plan(job, capsys, "--rate-card", write_rates(tmp_path / "rates.yaml", tmp_path / "trial", "runs: tril/"))
    assert f"no run in {tmp_path / 'tril'} on such nodes is long enough to tell" in said
    rates = write_rates(tmp_path / "rates.yaml", tmp_path / "trial", "runs: trial/")
    assert plan(job, capsys, "--rate-card", rates)[0]["cost"]["nodes"][0]["images_per_second"] == 25


def test_a_wrong_rate_card_is_refused(job: Job, capsys: Capture, tmp_path: Path) -> None:
    write_folder(job.data, digits(3))
    assert "no such file" in refusal(job, capsys, "--rate-card", str(tmp_path / "rates.yaml"))


def test_rows_of_removed_files_of_many_images_are_prunable(job: Job, capsys: Capture) -> None:
    for name in "ab":
        write_parquet(job.data / f"{name}.parquet", digits(20))
    complete(job)
    assert plan(job, capsys)[0]["rows_prunable"] == 0
    (job.data / "a.parquet").unlink()
    forecast, _ = plan(job, capsys)
    assert (forecast["files_removed"], forecast["rows_prunable"]) == (1, 20)


def test_another_output_may_be_asked_about(job: Job, capsys: Capture, tmp_path: Path) -> None:
    write_folder(job.data, digits(10))
    complete(job)
    forecast, _ = plan(job, capsys, "--output", str(tmp_path / "other"))
    assert forecast["output"] == str(tmp_path / "other")
    assert progress(forecast) == (1, 0, 1, 0)


def test_the_output_is_of_the_scheduled_time(tmp_path: Path, capsys: Capture) -> None:
    job = Job(tmp_path, {"output": {"uri": "out-{date}"}})
    write_folder(job.data, digits(3))
    complete(job, moment=parse_moment("2026-11-20T03:30:00Z"))
    report, _ = plan(job, capsys, "--scheduled-time", "2026-11-20T03:30:00Z")
    assert (report["output"], report["images_done"]) == (str(tmp_path / "out-2026-11-20"), 3)


def test_it_makes_no_output(job: Job, capsys: Capture, tmp_path: Path) -> None:
    write_folder(job.data, digits(10))
    before = files(tmp_path)
    plan(job, capsys)
    assert files(tmp_path) == before


def test_it_leaves_an_output_as_it_is(job: Job, capsys: Capture, tmp_path: Path) -> None:
    write_folder(job.data, digits(100))
    complete(job)
    (job.data / "00000.jpg").write_bytes(b"changed")
    (job.data / "new.jpg").write_bytes(b"new")
    before = files(tmp_path)
    plan(job, capsys)
    assert files(tmp_path) == before


def test_another_definition_is_refused_and_what_differs_is_named(job: Job, capsys: Capture) -> None:
    write_folder(job.data, digits(10))
    complete(job)
    before = files(job.output)
    said = refusal(job, capsys, "-o", "task.top_k=2", "-o", "preprocess.resize_px=[24, 24]")
    assert said.startswith("error: the output belongs to another definition")
    for name in ("task.top_k", "preprocess.resize_px"):
        assert name in said
    assert files(job.output) == before


def test_what_decides_no_prediction_may_differ(job: Job, capsys: Capture) -> None:
    write_folder(job.data, digits(10))
    complete(job)
    forecast, _ = plan(job, capsys, "-o", "compute.batch_size=3", "-o", "limits.max_error_fraction=0.5")
    assert forecast["shards_remaining"] == 0


@pytest.mark.parametrize("options", [["-o", "input.uri=nowhere/"], ["-o", "input.format=parquet"]])
def test_an_input_that_cannot_serve_is_one_line(job: Job, capsys: Capture, options: list[str]) -> None:
    write_folder(job.data, digits(3))
    said = refusal(job, capsys, *options)
    assert said.startswith("error: input.uri: found ")
    assert said.count("\n") == 1


@pytest.fixture
def open_job() -> Iterator[Job]:
    """A job where anybody may go: tmp_path lies in a folder that only its owner may enter."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        job = Job(folder, {})
        yield job
        for path in job.data.rglob("*"):
            path.chmod(0o755)


def test_it_opens_no_tar(open_job: Job, capsys: Capture) -> None:
    write_tar(open_job.data / "a.tar", digits(10))
    write_tar(open_job.data / "b.tar", digits(20))
    expected, _ = plan(open_job, capsys)  # also imports what nobody may not
    for tar in open_job.data.iterdir():
        tar.chmod(0o000)
    with without_privileges():
        with pytest.raises(PermissionError):
            (open_job.data / "a.tar").read_bytes()
        assert plan(open_job, capsys)[0] == expected
    assert (expected["shards_total"], expected["images_total"], expected["warnings"]) == (2, None, [])


@pytest.mark.parametrize("closed", ["data", "data/below"])
def test_a_folder_without_permission_is_one_line(open_job: Job, capsys: Capture, closed: str) -> None:
    write_folder(open_job.data, digits(3))
    write_folder(open_job.data / "below", digits(3))
    plan(open_job, capsys)  # imports what nobody may not
    folder = open_job.folder / closed
    folder.chmod(0o000)
    try:
        with without_privileges():
            said = refusal(open_job, capsys)
    finally:
        folder.chmod(0o755)
    assert said.startswith("error: input.uri: found ")
    assert str(folder) in said
    assert said.count("\n") == 1
    assert not os.path.exists(open_job.output)
