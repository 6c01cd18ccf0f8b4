"""A coverage-guided fuzzer of the way from a file's bytes to pixels.

    python -m tests.faults.fuzz_decode [--seconds N] [--corpus DIR] [--seed N]

Law: pixels of the promised shape or an ImageError with a short printable message, within bounded memory and time.
"""

from __future__ import annotations

import atheris

from tests.faults.fuzzing import fuzz

with atheris.instrument_imports(include=["vision_batch.images"]):
    from vision_batch.images.preprocess import Preprocessed, Preprocessor
    from vision_batch.images.resize import limit_threads
    from vision_batch.images.settings import PreprocessSettings

from tests.faults.corpus import MAX_PIXELS, images
from vision_batch.errors import ImageError

SIDE = 16
PREPROCESS = Preprocessor(PreprocessSettings(letterbox_px=SIDE), max_pixels=MAX_PIXELS)
LONGEST_BYTES = 4096
"""Of a seed: small files are mutated more often in the same time."""


def judge(data: bytes) -> None:
    """The law for one input."""
    found = _answer(data)
    if isinstance(found, ImageError):
        assert found.message.isprintable(), repr(found.message)
        assert 0 < len(found.message) <= 200, found.message
    else:
        assert found.pixels.shape == (SIDE, SIDE, 3)
        assert 0 < found.width * found.height <= MAX_PIXELS


def _answer(data: bytes) -> Preprocessed | ImageError:
    try:
        return PREPROCESS(data)
    except ImageError as error:
        return error


if __name__ == "__main__":
    limit_threads()
    fuzz(judge, seeds=(case.data for case in images() if len(case.data) <= LONGEST_BYTES))
