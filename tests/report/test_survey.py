"""A survey counts every row, and what it counts does not depend on how the stream is cut."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.report.outputs import CLASS_PIXELS, CLASSIFICATION, DETECTION, MULTI_LABEL
from vision_batch.report import survey as module
from vision_batch.report.survey import OTHER, Survey

COMMON = [
    ("error_code", pa.string()),
    ("width", pa.int32()),
    ("height", pa.int32()),
]
SCHEMA = pa.schema([*COMMON, *CLASSIFICATION])


def surveyed(kind: str, table: pa.Table, batch: int = 3) -> Survey:
    survey = Survey(kind)
    columns = Survey.columns(kind)
    for each in table.select(columns).to_batches(max_chunksize=batch):
        survey.add(each)
    return survey


ROW = st.one_of(
    st.builds(
        dict,
        label=st.sampled_from("abc"),
        score=st.integers(0, 20).map(lambda n: n / 20),
        width=st.integers(1, 9000),
        height=st.integers(1, 9000),
    ),
    st.builds(dict, error_code=st.sampled_from(["empty", "truncated"])),
)


@given(st.lists(ROW, max_size=40), st.integers(1, 9))
def test_what_is_counted_is_what_is_there(rows: list[dict[str, Any]], batch: int) -> None:
    survey = surveyed("classification", pa.Table.from_pylist(rows, SCHEMA), batch)
    good = [row for row in rows if "label" in row]
    assert (survey.rows, survey.ok, survey.failed) == (len(rows), len(good), len(rows) - len(good))
    errors = Counter(row["error_code"] for row in rows if "error_code" in row)
    assert {name: count for name, _, count, _ in survey.errors.ranked()} == errors
    labels = Counter(row["label"] for row in good)
    assert {name: count for name, _, count, _ in survey.labels.ranked()} == labels
    assert survey.scores.bins.sum() == len(good)
    assert survey.sizes.sum() == len(good)
    for name, label, _, mean in survey.labels.ranked():
        scores = {row: rows[row]["score"] for row in range(len(rows)) if rows[row].get("label") == name}
        assert mean == pytest.approx(np.mean([*scores.values()]), abs=1e-6)
        assert survey.most.rows(label) == sorted(scores, key=lambda row: (-scores[row], row))[: module.PER_LABEL]
        assert survey.least.rows(label) == sorted(scores, key=lambda row: (scores[row], row))[: module.PER_LABEL]


def test_sizes_are_counted_by_the_longer_side() -> None:
    sizes = [(10, 31), (32, 8), (63, 64), (20000, 5), (40000, 5)]
    table = pa.Table.from_pylist([{"label": "a", "width": w, "height": h} for w, h in sizes], SCHEMA)
    survey = surveyed("classification", table)
    assert survey.sizes.tolist() == [1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1]
    assert (survey.smallest, survey.largest) == ((32, 8), (40000, 5))


def test_boxes_count_by_label_and_by_image() -> None:
    rows = [{"boxes": [{"label": name, "score": 0.5} for name in names]} for names in ("ab", "", "aaa")]
    survey = surveyed("detection", pa.Table.from_pylist(rows, pa.schema([*COMMON, *DETECTION])), 2)
    assert [(name, count) for name, _, count, _ in survey.labels.ranked()] == [("a", 4), ("b", 1)]
    assert survey.per_image[:4].tolist() == [1, 0, 1, 1]
    assert survey.most.rows(survey.labels.ranked()[0][1]) == [0, 2]


def test_labels_of_several_count_each() -> None:
    rows = [{"labels": ["x", "y"], "label_scores": [0.9, 0.6]}, {"labels": [], "label_scores": []}, {"labels": None}]
    survey = surveyed("multi_label", pa.Table.from_pylist(rows, pa.schema([*COMMON, *MULTI_LABEL])), 1)
    assert [(name, count) for name, _, count, _ in survey.labels.ranked()] == [("x", 1), ("y", 1)]
    assert survey.per_image[:3].tolist() == [2, 0, 1]


def test_the_score_of_a_class_of_a_mask_is_its_share() -> None:
    seen = [[("road", 30), ("sky", 10), ("car", 0)], [("road", 5)]]
    rows = [
        {"class_pixels": [{"label": name, "label_index": 0, "pixels": pixels} for name, pixels in image]}
        for image in seen
    ]
    survey = surveyed("segmentation", pa.Table.from_pylist(rows, pa.schema([*COMMON, ("class_pixels", CLASS_PIXELS)])))
    assert [(name, count, mean) for name, _, count, mean in survey.labels.ranked()] == [
        ("road", 2, 0.875),
        ("sky", 1, 0.25),
    ]


def test_text_that_is_no_class_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_LABELS", 3)
    table = pa.Table.from_pylist([{"label": str(number), "score": 0.5} for number in range(50)], SCHEMA)
    survey = surveyed("classification", table, 7)
    assert {name: count for name, _, count, _ in survey.labels.ranked()} == {"0": 1, "1": 1, "2": 1, OTHER: 47}


def test_failed_rows_are_drawn_by_code() -> None:
    rows = [{"error_code": "empty" if number % 5 else "truncated"} for number in range(100)]
    survey = surveyed("classification", pa.Table.from_pylist(rows, SCHEMA), 9)
    ranked = survey.errors.ranked()
    assert [(name, count) for name, _, count, _ in ranked] == [("empty", 80), ("truncated", 20)]
    for code, label, _, _ in ranked:
        shown = survey.broken.rows(label)
        assert len(set(shown)) == module.PER_CODE
        assert all(rows[row]["error_code"] == code for row in shown)
