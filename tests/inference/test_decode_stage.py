"""The CPU stage: chunks in, pixels out, in order, with one row for each image."""

from __future__ import annotations

import time
from collections.abc import Iterator

import cv2
import numpy as np
import pytest

from vision_batch.datasets.sample import Sample
from vision_batch.errors import ImageError, ModelError
from vision_batch.images.preprocess import Preprocessor
from vision_batch.images.settings import PreprocessSettings
from vision_batch.inference.chunk import EncodedChunk, Place
from vision_batch.inference.decode_stage import CHUNKS_AHEAD, Decoder
from vision_batch.inference.stopwatch import Stopwatch
from vision_batch.ledger.cell import Chunk, chunks


def picture(value: int, width: int = 12, height: int = 8) -> bytes:
    return cv2.imencode(".png", np.full((height, width, 3), value, np.uint8))[1].tobytes()


def samples(count: int) -> Iterator[Sample]:
    """Images of value i; every fifth is broken and every seventh is missing."""
    for i in range(count):
        if i % 7 == 6:
            yield Sample(row=i, image_id=str(i), error=ImageError("missing", "gone"), truth=i)
        else:
            yield Sample(row=i, image_id=str(i), data=b"broken" if i % 5 == 4 else picture(i), truth=i)


def encoded(source: Iterator[Chunk]) -> Iterator[EncodedChunk]:
    for c in source:
        place = Place(shard="s", version="v", cell=c.cell, index=c.index, ends_cell=c.ends_cell, last_cell=c.last_cell)
        yield EncodedChunk(place=place, samples=c.samples)


def decoder(threads: int = 3, **settings: object) -> Decoder:
    preprocess = PreprocessSettings.model_validate(settings or {"resize_px": (4, 6)})
    return Decoder(Preprocessor(preprocess, max_pixels=10**6), threads, preprocess.output_px)


@pytest.mark.parametrize("threads", [1, 4])
def test_every_sample_has_its_row_and_every_good_one_its_pixels(threads: int) -> None:
    decoded = list(decoder(threads)(encoded(chunks(samples(100), 64, 20)), Stopwatch()))
    rows = [row for chunk in decoded for row in chunk.rows]
    assert [row.row for row in rows] == list(range(100))
    assert [row.truth for row in rows] == list(range(100))
    for chunk in decoded:
        assert chunk.pixels.shape == (len(chunk.good), 4, 6, 3)
        assert [int(image[0, 0, 0]) for image in chunk.pixels] == [chunk.rows[i].row for i in chunk.good]
        assert all((chunk.rows[i].width, chunk.rows[i].height) == (12, 8) for i in chunk.good)
    codes = [row.error_code for row in rows]
    assert codes == ["missing" if i % 7 == 6 else "unreadable" if i % 5 == 4 else None for i in range(100)]


def test_chunks_keep_their_places() -> None:
    places = [chunk.place for chunk in decoder()(encoded(chunks(samples(100), 64, 20)), Stopwatch())]
    assert [(p.cell, p.index, p.ends_cell, p.last_cell) for p in places] == [
        (0, 0, False, False),
        (0, 1, False, False),
        (0, 2, False, False),
        (0, 3, True, False),
        (1, 0, False, False),
        (1, 1, True, True),
    ]


def test_reading_keeps_only_a_little_ahead() -> None:
    read = []

    def source() -> Iterator[Chunk]:
        for chunk in chunks(samples(400), 400, 10):
            read.append(chunk.index)
            yield chunk

    stream = decoder()(encoded(source()), Stopwatch())
    next(stream)
    assert len(read) == CHUNKS_AHEAD


def test_what_the_source_raises_comes_through() -> None:
    def source() -> Iterator[Chunk]:
        yield from chunks(samples(10), 400, 10)
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        list(decoder()(encoded(source()), Stopwatch()))


def test_a_plugin_that_gives_several_sizes_is_refused() -> None:
    preprocess = PreprocessSettings(function="m:f")
    shrink = Preprocessor(preprocess, max_pixels=10**6, function=lambda pixels: pixels[: 4 + int(pixels[0, 0, 0])])
    stream = Decoder(shrink, 2, None)(encoded(chunks(iter(samples(3)), 10, 10)), Stopwatch())
    with pytest.raises(ModelError, match="different sizes"):
        list(stream)


def test_time_is_booked_by_stage() -> None:
    watch = Stopwatch()
    list(decoder()(encoded(chunks(samples(50), 64, 20)), watch))
    stages = watch.take().stages
    assert set(stages) == {"read", "decode", "preprocess", "wait"}
    assert stages["decode"].wall_s > 0
    assert stages["decode"].cpu_s > 0
    assert watch.take().stages == {}


def test_what_the_plugin_takes_is_preprocessing() -> None:
    def slow(pixels: np.ndarray) -> np.ndarray:
        time.sleep(0.01)
        return pixels

    watch = Stopwatch()
    shrink = Preprocessor(PreprocessSettings(resize_px=(4, 6), function="m:f"), max_pixels=10**6, function=slow)
    list(Decoder(shrink, 2, (4, 6))(encoded(chunks(iter(samples(4)), 10, 10)), watch))
    stages = watch.take().stages
    assert stages["preprocess"].wall_s >= 0.04 > stages["decode"].wall_s


@pytest.mark.parametrize("lies_on_image", [False, True])
def test_what_has_a_place_in_the_image_needs_a_function_that_keeps_its_size(lies_on_image: bool) -> None:
    preprocess = PreprocessSettings(function="m:halve_wide", resize_px=(4, 6))
    preprocessor = Preprocessor(
        preprocess, max_pixels=10**6, function=lambda pixels: pixels[:, ::2] if pixels.shape[1] > 12 else 255 - pixels
    )
    it = Decoder(preprocessor, 1, preprocess.output_px, lies_on_image=lies_on_image)
    pictures = [Sample(row=i, image_id=str(i), data=picture(9, width=width)) for i, width in enumerate((12, 14))]
    (chunk,) = it(encoded(chunks(iter(pictures), 64, 20)), Stopwatch())
    kept, reshaped = chunk.rows
    assert (kept.error_code, kept.view.geometry.scale_x) == (None, 2)
    assert reshaped.error_code == ("model_error" if lies_on_image else None)
    assert (reshaped.width, reshaped.height) == (14, 8)
