"""The specs of `jobs/` are for copying: each one loads as it is, and what it takes from beside it is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from vision_batch.jobs.settings import ImageJobSettings
from vision_batch.jobs.spec import LoadedSpec, load_spec
from vision_batch.plugin import find_plugin

JOBS = Path(__file__).parents[2] / "jobs"
EXAMPLES = sorted(JOBS.glob("*.yaml"))


@pytest.fixture(params=EXAMPLES, ids=lambda path: path.name)
def spec(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> LoadedSpec:
    monkeypatch.setenv("BUCKET", "my-bucket")
    return load_spec(request.param)


def test_the_examples_are_those_that_the_readme_promises() -> None:
    names = [
        "detect",
        "detect-train",
        "digits",
        "digits-train",
        "embed",
        "evaluate",
        "folder",
        "parquet",
        "s3",
        "segment",
    ]
    assert {path.stem for path in EXAMPLES} == {*names, "segment-train"}


def test_an_example_loads(spec: LoadedSpec) -> None:
    kind = {"evaluate": "evaluate"}.get(spec.path.stem, "predict")
    assert spec.settings.job == ("train" if spec.path.stem.endswith("-train") else kind)
    assert spec.settings.name == spec.path.stem


def test_its_plug_in_lies_beside_it(spec: LoadedSpec) -> None:
    source = spec.settings.model.source if isinstance(spec.settings, ImageJobSettings) else ""
    kind, _, name = source.partition(":")
    if kind == "python":
        (plugin, *_) = find_plugin(name, spec.folder, where="model.source").sources
        assert plugin[0] == f"{name.partition(':')[0]}.py"


def test_it_says_what_it_is_for_first(spec: LoadedSpec) -> None:
    what = {"train": ("Trains",), "predict": ("Labels", "Finds", "Makes"), "evaluate": ("Measures",)}
    assert spec.path.read_text(encoding="utf-8").startswith(tuple(f"# {word} " for word in what[spec.settings.job]))


def test_the_s3_example_takes_its_bucket_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUCKET", "photos")
    settings = load_spec(JOBS / "s3.yaml").settings
    assert isinstance(settings, ImageJobSettings)
    assert settings.input.uri == "s3://photos/shards/*.tar"
    assert settings.model.weights == "s3://photos/models/digits.safetensors"
    assert settings.output.uri.startswith("s3://photos/labels/20")
