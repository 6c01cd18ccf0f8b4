"""What must agree between the parts of a predict spec."""

from __future__ import annotations

from pathlib import Path

import pytest

from vision_batch.errors import Problem
from vision_batch.jobs.consistency import inconsistencies, overlap
from vision_batch.jobs.settings import PredictSettings

SPEC = {
    "job": "predict",
    "input": {"uri": "/data/images"},
    "model": {"source": "python:m:build"},
    "task": {"type": "classification"},
    "preprocess": {"resize_px": [64, 64]},
    "output": {"uri": "/data/labels"},
}


def problems(**changes: object) -> list[Problem]:
    return inconsistencies(PredictSettings.model_validate(SPEC | changes))


def test_a_good_spec_agrees() -> None:
    assert problems() == []


@pytest.mark.parametrize(
    ("images", "labels", "together"),
    [
        ("/data/images", "/data/images", True),
        ("/data/images", "/data/images/labels", True),
        ("/data/images/new", "/data/images", True),
        ("/data/images", "/data/images-labels", False),
        ("/data/one.tar", "/data", True),
        ("/data/*.tar", "/data/labels", False),
        ("/data/*.tar", "/data", True),
        ("/data/labels/in/*.tar", "/data/labels", True),
        ("/data/*", "/data/labels", False),
        ("/data/*/x.tar", "/data/labels", False),
        ("/data/**", "/data/labels", True),
        ("/data/**/*.jpg", "/data/labels", False),
        ("/data/*/*.parquet", "/data/labels", True),
        ("/data/{images,labels}/*.parquet", "/data/labels", True),
        ("/data/{images,masks}/*.parquet", "/data/labels", False),
        ("s3://b/images", "s3://b/images", True),
        ("s3://b", "s3://b/labels", True),
        ("s3://b/images", "s3://c/images", False),
        ("s3://data/images", "/data/images", False),
        ("s3://b/in/*.tar", "s3://b/in/labels", False),
    ],
)
def test_input_and_output_stay_apart(images: str, labels: str, together: bool) -> None:
    assert overlap(images, labels) is together
    found = problems(input={"uri": images}, output={"uri": labels})
    assert [problem.where for problem in found] == ["output.uri"] * together


def test_each_of_several_inputs_is_looked_at() -> None:
    (found,) = problems(input={"uri": ["/a", {"name": "x", "uri": "/data/labels/x"}]})
    assert "input.uri.1, /data/labels/x" in found.found


def test_a_symlink_does_not_hide_the_input(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "images")
    (found,) = problems(input={"uri": f"{tmp_path}/images"}, output={"uri": f"{tmp_path}/link/labels"})
    assert found.where == "output.uri"


def test_a_symlink_does_not_hide_what_a_pattern_takes(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "data")
    assert overlap(f"{tmp_path}/link/**", f"{tmp_path}/data/labels")


def test_a_pattern_that_cannot_be_read_is_a_problem() -> None:
    (found,) = problems(input={"uri": "/data/images-[0-9"})
    assert found.where == "input.uri"
    assert "a pattern that cannot be read" in found.found


def test_the_output_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "labels").write_text("")
    (found,) = problems(output={"uri": f"{tmp_path}/labels"})
    assert found == Problem("output.uri", f"the file {tmp_path}/labels", "a folder; it need not exist yet")


@pytest.mark.parametrize("source", ["python:m:build", "export:m.pt2"])
def test_a_bare_model_needs_to_know_the_size(source: str) -> None:
    (found,) = problems(model={"source": source}, preprocess=None)
    assert found.where == "preprocess"
    assert "resize_shorter_px with crop_px or longest_px, resize_px, letterbox_px, or a function" in found.expected


def test_a_transformers_folder_brings_its_own_preprocessing() -> None:
    assert problems(model={"source": "transformers:vit"}, preprocess=None) == []


@pytest.mark.parametrize("source", ["python:m:build", "transformers:vit"])
def test_images_of_different_sizes_make_no_batch(source: str) -> None:
    (found,) = problems(model={"source": source}, preprocess={"resize_shorter_px": 64})
    assert found.found == "settings that leave images of different sizes"


TILED = {"type": "segmentation", "tile_px": 512}


def test_tiles_are_cut_from_images_at_full_size() -> None:
    (found,) = problems(task=TILED, preprocess={"resize_px": [64, 64]})
    assert found.found == "a resize or crop, with task.tile_px"
    assert problems(task=TILED, preprocess={"mean": [0.5] * 3, "function": "m:prepare"}) == []


def test_a_model_that_is_given_tiles_is_not_compiled() -> None:
    (found,) = problems(task=TILED, preprocess={}, compute={"compile": True})
    assert found == Problem("compute.compile", "true, with task.tile_px", "false")


@pytest.mark.parametrize(
    "preprocess",
    [
        {"function": "m:prepare"},
        {"letterbox_px": 64},
        {"resize_shorter_px": 64, "crop_px": 64},
        {"resize_shorter_px": 64, "longest_px": 96},
    ],
)
def test_ways_to_one_size(preprocess: dict[str, object]) -> None:
    assert problems(preprocess=preprocess) == []
