"""What workers tell is added up once, however often they begin anew."""

from __future__ import annotations

from typing import Any

import pytest

from vision_batch.jobs.train_tally import TrainTally
from vision_batch.training.event import BrokenImage, TrainEvent


def tally(*events: TrainEvent) -> TrainTally:
    counted = TrainTally()
    for event in events:
        counted.add(event)
    return counted


def begin(**facts: Any) -> TrainEvent:
    return TrainEvent(kind="begin", workers=2, images_per_epoch=100, **facts)


def step(number: int, **facts: Any) -> TrainEvent:
    return TrainEvent(kind="step", step=number, loss=0.5, **{"images": 10, "seconds": 2.0, **facts})


def broken(row: int) -> TrainEvent:
    image = BrokenImage(image_id=str(row), shard="s", row=row, error_code="truncated", error="")
    return TrainEvent(kind="broken", images_broken=(image,))


def test_where_it_begins_was_learned_before() -> None:
    assert tally(begin(epoch=2, position=40, step=24)).resumed == 240


def test_workers_that_begin_anew_go_back_and_resume_nothing_of_others() -> None:
    counted = tally(begin(), step(3, position=30), begin(position=20, step=2))
    assert (counted.images_done, counted.resumed) == (20, 0)


def test_of_the_next_fold_counts_what_was_learned_of_it_too() -> None:
    counted = tally(begin(position=10))
    counted.begin()
    counted.add(begin(position=50))
    assert counted.resumed == 60


def test_the_pace_leaves_the_start_out() -> None:
    assert tally(begin(), step(1, seconds=60.0)).images_per_second is None
    assert tally(begin(), step(1, seconds=60.0), step(2), step(3)).images_per_second == 5.0


@pytest.mark.parametrize(("waited", "stage"), [(0.5, "reading and decoding"), (0.05, "the workers")])
def test_what_limits_is_what_others_wait_for(waited: float, stage: str) -> None:
    counted = tally(begin(), step(1), *(step(number, waited=waited) for number in range(2, 6)))
    for is_split in (False, True):
        sentence = counted.bottleneck(is_split=is_split)
        assert sentence is not None
        assert sentence.startswith(f"{stage}: ")
        assert ("compute.layout: split" in sentence) == (stage == "reading and decoding" and not is_split)
    assert tally(begin(), step(1), step(2, seconds=1.0)).bottleneck() is None, "too short to tell"


def test_an_epochs_end_shows_the_epochs_loss() -> None:
    ended = TrainEvent(kind="epoch", loss=0.75)
    assert tally(begin(), step(1), ended).loss == 0.75
    assert tally(begin(), step(1), ended, step(2)).loss == 0.5


def test_a_broken_image_counts_once_in_all_epochs() -> None:
    counted = tally(broken(1), broken(2), broken(1))
    assert (counted.broken, counted.failures) == (2, {"truncated": 2})


def test_an_epoch_knows_of_broken_images_that_an_earlier_run_was_told_of() -> None:
    assert tally(broken(1), TrainEvent(kind="epoch", broken=3)).broken == 3


def test_a_broken_image_that_an_epoch_shows_several_times_counts_once() -> None:
    counted = TrainTally(has_repeats=True)
    for event in (broken(1), broken(1), TrainEvent(kind="epoch", broken=2)):
        counted.add(event)
    assert counted.broken == 1


def test_of_the_many_broken_not_each_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TrainTally, "MOST_BROKEN", 2)
    counted = tally(*map(broken, range(5)), TrainEvent(kind="epoch", broken=5))
    assert (counted.broken, counted.failures) == (5, {"truncated": 2})
