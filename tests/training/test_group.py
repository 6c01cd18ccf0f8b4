"""What is said of a group of workers that has failed."""

from __future__ import annotations

import pytest
import ray
from ray.train import ControllerError, WorkerGroupError

from vision_batch.errors import EngineError, ModelError
from vision_batch.training.group import _cause


class HealthCheckError(Exception):
    """Ray Train wraps a dead worker into one like this."""

    def __init__(self, failure: Exception) -> None:
        super().__init__("a health check failed\nWorker info: much")
        self.health_check_failure = failure


def test_an_error_of_ours_is_itself_whatever_else_failed() -> None:
    ours = ModelError("the loss is no number")
    assert _cause(WorkerGroupError("", {0: RuntimeError("peer"), 2: ours})) is ours


def test_a_worker_that_died_is_named_and_not_those_that_missed_it() -> None:
    died = ray.exceptions.RayActorError(
        error_msg="The actor died. Worker exit detail: killed. Some common causes include"
    )
    cause = _cause(WorkerGroupError("", {0: RuntimeError("Connection closed by peer"), 3: HealthCheckError(died)}))
    assert type(cause) is EngineError
    assert str(cause) == "worker 3: RayActorError: killed."


@pytest.mark.parametrize(
    "error", [ControllerError(TimeoutError("no\nroom")), ray.exceptions.GetTimeoutError("no room")]
)
def test_else_it_is_what_ray_train_failed_of_in_one_line(error: Exception) -> None:
    assert "TimeoutError: no room" in str(_cause(error))
