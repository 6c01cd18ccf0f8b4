"""Messages between processes give back what they were given."""

from __future__ import annotations

import pickle

import pyarrow as pa
import pytest

from vision_batch.inference.message import pickled


@pytest.mark.parametrize(
    "scalar",
    [
        pa.scalar(1, pa.timestamp("ns")),
        pa.scalar(2**62, pa.timestamp("us")),
        pa.scalar(5, pa.time64("ns")),
        pa.scalar(7, pa.timestamp("ns", "Nowhere/Land")),
        pa.array([[{"t": 2**62}, None]], pa.list_(pa.struct([("t", pa.int64())]))).cast(
            pa.list_(pa.struct([("t", pa.timestamp("us"))]))
        )[0],
        pa.array([1, 2], pa.timestamp("ns")).dictionary_encode()[1],
    ],
    ids=lambda scalar: str(scalar.type),
)
def test_arrow_scalars_are_the_same_to_the_last_bit(scalar: pa.Scalar) -> None:
    (copy,) = pickle.loads(pickled((scalar,)))
    assert copy.type == scalar.type
    assert copy.equals(scalar)


def test_images_come_as_bytes() -> None:
    assert pickle.loads(pickled([memoryview(b"image"), "text"])) == [b"image", "text"]
