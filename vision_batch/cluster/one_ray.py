"""One local Ray for several jobs of a process, one after the other: to start one takes seconds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar

_KEPT: ContextVar[ExitStack | None] = ContextVar("kept", default=None)


@contextmanager
def one_ray() -> Iterator[None]:
    """Within the block the local Ray that a job starts stays for the jobs after it; it ends with the block."""
    with ExitStack() as stack:
        before = _KEPT.set(stack)
        try:
            yield
        finally:
            _KEPT.reset(before)


def kept() -> ExitStack | None:
    """What ends with the block of `one_ray` that this is called in; None outside of one."""
    return _KEPT.get()
