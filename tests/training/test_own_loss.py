"""Modules that bring their loss: what they may say, and what is said of what they may not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from tests.training.small_modules import Detector, MeanDetector, OneLoss, OtherWeights, Plain
from tests.training.small_training import Case, run_worker
from vision_batch.errors import ModelError
from vision_batch.training.losses import combine
from vision_batch.training.own_loss import OwnLoss, demand_losses

DETECTION = {"type": "detection"}
SPEC = {"epochs": 1, "batch_size": 8}
BOXES = torch.tensor([[[0.0, 0, 0, 4, 4], [1, 2, 2, 6, 6]], [[2, 0, 0, 4, 4], [-1] * 5], [[-1] * 5, [-1] * 5]])
"""Two boxes, one, and none."""


class TestTerms:
    def test_means_count_as_often_as_there_are_images(self) -> None:
        loss = OwnLoss(nn.Identity())
        (term,) = loss({"class": torch.tensor(2.0), "box": torch.tensor(0.5)}, BOXES)
        assert (term.factor, term.total.item(), term.weight.item()) == (1, 7.5, 3)
        assert loss.weights(BOXES, 3).tolist() == [3]
        assert combine([term]).item() == 2.5

    def test_sums_are_divided_by_what_the_module_says_of_the_targets(self) -> None:
        loss = OwnLoss(Detector())
        terms = loss({"class": torch.tensor(6.0), "box": torch.tensor(1.5)}, BOXES)
        assert [term.weight.item() for term in terms] == loss.weights(BOXES, 3).tolist() == [3, 3]
        assert combine(terms).item() == 2.5

    @pytest.mark.parametrize("module", [nn.Identity(), Detector()])
    def test_without_images_there_is_nothing_to_learn(self, module: nn.Module) -> None:
        """The module was called with an image that is not meant, and its loss is of that."""
        loss = OwnLoss(module)
        terms = loss({"class": torch.tensor(6.0), "box": torch.tensor(0.0)}, BOXES[:0])
        assert [term.total.item() for term in terms] == [0] * len(terms)
        assert not loss.weights(BOXES[:0], 3).any()

    def test_weights_of_other_names_are_refused(self) -> None:
        with pytest.raises(
            ModelError, match="weights for box, class, mask, and losses for box, class; expected the same"
        ):
            run_worker(0, 1, Case(module=OtherWeights, task=DETECTION, spec=SPEC))


@pytest.mark.parametrize(
    ("said", "found"),
    [
        (torch.tensor(1.0), "returned a Tensor"),
        ({}, "returned a dict"),
        ({"box": 1.0}, "loss 'box' has float"),
        ({"box": torch.zeros(2)}, r"loss 'box' has shape \(2,\)"),
    ],
)
def test_what_is_no_dict_of_scalars_is_refused(said: Any, found: str) -> None:
    with pytest.raises(ModelError, match=f"{found}; expected a dict of scalar losses by name"):
        demand_losses(said)


class TestTraining:
    @pytest.mark.parametrize(
        ("module", "said"),
        [
            (OneLoss, "in training mode the model returned a Tensor"),
            (Plain, "the model raised TypeError"),  # it takes no targets
        ],
    )
    def test_a_module_that_brings_no_loss_is_refused_at_once(self, module: Callable[[], nn.Module], said: str) -> None:
        with pytest.raises(ModelError, match=said):
            run_worker(0, 1, Case(module=module, task=DETECTION, spec=SPEC))

    def test_a_module_that_says_no_boxes_is_refused_when_it_is_measured(self) -> None:
        class WithoutBoxes(Detector):
            def forward(self, images: torch.Tensor, targets: Any = None) -> dict[str, torch.Tensor]:
                said = super().forward(images, targets)
                return said if targets is not None else {"logits": said["logits"]}

        with pytest.raises(ModelError, match="detection needs"):
            run_worker(0, 1, Case(module=WithoutBoxes, task=DETECTION, spec=SPEC, validation_images=4))

    def test_a_loss_that_is_no_number_may_be_any_image_of_its_batch(self) -> None:
        spec = {**SPEC, "batch_size": 2}
        with pytest.raises(ModelError, match=r"the loss is NaN or infinite: worker 0, image-\d+, image-\d+; "):
            run_worker(0, 1, Case(module=MeanDetector, task=DETECTION, spec=spec, white=frozenset({17})))
