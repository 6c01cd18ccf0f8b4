"""What is exported is read as an input again, and is what was predicted; and labels are work like other inputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import S3Bucket
from tests.datasets.reading import samples_of, settings_of
from tests.export.predicted import BOXES, CELL_ROWS, MASKED, box, pictures, predicted
from tests.ledger.outputs import Output
from vision_batch.datasets.settings import InputSettings
from vision_batch.export.export import export
from vision_batch.export.job import Options
from vision_batch.jobs.prepare import input_facts, resolve_input
from vision_batch.ledger.definition import Definition, claim_definition
from vision_batch.ledger.paths import LedgerPaths
from vision_batch.ledger.source_images import SourceImages
from vision_batch.tasks.box_truth import parse_boxes
from vision_batch.tasks.rle import encode

NAMES = ["a.png", "b/c.png", "é ü.png", "50%.png", "x" * 200 + ".png"]


@st.composite
def predictions(draw: st.DrawFn) -> dict[str, list[dict[str, Any]]]:
    """Boxes of pictures of 40x30, some of which are as small or as near to an edge as float32 can say."""
    found: dict[str, list[dict[str, Any]]] = {}
    for name in NAMES:
        found[name] = []
        for _ in range(draw(st.integers(0, 3))):
            x_min, x_max = sorted(draw(st.floats(0, 40, width=32)) for _ in range(2))
            y_min, y_max = sorted(draw(st.floats(0, 30, width=32)) for _ in range(2))
            score = draw(st.floats(0, 1, width=32))
            found[name].append(box(x_min, y_min, x_max, y_max, draw(st.integers(0, 1)), score))
    return found


def truths(uri: Path, format: str) -> dict[bytes, list[tuple[Any, ...]]]:
    """By the bytes of the picture: names may have been escaped."""
    samples = samples_of(settings_of(uri, format=format, label_column="boxes"))
    return {bytes(s.data or b""): [(t.label, *t.edges, t.mask_rle) for t in parse_boxes(s.truth)] for s in samples}


@pytest.mark.parametrize(("format", "file"), [("coco", "instances.json"), ("yolo", "data.yaml")])
@given(data=st.data())
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_boxes_come_back_exactly(
    tmp_path_factory: pytest.TempPathFactory, format: str, file: str, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("trip")
    boxes = data.draw(predictions())
    output = predicted(folder, pictures(folder / "in", *NAMES), [BOXES], lambda name: {"boxes": boxes[name]})
    export(output, format=format, to=str(folder / "to"), options=Options(copy_images=True))
    edges = ("x_min", "y_min", "x_max", "y_max")
    expected = {
        (folder / "in" / name).read_bytes(): [(b["label"], *(b[edge] for edge in edges), None) for b in boxes[name]]
        for name in NAMES
    }
    assert truths(folder / "to" / file, format) == expected


def test_masks_come_back_exactly(tmp_path: Path) -> None:
    runs = encode(np.random.default_rng(0).random((30, 40)) > 0.5)
    found = {"boxes": [box(1, 2, 3, 4, mask_rle=runs)]}
    output = predicted(tmp_path, pictures(tmp_path / "in", "a.png"), [MASKED], lambda name: found)
    export(output, format="coco", to=str(tmp_path / "to"), options=Options(copy_images=True))
    assert list(truths(tmp_path / "to" / "instances.json", "coco").values()) == [[("cat", 1, 2, 3, 4, runs)]]


def planned(folder: Path, input: InputSettings) -> Output:
    input = resolve_input(input, None)
    definition = Definition(input_facts(input, "input"))
    paths = LedgerPaths(str(folder / "again"))
    claim_definition(paths, definition, cell_rows=CELL_ROWS)
    return Output(paths=paths, input=input, format=input.format, definition=definition)


def test_a_changed_annotation_file_is_work_again(tmp_path: Path) -> None:
    output = predicted(tmp_path, pictures(tmp_path / "in", *NAMES), [BOXES], lambda name: {"boxes": []})
    export(output, format="coco", to=str(tmp_path / "to"), options=Options(copy_images=True))
    file = tmp_path / "to" / "instances.json"
    again = planned(tmp_path, settings_of(file, format="coco", label_column="boxes"))
    assert [work.shard.rows for work in again.todo()] == [5]
    again.run()
    assert again.todo() == []
    assert {image.image_id for image in SourceImages.of(again.paths).all() if image.data} == {
        image["file_name"] for image in json.loads(file.read_text())["images"]
    }
    file.write_text(file.read_text() + "\n")
    assert [work.shard.key for work in again.todo()] == ["instances.json"]


def test_changed_labels_are_work_again_for_their_images_alone(tmp_path: Path) -> None:
    output = predicted(tmp_path, pictures(tmp_path / "in", *NAMES), [BOXES], lambda name: {"boxes": []})
    export(output, format="yolo", to=str(tmp_path / "to"), options=Options(copy_images=True))
    again = planned(tmp_path, settings_of(tmp_path / "to", format="yolo", label_column="boxes"))
    again.run()
    assert again.todo() == []
    assert sum(image.data is not None for image in SourceImages.of(again.paths).all()) == 5
    (tmp_path / "to" / "labels" / "a.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    plan = again.plan()
    assert (plan.changed, plan.new, plan.removed) == (1, 0, 0)
    assert len(again.todo()) == 1
    (tmp_path / "to" / "data.yaml").write_text("names: [a, b]\n")
    assert again.plan().changed == 5


@pytest.mark.s3
@pytest.mark.parametrize(("format", "name"), [("coco", "instances.json"), ("yolo", "images")])
def test_the_trip_goes_over_s3_too(moto_s3: S3Bucket, tmp_path: Path, format: str, name: str) -> None:
    found = {"boxes": [box(1.5, 2, 3, 4)]}
    output = predicted(tmp_path, pictures(tmp_path / "in", *NAMES), [BOXES], lambda name: found)
    to = f"{moto_s3.uri}/set"
    assert export(output, format=format, to=to, options=Options(copy_images=True)).errors == {}
    again = planned(tmp_path, settings_of(f"{to}/{name}", format=format, label_column="boxes"))
    samples = samples_of(again.input)
    assert [sample.truth for sample in samples] == [samples[0].truth] * len(NAMES)
    assert [box.edges for box in parse_boxes(samples[0].truth)] == [(1.5, 2, 3, 4)]
    again.run()
    assert again.todo() == []
    assert sum(image.data is not None for image in SourceImages.of(again.paths).all()) == len(NAMES)
