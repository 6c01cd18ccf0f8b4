"""scikit-learn's 1,797 handwritten digits as WebDataset tars of JPEG pictures, some broken files among them.

The digits are the test set of E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine
Learning Repository, 1998: scans of 32 x 32 pixels reduced to 8 x 8 of 0 to 16.
"""

from __future__ import annotations

import io
import struct
import tarfile
from collections.abc import Iterator

import cv2
import numpy as np
import numpy.typing as npt

from vision_batch.errors import Problem, SpecError

SIDE_PX = 32
JPEG_QUALITY = 95
TRAIN_PREFIX, TEST_PREFIX = "train-", "test-"
TAR_NAMES = [*(f"{TRAIN_PREFIX}{k:02}.tar" for k in range(8)), *(f"{TEST_PREFIX}{k:02}.tar" for k in range(2))]

Member = tuple[str, bytes]


def digit_tars() -> Iterator[tuple[str, bytes]]:
    """Name and content of every one of TAR_NAMES, the same bytes every time.

    The tars hold the digits in their order; each of the first five also has one sample that is broken, whose key says
    how. SpecError when scikit-learn is not installed.
    """
    pictures, labels = load_digits()
    keys = [f"{index:04}" for index in range(len(pictures))]
    samples = [_sample(*values) for values in zip(keys, map(_jpeg, pictures), labels, strict=True)]
    broken = dict(enumerate(_broken_samples(_jpeg(pictures[0]), labels[0])))
    edges = np.linspace(0, len(samples), len(TAR_NAMES) + 1).astype(int)
    for k, name in enumerate(TAR_NAMES):
        held = samples[edges[k] : edges[k + 1]]
        if k in broken:
            held.insert(len(held) // 2, broken[k])
        yield name, tar(member for sample in held for member in sample)


def load_digits() -> tuple[npt.NDArray[np.uint8], list[str]]:
    """Dark ink on white paper, uint8 (N, 8, 8), and what each digit is."""
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("sklearn"):
            raise
        problem = Problem("demo", "no scikit-learn, whose digits it uses", "pip install 'vision-batch[demo]'")
        raise SpecError(problem) from error
    digits = load_digits()
    return (255 - digits.images * (255 / 16)).round().astype(np.uint8), [str(label) for label in digits.target]


def _jpeg(picture: npt.NDArray[np.uint8]) -> bytes:
    enlarged = cv2.resize(picture, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_CUBIC)
    return cv2.imencode(".jpg", enlarged, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()


def _sample(key: str, jpeg: bytes, label: str) -> list[Member]:
    return [(f"{key}.jpg", jpeg), (f"{key}.cls", label.encode())]


def _broken_samples(jpeg: bytes, label: str) -> list[list[Member]]:
    """What datasets suffer from: each of these becomes one error row."""
    return [
        _sample("broken-empty", b"", label),
        _sample("broken-truncated", jpeg[: len(jpeg) * 2 // 3], label),
        _sample("broken-not-an-image", b"<html>404 Not Found</html>", label),
        _sample("broken-no-image", jpeg, label)[1:],
        _sample("broken-huge", _claiming(jpeg, 65_000, 65_000), label),
    ]


def _claiming(jpeg: bytes, width: int, height: int) -> bytes:
    """A JPEG whose header says another size: a decompression bomb. SOF0: FFC0, length, precision, height, width."""
    at = jpeg.index(b"\xff\xc0") + 5
    return jpeg[:at] + struct.pack(">HH", height, width) + jpeg[at + 4 :]


def tar(members: Iterator[Member]) -> bytes:
    """A ustar archive of files without owner and time."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()
