"""Pictures cut out of the squares in which they lie."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from vision_batch.models.by_size import BySize

SIZES = [(8, 16), (16, 8), (8, 16), (16, 16)]


class Seen(torch.nn.Module):
    """Answers for each image what it saw of it, and how many came together; `every` px have one place."""

    def __init__(self, *, every: int, as_dict: bool) -> None:
        super().__init__()
        self.every = every
        self.as_dict = as_dict

    def forward(self, images: torch.Tensor) -> Any:
        rows, columns = (-(-side // self.every) for side in images.shape[2:])
        places = torch.nn.functional.interpolate(images, size=(rows, columns), mode="nearest")
        if not self.as_dict:
            return places
        together = torch.full((len(images),), len(images))
        return [
            {"sum": image.sum(), "together": count, "masks": mask}
            for image, count, mask in zip(images, together, places, strict=True)
        ]


def resized(places: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """As tasks lay them over an image."""
    return torch.nn.functional.interpolate(places, size=size, mode="bilinear", align_corners=False)


@pytest.fixture
def images() -> torch.Tensor:
    """White beyond the picture, which none may see."""
    made = torch.full((4, 3, 16, 16), 1000.0)
    for index, (height, width) in enumerate(SIZES):
        made[index, :, :height, :width] = torch.rand(3, height, width)
    return made


def test_each_picture_is_seen_alone_and_those_of_one_size_come_together(images: torch.Tensor) -> None:
    answers = BySize(Seen(every=1, as_dict=True))(images, SIZES)
    assert [int(answer["together"]) for answer in answers] == [2, 1, 2, 1]
    for image, (height, width), answer in zip(images, SIZES, answers, strict=True):
        torch.testing.assert_close(answer["sum"], image[:, :height, :width].sum())


@pytest.mark.parametrize("every", [1, 4, 3])
@pytest.mark.parametrize("as_dict", [True, False])
def test_what_lies_over_a_picture_lies_at_the_same_place_over_the_square(
    images: torch.Tensor, every: int, as_dict: bool
) -> None:
    module = BySize(Seen(every=every, as_dict=as_dict))
    answers = module(images, SIZES)
    if not as_dict:
        assert answers.shape[0] == len(images)
    for image, (height, width), answer in zip(images, SIZES, answers, strict=True):
        places = answer["masks"] if as_dict else answer
        (alone,) = module.module(image[None, :, :height, :width])
        over = resized((alone["masks"] if as_dict else alone)[None], (height, width))
        torch.testing.assert_close(resized(places[None], (16, 16))[..., :height, :width], over)


def test_places_of_several_sizes_become_pixels() -> None:
    """12 rows have 2 places of 6 pixels each, of which no number fills 16."""
    images, sizes = torch.rand(2, 3, 16, 16), [(12, 16), (16, 8)]
    module = BySize(Seen(every=8, as_dict=False))
    for image, (height, width), answer in zip(images, sizes, module(images, sizes), strict=True):
        over = resized(module.module(image[None, :, :height, :width]), (height, width))
        torch.testing.assert_close(answer[None, :, :height, :width], over)


def test_pictures_that_fill_their_image_are_seen_at_once(images: torch.Tensor) -> None:
    module = BySize(Seen(every=1, as_dict=True))
    for sizes in (None, [(16, 16)] * 4):
        assert [int(answer["together"]) for answer in module(images, sizes)] == [4] * 4
