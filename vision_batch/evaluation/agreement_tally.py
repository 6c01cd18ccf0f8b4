"""Adds up how far two predictions agree, of any number of images in bounded memory."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vision_batch.evaluation.agreement import CHANGED_BELOW, Agreement
from vision_batch.evaluation.comparison import Change, ClassAgreement
from vision_batch.tasks.settings import Kind

SHOWN: Final = 20
"""Changes that are listed, the most frequent ones."""
EXAMPLES: Final = 3
"""Images that are named for each."""
MOST_CHANGES: Final = 100_000
"""Kinds of change that are told apart: those of 300 classes. What comes later is only in the numbers of classes."""
MOST_COSINES: Final = 200_000
"""Of more images their shares are those of a sample."""
SHARES: Final = (0, 1, 5, 25, 50, 75, 95, 99, 100)


class AgreementTally:
    """`called` are names to be shown for what predictions say, where they say indices only."""

    def __init__(self, kind: Kind, called: Mapping[str, str], seed: int) -> None:
        self._kind = kind
        self._called = called
        self._random = np.random.default_rng(seed)
        self._same_sum = 0.0
        self._counts: dict[str, NDArray[np.int64]] = defaultdict(lambda: np.zeros(3, np.int64))
        self._changes: Counter[tuple[str | None, str | None]] = Counter()
        self._examples: dict[tuple[str | None, str | None], list[str]] = defaultdict(list)
        self._sample: NDArray[np.float64] = np.empty((0, 2))  # a random number and a cosine each
        self.images = 0
        self.changed = 0

    def add(self, agreement: Agreement, ids: list[str]) -> NDArray[np.bool_]:
        """Takes in n images, which are called `ids`; which of them have changed (n,)."""
        self.images += len(ids)
        self._same_sum += float(agreement.same.sum())
        changed: NDArray[np.bool_] = agreement.same < CHANGED_BELOW.get(self._kind, 1)
        self.changed += int(changed.sum())
        self._add_names(agreement, ids)
        if self._kind == "embedding":
            numbers = np.stack([self._random.random(len(ids)), agreement.same], axis=1)
            sample = np.concatenate([self._sample, numbers])
            self._sample = sample[np.argsort(sample[:, 0])[:MOST_COSINES]]
        return changed

    def numbers(self) -> dict[str, float]:
        """For all images; empty where there are none."""
        if not self.images:
            return {}
        mean = self._same_sum / self.images
        if self._kind == "embedding":
            shares = np.percentile(self._sample[:, 1], SHARES).tolist()
            of = {f"cosine_p{share}": value for share, value in zip(SHARES, shares, strict=True)}
            return {"cosine_mean": mean} | of
        if self._kind == "classification":
            return {"same_label": mean, "cohen_kappa": self._kappa(mean)}
        in_a, in_b, both = np.sum(list(self._counts.values()), axis=0) if self._counts else (0, 0, 0)
        numbers = {"mean_of_images": mean, "of_all": float(2 * both / (in_a + in_b)) if in_a + in_b else 1.0}
        if self._kind == "segmentation":
            ious = [each.iou for each in self.classes()]
            numbers["mean_iou"] = float(np.mean(ious)) if ious else 1.0
        return numbers

    def classes(self) -> tuple[ClassAgreement, ...]:
        """By name."""
        return tuple(
            ClassAgreement(label=self._shown(name) or "", in_a=int(a), in_b=int(b), in_both=int(both))
            for name, (a, b, both) in sorted(self._counts.items())
        )

    def changes(self) -> tuple[Change, ...]:
        """The most frequent."""
        return tuple(
            Change(a=self._shown(pair[0]), b=self._shown(pair[1]), count=count, images=tuple(self._examples[pair]))
            for pair, count in self._changes.most_common(SHOWN)
        )

    @property
    def kinds_of_change(self) -> int:
        return len(self._changes)

    def _add_names(self, agreement: Agreement, ids: list[str]) -> None:
        if not len(agreement.counts):
            return
        a_names, a_code = _encoded(agreement.names)
        b_names, b_code = _encoded(agreement.others)
        key = a_code * len(b_names) + b_code
        order = np.argsort(key, kind="stable")
        kinds, first = np.unique(key[order], return_index=True)
        counts = np.add.reduceat(agreement.counts[order], first)
        images = agreement.image[order]
        for kind, count, start, stop in zip(kinds, counts, first, np.append(first[1:], len(order)), strict=True):
            pair = a_names[kind // len(b_names)], b_names[kind % len(b_names)]
            self._add_pair(pair, int(count), [ids[image] for image in images[start : min(stop, start + EXAMPLES)]])

    def _add_pair(self, pair: tuple[str | None, str | None], count: int, examples: list[str]) -> None:
        a, b = pair
        if a is not None:
            self._counts[a] += (count, 0, count if a == b else 0)
        if b is not None:
            self._counts[b] += (0, count, 0)
        if a != b and (pair in self._changes or len(self._changes) < MOST_CHANGES):
            self._changes[pair] += count
            known = self._examples[pair]
            known += [each for each in dict.fromkeys(examples) if each not in known][: EXAMPLES - len(known)]

    def _kappa(self, same: float) -> float:
        """Cohen's; 1 where both only ever say one label."""
        sums = np.array(list(self._counts.values())) / self.images
        by_chance = float((sums[:, 0] * sums[:, 1]).sum())
        return (same - by_chance) / (1 - by_chance) if by_chance < 1 else 1.0

    def _shown(self, name: str | None) -> str | None:
        return None if name is None else self._called.get(name, name)


def _encoded(names: NDArray[np.object_]) -> tuple[list[str | None], NDArray[np.int64]]:
    """The different names, and None; and which of them each is (m,)."""
    encoded = pa.array(names, pa.string()).dictionary_encode()
    different = encoded.dictionary.to_pylist()
    return [*different, None], encoded.indices.fill_null(len(different)).to_numpy(zero_copy_only=False).astype(np.int64)
