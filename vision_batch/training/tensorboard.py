"""Curves as TensorBoard reads them: event files of records, each framed with its length and masked CRC-32C.

The format: tensorflow/core/lib/io/record_writer.h and tensorflow/core/util/event.proto of TensorFlow, whose messages
tensorboardX carries.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Scalar:
    """One point of the curve `tag`; `time` is in seconds since 1970."""

    tag: str
    step: int
    value: float
    time: float


def event_file(scalars: Iterable[Scalar], *, time: float) -> bytes:
    """The content of a whole event file that was begun at `time`.

    TensorBoard reads those of a folder in the order of their names, which must hold `tfevents`, and goes to the next
    when one is at its end.
    """
    from tensorboardX.proto.event_pb2 import Event  # here: the package imports torch
    from tensorboardX.proto.summary_pb2 import Summary

    events: list[Any] = [Event(wall_time=time, file_version="brain.Event:2")]
    for scalar in scalars:
        value = Summary.Value(tag=scalar.tag, simple_value=scalar.value)
        events.append(Event(wall_time=scalar.time, step=scalar.step, summary=Summary(value=[value])))
    return b"".join(_framed(event.SerializeToString()) for event in events)


def _framed(data: bytes) -> bytes:
    from tensorboardX.record_writer import masked_crc32c

    length = struct.pack("<Q", len(data))
    return b"".join(
        (length, struct.pack("<I", masked_crc32c(length)), data, struct.pack("<I", masked_crc32c(data))),
    )
