"""Classes that have few images: weights for the losses, and how often an epoch shows their images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vision_batch.errors import Problem, SpecError


def class_weights(
    settings: Literal["none", "balanced"] | Sequence[float],
    class_images: Sequence[int] | None,
    labels: Sequence[str],
    *,
    images: int | None = None,
) -> tuple[float, ...] | None:
    """The weights (C,) of `labels` that a spec's `class_weights` mean; None for none.

    balanced: n / (k · n_c) for classes that exclude each other, k of them with images, n images in all, n_c of class
    c, as scikit-learn's `class_weight="balanced"` (https://scikit-learn.org/stable/modules/generated/
    sklearn.utils.class_weight.compute_class_weight.html). With `images` n_c of these have class c and others beside
    it: then the weight is what that formula gives those that have it over what it gives the rest, (n - n_c) / n_c.
    A class without images weighs 0: nothing shows it. SpecError where the weights do not fit the labels, or images
    cannot be counted by class.
    """
    if settings == "none":
        return None
    if isinstance(settings, str):
        counts = _counts(class_images, "train.class_weights", settings)
        wanted = counts.sum() / np.count_nonzero(counts) if images is None else images - counts
        return tuple(np.divide(wanted, counts, out=np.zeros(len(counts)), where=counts > 0).tolist())
    demand_weights(settings, labels)
    return tuple(settings)


def demand_weights(settings: str | Sequence[float], labels: Sequence[str]) -> None:
    """SpecError where a spec's `class_weights` are a list and not one for each label."""
    if not isinstance(settings, str) and len(settings) != len(labels):
        names = ", ".join(labels[:5]) + (", …" if len(labels) > 5 else "")
        found, expected = f"{len(settings)} weights", f"one for each of the {len(labels)} labels: {names}"
        raise SpecError(Problem("train.class_weights", found, expected))


def repeats_per_class(sampling: Literal["balanced", "sqrt"], class_images: Sequence[int] | None) -> NDArray[np.float64]:
    """How many times an epoch shows an image of each class on average, (C,); 0 for a class without images.

    balanced: all classes that have images are seen equally often, sqrt: in the ratio of the square roots of their
    counts. An epoch has as many images as without sampling: Σ n_c · repeats = Σ n_c.
    """
    counts = _counts(class_images, "train.sampling", sampling)
    shown = np.where(counts > 0, counts**0.5 if sampling == "sqrt" else 1.0, 0.0)
    shown *= counts.sum() / shown.sum()
    return np.divide(shown, counts, out=np.zeros(len(counts)), where=counts > 0)


def _counts(class_images: Sequence[int] | None, where: str, found: str) -> NDArray[np.float64]:
    if class_images is None or not any(class_images):
        raise SpecError(Problem(where, found, "a task whose images have classes of their own, as classification"))
    return np.asarray(class_images, dtype=np.float64)
