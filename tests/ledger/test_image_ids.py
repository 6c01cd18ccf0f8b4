"""Repeated ids are found within a fixed amount of memory: exactly while they fit, by a sample beyond."""

from __future__ import annotations

import numpy as np
import pytest

from vision_batch.ledger.findings import Findings
from vision_batch.ledger.image_ids import ImageIds


def warnings_of(hashes: np.ndarray, *, most: int, at_once: int = 100) -> list[str]:
    ids, findings = ImageIds(most), Findings()
    for start in range(0, len(hashes), at_once):
        ids.add(hashes[start : start + at_once])
        assert ids.held <= most
    ids.report(findings)
    assert findings.problems == []
    return findings.warnings


def random_hashes(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(-(1 << 63), 1 << 63, count)


def test_distinct_ids_are_no_news() -> None:
    assert warnings_of(random_hashes(1000), most=1000) == []
    assert warnings_of(random_hashes(0), most=1000) == []


def test_repeats_are_counted_exactly_while_all_fit() -> None:
    hashes = random_hashes(1000)
    (warning,) = warnings_of(np.concatenate([hashes, hashes[:7], hashes[:2]]), most=2000)
    assert warning.startswith("9 rows repeat the image_id")


def test_beyond_that_a_sample_tells_how_many_repeat() -> None:
    hashes = random_hashes(100_000)
    sampled, repeated = warnings_of(np.concatenate([hashes, hashes[:50_000]]), most=10_000)
    assert sampled == "one in 16 image ids was compared: they are too many"
    assert repeated.startswith("about ")
    assert int(repeated.split()[1].replace(",", "")) == pytest.approx(50_000, rel=0.1)


def test_a_sample_of_distinct_ids_says_that_it_was_one() -> None:
    assert warnings_of(random_hashes(3000), most=1000) == ["one in 4 image ids was compared: they are too many"]
