"""What the bytes say before anything is decoded; hostile and incomplete bytes cost one short answer."""

from __future__ import annotations

import struct
import time
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.images.pictures import encoded, in_mode, oriented, photo
from vision_batch.errors import ImageError
from vision_batch.images.formats import check_whole, read_header
from vision_batch.images.preprocess import Preprocessor
from vision_batch.images.settings import PreprocessSettings

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
PREPROCESS = Preprocessor(PreprocessSettings(resize_shorter_px=32, crop_px=32), max_pixels=178956970)


def refusal(data: bytes) -> ImageError:
    with pytest.raises(ImageError) as caught:
        PREPROCESS(data)
    return caught.value


@pytest.mark.parametrize(
    ("format", "mode", "bits", "channels"),
    [
        ("JPEG", "RGB", 8, 3),
        ("JPEG", "L", 8, 1),
        ("JPEG", "CMYK", 8, 4),
        ("PNG", "RGB", 8, 3),
        ("PNG", "LA", 8, 2),
        ("PNG", "I;16", 16, 1),
        ("PNG", "1", 1, 1),
        ("WEBP", "RGB", 8, 3),
        ("WEBP", "RGBA", 8, 4),
        ("BMP", "RGB", 8, 3),
        ("BMP", "1", 1, 1),
        ("TIFF", "RGBA", 8, 4),
        ("TIFF", "I;16", 16, 1),
        ("TIFF", "1", 1, 1),
    ],
)
def test_header(format: str, mode: str, bits: int, channels: int) -> None:
    header = read_header(encoded(in_mode(photo(123, 77), mode), format))
    assert (header.format, header.width, header.height) == (format.lower(), 123, 77)
    assert (header.bits, header.channels, header.orientation) == (bits, channels, 1)


@pytest.mark.parametrize("format", FORMATS)
def test_a_view_of_bytes_is_as_good_as_bytes(format: str) -> None:
    data = oriented(photo(), format, 6) if format != "BMP" else encoded(photo(), format)
    view = memoryview(b"before" + data)[6:]
    assert read_header(view) == read_header(data)
    assert (PREPROCESS(view).pixels == PREPROCESS(data).pixels).all()


