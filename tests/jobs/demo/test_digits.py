"""The demo's data set: real digits, always the same bytes, with one broken sample of each kind."""

from __future__ import annotations

import io
import sys
import tarfile
from collections import Counter

import pytest

from vision_batch.errors import ErrorCode, ImageError, SpecError
from vision_batch.images.preprocess import Preprocessor
from vision_batch.images.settings import PreprocessSettings
from vision_batch.jobs.demo.digits import TAR_NAMES, digit_tars

Tars = dict[str, dict[str, bytes]]
PREPROCESS = Preprocessor(PreprocessSettings(resize_px=(32, 32)), max_pixels=178_956_970)


def members(content: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        return {info.name: archive.extractfile(info).read() for info in archive}  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def tars() -> Tars:
    return {name: members(content) for name, content in digit_tars()}


def test_every_digit_is_a_picture_with_its_label(tars: Tars) -> None:
    assert list(tars) == TAR_NAMES
    files = {name: data for tar in tars.values() for name, data in tar.items() if not name.startswith("broken")}
    pictures = [name for name in files if name.endswith(".jpg")]
    assert len(pictures) == 1797
    assert Counter(files[name.replace(".jpg", ".cls")] for name in pictures) == Counter(
        {b"0": 178, b"1": 182, b"2": 177, b"3": 183, b"4": 181, b"5": 182, b"6": 181, b"7": 179, b"8": 174, b"9": 180}
    )
    assert {PREPROCESS(files[name]).pixels.shape for name in pictures} == {(32, 32, 3)}


def test_a_fifth_is_for_testing_and_none_of_it_is_broken(tars: Tars) -> None:
    held_out = [key for name, tar in tars.items() if name.startswith("test-") for key in tar if key.endswith(".jpg")]
    assert len(held_out) == 360
    assert not any(key.startswith("broken") for key in held_out)


@pytest.mark.parametrize(
    ("key", "code"),
    [
        ("broken-empty", "empty"),
        ("broken-truncated", "truncated"),
        ("broken-not-an-image", "unreadable"),
        ("broken-huge", "too_large"),
    ],
)
def test_a_broken_file_is_what_its_key_says(tars: Tars, key: str, code: ErrorCode) -> None:
    (data,) = [tar[f"{key}.jpg"] for tar in tars.values() if f"{key}.jpg" in tar]
    with pytest.raises(ImageError) as caught:
        PREPROCESS(data)
    assert caught.value.code == code


def test_one_sample_has_a_label_and_no_image(tars: Tars) -> None:
    names = [name for tar in tars.values() for name in tar if name.startswith("broken-no-image")]
    assert names == ["broken-no-image.cls"]


def test_the_bytes_are_always_the_same() -> None:
    assert list(digit_tars()) == list(digit_tars())


def test_without_scikit_learn_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*(name for name in sys.modules if name.startswith("sklearn")), "sklearn"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(SpecError, match=r"pip install 'vision-batch\[demo\]'"):
        next(digit_tars())
