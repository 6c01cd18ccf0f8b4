"""The predict job on real Ray, from spec to Parquet: every image has one row, in every format and both layouts."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tests.infra.questions import FROM_RUNS, FROM_SCHEDULES, asked_for
from tests.integration.job import MODEL, Job, digits, write_folder, write_parquet, write_tar
from tests.integration.node_metrics import NodeMetrics
from vision_batch.errors import DefinitionError, EngineError, ModelError
from vision_batch.ledger.verify import verify

pytestmark = pytest.mark.ray

MakeJob = Callable[..., Job]


def write_mixed_folder(job: Job) -> int:
    """150 digits and one of each kind of trouble."""
    images = digits(150)
    write_folder(job.data, images)
    (job.data / "empty.jpg").write_bytes(b"")
    (job.data / "noise.png").write_bytes(b"this is no picture")
    (job.data / "cut.jpg").write_bytes(images[0][: len(images[0]) * 2 // 3])
    (job.data / "a name with spaces, ünïcödé and #%?.jpg").write_bytes(images[1])
    (job.data / ("long" * 50 + ".jpg")).write_bytes(images[2])
    (job.data / "notes.txt").write_text("ignored")
    return 155


@pytest.mark.parametrize("layout", ["joined", "split"])
def test_every_file_of_a_folder_has_one_row(
    job: MakeJob, ray_address: str, ray_metrics: NodeMetrics, layout: str
) -> None:
    it = job(name=f"folder-{layout}")
    count = write_mixed_folder(it)
    # in small chunks: how busy a worker is shows from its second report on
    summary = it.run(ray_address, f"compute.layout={layout}", "compute.batch_size=4", alone=True)
    check_metrics(ray_metrics, f"folder-{layout}", it)
    table = it.table()
    assert (summary.status, summary.images_total, summary.images_ok, summary.images_failed) == ("done", count, 152, 3)
    assert summary.failures == {"empty": 1, "truncated": 1, "unreadable": 1}
    assert table.num_rows == count
    assert sorted(table["image_id"].to_pylist()) == sorted(p.name for p in it.data.iterdir() if p.name != "notes.txt")
    bad = table.filter(pc.is_valid(table["error_code"]))
    assert all(bad[name].null_count == 3 for name in ("label", "label_index", "score", "top_labels", "top_scores"))
    assert verify(str(it.output), deep=True).ok


def check_metrics(metrics: NodeMetrics, spec: str, job: Job) -> None:
    """Monitoring was told the same as the table says, and has what dashboard and alerts ask a node for."""
    told = metrics.of_spec(spec)
    errors = Counter(code for code in job.table()["error_code"].to_pylist() if code)
    assert told["ray_vision_batch_images_total"] == {(): job.table().num_rows}
    assert told["ray_vision_batch_failed_images_total"] == {(("code", code),): n for code, n in errors.items()}
    size_bytes = sum(path.stat().st_size for path in job.data.iterdir() if path.name != "notes.txt")
    assert told["ray_vision_batch_input_bytes_total"] == {(): size_bytes}
    assert told["ray_vision_batch_images_left"] == {(): 0}
    assert {"read", "decode", "model", "write"} <= {
        value for ((_, value),) in told["ray_vision_batch_stage_seconds_total"]
    }
    assert told.keys() == FROM_RUNS
    assert asked_for() - FROM_SCHEDULES <= metrics.names()


def test_every_layout_gives_the_same_rows(job: MakeJob, ray_address: str) -> None:
    it = job()
    write_mixed_folder(it)
    it.run(ray_address, "compute.layout=joined")
    expected = it.table()
    exact = [name for name in expected.column_names if name not in ("score", "top_scores")]
    for other in ("layout=split", "gpus_per_predictor=0"):
        it.run(ray_address, f"compute.{other}", output=str(it.folder / other))
        got = it.table(it.folder / other)
        assert expected.select(exact).equals(got.select(exact))
        for a, b in zip(expected["score"].to_pylist(), got["score"].to_pylist(), strict=True):
            assert a == b or a == pytest.approx(b, abs=1e-5)


def test_tars_bring_labels_and_ids(job: MakeJob, ray_address: str) -> None:
    it = job(input={"uri": "data/", "label_column": "cls"})
    for number in range(3):
        write_tar(it.data / f"sub/{number}.tar", digits(40), [str(i % 10) for i in range(40)])
    summary = it.run(ray_address)
    table = it.table()
    assert (summary.images_ok, summary.shards_total) == (120, 3)
    assert table["image_id"][0].as_py() == "sub/0/00000"
    assert table["truth"].to_pylist()[:11] == [str(i % 10) for i in range(11)]
    assert summary.warnings == ()


@pytest.mark.parametrize("layout", ["joined", "split"])
def test_a_label_that_no_tar_has_is_worth_a_warning(job: MakeJob, ray_address: str, layout: str) -> None:
    it = job(input={"uri": "data/", "label_column": "label", "keep_columns": ["cls"]})
    write_tar(it.data / "a.tar", digits(20), ["3"] * 20)
    (warning,) = it.run(ray_address, f"compute.layout={layout}").warnings
    assert warning.startswith("column truth is null in every row")


def test_a_damaged_tar_gives_its_good_images_and_one_error_row(job: MakeJob, ray_address: str) -> None:
    it = job()
    write_tar(it.data / "a.tar", digits(20))
    whole = (it.data / "a.tar").read_bytes()
    (it.data / "a.tar").write_bytes(whole[: len(whole) // 2 // 512 * 512 + 700])
    write_tar(it.data / "b.tar", digits(20))
    summary = it.run(ray_address)
    assert summary.status == "done"
    assert summary.images_failed == 1
    assert it.run(ray_address).images_resumed == it.table().num_rows


def test_parquet_bytes_keep_their_columns(job: MakeJob, ray_address: str) -> None:
    it = job(input={"uri": "data/", "id_column": "name", "label_column": "digit", "keep_columns": ["site"]})
    names = [f"n{i}" for i in range(120)]
    write_parquet(it.data / "a.parquet", digits(120), name=names, digit=list(range(120)), site=["x"] * 120)
    it.run(ray_address)
    table = it.table()
    assert table["image_id"].to_pylist() == names
    assert table["truth"].type == pa.int64()
    assert table["truth"].to_pylist() == list(range(120))
    assert set(table["input_site"].to_pylist()) == {"x"}


def test_parquet_uris_are_fetched_within_the_input_only(job: MakeJob, ray_address: str) -> None:
    it = job(input={"uri": "data/"})
    write_folder(it.data / "images", digits(3))
    uris = ["images/00000.jpg", "images/00001.jpg", "images/none.jpg", "/etc/hostname", "../spec.yaml", None]
    write_parquet(it.data / "list.parquet", uris)
    it.run(ray_address, "input.format=parquet")
    codes = it.table()["error_code"].to_pylist()
    assert codes == [None, None, "missing", "forbidden", "forbidden", "missing"]


def test_a_second_run_finds_everything_done(job: MakeJob, ray_address: str) -> None:
    it = job()
    write_folder(it.data, digits(100))
    it.run(ray_address)
    before = {part: part.stat().st_mtime_ns for part in it.output.glob("*.parquet")}
    summary = it.run(ray_address)
    assert (summary.images_resumed, summary.first_batch_seconds) == (100, None)
    assert before == {part: part.stat().st_mtime_ns for part in it.output.glob("*.parquet")}


def test_a_lost_part_is_made_again_and_nothing_else(job: MakeJob, ray_address: str) -> None:
    it = job()
    write_folder(it.data, digits(200))
    it.run(ray_address)
    undisturbed, parts = it.table(), sorted(it.output.glob("*.parquet"))
    lost = parts[1]
    times = {part: part.stat().st_mtime_ns for part in parts}
    lost.unlink()
    summary = it.run(ray_address)
    assert summary.status == "done"
    assert [p for p in parts if p.stat().st_mtime_ns != times[p]] == [lost]
    assert it.table()["label"].equals(undisturbed["label"])


def test_new_and_changed_files_are_picked_up(job: MakeJob, ray_address: str) -> None:
    it = job()
    images = digits(140)
    write_folder(it.data, images[:130])
    it.run(ray_address)
    (it.data / "00000.jpg").write_bytes(images[131])
    (it.data / "new.jpg").write_bytes(images[132])
    summary = it.run(ray_address)
    table = it.table()
    assert (summary.images_total, table.num_rows) == (131, 131)
    assert len(set(table["image_id"].to_pylist())) == 131
    assert verify(str(it.output), deep=True).ok


def test_another_definition_is_refused(job: MakeJob, ray_address: str) -> None:
    it = job()
    write_folder(it.data, digits(10))
    it.run(ray_address)
    with pytest.raises(DefinitionError, match=r"task.top_k: found 2; expected 3"):
        it.run(ray_address, "task.top_k=2")
    assert it.run(ray_address, "compute.batch_size=7").status == "done"


def test_an_image_that_fails_in_the_model_costs_one_row(job: MakeJob, ray_address: str) -> None:
    code = MODEL.replace(
        "return self.layers(images)",
        "if (images.amax((1, 2, 3)) < -1).any(): raise ValueError('black')\n        return self.layers(images)",
    )
    it = job(code=code)
    images = digits(100)
    write_folder(it.data, images)
    import cv2
    import numpy as np

    (it.data / "00042.jpg").write_bytes(cv2.imencode(".png", np.zeros((32, 32, 3), np.uint8))[1].tobytes())
    summary = it.run(ray_address)
    assert (summary.status, summary.images_ok, summary.failures) == ("done", 99, {"model_error": 1})
    table = it.table()
    row = table.filter(pc.equal(table["image_id"], "00042.jpg")).to_pylist()[0]
    assert (row["error_code"], row["width"], row["error"]) == ("model_error", 32, "ValueError: black")


@pytest.mark.parametrize("layout", ["joined", "split"])
@pytest.mark.parametrize("shards", [1, 12])
def test_a_model_that_fails_on_everything_ends_the_run(
    job: MakeJob, ray_address: str, layout: str, shards: int
) -> None:
    it = job(code=MODEL.replace("return self.layers(images)", "raise ValueError('never works')"))
    for number in range(shards):
        write_tar(it.data / f"{number}.tar", digits(240 // shards))
    with pytest.raises(ModelError, match=r"every image of the first 3 batches.*never works"):
        it.run(ray_address, "compute.batch_size=20", f"compute.layout={layout}")
    assert list(it.output.glob("*.parquet")) == []
    it.folder.joinpath("model_code.py").write_text(MODEL)
    assert it.run(ray_address).images_ok == 240


@pytest.mark.parametrize("layout", ["joined", "split"])
def test_too_few_batches_to_blame_the_model_get_their_rows(job: MakeJob, ray_address: str, layout: str) -> None:
    it = job(code=MODEL.replace("return self.layers(images)", "raise ValueError('never works')"))
    write_folder(it.data, digits(10))
    summary = it.run(ray_address, f"compute.layout={layout}")
    assert (summary.status, summary.failures) == ("done", {"model_error": 10})


def test_labels_that_do_not_fit_end_the_run_before_anything_is_written(job: MakeJob, ray_address: str) -> None:
    it = job(model={"source": "python:model_code:build", "labels": ["a", "b", "c"]})
    write_folder(it.data, digits(100))
    with pytest.raises(ModelError, match=r"10 classes.*3 names"):
        it.run(ray_address)
    assert list(it.output.glob("*.parquet")) == []
    runs = [json.loads(path.read_text()) for path in (it.output / "_ledger" / "runs").iterdir()]
    assert [run["status"] for run in runs] == ["failed"]


def test_a_failing_device_blames_no_image(job: MakeJob, ray_address: str) -> None:
    code = MODEL.replace(
        "return self.layers(images)",
        "import pathlib\n"
        "        once = pathlib.Path(self.marker)\n"
        "        if not once.exists():\n"
        "            once.touch()\n"
        "            raise RuntimeError('CUDA error: an illegal memory access was encountered')\n"
        "        return self.layers(images)",
    )
    it = job(
        code=code.replace(
            "return Model(classes)", "model = Model(classes)\n    model.marker = MARKER\n    return model"
        )
    )
    plugin = it.folder / "model_code.py"
    plugin.write_text(plugin.read_text() + f"\nMARKER = {str(it.folder / 'failed-once')!r}\n")
    write_folder(it.data, digits(100))
    summary = it.run(ray_address)
    assert (summary.status, summary.images_ok, summary.failures) == ("done", 100, {})


def test_a_device_that_always_fails_ends_the_run(job: MakeJob, ray_address: str) -> None:
    it = job(code=MODEL.replace("return self.layers(images)", "raise RuntimeError('CUDA error: unspecified')"))
    write_folder(it.data, digits(10))
    with pytest.raises(EngineError, match="CUDA error"):
        it.run(ray_address)


def test_predictors_are_pinned_to_gpus_and_share_them_where_there_are_fewer(job: MakeJob, ray_address: str) -> None:
    slow = MODEL.replace("return self.layers", "import time; time.sleep(0.5)\n        return self.layers")
    it = job(code=slow)  # so that the third has work left when it is up
    for number in range(8):
        write_tar(it.data / f"{number}.tar", digits(100))
    summary = it.run(ray_address, "compute.predictors=3", "compute.batch_size=20")
    pinned = [dict(fact.split("=") for fact in predictor.split()) for predictor in summary.predictors]
    assert sorted(p["gpus"] for p in pinned) == ["0", "0", "1"]
    assert len({p["pid"] for p in pinned}) == 3
    assert summary.images_ok == 800


@pytest.mark.parametrize("wanted", [7, 130])
def test_a_limit_takes_the_first_images_only(job: MakeJob, ray_address: str, wanted: int) -> None:
    it = job()
    for number in range(3):
        write_tar(it.data / f"{number}.tar", digits(100))
    summary = it.run(ray_address, limit=wanted, output=str(it.folder / "scratch"))
    table = it.table(it.folder / "scratch")
    assert (summary.status, table.num_rows) == ("done", wanted)
    assert table["image_id"].to_pylist()[:7] == [f"0/{i:05d}" for i in range(7)]


def test_a_file_that_changes_while_it_is_read_is_planned_again(job: MakeJob, ray_address: str) -> None:
    code = MODEL.replace(
        "return self.layers(images)",
        "import pathlib\n"
        "        late, new = pathlib.Path(self.late), pathlib.Path(self.late + '.new')\n"
        "        if new.exists():\n"
        "            new.rename(late)\n"
        "        return self.layers(images)",
    ).replace("return Model(classes)", "model = Model(classes)\n    model.late = LATE\n    return model")
    it = job(code=code)
    write_tar(it.data / "a.tar", digits(60))
    write_tar(it.data / "b.tar", digits(20))
    write_tar(it.folder / "b.tar.new", digits(33))
    os.rename(it.folder / "b.tar.new", it.data / "b.tar.new")
    plugin = it.folder / "model_code.py"
    plugin.write_text(plugin.read_text() + f"\nLATE = {str(it.data / 'b.tar')!r}\n")
    summary = it.run(ray_address, "compute.predictors=1", "compute.batch_size=8")
    assert (summary.status, summary.images_ok) == ("done", 93)
    assert verify(str(it.output), deep=True).ok
