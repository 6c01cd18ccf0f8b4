"""What a dataset may say of the objects in an image, and what it may not."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vision_batch.errors import ImageError
from vision_batch.tasks.box_truth import TrueBox, parse_boxes

CAT = {"label": "cat", "x_min": 1, "y_min": 2.5, "x_max": 3, "y_max": 4}

edges = st.floats(-1e6, 1e6, width=32)
boxes = st.lists(
    st.builds(
        lambda label, x, y, is_crowd: {
            "label": label,
            "x_min": min(x),
            "x_max": max(x),
            "y_min": min(y),
            "y_max": max(y),
            "is_crowd": is_crowd,
            "mask_rle": None,
        },
        st.sampled_from(["cat", "7", "Straße"]),
        st.tuples(edges, edges),
        st.tuples(edges, edges),
        st.booleans(),
    ),
    max_size=4,
)


@given(said=boxes)
def test_a_list_says_the_same_as_its_json_and_as_a_column_of_parquet(said: list[dict[str, Any]]) -> None:
    expected = tuple(TrueBox(**box) for box in said)
    column = pa.array([said])
    for value in (said, json.dumps(said), json.dumps({"boxes": said, "other": 1}), {"boxes": said}, column[0].as_py()):
        assert parse_boxes(value) == expected


def test_classes_may_be_whole_numbers_and_other_keys_mean_nothing() -> None:
    (box,) = parse_boxes([{**CAT, "label": 7, "colour": "red", "mask_rle": "01", "area": 20.5}])
    assert box == TrueBox(label="7", x_min=1, y_min=2.5, x_max=3, y_max=4, mask_rle="01", area=20.5)
    assert box.edges == (1, 2.5, 3, 4)


def test_an_image_may_have_no_object_and_an_object_no_area() -> None:
    assert parse_boxes([]) == parse_boxes("[]") == parse_boxes({"boxes": []}) == ()
    assert parse_boxes([{**CAT, "x_max": 1}])[0].edges == (1, 2.5, 1, 4)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "the label is nothing"),
        (3, "the label is int 3"),
        ("[{", "no JSON"),
        (b"\xff\xfe\x00", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ({"box": []}, "the label is nothing"),
        ([CAT, 5], "box 1 is int 5"),
        ([{**CAT, "label": None}], "box 0: the label is nothing"),
        ([{**CAT, "label": ["cat"]}], "box 0: the label is list"),
        ([{**CAT, "x_min": None}], "x_min is nothing"),
        ([{**CAT, "x_max": "3"}], "x_max is str '3'"),
        ([{**CAT, "y_min": True}], "y_min is bool True"),
        ([{**CAT, "y_max": float("nan")}], "y_max is float nan"),
        (json.dumps([{**CAT, "y_max": 10**400}]), "y_max is int 1000"),
        ('[{"label": "cat", "x_min": 0, "y_min": 0, "x_max": 1, "y_max": 1e999}]', "y_max is float inf"),
        ([{**CAT, "x_max": 0}], "x_min <= x_max"),
        ([{**CAT, "is_crowd": "yes"}], "is_crowd is str 'yes'"),
        ([{**CAT, "is_crowd": [1]}], "is_crowd is list"),
        ([{**CAT, "mask_rle": [3, 4]}], "mask_rle is list"),
    ],
)
def test_what_is_no_list_of_boxes_is_the_images_fault_and_says_why(value: Any, said: str) -> None:
    with pytest.raises(ImageError) as caught:
        parse_boxes(value)
    assert caught.value.code == "invalid_label"
    assert said in caught.value.message
