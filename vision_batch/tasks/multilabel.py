"""Any number of labels per image."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vision_batch.datasets.naming import shortened
from vision_batch.errors import ImageError
from vision_batch.tasks.class_index import class_index, class_name
from vision_batch.tasks.logits import NO_NUMBERS, NOT_COMPARABLE, check_logits, comparable, finite
from vision_batch.tasks.settings import KINDS
from vision_batch.tasks.task import Agreement, Target, View

if TYPE_CHECKING:
    import torch

    from vision_batch.images.example import Example

SCORE_TOLERANCE: Final = 0.02
"""How much no score may change in a lower precision."""

MOST_BINS: Final = 2048
STATE_VALUES: Final = 1 << 22
"""Of half a state: with very many classes there are fewer bins for each."""
LARGEST_LOGIT: Final = 65504.0
"""That of fp16."""
STRETCH: Final = 1024.0
"""Bins are as wide as 2e-5 near 0 and 2 % of the logit elsewhere: answers that lie close together are told apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MultiLabel:
    """A sigmoid of logit / `temperature` for each of C classes: all that score `score_threshold` or more, best first.

    The threshold is one number, or one by label; labels that it does not name need 0.5. Scores and thresholds are
    compared as float32. Without model labels a class is called by its index.
    """

    score_threshold: float | Mapping[str, float]
    temperature: float = 1.0
    labels: tuple[str, ...] | None

    lies_on_image: ClassVar[bool] = False
    unusable: ClassVar[str] = NO_NUMBERS
    headline: ClassVar[str] = "mean_average_precision"
    losses: ClassVar[tuple[str, ...]] = ("bce", "focal", "mse", "huber", "dice")
    default_loss: ClassVar[str] = "bce"

    def fields(self) -> list[pa.Field]:
        return [pa.field("labels", pa.list_(pa.string())), pa.field("label_scores", pa.list_(pa.float32()))]

    def check(self, outputs: Any, count: int | None = None) -> None:
        check_logits(outputs, count, self.labels, axes="(N, C)", what="classification")

    def finite(self, outputs: np.ndarray) -> np.ndarray:
        return finite(outputs)

    def agreement(self, exact: np.ndarray, lowered: np.ndarray) -> Agreement:
        """Close where no score of any class moves by more than 0.02."""
        usable = comparable(exact, lowered)
        if usable is None:
            return NOT_COMPARABLE
        scores, others = (_sigmoid(each[usable], self.temperature) for each in (exact, lowered))
        moved = float(np.abs(scores - others).max())
        return Agreement(is_close=moved <= SCORE_TOLERANCE, text=f"scores differ by at most {moved:.4f}")

    def columns(self, outputs: np.ndarray, views: Sequence[View], model_px: tuple[int, int]) -> list[pa.Array]:
        order = np.argsort(-outputs, axis=1, kind="stable")
        scores = np.take_along_axis(_sigmoid(outputs, self.temperature), order, axis=1)
        listed = scores >= self._thresholds(outputs.shape[1])[order]
        offsets = np.zeros(len(outputs) + 1, np.int32)
        listed.sum(axis=1).cumsum(out=offsets[1:])
        names = pa.array(self.labels or [str(index) for index in range(outputs.shape[1])], pa.string())
        return [
            pa.ListArray.from_arrays(offsets, names.take(pa.array(order[listed]))),
            pa.ListArray.from_arrays(offsets, pa.array(scores[listed])),
        ]

    def names(self, truth: Any) -> tuple[str, ...]:
        """A list, or a text that is a JSON list or names with semicolons between; an empty one names no class."""
        if isinstance(truth, str):
            text = truth.strip()
            truth = _json_list(text) if text.startswith("[") else [part for part in text.split(";") if part.strip()]
        if not isinstance(truth, list | tuple):
            found = "nothing" if truth is None else shortened(f"{type(truth).__name__} {truth!r}", 80)
            raise ImageError("invalid_label", f"the label is {found}; expected a list of classes, or a text as `a;b`")
        return tuple(dict.fromkeys(map(class_name, truth)))

    def target(self, truth: Any) -> Target:
        labels = self.labels or ()
        value = np.zeros(len(labels), np.float32)
        value[[class_index(name, labels) for name in self.names(truth)]] = 1
        return Target(value=value)

    def collate(self, targets: Sequence[Target], examples: Sequence[Example]) -> NDArray[np.float32]:
        values = np.zeros((len(targets), len(self.labels or ())), np.float32)
        for row, target in zip(values, targets, strict=True):
            row[:] = target.value
        return values

    def metrics(self) -> MultiLabelMetrics:
        thresholds = self._thresholds(len(self.labels or ()))
        return MultiLabelMetrics(thresholds=thresholds, temperature=self.temperature)

    def _thresholds(self, classes: int) -> NDArray[np.float32]:
        """What each class needs (C,)."""
        if not isinstance(self.score_threshold, Mapping):
            return np.full(classes, self.score_threshold, np.float32)
        unnamed = KINDS["multi_label"].score_threshold
        names = self.labels or [str(index) for index in range(classes)]
        return np.array([self.score_threshold.get(name, unnamed) for name in names], np.float32)


