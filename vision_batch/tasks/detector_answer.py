"""What detectors answer, in the forms that they have, and what each says of one image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vision_batch.errors import ModelError
from vision_batch.tasks.logits import described

Answer: TypeAlias = Mapping[str, NDArray[Any]]
"""Of one image: `boxes`, `scores` and `labels`, or `logits` and `pred_boxes`; perhaps `masks`; nothing else."""

LISTED: Final = ("boxes", "scores", "labels")
QUERIES: Final = ("logits", "pred_boxes")
MASKS: Final = "masks"
SLACK: Final = 1e-3
"""How far from [0, 1] rounding takes a score."""
EXPECTED: Final = (
    "a list with a dict for each image (boxes (K, 4) in pixels of the model's input, scores (K,), labels (K,)), a dict "
    "of those stacked, or a dict with logits (N, Q, C + 1) and pred_boxes (N, Q, 4)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a model says of one image, in its order.

    `boxes` float32 (K, 4): x_min, y_min, x_max, y_max in pixels of the model's input. `scores` float32 (K,), `labels`
    int64 (K,) are class indices. `masks`, each (h, w) of any type: how likely each of h x w places of the model's
    whole input belongs to the thing; none where nobody asks for them.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]
    masks: Sequence[NDArray[Any]] = ()

    def take(self, index: NDArray[Any]) -> Found:
        """Those at `index`, which is an array of indices or of bools. No mask is copied."""
        masks = [self.masks[i] for i in np.arange(len(self.scores))[index]] if self.masks else ()
        return Found(boxes=self.boxes[index], scores=self.scores[index], labels=self.labels[index], masks=masks)


def answers(outputs: Any) -> list[Answer]:
    """One for each image. ModelError where the structure is none of a detector's."""
    if isinstance(outputs, Mapping):
        keys = QUERIES if set(QUERIES) <= set(outputs) else LISTED
        arrays = _arrays(outputs, (*keys, MASKS))
        counts = {len(array) if array.ndim else 0 for array in arrays.values()}
        if set(keys) <= set(arrays) and len(counts) == 1:
            by_image = [{key: array[i] for key, array in arrays.items()} for i in range(counts.pop())]
            return [_with_plain_masks(answer) for answer in by_image]
    elif isinstance(outputs, Sequence) and all(_is_listed(answer) for answer in outputs):
        return [_with_plain_masks(_arrays(answer, (*LISTED, MASKS))) for answer in outputs]
    raise ModelError(f"the model returned {described(outputs)}; detection needs {EXPECTED}")


def _is_listed(answer: Any) -> bool:
    return isinstance(answer, Mapping) and len(_arrays(answer, LISTED)) == len(LISTED)


def _arrays(answer: Mapping[str, Any], keys: Sequence[str]) -> dict[str, NDArray[Any]]:
    return {key: answer[key] for key in keys if isinstance(answer.get(key), np.ndarray)}


def _with_plain_masks(answer: dict[str, NDArray[Any]]) -> Answer:
    """Masks (K, 1, h, w), as torchvision's detectors give them, as (K, h, w)."""
    masks = answer.get(MASKS)
    return answer if masks is None or masks.ndim != 4 or masks.shape[1] != 1 else {**answer, MASKS: masks[:, 0]}


def check_answer(answer: Answer, labels: tuple[str, ...] | None, *, masks: bool, score_threshold: float = 0.0) -> None:
    """ModelError unless shapes and types fit; with `masks` there must be some.

    So must the class indices of what scores `score_threshold` or more: answers of a fixed size are filled up with boxes
    that score nothing and have no class.
    """
    boxes, count = answer["pred_boxes" if "logits" in answer else "boxes"], _count(answer)
    is_shaped = boxes.shape == (count, 4) or boxes.size == count == 0
    if not is_shaped or not np.issubdtype(boxes.dtype, np.floating):
        raise ModelError(
            f"the model returned boxes, {_shape(boxes)}; detection needs floating-point boxes ({count}, 4)"
        )
    if "logits" in answer:
        _check_logits(answer["logits"], labels)
    else:
        _check_listed(answer["scores"], answer["labels"], count, labels, score_threshold)
    if masks and (MASKS not in answer or _places(answer[MASKS], count) == 0 < count):
        found = _shape(answer[MASKS]) if MASKS in answer else "none"
        raise ModelError(f"the model returned masks, {found}; task.masks needs masks ({count}, h, w), one for each box")


