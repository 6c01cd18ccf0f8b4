"""Connecting to Ray."""

import socket
import subprocess
import sys
import time

import pytest

from vision_batch.cluster.connect import connected
from vision_batch.errors import SpecError


def test_an_address_that_nobody_answers_is_refused_at_once() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        start = time.monotonic()
        with pytest.raises(SpecError, match="--address: found nothing that answers"), connected(address):
            pass
        assert time.monotonic() - start < 10


@pytest.mark.parametrize("address", ["ray://127.0.0.1:10001", "http://127.0.0.1:8265"])
def test_an_address_of_another_kind_is_refused_with_the_way_in(address: str) -> None:
    with pytest.raises(SpecError, match="on a node of the cluster; from elsewhere: vision-batch submit"):
        connected(address).__enter__()


TOLD = """
import os, sys, threading
from vision_batch.cluster.connect import _muted
with _muted():
    os.write(2, b"the core\\n")
    voice = sys.stderr
    for word in ("progress", "caf\\u00e9 \\ud800"):
        thread = threading.Thread(target=lambda: print(word, file=sys.stderr))
        thread.start()
        thread.join()
os.write(2, b"the end\\n")
print("a handler of logging", file=voice)
print("all", file=sys.stderr)
"""


def test_while_the_core_is_muted_python_is_heard() -> None:
    done = subprocess.run([sys.executable, "-c", TOLD], capture_output=True, timeout=60, check=True)
    lines = done.stderr.decode().splitlines()
    assert lines == ["progress", "caf\u00e9 \\ud800", "the end", "a handler of logging", "all"]


@pytest.mark.ray
def test_one_ray_serves_several_jobs_and_ends_with_them() -> None:
    done = subprocess.run([sys.executable, "-c", SHARED], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split() == ["False", "True", "True", "False"]


SHARED = """
import ray
from vision_batch.cluster.connect import connected
from vision_batch.cluster.one_ray import one_ray
with one_ray():
    print(ray.is_initialized())
    with connected(None):
        node = ray.nodes()[0]["NodeID"]
    print(ray.is_initialized())
    with connected(None) as resources:
        print(ray.nodes()[0]["NodeID"] == node and resources.nodes[0].cpus > 0)
print(ray.is_initialized())
"""
