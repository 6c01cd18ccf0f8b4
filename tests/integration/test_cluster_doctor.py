"""`doctor` on a cluster: every node says what it has, and storage is seen as a worker sees it."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.integration.job import Job, digits, write_folder
from vision_batch.cli.main import main

pytestmark = pytest.mark.ray


def test_nodes_and_what_a_worker_sees_of_storage_are_told(
    job: Callable[..., Job], ray_address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    it = job()
    write_folder(it.data, digits(2))
    assert main(["doctor", str(it.spec), "--json", "--address", ray_address]) == 0
    checks = json.loads(capsys.readouterr().out)["checks"]
    found = {finding["check"]: finding for finding in checks}
    assert found["ray"]["found"] == "1 nodes with 4 CPUs and 2 GPUs"
    assert found["versions"]["level"] == found["packages"]["level"] == "ok"
    node = found["versions"]["found"].partition(": ")[0]
    assert found["input"]["found"] == f"{node}: {it.data}/00000.jpg is there"
    assert found["output"]["found"].startswith(f"{node}: {it.output} can be written")
    assert not it.output.exists()
