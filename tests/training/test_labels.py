"""The classes of a training."""

from __future__ import annotations

import pytest

from vision_batch.errors import SpecError
from vision_batch.tasks.settings import TaskSettings
from vision_batch.training import labels as labels_module
from vision_batch.training.labels import labels_for, mismatches

SINGLE = TaskSettings(type="classification")
SEVERAL = TaskSettings(type="classification", multi_label=True)
MASKS = TaskSettings(type="segmentation")


def test_a_threshold_for_a_label_that_the_data_have_not() -> None:
    task = TaskSettings(type="classification", multi_label=True, score_threshold={"dgo": 0.2})
    with pytest.raises(SpecError, match=r"task\.score_threshold: found 'dgo'; .*perhaps 'dog'"):
        labels_for(task, None, ["dog", "cat"])


def test_the_specs_labels_stand_whatever_the_data_have() -> None:
    for task in (SINGLE, SEVERAL, MASKS):
        assert labels_for(task, ("b", "a"), {"a", "c"}) == ("b", "a")
        assert labels_for(task, ("b", "a"), {"1", "c"}) == ("b", "a"), "an index, where names are no numbers"
        assert labels_for(task, ("b", "a"), ()) == ("b", "a")


def test_data_that_know_none_of_the_models_classes_are_refused() -> None:
    """As with a classifier of a thousand classes that is to learn others."""
    classes = tuple(f"LABEL_{index}" for index in range(1000))
    for task in (SINGLE, SEVERAL):
        with pytest.raises(
            SpecError, match=r"model\.labels: found cat, dog in the data, and no class of that name among"
        ):
            labels_for(task, classes, {"dog", "cat"})
    assert labels_for(MASKS, classes, {"dog"}) == classes


def test_without_them_the_data_say_them_sorted() -> None:
    assert labels_for(SINGLE, None, iter(["dog", "cat", "dog"])) == ("cat", "dog")
    assert labels_for(SINGLE, None, map(str, range(11))) == tuple(map(str, range(11))), "2 comes before 10"
    assert labels_for(SINGLE, None, ["10", "2", "x"]) == ("10", "2", "x")
    assert labels_for(SEVERAL, None, ["dog"]) == ("dog",)


def test_one_class_or_none_is_nothing_to_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SpecError, match="1 classes in the labels, 'dog'"):
        labels_for(SINGLE, None, ["dog"])
    for task in (SINGLE, SEVERAL):
        with pytest.raises(SpecError, match="0 classes"):
            labels_for(task, None, [])
    monkeypatch.setattr(labels_module, "MOST_CLASSES", 3)
    with pytest.raises(SpecError, match="4 classes"):
        labels_for(SINGLE, None, "abcd")


def test_masks_name_no_classes() -> None:
    with pytest.raises(SpecError, match=r"model\.labels: found nothing; expected the names"):
        labels_for(MASKS, None, [])


def test_names_that_are_no_class_and_classes_without_images_are_told_of() -> None:
    counts = {"a": 5, "nine": 67, "ten": 1, "x": 3, "y": 2, "z": 2}
    assert list(mismatches(("a", "b"), counts)) == [
        "67 images have the label 'nine', which is none of model.labels",
        "3 images have the label 'x', which is none of model.labels",
        "2 images have the label 'y', which is none of model.labels",
        "3 images have 2 other labels that are none of model.labels",
        "no image has the label b",
    ]
    assert list(mismatches(("a", "b"), {"a": 5, "1": 1})) == [], "an index, where names are no numbers"
    assert list(mismatches(("a", "b", "c"), {"a": 1, "d": 1})) == [
        "1 image has the label 'd', which is none of model.labels",
        "no image has one of the labels b, c",
    ]
