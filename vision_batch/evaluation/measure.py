"""The seam between evaluation, which knows images, and each kind of prediction, which knows what good means.

A measure turns joined rows into facts: compact arrays, a few numbers per image. A tally adds facts up and says what
they come to. Facts can be taken and merged, and a tally counts an image as often as it is told to; bootstrap, slices
and samples are made of that, and no kind of prediction needs to know of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, Self, TypeAlias, TypeVar, runtime_checkable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """What was measured: of one class where `label` names it.

    `value` is None where it is not defined, as the recall of a class that no image has. `support` is how many images
    (or boxes, pixels) it rests on.
    """

    metric: str
    value: float | None
    support: int
    label: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfusionCell:
    """How often `truth` was taken for `predicted`; None is no class: an image that failed, a box that was missed."""

    truth: str | None
    predicted: str | None
    count: int


CurveKind: TypeAlias = Literal["roc", "precision_recall", "calibration"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Points (P,) of a curve, for a class where `label` names it.

    roc: false positive rate, true positive rate; precision_recall: recall, precision; calibration: mean score, share
    that was right. `thresholds` are the scores at the points (calibration: how many images a point has).
    """

    kind: CurveKind
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    thresholds: NDArray[np.float64]
    label: str | None = None


class Facts(Protocol):
    """What is kept of n images, arrays mostly: a dataclass, of whose fields memory is reckoned."""

    def __len__(self) -> int: ...

    def take(self, indices: NDArray[np.int64]) -> Self:
        """The facts of these images, each as often as it is named."""

    @classmethod
    def merged(cls, several: Sequence[Self]) -> Self:
        """The facts of all images of one or more, one after the other."""


F = TypeVar("F", bound=Facts)
F_contra = TypeVar("F_contra", bound=Facts, contravariant=True)


class Tally(Protocol[F_contra]):
    """What facts add up to; its memory does not grow with the images."""

    def add(self, facts: F_contra, weights: NDArray[np.int64] | None = None) -> None:
        """Counts each image once, or as often as `weights` (n,) says."""

    def values(self) -> list[Value]:
        """The headline first, then what is of all classes, then what is of one."""

    def confusion(self) -> list[ConfusionCell]:
        """The most frequent first; empty where the kind has none."""

    def curves(self) -> list[Curve]:
        """Empty where the kind has none."""

    def notes(self) -> list[str]:
        """What a reader of the values must know: what was rounded, what could not be measured and why."""


class Measure(Protocol[F]):
    """How good one kind of prediction is.

    `prediction_columns` are those that `facts` needs besides `error_code` and `truth`; those of
    `optional_columns` are there if the table has them. `truth_column` is the column of a truth Parquet that is called
    `truth` in the joined rows, whatever it was called before.
    """

    @property
    def prediction_columns(self) -> tuple[str, ...]: ...

    @property
    def optional_columns(self) -> tuple[str, ...]: ...

    @property
    def truth_column(self) -> str: ...

    def facts(self, rows: pa.Table) -> F:
        """Of n joined rows, each with its `truth`; the task's columns are null in the rows of images that failed.

        SpecError where the truth is not of this kind.
        """

    def tally(self, *, is_resample: bool = False, share: int = 1) -> Tally[F]:
        """An empty one, which may use a `share`-th of the memory that one alone may.

        A resample is asked for `values` only, a thousand times over the same facts.
        """


@runtime_checkable
class LooksTwice(Protocol):
    """A measure for whose facts of an image all others are needed."""

    def rows(self, joined: Callable[[], Iterable[pa.Table]]) -> Iterator[pa.Table]:
        """The rows that `facts` is then asked for, made of one or more passes over the joined ones."""
