"""An evaluate job: a spec, its plan, its run, its way to a cluster."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.evaluation.classified import Classified, classified
from vision_batch.cli.main import main
from vision_batch.cluster.profile import load_profile
from vision_batch.errors import SpecError
from vision_batch.jobs.checkup import check_spec
from vision_batch.jobs.package import job_package
from vision_batch.jobs.preview import preview
from vision_batch.jobs.settings import EvaluateJobSettings
from vision_batch.jobs.spec import load_spec

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def case(tmp_path: Path) -> Classified:
    """Predictions in `p`, which have their truth, and the truth again in `t.parquet`."""
    case = classified(200, 3, failed=0.1)
    rows = case.rows().append_column("input_site", pa.array(["north", "south"] * 100))
    (tmp_path / "p").mkdir()
    pq.write_table(rows, tmp_path / "p" / "1.parquet")
    pq.write_table(rows.select(["image_id", "truth"]).rename_columns(["image_id", "label"]), tmp_path / "t.parquet")
    return case


def written(folder: Path, **changes: Any) -> str:
    spec = {
        "job": "evaluate",
        "predictions": {"uri": "p"},
        "evaluate": {"by": ["input_site"], "bootstrap": 20},
        "output": {"uri": "out"},
    }
    path = folder / "evaluate.yaml"
    path.write_text(json.dumps(spec | changes))
    return str(path)


def last_object(capsys: Capture) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return found


@pytest.mark.parametrize("truth", [None, {"uri": "t.parquet"}])
def test_a_run_measures_and_leaves_the_results(
    case: Classified, tmp_path: Path, capsys: Capture, truth: dict[str, str] | None
) -> None:
    spec = written(tmp_path, **({} if truth is None else {"truth": truth}))
    assert main(["run", spec, "--json"]) == 0
    found = last_object(capsys)
    right = ((case.predicted == case.truth) & ~case.failed).mean()
    assert (found["status"], found["images"], found["metrics"]["accuracy"]) == ("done", 200, right)
    assert found["output"] == str(tmp_path / "out")
    assert found["truth"] == (None if truth is None else str(tmp_path / "t.parquet"))
    slices = pq.read_table(tmp_path / "out" / "metrics.parquet")["slice"].unique().to_pylist()
    assert slices == [None, "input_site=north", "input_site=south"]


@pytest.mark.usefixtures("case")
def test_run_again_it_measures_what_is_there_then(tmp_path: Path, capsys: Capture) -> None:
    spec = written(tmp_path)
    assert main(["run", spec]) == 0
    pq.write_table(classified(50, 3).rows(), tmp_path / "p" / "1.parquet")
    assert main(["run", spec, "-o", "evaluate.by=[]", "--json"]) == 0
    assert last_object(capsys)["images"] == 50
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["images"] == 50


@pytest.mark.usefixtures("case")
def test_a_plan_says_what_would_be_measured_and_writes_nothing(tmp_path: Path, capsys: Capture) -> None:
    assert main(["plan", written(tmp_path, truth={"uri": "t.parquet"}), "--json"]) == 0
    found = last_object(capsys)
    assert (found["kind"], found["rows"], found["slices"]) == ("classification", 200, ["input_site"])
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("case")
def test_doctor_looks_for_predictions_and_truth(tmp_path: Path) -> None:
    checks = {each.check: each for each in check_spec(written(tmp_path, truth={"uri": "t.parquet"}), ())}
    assert checks["predictions"].found.endswith("p: classification in 1 files")
    assert checks["truth"].found == str(tmp_path / "t.parquet")
    checks = {each.check: each for each in check_spec(written(tmp_path, predictions={"uri": "nowhere"}), ())}
    assert checks["predictions"].level == "fail"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"evaluate": {"by": ["site"]}}, "no column 'site'"),
        ({"output": {"uri": "p/out"}}, "a folder apart from the predictions"),
        ({"truth": {"uri": "t.parquet"}, "output": {"uri": "t.parquet"}}, "neither a .parquet file nor a glob"),
        ({"predictions": {"uri": "p", "format": "x"}}, "predictions.format"),
        ({"input": {"uri": "images"}}, "input"),
    ],
)
@pytest.mark.usefixtures("case")
def test_what_is_wrong_with_a_spec_is_said(
    tmp_path: Path, capsys: Capture, changes: dict[str, Any], message: str
) -> None:
    assert main(["run", written(tmp_path, **changes)]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--prune"], "an evaluation has no rows"),
        (["--limit", "3", "--output", "x"], "an evaluation has no rows"),
        (["--report"], "`vision-batch report` of the predictions"),
    ],
)
@pytest.mark.usefixtures("case")
def test_options_for_rows_are_refused(tmp_path: Path, capsys: Capture, options: list[str], message: str) -> None:
    assert main(["run", written(tmp_path), *options]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.usefixtures("case")
def test_it_travels_with_its_paths_resolved(tmp_path: Path) -> None:
    spec = load_spec(written(tmp_path, truth={"uri": "s3://b/t.parquet"}, schedule={"cron": "0 5 * * *"}))
    (tmp_path / "cluster.yaml").write_text(f"kind: ray\naddress: http://head:8265\nshared_paths: [{tmp_path}]")
    package = job_package(spec, load_profile(str(tmp_path / "cluster.yaml")))
    for name, data in package.files.items():
        (tmp_path / name).write_bytes(data)
    settings = load_spec(tmp_path / "spec.yaml").settings
    assert isinstance(settings, EvaluateJobSettings)
    assert settings.predictions.uri == str(tmp_path / "p")
    assert settings.truth is not None
    assert settings.truth.uri == "s3://b/t.parquet"
    (tmp_path / "cluster.yaml").write_text("kind: ray\naddress: http://head:8265")
    with pytest.raises(SpecError, match=r"predictions.uri: found .*a path of this machine"):
        job_package(spec, load_profile(str(tmp_path / "cluster.yaml")))


@pytest.mark.usefixtures("case")
def test_it_has_no_images_to_preview(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="job: found evaluate; expected predict or train"):
        preview(load_spec(written(tmp_path)), images=1, epoch=1)
