"""Mixup and cutmix: what is mixed is mixed alike in pixels and targets, and the generator decides all."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vision_batch.errors import ModelError
from vision_batch.training.mixing import Mixer
from vision_batch.training.settings import TrainSettings

CLASSES = 6
seeds = st.integers(0, 2**40)


def mixer(**ways: float) -> Mixer:
    return Mixer(TrainSettings.model_validate({"epochs": 1, **ways}), CLASSES)


def flat_images(count: int) -> Tensor:
    """Image i is i + 1 all over."""
    return torch.arange(1.0, count + 1)[:, None, None, None].expand(count, 3, 12, 20).contiguous()


def mix(ways: dict[str, float], pixels: Tensor, targets: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    return mixer(**ways)(pixels, targets, torch.Generator().manual_seed(seed))


@settings(max_examples=50)
@given(seeds, st.integers(2, 6), st.sampled_from([{"mixup": 0.4}, {"cutmix": 1.0}, {"mixup": 1.0, "cutmix": 1.0}]))
def test_pixels_and_targets_are_mixed_in_the_same_shares(seed: int, count: int, ways: dict[str, float]) -> None:
    """Image i has class i, so that an image's pixels say which shares of which classes it must have."""
    pixels, shares = mix(ways, flat_images(count), torch.arange(count), seed)
    values = torch.arange(1.0, CLASSES + 1)
    torch.testing.assert_close(shares.sum(1), torch.ones(count))
    torch.testing.assert_close(pixels.mean((1, 2, 3)), shares @ values)
    assert (shares >= 0).all()
    assert ((shares > 0).sum(1) <= 2).all()
    torch.testing.assert_close(shares.sum(0)[:count], torch.ones(count))  # a permutation: nobody is lost


@settings(max_examples=30)
@given(seeds)
def test_cutmix_lays_one_whole_box_on_the_image(seed: int) -> None:
    pixels, shares = mix({"cutmix": 1.0}, flat_images(4), torch.arange(4), seed)
    for index in range(4):
        foreign = pixels[index, 0] != index + 1
        assert foreign.float().mean() == pytest.approx(1 - shares[index, index].item(), abs=1e-6)
        rows, columns = foreign.any(1), foreign.any(0)
        assert torch.equal(foreign, rows[:, None] & columns[None])
        for edge in (rows, columns):
            assert edge.int().diff().abs().sum() <= 2


@given(seeds)
def test_the_same_generator_mixes_the_same(seed: int) -> None:
    pixels, targets = torch.rand(5, 3, 4, 4), torch.arange(5)
    first, again = (mix({"mixup": 0.2, "cutmix": 1.0}, pixels, targets, seed) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_batches_differ() -> None:
    pixels, targets = torch.rand(5, 3, 4, 4), torch.arange(5)
    generator = torch.Generator().manual_seed(0)
    found = {tuple(mixer(mixup=1.0)(pixels, targets, generator)[1].flatten().tolist()) for _ in range(10)}
    assert len(found) > 5


def test_with_both_a_batch_gets_either() -> None:
    pixels, targets = flat_images(2), torch.arange(2)
    kinds = set()
    for seed in range(20):
        mixed, _ = mix({"mixup": 1.0, "cutmix": 1.0}, pixels, targets, seed)
        kinds.add("cutmix" if set(mixed.unique().tolist()) <= {1.0, 2.0} else "mixup")
    assert kinds == {"mixup", "cutmix"}


def test_the_share_follows_its_distribution() -> None:
    """Beta(alpha, alpha): mean 1/2, variance 1 / (4 (2 alpha + 1))."""
    pixels, targets = torch.zeros(2, 3, 1, 1), torch.tensor([0, 1])
    shares = torch.tensor([mix({"mixup": 0.2}, pixels, targets, seed)[1].max().item() for seed in range(400)])
    assert (2 * shares - 1).square().mean().item() == pytest.approx(
        # half of the permutations of two leave both where they are: their share is 1
        0.5 + 0.5 * 1 / 1.4,
        abs=0.06,
    )


@given(seeds)
def test_several_labels_are_mixed_too(seed: int) -> None:
    targets = torch.tensor([[1, 1, 0, 0, 0, 0], [0, 1, 0, 0, 0, 1]]).float()
    _, shares = mix({"mixup": 1.0}, flat_images(2), targets, seed)
    torch.testing.assert_close(shares.sum(0), targets.sum(0))
    assert (shares[:, 1] == 1).all()


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_to_mix_get_the_same_kind_of_targets(count: int) -> None:
    pixels, shares = mix({"mixup": 1.0}, flat_images(count), torch.arange(count), 0)
    assert torch.equal(pixels, flat_images(count))
    assert torch.equal(shares, torch.eye(CLASSES)[:count])


def test_masks_are_refused_and_nothing_is_mixed_unasked() -> None:
    with pytest.raises(ModelError, match="not for masks"):
        mix({"mixup": 1.0}, flat_images(2), torch.zeros(2, 12, 20, dtype=torch.uint8), 0)
    assert not mixer()
    assert mixer(cutmix=0.1)


def test_the_batch_that_was_given_stays_as_it_is() -> None:
    pixels = flat_images(3)
    for seed in range(5):
        mix({"mixup": 1.0, "cutmix": 1.0}, pixels, torch.arange(3), seed)
    assert torch.equal(pixels, flat_images(3))
