"""Connecting to Ray."""

import socket
import time

import pytest

from vision_batch.cluster.connect import connected
from vision_batch.errors import SpecError


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "ray://127.0.0.1:{}"])
def test_an_address_that_nobody_answers_is_refused_at_once(form: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = form.format(free.getsockname()[1])
        start = time.monotonic()
        with pytest.raises(SpecError, match="--address: found nothing that answers"), connected(address):
            pass
        assert time.monotonic() - start < 10