class TestCodes:
    def test_empty(self) -> None:
        assert refusal(b"").code == "empty"

    @pytest.mark.parametrize("data", [b"\0", b"hello, world", bytes(1000), b"RIFF\0\0\0\0WAVE", b"<html>"])
    def test_no_picture(self, data: bytes) -> None:
        assert refusal(data).code == "unreadable"

    @pytest.mark.parametrize(
        ("data", "name"),
        [
            (b"GIF89a" + bytes(50), "GIF"),
            (b"\0\0\0\x1cftypavif" + bytes(50), "AVIF"),
            (b"\0\0\0\x1cftypheic" + bytes(50), "HEIC"),
            (b"\0\0\0\x1cftypisom" + bytes(50), "isom"),
            (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(50), "JPEG 2000"),
            (b"8BPS" + bytes(50), "PSD"),
            (b"%PDF-1.7" + bytes(50), "PDF"),
            (b"<?xml version='1.0'?><svg/>", "SVG"),
            (b"\xef\xbb\xbf\n <svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        ],
    )
    def test_recognised_and_not_handled(self, data: bytes, name: str) -> None:
        error = refusal(data)
        assert error.code == "unsupported"
        assert name in error.message

    @pytest.mark.parametrize(("marker", "name"), [(0xC3, "lossless"), (0xC9, "arithmetic"), (0xC5, "hierarchical")])
    def test_other_kinds_of_jpeg(self, marker: int, name: str) -> None:
        data = encoded(photo(), "JPEG").replace(b"\xff\xc0", bytes((0xFF, marker)), 1)
        assert refusal(data).code == "unsupported"
        assert name in refusal(data).message

    def test_jpeg_of_12_bits(self) -> None:
        data = bytearray(encoded(photo(), "JPEG"))
        data[data.index(b"\xff\xc0") + 4] = 12
        assert refusal(bytes(data)).code == "unsupported"

    @pytest.mark.parametrize("options", [{"compression": "zstd"}, {"compression": "lzma"}])
    def test_tiff_compressions_that_the_decoder_lacks(self, options: dict[str, str]) -> None:
        assert refusal(encoded(photo(), "TIFF", **options)).code == "unsupported"

    @pytest.mark.parametrize("mode", ["F", "I", "LAB"])
    def test_tiff_of_other_numbers(self, mode: str) -> None:
        image = photo().convert("LAB") if mode == "LAB" else photo().convert("L").convert(mode)
        assert refusal(encoded(image, "TIFF")).code == "unsupported"


class TestTruncation:
    """No prefix of a file is taken for the picture, and none does harm."""

    CASES = (
        *((format, {}) for format in FORMATS),
        ("JPEG", {"progressive": True}),
        ("WEBP", {"lossless": True}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "jpeg"}),
    )

    @pytest.mark.parametrize(("format", "options"), CASES, ids=str)
    def test_every_prefix(self, format: str, options: dict[str, object]) -> None:
        data = encoded(photo(64, 48), format, **options)
        for length in {*range(12), *range(12, len(data), max(1, len(data) // 150)), len(data) - 2, len(data) - 1}:
            error = refusal(data[:length])
            assert error.code == "empty" if length == 0 else error.code in ("truncated", "unreadable")
            assert length < 12 or error.code == "truncated", f"{length} of {len(data)}: {error}"

    def test_dimensions_are_told_where_known(self) -> None:
        data = oriented(photo(64, 48), "JPEG", 6)
        error = refusal(data[: len(data) - 500])
        assert (error.code, error.width, error.height) == ("truncated", 48, 64)

    @pytest.mark.parametrize("options", [{}, {"progressive": True}], ids=str)
    @pytest.mark.parametrize("tail", [b"", b"\xff\xd9", bytes(5000), bytes(5000) + b"\xff\xd9"])
    def test_half_a_jpeg_never_passes(self, options: dict[str, object], tail: bytes) -> None:
        data = encoded(photo(400, 300), "JPEG", **options)
        assert refusal(data[: len(data) // 2] + tail).code == "truncated"

    def test_png_without_its_end(self) -> None:
        assert refusal(encoded(photo(), "PNG")[:-12]).code == "truncated"


class TestBombs:
    """A few bytes that claim 60,000 x 60,000 pixels."""

    SIDE = 60_000

    def cases(self) -> dict[str, bytes]:
        side = self.SIDE
        jpeg = bytearray(encoded(photo(8, 8), "JPEG"))
        struct.pack_into(">HH", jpeg, jpeg.index(b"\xff\xc0") + 5, side, side)
        png = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBBBBBI", 13, b"IHDR", side, side, 8, 2, 0, 0, 0, 0)
        canvas = (side - 1).to_bytes(3, "little") * 2
        webp = b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + canvas
        bmp = struct.pack("<2sIHHIIiiHHIIiiII", b"BM", 54, 0, 0, 54, 40, side, side, 1, 24, 0, 0, 0, 0, 0, 0)
        tiff = b"II*\0" + struct.pack("<IH", 8, 2)
        tiff += b"".join(struct.pack("<HHII", tag, 4, 1, side) for tag in (256, 257)) + bytes(4)
        return {"jpeg": bytes(jpeg), "png": png, "webp": webp, "bmp": bmp, "tiff": tiff}

    @pytest.mark.parametrize("format", ["jpeg", "png", "webp", "bmp", "tiff"])
    def test_costs_nothing(self, format: str) -> None:
        data = self.cases()[format]
        tracemalloc.start()
        began = time.thread_time()
        error = refusal(data)
        seconds, (_, peak_bytes) = time.thread_time() - began, tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert (error.code, error.width, error.height) == ("too_large", self.SIDE, self.SIDE)
        assert seconds < 0.05
        assert peak_bytes < 2_000_000

    def test_a_jpeg_of_very_many_scans(self) -> None:
        data = encoded(photo(), "JPEG", progressive=True)
        last = data.rindex(b"\xff\xda")
        assert refusal(data[:last] + data[last:-2] * 1000 + b"\xff\xd9").code == "unsupported"

    def test_a_canvas_that_hides_a_larger_picture(self) -> None:
        inner = encoded(photo(), "WEBP")[12:]
        extended = b"VP8X" + struct.pack("<I", 10) + bytes(4) + bytes(6)  # a canvas of 1 x 1
        content = b"WEBP" + extended + inner
        assert refusal(b"RIFF" + struct.pack("<I", len(content)) + content).code == "unreadable"

    @pytest.mark.parametrize(
        "data",
        [
            b"\xff\xd8" + b"\xff\xe1\x00\x02" * 1_000_000,
            b"\xff\xd8" + b"\xff" * 4_000_000,
            b"\xff\xd8\xff" + bytes(4_000_000),
            b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBBBBBI", 13, b"IHDR", 9, 9, 8, 2, 0, 0, 0, 0) + bytes(4_000_000),
            b"RIFF\xff\xff\x00\x00WEBPVP8X\x0a\0\0\0" + bytes(4_000_000),
            b"II*\0\x08\0\0\0\xff\xff" + b"\x00\x01\x03\x00\x01\0\0\0\x05\0\0\0" * 65_535,
            b"II+\0\x08\0\0\0\x10\0\0\0\0\0\0\0" + b"\xff" * 4_000_000,
        ],
        ids=["segments", "fill", "junk", "png chunks", "webp chunks", "tiff entries", "bigtiff"],
    )
    def test_long_headers_end(self, data: bytes) -> None:
        began = time.thread_time()
        refusal(data)
        assert time.thread_time() - began < 1


class TestAnythingAtAll:
    """Whatever the bytes, the answer is pixels or an ImageError."""

    STARTS = (
        b"\xff\xd8\xff",
        b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR",
        b"RIFF\x40\0\0\0WEBPVP8X",
        b"RIFF\x40\0\0\0WEBPVP8 ",
        b"BM",
        b"II*\0\x08\0\0\0",
        b"MM\0+\0\x08\0\0\0\0\0\0\0\x10",
    )

    @given(st.binary(max_size=200))
    @settings(max_examples=200)
    def test_random_bytes(self, data: bytes) -> None:
        assert refusal(data).code in ("empty", "unreadable", "truncated", "unsupported")

    @given(st.sampled_from(STARTS), st.binary(max_size=300))
    @settings(max_examples=400)
    def test_random_bytes_behind_a_true_beginning(self, start: bytes, rest: bytes) -> None:
        self.answer(start + rest)

    @given(st.sampled_from(FORMATS), st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=6), st.data())
    @settings(max_examples=300)
    def test_damaged_files(self, format: str, damages: list[tuple[float, int]], data: st.DataObject) -> None:
        whole = bytearray(encoded(photo(40, 30), format))
        reach = data.draw(st.sampled_from((100, len(whole))))  # half of the damage goes into headers
        for where, value in damages:
            whole[int(where * (min(reach, len(whole)) - 1))] = value
        self.answer(bytes(whole))

    def answer(self, data: bytes) -> None:
        try:
            shape = PREPROCESS(data).pixels.shape
        except ImageError as error:
            shape, message = (32, 32, 3), error.message
        else:
            message = ""
        assert shape == (32, 32, 3)
        assert message == "" or (message.isprintable() and len(message) <= 200)


def test_wholeness_is_seen_without_decoding() -> None:
    data = encoded(photo(), "PNG")
    header = read_header(data)
    check_whole(data, header)
    with pytest.raises(ImageError):
        check_whole(data[:-1], header)
