"""Connecting to Ray."""

import socket
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
