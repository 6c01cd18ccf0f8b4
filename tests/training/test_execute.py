"""When a training begins again with another group of workers, and when it ends; the groups' parts are scripted."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from vision_batch.errors import EngineError, ModelError, StorageError, VisionBatchError
from vision_batch.training import execute as module
from vision_batch.training.event import TrainEvent

DIED = EngineError("worker 1: ActorDiedError")


def group(*steps: int, done: bool = False, error: VisionBatchError | None = None) -> tuple[list[TrainEvent], Any]:
    """A group that begins after the first of these steps and stores its state after the others."""
    events = [TrainEvent(kind="checkpoint" if index else "begin", step=step) for index, step in enumerate(steps)]
    return events, SimpleNamespace(is_done=done, error=error)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[TrainEvent]]:
    """What a training tells, whose groups are these and no more."""

    def run(*groups: Any, stop_at: int | None = None) -> list[TrainEvent]:
        stop = threading.Event()
        script = iter(groups)

        def begin(*arguments: Any) -> Any:
            events, ended = next(script)
            ended.events = lambda: iterate(events, stop, stop_at)
            return ended

        monkeypatch.setattr(module, "Room", HasRoom)
        monkeypatch.setattr(module, "_GroupRun", begin)
        layout: Any = SimpleNamespace(workers=(2, 2))
        events = list(module.execute(SimpleNamespace(), layout, stop=stop))  # type: ignore[arg-type]
        assert next(script, None) is None
        return events

    return run


class HasRoom:
    workers = 2

    def __init__(self, layout: Any) -> None:
        pass

    def __iter__(self) -> Iterator[None]:
        return iter(())


def iterate(events: Sequence[TrainEvent], stop: threading.Event, stop_at: int | None) -> Iterator[TrainEvent]:
    for event in events:
        if event.step == stop_at:
            stop.set()
        yield event


def test_a_training_ends_when_it_is_done(trained: Callable[..., list[TrainEvent]]) -> None:
    assert [event.step for event in trained(group(0, 10, done=True))] == [0, 10]


def test_groups_that_end_in_order_or_get_further_follow_each_other_without_end(
    trained: Callable[..., list[TrainEvent]],
) -> None:
    failing = [group(step, step + 10, error=DIED) for step in range(0, 100, 10)]
    in_order = [group(100) for _ in range(5)]
    told = trained(*failing, *in_order, group(100, 110, done=True))
    assert sum("going on from the last checkpoint" in event.message for event in told) == 10
    assert sum("going on from there" in event.message for event in told) == 5


@pytest.mark.parametrize("first", [0, 40])
def test_three_groups_in_a_row_that_fail_without_a_checkpoint_end_it(
    trained: Callable[..., list[TrainEvent]], first: int
) -> None:
    with pytest.raises(EngineError, match="3 groups of workers failed without a new checkpoint, the last one: worker"):
        trained(group(first, error=DIED), group(first, error=DIED), group(first, error=DIED))
    with pytest.raises(EngineError, match="3 groups"):
        trained(*[group(error=DIED)] * 3)  # not even begun
    trained(group(first, error=DIED), group(first, error=DIED), group(first, first + 1), group(first + 1, done=True))


def test_a_checkpoint_that_nobody_could_tell_of_any_more_counts_too(
    trained: Callable[..., list[TrainEvent]],
) -> None:
    trained(*[group(step, error=DIED) for step in range(0, 50, 10)], group(50, done=True))


@pytest.mark.parametrize("error", [ModelError("no"), StorageError("s3://bucket", "no")])
def test_what_another_group_would_fail_of_too_is_raised(
    trained: Callable[..., list[TrainEvent]], error: VisionBatchError
) -> None:
    with pytest.raises(type(error), match="no"):
        trained(group(0, 10, error=error))


def test_a_group_that_failed_while_it_made_the_model_is_followed_by_another(
    trained: Callable[..., list[TrainEvent]],
) -> None:
    trained(group(0, 10, done=True, error=DIED), group(10, done=True))


def test_a_training_that_is_stopped_begins_with_no_further_group(trained: Callable[..., list[TrainEvent]]) -> None:
    assert [event.step for event in trained(group(0, 10, 13), stop_at=10)] == [0, 10, 13]
