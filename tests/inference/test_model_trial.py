"""The model is judged by a run's first batches, and by nothing that it was not asked."""

from __future__ import annotations

import pyarrow as pa
import pytest

from vision_batch.errors import ModelError
from vision_batch.inference.chunk import Place, PredictedChunk
from vision_batch.inference.model_trial import FATAL_BATCHES, ModelTrial


def batch(asked: int, failed: int) -> PredictedChunk:
    place = Place(shard="s", version="v", cell=0, index=0, ends_cell=True, last_cell=True)
    return PredictedChunk(place=place, table=pa.table({}), asked=asked, failed=failed, failure="poison")


def test_a_model_that_fails_on_every_image_at_first_is_broken() -> None:
    trial = ModelTrial()
    for _ in range(FATAL_BATCHES - 1):
        trial.judge(batch(2, 2))
        assert trial.suspect
    with pytest.raises(ModelError, match=r"the model and not the images.*poison"):
        trial.judge(batch(2, 2))


def test_a_model_that_has_worked_once_is_not_suspected() -> None:
    trial = ModelTrial()
    trial.judge(batch(2, 1))
    for _ in range(2 * FATAL_BATCHES):
        trial.judge(batch(1, 1))
    assert not trial.suspect


def test_a_model_known_to_work_is_not_suspected() -> None:
    trial = ModelTrial(proven=True)
    for _ in range(2 * FATAL_BATCHES):
        trial.judge(batch(1, 1))
    assert trial.take_failed_batches() == (0, "")


def test_a_batch_that_never_reached_the_model_says_nothing() -> None:
    trial = ModelTrial()
    for _ in range(2 * FATAL_BATCHES):
        trial.judge(batch(0, 0))
    assert not trial.suspect
    assert not trial.proven


def test_failed_batches_are_reported_once() -> None:
    trial = ModelTrial()
    trial.judge(batch(1, 1))
    assert trial.take_failed_batches() == (1, "poison")
    assert trial.take_failed_batches() == (0, "poison")
