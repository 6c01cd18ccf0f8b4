"""A spec that travels means the same where it arrives, and takes only its plug-ins along."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vision_batch.cluster.package import JobPackage
from vision_batch.cluster.profile import LoadedProfile, load_profile
from vision_batch.errors import SpecError
from vision_batch.jobs.package import job_package, spec_text
from vision_batch.jobs.prepare import prepare
from vision_batch.jobs.settings import PredictSettings
from vision_batch.jobs.spec import LoadedSpec, load_spec

SPEC: dict[str, Any] = {
    "job": "predict",
    "name": "nightly",
    "input": {"uri": "s3://b/in-{date}/"},
    "model": {"source": "python:network:build", "weights": "s3://b/w.safetensors", "labels": ["no", "1e3"]},
    "task": {"type": "classification"},
    "preprocess": {"resize_px": [8, 8], "function": "steps:sharpen"},
    "output": {"uri": "s3://b/${FOLDER}/{scheduled_time}"},
}
NIGHT = datetime(2026, 11, 21, 4, 30, tzinfo=timezone(timedelta(hours=1)))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A spec's folder: two plug-ins, what one of them imports, and much that nobody named."""
    monkeypatch.setenv("FOLDER", "out")
    for name, text in {
        "network.py": "import parts.layers\ndef build(): ...",
        "parts/layers.py": "import torch",
        "steps.py": "def sharpen(): ...",
        "unused.py": "",
        "secret.env": "AWS_SECRET_ACCESS_KEY=x",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def load(folder: Path, **changes: Any) -> LoadedSpec:
    (folder / "night.yaml").write_text(json.dumps(SPEC | changes))
    return load_spec(folder / "night.yaml", scheduled_time=NIGHT)


def profile(
    folder: Path, text: str = "kind: ray\naddress: http://head:8265\nshared_paths: [/mnt/data]"
) -> LoadedProfile:
    (folder / "cluster.yaml").write_text(text)
    return load_profile(str(folder / "cluster.yaml"))


def unpacked(package: JobPackage, folder: Path) -> LoadedSpec:
    """The spec as the cluster loads it, at another time and without our environment."""
    for name, data in package.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return load_spec(folder / package.arguments[1])


def test_it_means_the_same_elsewhere_and_later(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = load(folder)
    package = job_package(spec, profile(folder), scheduled_time=NIGHT)
    monkeypatch.delenv("FOLDER")
    assert unpacked(package, folder / "there").settings == spec.settings
    assert package.output == "s3://b/out/20261121T033000Z"
    assert package.name == "nightly"


def test_a_plugin_from_another_folder_does_not_travel(folder: Path) -> None:
    spec_folder = folder / "spec"
    spec_folder.mkdir()
    (spec_folder / "steps.py").write_text("def sharpen(): ...")
    (spec_folder / "network.py").symlink_to("../network.py")
    with pytest.raises(SpecError, match=r"network\.py: found a link to"):
        job_package(load(spec_folder), profile(folder))


def test_when_it_runs_by_itself_is_none_of_its_business(folder: Path) -> None:
    spec = load(folder, schedule={"cron": "30 3 * * *"})
    assert spec.settings.schedule is not None
    assert unpacked(job_package(spec, profile(folder)), folder / "there").settings.schedule is None


def test_only_plug_ins_and_what_they_import_travel_along(folder: Path) -> None:
    package = job_package(load(folder), profile(folder))
    assert set(package.files) == {"spec.yaml", "network.py", "parts/layers.py", "steps.py"}
    assert package.files["parts/layers.py"] == b"import torch"


def test_it_says_how_to_run_itself(folder: Path) -> None:
    package = job_package(load(folder), profile(folder), scheduled_time=NIGHT, options=["--prune"])
    scheduled = ("--scheduled-time", "2026-11-21T03:30:00Z")
    assert package.arguments == ("run", "spec.yaml", "--progress", "--json", *scheduled, "--prune")
    assert "--scheduled-time" not in job_package(load(folder), profile(folder)).arguments


def test_every_local_path_that_nodes_do_not_see_is_refused_at_once(folder: Path) -> None:
    spec = load(
        folder,
        input={"uri": ["images", "s3://b/more", {"name": "old", "uri": "/mnt/database"}], "allow": ["/elsewhere"]},
        model={"source": "python:network:build", "weights": "w.safetensors", "labels": "labels.txt"},
        output={"uri": "labels"},
    )
    with pytest.raises(SpecError) as caught:
        job_package(spec, profile(folder))
    assert [problem.where for problem in caught.value.problems] == [
        "input.uri (0)",
        "input.uri (old)",
        "input.allow.0",
        "model.weights",
        "model.labels",
        "output.uri",
    ]
    assert f"{folder}/w.safetensors, a path of this machine" in str(caught.value)
    assert "below one of shared_paths in" in str(caught.value)


@pytest.mark.parametrize(("source", "place"), [("export:net.pt2", "net.pt2"), ("transformers:vit", "vit")])
def test_models_on_this_machine_are_refused(folder: Path, source: str, place: str) -> None:
    (folder / "vit").mkdir()
    with pytest.raises(SpecError, match=rf"^model.source: found {folder}/{place}, a path of this machine"):
        job_package(load(folder, model={"source": source}), profile(folder))


def test_what_every_node_sees_may_be_named(folder: Path) -> None:
    paths = {"source": "export:/mnt/data/net.pt2", "labels": "/mnt/data/labels.txt"}
    spec = load(folder, input={"uri": "/mnt/data/*.tar"}, model=paths, output={"uri": "/mnt/data/out"})
    assert unpacked(job_package(spec, profile(folder)), folder / "there").settings == spec.settings


def test_this_machine_sees_everything_and_paths_become_absolute(folder: Path) -> None:
    model = {"source": "python:network:build", "weights": "w.safetensors"}
    spec = load(folder, model=model, output={"uri": "labels"})
    package = job_package(spec, profile(folder, "kind: local"))
    settings = unpacked(package, folder / "there").settings
    assert settings.model.weights == f"{folder}/w.safetensors"
    assert package.output == settings.output.uri == f"{folder}/labels"


def test_what_a_run_here_has_begun_a_submitted_job_goes_on_with(folder: Path) -> None:
    """An output belongs to one definition, and where the spec lies is no part of it."""
    (folder / "images").mkdir()
    (folder / "images" / "a.jpg").write_bytes(b"")
    (folder / "labels.txt").write_text("no\nyes\n")
    model = {"source": "python:network:build", "labels": "labels.txt", "options": {"depth": 3}}
    spec = load(folder, input={"uri": "images"}, model=model, output={"uri": "out"})
    there = unpacked(job_package(spec, profile(folder, "kind: local")), folder / "there")
    assert prepare(there).definition == prepare(spec).definition


def test_the_id_of_a_hub_s_model_is_no_path(folder: Path) -> None:
    spec = load(folder, model={"source": "transformers:google/vit"}, preprocess=None)
    assert unpacked(job_package(spec, profile(folder)), folder / "there").settings.model == spec.settings.model


def test_a_plug_in_that_is_not_there_is_refused(folder: Path) -> None:
    (folder / "network.py").unlink()
    with pytest.raises(SpecError, match=r"model.source: found no network.py"):
        job_package(load(folder), profile(folder))


@given(
    st.text(), st.floats(), st.sampled_from(["${HOME}", "$${", "no", "0o7", "1e3", "2026-11-21", "~", "{date}", "#"])
)
def test_texts_and_numbers_stay_what_they_are(
    tmp_path_factory: pytest.TempPathFactory, text: str, number: float, word: str
) -> None:
    options = {"text": text, "number": number, "words": [word, {"deep": f"{word}{text}"}], "none": None, "yes": True}
    settings = PredictSettings.model_validate(
        SPEC
        | {"input": {"uri": "s3://b/in"}, "output": {"uri": "s3://b/out"}}
        | {"model": {"source": "python:network:build", "options": options}}
    )
    path = tmp_path_factory.mktemp("spec") / "spec.yaml"
    path.write_text(spec_text(settings), encoding="utf-8", newline="")
    assert repr(load_spec(path).settings) == repr(settings)  # nan is not equal to itself


def test_a_time_is_written_in_utc(folder: Path) -> None:
    package = job_package(load(folder), profile(folder), scheduled_time=datetime(2026, 1, 1, tzinfo=UTC))
    assert "2026-01-01T00:00:00Z" in package.arguments


TRAINING: dict[str, Any] = {
    "job": "train",
    "input": {"uri": "s3://b/images", "label_column": "folder"},
    "validation": {"uri": ["s3://b/held-out/${FOLDER}", {"name": "more", "uri": "s3://c/{date}"}]},
    "augment": [{"random_resized_crop": {"scale": [0.5, 1.0]}}, "horizontal_flip"],
    "train": {"epochs": 3, "optimizer": {"name": "sgd", "lr": 0.1}, "loss": [{"name": "focal", "weight": 0.5}]},
    "compute": {"workers": [2, 8]},
}


def test_a_training_means_the_same_elsewhere(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = load(folder, **TRAINING)
    package = job_package(spec, profile(folder), scheduled_time=NIGHT)
    monkeypatch.delenv("FOLDER")
    assert unpacked(package, folder / "there").settings == spec.settings
    assert set(package.files) == {"spec.yaml", "network.py", "parts/layers.py", "steps.py"}


def test_local_validation_images_are_refused_too(folder: Path) -> None:
    spec = load(folder, **TRAINING | {"validation": {"uri": ["/elsewhere", "/mnt/data/x"]}})
    with pytest.raises(SpecError) as caught:
        job_package(spec, profile(folder))
    assert [problem.where for problem in caught.value.problems] == ["validation.uri (0)"]


@pytest.mark.parametrize(("own", "refused"), [({}, []), ({"masks": "/theirs"}, ["validation.masks"])])
def test_local_masks_are_refused_once(folder: Path, own: dict[str, str], refused: list[str]) -> None:
    given = {
        "input": {"uri": "s3://b/images", "masks": "/masks"},
        "task": {"type": "segmentation"},
        "validation": {"uri": "s3://b/held-out", **own},
    }
    with pytest.raises(SpecError) as caught:
        job_package(load(folder, **TRAINING | given), profile(folder))
    assert [problem.where for problem in caught.value.problems] == ["input.masks", *refused]
