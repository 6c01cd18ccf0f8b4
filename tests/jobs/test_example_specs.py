"""The specs of `jobs/` are for copying: each one loads as it is, and what it takes from beside it is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from vision_batch.jobs.spec import LoadedSpec, load_spec
from vision_batch.plugin import find_plugin

JOBS = Path(__file__).parents[2] / "jobs"
EXAMPLES = sorted(JOBS.glob("*.yaml"))


@pytest.fixture(params=EXAMPLES, ids=lambda path: path.name)
def spec(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> LoadedSpec:
    monkeypatch.setenv("BUCKET", "my-bucket")
    return load_spec(request.param)


def test_the_examples_are_those_that_the_readme_promises() -> None:
    names = ["detect", "detect-train", "digits", "digits-train", "embed", "folder", "parquet", "s3", "segment"]
    assert {path.stem for path in EXAMPLES} == {*names, "segment-train"}


def test_an_example_loads(spec: LoadedSpec) -> None:
    assert spec.settings.job == ("train" if spec.path.stem.endswith("-train") else "predict")
    assert spec.settings.name == spec.path.stem


def test_its_plug_in_lies_beside_it(spec: LoadedSpec) -> None:
    kind, _, name = spec.settings.model.source.partition(":")
    if kind == "python":
        (source, *_) = find_plugin(name, spec.folder, where="model.source").sources
        assert source[0] == f"{name.partition(':')[0]}.py"


def test_it_says_what_it_is_for_first(spec: LoadedSpec) -> None:
    what = {"train": ("# Trains ",), "predict": ("# Labels ", "# Finds ", "# Makes ")}[spec.settings.job]
    assert spec.path.read_text(encoding="utf-8").startswith(what)


def test_the_s3_example_takes_its_bucket_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUCKET", "photos")
    settings = load_spec(JOBS / "s3.yaml").settings
    assert settings.input.uri == "s3://photos/shards/*.tar"
    assert settings.model.weights == "s3://photos/models/digits.safetensors"
    assert settings.output.uri.startswith("s3://photos/labels/20")
