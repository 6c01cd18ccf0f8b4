"""One pass of a predict run: shards to do, through Ray, to events. The ledger judges completeness, not this."""

from __future__ import annotations

import gc
from collections.abc import Generator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

import ray

from vision_batch.errors import EngineError
from vision_batch.inference.event import Event
from vision_batch.inference.joined_pool import joined_events

if TYPE_CHECKING:
    from vision_batch.inference.job import PredictJob
    from vision_batch.inference.layout import Layout
    from vision_batch.ledger.state import Work


RAY_ADVICE = "Failed to apply UDF transform"
"""Where Ray Data begins to advise, after the cause, how to configure it."""


def execute(job: PredictJob, layout: Layout, works: Sequence[Work]) -> Generator[Event, None, None]:
    """Runs `works` on the Ray that this process is connected to and yields events as they come.

    Raises EngineError when Ray gives up, an actor's device fails, or an actor raises what it should not.
    """
    reason = None
    try:
        with closing(_events(job, layout, works)) as events:  # ends the pass and its actors also when nobody wants more
            yield from events
    except (ray.exceptions.RayError, EngineError) as error:
        reason = _reason(error)
    finally:
        gc.collect()  # actors live as long as something refers to them, and they hold what the next pass needs
    if reason is not None:  # not raised from Ray's error, whose traceback refers to the actors
        raise EngineError(reason)


def _events(job: PredictJob, layout: Layout, works: Sequence[Work]) -> Generator[Event, None, None]:
    if layout.name == "joined":
        return joined_events(job, layout, works)
    from vision_batch.inference.split_dataset import split_events  # which imports Ray Data: half a second

    return split_events(job, layout, works)


def _reason(error: BaseException) -> str:
    """The innermost cause that says something, in one line: what Ray wraps around it helps no user."""
    said: BaseException | None = error
    text = type(error).__name__
    while said is not None:
        if str(said).strip():
            text = f"{type(said).__name__}: {' '.join(str(said).split(RAY_ADVICE)[0].split())[-600:]}"
        said = getattr(said, "cause", None) or said.__cause__
    return text
