from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vision_batch.errors import NotFoundError
from vision_batch.storage.storage import ReadRequest
from vision_batch.storage.window import read_in_order


class Reads:
    """Reads that end when the test says so."""

    def __init__(self) -> None:
        self.futures: dict[str, Future[bytes]] = {}

    def submit(self, request: ReadRequest) -> Future[bytes]:
        self.futures[request.uri] = Future()
        return self.futures[request.uri]

    def wait_for(self, count: int) -> None:
        while len(self.futures) < count:
            time.sleep(0.001)

    def end(self, *uris: int, data: bytes = b"") -> None:
        for uri in uris:
            self.futures[str(uri)].set_result(data)


def requests(count: int, size_bytes: int | None = 10) -> Iterator[ReadRequest]:
    return (ReadRequest(uri=str(number), size_bytes=size_bytes) for number in range(count))


def ended(size_bytes: int) -> Future[bytes]:
    future: Future[bytes] = Future()
    future.set_result(bytes(size_bytes))
    return future


@given(st.lists(st.integers(0, 50), max_size=60), st.integers(1, 8), st.integers(1, 120), st.booleans())
def test_every_body_comes_once_and_in_order(sizes: list[int], most_requests: int, most_bytes: int, known: bool) -> None:
    wanted = [ReadRequest(uri=str(number), size_bytes=size if known else None) for number, size in enumerate(sizes)]
    bodies = read_in_order(
        wanted, lambda request: ended(sizes[int(request.uri)]), most_requests=most_requests, most_bytes=most_bytes
    )
    assert [len(body) for body in bodies if isinstance(body, bytes)] == sizes


def test_requests_are_taken_only_as_far_as_the_window_reaches() -> None:
    reads = Reads()
    bodies = read_in_order(requests(1000), reads.submit, most_requests=4, most_bytes=1000)
    thread = Thread(target=next, args=(bodies,))
    thread.start()
    reads.wait_for(4)
    reads.end(1, 2, 3)
    assert thread.is_alive()
    reads.end(0, data=b"x")
    thread.join()
    assert len(reads.futures) == 4


def test_bytes_on_their_way_and_bytes_that_wait_share_the_budget() -> None:
    reads = Reads()
    bodies = read_in_order(requests(1000, size_bytes=10), reads.submit, most_requests=100, most_bytes=35)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(next, bodies)
        reads.wait_for(3)
        reads.end(1, 2, data=bytes(10))
        reads.end(0, data=bytes(10))
        assert first.result() == bytes(10)
        second = pool.submit(next, bodies)
        assert second.result() == bytes(10)
    assert len(reads.futures) == 4


def test_an_object_larger_than_the_budget_is_read_alone() -> None:
    bodies = read_in_order(requests(3, size_bytes=99), lambda _: ended(99), most_requests=9, most_bytes=10)
    assert [len(body) for body in bodies if isinstance(body, bytes)] == [99, 99, 99]


def test_large_objects_of_unknown_size_lower_the_concurrency_once_seen() -> None:
    submitted = 0

    def submit(request: ReadRequest) -> Future[bytes]:
        nonlocal submitted
        submitted += 1
        return ended(8 << 20)

    bodies = read_in_order(requests(100, None), submit, most_requests=100, most_bytes=32 << 20)
    next(bodies)
    assert submitted <= 5


def test_an_error_stands_in_its_place() -> None:
    def submit(request: ReadRequest) -> Future[bytes]:
        future: Future[bytes] = Future()
        if request.uri == "1":
            future.set_exception(NotFoundError(request.uri, "404"))
        else:
            future.set_result(b"x")
        return future

    first, second, third = read_in_order(requests(3), submit, most_requests=9, most_bytes=99)
    assert (first, third) == (b"x", b"x")
    assert isinstance(second, NotFoundError)


def test_a_bug_is_not_taken_for_a_storage_error() -> None:
    def submit(_: ReadRequest) -> Future[bytes]:
        future: Future[bytes] = Future()
        future.set_exception(ZeroDivisionError())
        return future

    with pytest.raises(ZeroDivisionError):
        next(read_in_order(requests(1), submit, most_requests=9, most_bytes=99))


def test_leaving_early_cancels_what_is_on_its_way() -> None:
    reads = Reads()

    def submit(request: ReadRequest) -> Future[bytes]:
        return ended(1) if request.uri == "0" else reads.submit(request)

    bodies = read_in_order(requests(5), submit, most_requests=5, most_bytes=99)
    next(bodies)
    bodies.close()  # type: ignore[attr-defined]
    assert len(reads.futures) == 4
    assert all(future.cancelled() for future in reads.futures.values())
