"""The predict spec that the interface shows whole is one that can be written so."""

from __future__ import annotations

from pathlib import Path

import pytest

from vision_batch.documents.document import parse_yaml
from vision_batch.jobs.spec import load_spec

EXAMPLE = """
job: predict                       # predict | train | evaluate | … (one file per kind in vision_batch/jobs)
name: nightly-label
input:
  uri: s3://bucket/images/         # folder, file or glob; a list is allowed
  format: auto                     # auto | folder | webdataset | parquet
  image_column: image              # parquet: bytes, or a URI to fetch
  id_column: null                  # parquet: default is "<file>#<row>"
  label_column: null               # comes out as `truth`
  keep_columns: []                 # come out as `input_<name>`
model:
  source: python:digits_model:build        # kinds of source are in vision_batch/models
  weights: s3://bucket/models/digits.safetensors
  labels: [zero, one]              # or a file; class index to name
task:
  type: classification             # classification | detection | segmentation | embedding
  top_k: 5
  score_threshold: 0.0             # detection: also `nms_iou`, `max_boxes`
preprocess:                        # a plug-in: `function: module:name`, uint8 RGB in, uint8 RGB out
  resize_shorter_px: 256
  crop_px: 224                     # or `resize_px: [H, W]`, or `letterbox_px: 640`
  mean: [0.485, 0.456, 0.406]
  std: [0.229, 0.224, 0.225]
output:
  uri: s3://bucket/labels/
compute:
  layout: auto                     # auto | joined | split
  batch_size: auto
  precision: auto                  # auto | fp32 | bf16 | fp16
  predictors: auto                 # model actors
  gpus_per_predictor: auto
  preprocessors: auto
limits:
  max_pixels: 178956970
  max_error_fraction: 0.05
"""


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "nightly.yaml"
    path.write_text(EXAMPLE, encoding="utf-8")
    return path


@pytest.mark.parametrize("format", ["auto", "folder", "webdataset", "parquet"])
def test_it_loads_for_every_format(spec: Path, format: str) -> None:
    settings = load_spec(spec, [f"input.format={format}"]).settings
    assert settings.input.format == format
    assert settings.input.uri == "s3://bucket/images"
    assert settings.output.uri == "s3://bucket/labels"
    assert settings.model.labels == ["zero", "one"]


def test_every_value_is_taken_as_it_is_written(spec: Path) -> None:
    """All of it: a key that the settings drop or change would be missing here."""
    dumped = load_spec(spec).settings.model_dump(mode="json")
    for section, written in parse_yaml(EXAMPLE, where="the example").items():
        if not isinstance(written, dict):
            assert dumped[section] == written
            continue
        for key, value in written.items():
            if key != "uri":
                assert dumped[section][key] == value, f"{section}.{key}"


@pytest.mark.parametrize(
    "override",
    [
        "input.uri=[s3://bucket/images/, s3://bucket/more/*.jpg]",
        "preprocess={resize_px: [224, 224]}",
        "preprocess={letterbox_px: 640}",
        "preprocess={function: digits_model:prepare}",
        "compute.layout=joined",
        "compute.layout=split",
        "compute.precision=bf16",
        "compute.precision=fp16",
    ],
)
def test_what_its_comments_offer_loads_too(spec: Path, override: str) -> None:
    load_spec(spec, [override])


def test_weights_and_labels_may_be_files_beside_it(spec: Path) -> None:
    (spec.parent / "digits.safetensors").touch()
    (spec.parent / "labels.txt").write_text("zero\none\n")
    text = EXAMPLE.replace("s3://bucket/models/digits.safetensors", "digits.safetensors")
    spec.write_text(text.replace("[zero, one]", "labels.txt"), encoding="utf-8")
    loaded = load_spec(spec)
    model = loaded.settings.model
    assert (loaded.folder / str(model.weights)).is_file()
    assert (loaded.folder / str(model.labels)).is_file()
