"""Worker processes that all tests of trainings share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.training.small_training import WorkerPool


@pytest.fixture(scope="session")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerPool]:
    """Three processes, connected by gloo for each case anew."""
    workers = WorkerPool(3, tmp_path_factory.mktemp("groups"))
    yield workers
    workers.close()
