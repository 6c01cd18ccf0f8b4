"""Laws for hostile and broken images, tried on the whole corpus in processes of their own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.datasets.reading import everything, format_of, samples_of, settings_of, shards_of
from tests.faults.corpus import GOOD, MAX_PIXELS, ImageCase, good_images, images, main
from tests.faults.corpus_tars import DAMAGE, TarCase, tars
from tests.faults.judge import Verdict, judged
from tests.images.pictures import difference
from vision_batch.errors import ImageError
from vision_batch.images.preprocess import Preprocessor
from vision_batch.images.settings import PreprocessSettings

GROWTH_BYTES = 48 << 20
"""What the whole corpus may add to the peak of a process: several times the 3 MiB that MAX_PIXELS are as RGB."""
SECONDS = 2.0
PREPROCESS = Preprocessor(PreprocessSettings(), max_pixels=MAX_PIXELS)


def code_of(data: bytes) -> str:
    try:
        PREPROCESS(data)
    except ImageError as error:
        return error.code
    return GOOD


@pytest.fixture(scope="module")
def cases() -> dict[str, ImageCase]:
    found = list(images())
    named = {case.name: case for case in found}
    assert len(named) == len(found)
    return named


@pytest.fixture(scope="module")
def folder(cases: dict[str, ImageCase], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    for case in cases.values():
        (folder / case.name).write_bytes(case.data)
    return folder


@pytest.fixture(scope="module")
def verdicts(cases: dict[str, ImageCase], folder: Path) -> dict[str, Verdict]:
    return judged(folder, cases)


class TestImages:
    def test_nothing_crashes_and_every_code_is_one_that_may_be(
        self, cases: dict[str, ImageCase], verdicts: dict[str, Verdict]
    ) -> None:
        wrong = {name: verdict for name, verdict in verdicts.items() if verdict.code not in cases[name].codes}
        assert wrong == {}

    def test_a_picture_made_small_has_the_same_code(self, verdicts: dict[str, Verdict]) -> None:
        assert {name: v for name, v in verdicts.items() if v.scaled_code != v.code} == {}

    def test_good_variants_have_the_pixels_that_pillow_sees(self, cases: dict[str, ImageCase]) -> None:
        for case in cases.values():
            if case.reference is not None and code_of(case.data) == GOOD:
                # libjpeg-turbo's builds differ in the last bit of the colour conversion
                limit = 0.1 if case.data.startswith(b"\xff\xd8") else 0
                assert difference(PREPROCESS(case.data).pixels, case.reference) <= limit, case.name

    def test_memory_and_time_are_bounded(self, verdicts: dict[str, Verdict]) -> None:
        assert sum(verdict.grown_bytes for verdict in verdicts.values()) < GROWTH_BYTES
        assert {name: v.seconds for name, v in verdicts.items() if v.seconds > SECONDS} == {}

    def test_what_is_too_large_is_refused_before_anything_is_allocated(self, verdicts: dict[str, Verdict]) -> None:
        refused = [verdict for verdict in verdicts.values() if verdict.code == "too_large"]
        assert len(refused) >= 9
        assert max(verdict.grown_bytes for verdict in refused) < 1 << 20
        assert all(verdict.width and verdict.height for verdict in refused)

    def test_another_process_in_another_order_and_other_memory_sees_the_same(
        self, cases: dict[str, ImageCase], folder: Path, verdicts: dict[str, Verdict]
    ) -> None:
        def said(verdict: Verdict) -> Verdict:
            return replace(verdict, seconds=0.0, grown_bytes=0)

        again = judged(folder, reversed(list(cases)), fresh_memory=0xA5)
        assert {name for name, verdict in again.items() if said(verdict) != said(verdicts[name])} == set()

    def test_messages_are_one_short_line(self, verdicts: dict[str, Verdict]) -> None:
        for name, verdict in verdicts.items():
            assert verdict.code == GOOD or 0 < len(verdict.message) <= 200, name
            assert verdict.message.isprintable(), name


def test_no_prefix_of_any_format_is_good() -> None:
    """Every length. Only what carries no pixel of the first picture may be cut off: bytes behind the picture, the
    further pages of a TIFF, and the last four bytes of a TIFF's directory, which lead to the next page."""
    for case in good_images():
        if len(case.data) > 20_000:
            continue
        needed = len(case.data) - case.spare_bytes
        passed = [length for length in range(needed) if code_of(case.data[:length]) == GOOD]
        assert passed == [], case.name


@pytest.mark.parametrize("case", list(tars()), ids=lambda case: case.name)
class TestTars:
    def test_no_good_image_is_lost(self, case: TarCase, tmp_path: Path) -> None:
        """The rows are exactly those that the corpus says: the neighbours of whatever is odd among them."""
        (tmp_path / case.name).write_bytes(case.data)
        samples = samples_of(settings_of(tmp_path))
        stem = case.name.removesuffix(".tar")
        found = []
        for sample in samples:
            key = sample.image_id.removeprefix(f"{stem}/")
            code = sample.error.code if sample.error else code_of(bytes(sample.data or b""))
            found.append((DAMAGE if key.startswith("damage at byte") else key, code))
        assert tuple(found) == case.rows
        assert [sample.row for sample in samples] == list(range(len(samples)))

    def test_nothing_is_written_anywhere(self, case: TarCase, tmp_path: Path) -> None:
        path = tmp_path / "in" / case.name
        path.parent.mkdir()
        path.write_bytes(case.data)
        settings = settings_of(path.parent)
        for shard in shards_of(settings):
            list(format_of(shard).read(shard, settings, everything))
        assert [found for found in tmp_path.rglob("*") if found.is_file()] == [path]


def test_the_same_seed_gives_the_same_bytes_and_another_one_others() -> None:
    first, again, other = ([case.data for case in images(seed)] for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_the_program_writes_the_corpus_as_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["corpus", str(tmp_path)])
    main()
    assert {path.name for path in (tmp_path / "images").iterdir()} == {case.name for case in images()}
    assert {path.name for path in (tmp_path / "tars").iterdir()} == {case.name for case in tars()}


def test_a_process_that_dies_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The judge itself: what kills it, or wants more memory than there is, would be seen."""
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "sitecustomize.py").write_text(DEADLY)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path.cwd()}")
    codes = {name: verdict.code for name, verdict in judged(tmp_path, ["a.jpg", "b.jpg", "c.jpg"]).items()}
    assert codes == {"a.jpg": "empty", "b.jpg": "SIGSEGV", "c.jpg": "empty"}


DEADLY = """
import os, pathlib, signal
read = pathlib.Path.read_bytes
def deadly(path):
    if path.name == "b.jpg":
        os.kill(os.getpid(), signal.SIGSEGV)
    return read(path)
pathlib.Path.read_bytes = deadly
"""
