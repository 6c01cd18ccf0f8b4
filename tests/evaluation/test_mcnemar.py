"""McNemar's test is scipy's binomial test and chi squared distribution."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, chi2

from vision_batch.evaluation.mcnemar import MOST_EXACT, mcnemar


@given(st.integers(0, 400), st.integers(0, 400))
def test_few_images_are_a_binomial_test(one: int, other: int) -> None:
    expected = binomtest(one, one + other).pvalue if one + other else 1
    assert mcnemar(one, other).p_value == pytest.approx(expected)


@given(st.integers(0, 10_000), st.integers(MOST_EXACT + 1, 10_000))
def test_many_images_are_chi_squared_with_continuity_corrected(one: int, other: int) -> None:
    statistic = max(0, abs(one - other) - 1) ** 2 / (one + other)
    assert mcnemar(one, other).p_value == pytest.approx(chi2.sf(statistic, 1), rel=1e-6, abs=1e-300)


def test_the_two_ways_meet() -> None:
    exact = mcnemar(460, 540).p_value
    assert mcnemar(461, 540).p_value == pytest.approx(exact, rel=0.1)