class MultiLabelMetrics:
    """`mean_average_precision` over the classes that some image has, and `micro_f1` at the thresholds (C,).

    Average precision is scikit-learn's, of scores that are sorted into bins; so a state is two histograms per class
    (of images without and with it), and the counts of labels that were right, predicted and true.
    """

    def __init__(self, *, thresholds: NDArray[np.float32], temperature: float = 1.0) -> None:
        self._classes = len(thresholds)
        self._thresholds = thresholds
        self._temperature = temperature
        self._bins = max(64, min(MOST_BINS, STATE_VALUES // max(1, self._classes)))
        self._counts = np.zeros(3)
        self._histograms = np.zeros(2 * self._classes * self._bins)

    def update(self, outputs: torch.Tensor, targets: torch.Tensor) -> None:
        import torch

        scores = (outputs.float() / self._temperature).sigmoid()
        predicted, true = scores >= torch.from_numpy(self._thresholds).to(outputs.device), targets > 0.5
        self._counts += [int(chosen.sum()) for chosen in (predicted & true, predicted, true)]
        place = (true.long() * self._classes + torch.arange(self._classes, device=outputs.device)) * self._bins
        counts = (place + self._bin(outputs)).flatten().bincount(minlength=len(self._histograms))
        self._histograms += counts.cpu().numpy()

    def state(self) -> NDArray[np.float64]:
        return np.concatenate([self._counts, self._histograms])

    def result(self, state: NDArray[np.float64]) -> dict[str, float]:
        right, predicted, true = state[:3]
        without, having = state[3:].reshape(2, self._classes, self._bins)[:, :, ::-1].cumsum(axis=2)
        occurs = having[:, -1] > 0
        named = {}
        if occurs.any():
            named["mean_average_precision"] = _average_precision(without[occurs], having[occurs]).mean()
        if predicted + true > 0:
            named["micro_f1"] = 2 * right / (predicted + true)
        return {name: float(value) for name, value in named.items()}

    def _bin(self, logits: torch.Tensor) -> torch.Tensor:
        """The bin of each logit: monotone, so that no order is turned round."""
        import torch

        end = float(np.arcsinh(LARGEST_LOGIT * STRETCH))
        stretched = torch.asinh(logits.double().nan_to_num(-LARGEST_LOGIT) * STRETCH).clamp(-end, end)
        return ((stretched / end + 1) / 2 * (self._bins - 1)).round().long()


def _json_list(text: str) -> list[Any]:
    try:
        return list(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise ImageError("invalid_label", f"the label begins with [ and is no JSON: {error}") from error


def _average_precision(without: NDArray[np.float64], having: NDArray[np.float64]) -> NDArray[np.float64]:
    """Per class, of cumulated counts (K, bins) from the highest score on: the sum of precision x gained recall."""
    gained = np.diff(having, axis=1, prepend=0)
    precision = having / np.maximum(without + having, 1)
    return np.asarray((precision * gained).sum(axis=1) / having[:, -1])


def _sigmoid(logits: np.ndarray, temperature: float) -> NDArray[np.float32]:
    """Of the logits divided by `temperature`: in float64, in which an infinity gives 0 or 1."""
    with np.errstate(over="ignore"):
        wide = np.abs(logits.astype(np.float64)) / temperature
    smaller = np.exp(-wide) / (1 + np.exp(-wide))
    return np.asarray(np.where(logits >= 0, 1 - smaller, smaller), np.float32)
