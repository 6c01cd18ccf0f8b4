"""Which way a model of transformers is called in, by its class and the spec's task."""

from __future__ import annotations

import re
from typing import Any

import pytest

from vision_batch.errors import SpecError
from vision_batch.models.transformers_kinds import KINDS, kind_of
from vision_batch.tasks.settings import TaskSettings


def config(*architectures: str, **more: Any) -> dict[str, Any]:
    return {"architectures": list(architectures), **more}


@pytest.mark.parametrize(
    ("architecture", "task", "kind"),
    [
        ("ViTForImageClassification", "classification", "classifier"),
        ("DeiTForImageClassificationWithTeacher", "classification", "classifier"),
        ("SwinForImageClassification", "multi_label", "classifier"),
        ("SegformerForSemanticSegmentation", "segmentation", "semantic"),
        ("UperNetForSemanticSegmentation", "segmentation", "semantic"),
        ("Mask2FormerForUniversalSegmentation", "segmentation", "mask classes"),
        ("Mask2FormerForUniversalSegmentation", "detection", "boxes of instances"),
        ("Mask2FormerForUniversalSegmentation", "detection with masks", "instances"),
        ("MaskFormerForInstanceSegmentation", "detection with masks", "instances"),
        ("DetrForObjectDetection", "detection", "softmax detector"),
        ("YolosForObjectDetection", "detection", "softmax detector"),
        ("RTDetrV2ForObjectDetection", "detection", "sigmoid detector"),
        ("ConditionalDetrForObjectDetection", "detection", "sigmoid detector"),
        ("ViTModel", "embedding", "embedder"),
        ("DeiTForImageClassificationWithTeacher", "embedding", "embedder"),
        ("SiglipVisionModel", "embedding", "embedder"),
        ("CLIPModel", "embedding", "embedder"),
        ("CLIPVisionModelWithProjection", "embedding", "projected embedder"),
        ("CLIPModel", "classification by model.prompts", "image and text"),
        ("SiglipModel", "multi_label by model.prompts", "image and text"),
    ],
)
def test_class_and_task_say_it(architecture: str, task: str, kind: str) -> None:
    assert kind_of(config(architecture), task, for_training=False) == kind


@pytest.mark.parametrize("named", [config("ViTModel"), config(), {}, {"architectures": None}])
def test_what_names_no_task_may_be_a_classifier(named: dict[str, Any]) -> None:
    assert kind_of(named, "classification", for_training=True) == "classifier"


def test_a_model_of_another_task_says_for_which_it_is() -> None:
    words = (
        "SegformerForSemanticSegmentation with the task classification; expected an image classifier "
        "(…ForImageClassification, …ForImageClassificationWithTeacher); this is a semantic segmenter, "
        "for task.type: segmentation"
    )
    with pytest.raises(SpecError, match=re.escape(words)):
        kind_of(config("SegformerForSemanticSegmentation"), "classification", for_training=False)


def test_a_detector_without_masks_is_not_asked_for_them() -> None:
    words = (
        "DetrForObjectDetection with the task detection with masks; expected an instance segmenter "
        "(Mask2FormerForUniversalSegmentation, MaskFormerForInstanceSegmentation); this is an object detector, "
    )
    asked = TaskSettings(type="detection", masks=True).asked
    with pytest.raises(SpecError, match=re.escape(words)):
        kind_of(config("DetrForObjectDetection"), asked, for_training=False)


def test_a_detector_whose_head_is_not_known_is_not_trained_here() -> None:
    with pytest.raises(SpecError, match=r"RTDetrForObjectDetection in a train job; expected an image classifier, "):
        kind_of(config("RTDetrForObjectDetection"), "detection", for_training=True)
    assert kind_of(config("DetrForObjectDetection"), "detection", for_training=True) == "learning detector"


@pytest.mark.parametrize("named", [config("BertForMaskedLM"), {"model_type": "bert"}])
def test_a_model_of_no_known_task(named: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match=r"[Bb]ert.* with the task segmentation; expected a semantic segm") as caught:
        kind_of(named, "segmentation", for_training=False)
    assert "this is" not in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_called_by_a_wrapper_and_found_by_a_class_of_the_library(kind: str) -> None:
    transformers = pytest.importorskip("transformers")
    from vision_batch.models.transformers_model import WRAPPERS

    assert set(WRAPPERS) == set(KINDS)
    assert hasattr(transformers, KINDS[kind].auto)