def _check_logits(logits: NDArray[Any], labels: tuple[str, ...] | None) -> None:
    classes = logits.shape[1] - 1 if logits.ndim == 2 else 0
    if classes < 1 or not np.issubdtype(logits.dtype, np.floating):
        raise ModelError(f"the model returned logits, {_shape(logits)} an image; detection needs (Q, C + 1)")
    if labels is not None and classes != len(labels):
        raise ModelError(
            f"the model returned logits for {classes} classes and none at all, and model.labels has {len(labels)} "
            "names; give one name per class, in the order of the model's outputs, without one for no thing at all"
        )


def _check_listed(
    scores: NDArray[Any], indices: NDArray[Any], count: int, labels: tuple[str, ...] | None, score_threshold: float
) -> None:
    if scores.shape != (count,) or not np.issubdtype(scores.dtype, np.floating):
        raise ModelError(
            f"the model returned scores, {_shape(scores)}; detection needs floating-point scores ({count},)"
        )
    if indices.shape != (count,) or (count and not np.issubdtype(indices.dtype, np.integer)):
        raise ModelError(f"the model returned labels, {_shape(indices)}; detection needs integer labels ({count},)")
    indices = indices[scores >= np.float32(score_threshold)]
    if len(indices) and (indices.min() < 0 or (labels is not None and indices.max() >= len(labels))):
        names = "" if labels is None else f", and model.labels has {len(labels)} names"
        raise ModelError(
            f"the model returned labels from {indices.min()} to {indices.max()}{names}; labels are class indices, "
            "counted from 0, each with a name in model.labels"
        )


def _count(answer: Answer) -> int:
    """How many boxes there are, going by what has a row for each."""
    array = answer["logits" if "logits" in answer else "scores"]
    return len(array) if array.ndim else 0


def _places(masks: NDArray[Any], count: int) -> int:
    """How many places each of `count` masks has; 0 where their shape is another."""
    return masks.shape[1] * masks.shape[2] if masks.ndim == 3 and len(masks) == count else 0


def _shape(array: NDArray[Any]) -> str:
    return f"{array.dtype} of shape {array.shape}"


def demand_scores(answer: Answer) -> None:
    """ModelError for scores that are numbers, and not from 0 to 1."""
    scores = answer.get("scores", np.empty(0))
    known = scores[np.isfinite(scores)]
    if len(known) and (known.min() < -SLACK or known.max() > 1 + SLACK):
        raise ModelError(
            f"the model returned scores from {known.min()} to {known.max()}; detection needs scores from 0 to 1: "
            "apply softmax or sigmoid to logits"
        )


def is_usable(answer: Answer, *, masks: bool, score_threshold: float) -> bool:
    """Whether each score is a number from 0 to 1, and each number finite of the boxes that score so much.

    Their masks count where they are asked for. Queries see each other: of those all count.
    """
    if "logits" in answer:
        return all(bool(np.isfinite(array).all()) for key, array in answer.items() if key != MASKS or masks)
    scores = answer["scores"]
    passed = np.flatnonzero(scores >= np.float32(score_threshold))
    numbers = [answer["boxes"].reshape(-1, 4), *([answer[MASKS]] if masks else [])]
    in_range = bool(((scores >= -SLACK) & (scores <= 1 + SLACK)).all())
    return in_range and all(bool(np.isfinite(array[passed]).all()) for array in numbers)


def found_in(answer: Answer, model_px: tuple[int, int], *, masks: bool) -> Found:
    """Of an answer that was checked. `model_px` is the (height, width) of the model's input."""
    if "logits" in answer:
        scores, labels = _best_classes(answer["logits"])
        boxes = _corners(answer["pred_boxes"], model_px)
    else:
        boxes, scores, labels = (answer[key] for key in LISTED)
    return Found(
        boxes=boxes.reshape(-1, 4).astype(np.float32, copy=False),
        scores=scores.astype(np.float32, copy=False).clip(0, 1),
        labels=labels.astype(np.int64, copy=False),
        masks=list(answer[MASKS]) if masks else (),
    )


def _best_classes(logits: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The best class of each query (Q,) and its softmax; the last of the logits (Q, C + 1) stands for no thing."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    labels = shifted[:, :-1].argmax(axis=1)
    return shifted[np.arange(len(labels)), labels] / shifted.sum(axis=1), labels


def _corners(boxes: NDArray[np.float32], model_px: tuple[int, int]) -> NDArray[np.float32]:
    """(Q, 4) of centre x, y, width, height, relative, to corners in pixels."""
    centre, half = boxes[:, :2], boxes[:, 2:] / 2
    size = np.array([model_px[1], model_px[0]] * 2, np.float32)
    return np.asarray(np.concatenate([centre - half, centre + half], axis=1) * size)
