"""How far two predictions of an image are the same: for each kind of prediction a function, one line each.

Such a function takes n rows of each side that both have a prediction, and knows nothing of the truth.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vision_batch.errors import Problem, SpecError
from vision_batch.evaluation.boxes import Classes, read_found
from vision_batch.evaluation.matching import box_overlap, judge
from vision_batch.evaluation.neighbours import vectors
from vision_batch.evaluation.objects import Objects
from vision_batch.evaluation.ragged import flattened
from vision_batch.evaluation.segmentation import NO_CLASS, pixel_pairs
from vision_batch.evaluation.vocabulary import Vocabulary
from vision_batch.tasks.settings import Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Of n images: how far both say the `same` (n,), from 0 to 1 (of vectors the cosine), and what each says, as text.

    `names` (m,), None for nothing at all, are said by the one of something (an object, a pixel, an image) that the
    other calls by `others` (m,); `counts` (m,) says how often, in the image `image` (m,). A name beside itself is what
    both say.
    """

    same: NDArray[np.float64]
    a: pa.Array
    b: pa.Array
    names: NDArray[np.object_]
    others: NDArray[np.object_]
    counts: NDArray[np.int64]
    image: NDArray[np.int64]


Compare: TypeAlias = Callable[[pa.Table, pa.Table], Agreement]


def labels(a: pa.Table, b: pa.Table) -> Agreement:
    """1 where the label is the same, else 0."""
    vocabulary = Vocabulary()
    indices = [vocabulary.predicted(table["label"]) for table in (a, b)]
    one, other = (np.array(vocabulary.names, np.object_)[each] for each in indices)
    return Agreement(
        same=(one == other).astype(np.float64),
        a=pa.array(one, pa.string()),
        b=pa.array(other, pa.string()),
        names=one,
        others=other,
        counts=np.ones(len(one), np.int64),
        image=np.arange(len(one)),
    )


def label_sets(a: pa.Table, b: pa.Table) -> Agreement:
    """Twice the labels that both have, among those of both; 1 where neither has any."""
    classes = Classes()
    one, other = (_set_keys(table["labels"], classes) for table in (a, b))
    both = np.intersect1d(one, other)
    return _overlap([one, other], both, classes, len(a), _listed(a["labels"]), _listed(b["labels"]))


def boxes(a: pa.Table, b: pa.Table, *, min_score: float = 0) -> Agreement:
    """Twice the boxes that match, of one class and with an IoU of 0.5 at least, among those of both.

    Boxes that score less than `min_score` are left out.
    """
    classes = Classes()
    one, other = (_scoring(read_found(table["boxes"], classes).objects, min_score) for table in (a, b))
    verdicts = judge(one, other, box_overlap)
    right = verdicts.right[:, 0]
    keys = [_keys(each.image, each.label) for each in (verdicts, other)]
    text = [pa.array([f"{count} boxes" for count in np.bincount(of.image, minlength=len(a))]) for of in (one, other)]
    return _overlap(keys, keys[0][right], classes, len(a), *text)


def masks(a: pa.Table, b: pa.Table) -> Agreement:
    """The share of pixels of the same class; 0 where the masks are not of one size. What B did not see is left out."""
    pairs = [pixel_pairs(*each) for each in zip(*(table["mask_png"].to_pylist() for table in (a, b)), strict=True)]
    known = [(image, pair) for image, pair in enumerate(pairs) if not isinstance(pair, str)]
    image = np.repeat([image for image, _ in known], [len(pair[0]) for _, pair in known]).astype(np.int64)
    of_b, of_a, pixels = (np.concatenate([np.empty(0, np.int64), *(pair[k] for _, pair in known)]) for k in range(3))
    same = np.bincount(image, (of_a == of_b) * pixels, len(pairs))
    total = np.bincount(image, pixels, len(pairs))
    readable = np.isin(np.arange(len(pairs)), [image for image, _ in known])
    share = np.divide(same, total, out=readable.astype(np.float64), where=total > 0)
    text = pa.array([pair if isinstance(pair, str) else None for pair in pairs], pa.string())
    return Agreement(same=share, a=text, b=text, names=_called(of_a), others=_called(of_b), counts=pixels, image=image)


def embeddings(a: pa.Table, b: pa.Table) -> Agreement:
    """The cosine."""
    one, other = (vectors(table["embedding"])[0] for table in (a, b))
    if one.shape[1] != other.shape[1]:
        found = f"vectors of {one.shape[1]} and of {other.shape[1]} numbers"
        raise SpecError(Problem("compare", found, "vectors of one model, or of models with equally many numbers"))
    cosine = np.einsum("nd,nd->n", one.astype(np.float64), other)
    nothing = pa.nulls(len(one), pa.string())
    none = np.empty(0, np.object_)
    empty = np.empty(0, np.int64)
    return Agreement(same=cosine, a=nothing, b=nothing, names=none, others=none, counts=empty, image=empty)


AGREEMENTS: Final[dict[Kind, Compare]] = {
    "classification": labels,
    "multi_label": label_sets,
    "detection": boxes,
    "segmentation": masks,
    "embedding": embeddings,
}
CHANGED_BELOW: Final[dict[Kind, float]] = {"segmentation": 0.99, "embedding": 0.999}
"""An image has changed where `same` is less; of the other kinds, where it is less than 1."""

_LABELS: Final = 1 << 32


def _overlap(
    keys: list[NDArray[np.int64]], both: NDArray[np.int64], classes: Classes, images: int, a: pa.Array, b: pa.Array
) -> Agreement:
    """From what each side has, and both have, of each image and class."""
    every = np.unique(np.concatenate(keys))
    in_a, in_b, shared = (
        np.bincount(np.searchsorted(every, each), minlength=len(every)).astype(np.int64) for each in (*keys, both)
    )
    image, label = np.divmod(every, _LABELS)
    name = np.array([*classes.names, ""], np.object_)[label]
    nothing = np.full(len(every), None, np.object_)
    names, others = np.concatenate([name, name, nothing]), np.concatenate([name, nothing, name])
    counts = np.concatenate([shared, in_a - shared, in_b - shared])
    some = np.flatnonzero(counts)
    of_both, of_either = np.bincount(image, 2 * shared, images), np.bincount(image, in_a + in_b, images)
    return Agreement(
        same=np.divide(of_both, of_either, out=np.ones(images), where=of_either > 0),
        a=a,
        b=b,
        names=names[some],
        others=others[some],
        counts=counts[some],
        image=np.tile(image, 3)[some],
    )


def _keys(image: NDArray[np.int64], label: NDArray[np.int64]) -> NDArray[np.int64]:
    return image * _LABELS + label


def _set_keys(column: pa.ChunkedArray, classes: Classes) -> NDArray[np.int64]:
    sizes, names = flattened(column, "labels")
    return np.unique(_keys(np.repeat(np.arange(len(sizes)), sizes), classes.indices(names.cast(pa.string()))))


def _called(classes: NDArray[np.int64]) -> NDArray[np.object_]:
    """Class indices as text."""
    return np.array([None if each == NO_CLASS else str(each) for each in classes.tolist()], np.object_)


def _listed(column: pa.ChunkedArray) -> pa.Array:
    return pa.array([", ".join(sorted(each)) for each in column.to_pylist()], pa.string())


def _scoring(objects: Objects, min_score: float) -> Objects:
    return objects.take(np.flatnonzero(objects.score >= np.float32(min_score)))
