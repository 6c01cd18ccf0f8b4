"""What is known of rows without their images, and spans of rows that are read alone."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.datasets.archives import END, member, pax, written
from tests.datasets.reading import everything, format_of, samples_of, settings_of, shards_of
from tests.datasets.tables import write
from vision_batch.datasets.entry import Entry, Span
from vision_batch.datasets.sample import Sample
from vision_batch.datasets.settings import InputSettings


def known(sample: Sample) -> tuple[object, ...]:
    return sample.row, sample.image_id, sample.data, sample.error and sample.error.code, sample.truth


def assert_entries_tell_of_the_samples(settings: InputSettings) -> None:
    """One entry a row; and any span between two places where reading may begin gives what is there in the whole."""
    for shard in shards_of(settings):
        format = format_of(shard)
        samples = list(format.read(shard, settings, everything))
        entries = [entry for entry in format.entries(shard, settings, labels=True) if entry is not None]
        assert [entry.image_id for entry in entries] == [sample.image_id for sample in samples]
        assert [entry.truth for entry in entries] == [sample.truth for sample in samples]
        places = [row for row, entry in enumerate(entries) if entry.begin is not None]
        assert not entries or places[0] == 0
        for first, stop in zip(places, [*places[1:], len(entries)], strict=False):
            span = span_of(entries, first, stop)
            inside = format.read(shard, settings, lambda row, span=span: span.first <= row < span.stop, span)
            assert list(map(known, inside)) == list(map(known, samples[first:stop]))


def span_of(entries: list[Entry], first: int, stop: int) -> Span:
    begin, end = entries[first].begin, entries[stop].begin if stop < len(entries) else None
    assert begin is not None
    return Span(first=first, stop=stop, begin=begin, end=end)


NAMES = st.sampled_from(["a.jpg", "a.cls", "b.jpg", "b.cls", "c.png", "deep/" + "x" * 150 + ".jpg", ".hidden", "d.txt"])
PIECES = st.lists(st.one_of(st.tuples(NAMES, st.binary(max_size=600)), st.just(None)), max_size=12)


@given(PIECES)
def test_any_span_of_a_tar_reads_as_in_the_whole_also_a_damaged_one(pieces: list[tuple[str, bytes] | None]) -> None:
    import tempfile

    content = b"".join(
        b"\xff" * 512 if piece is None else pax(("path", piece[0])) + member(b"x", piece[1]) for piece in pieces
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.tar"
        path.write_bytes(content + END)
        assert_entries_tell_of_the_samples(settings_of(path, label_column="cls"))


def test_tar_that_ends_within_a_member(tmp_path: Path) -> None:
    members = [(f"{index}.{kind}", b"x" * 700) for index in range(4) for kind in ("jpg", "cls")]
    (tmp_path / "x.tar").write_bytes(written(members)[:-11_000])
    assert_entries_tell_of_the_samples(settings_of(tmp_path / "x.tar", label_column="cls"))


def test_folder(tmp_path: Path) -> None:
    for name in ("a/1.jpg", "a/2.jpg", "b/3.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    assert_entries_tell_of_the_samples(settings_of(tmp_path, label_column="folder"))
    assert_entries_tell_of_the_samples(settings_of(tmp_path))


@pytest.mark.parametrize("options", [{}, {"id_column": "id"}, {"label_column": "label"}], ids=str)
def test_parquet_with_bytes_begins_at_row_groups(tmp_path: Path, options: dict[str, str]) -> None:
    columns = {
        "image": [b"a", None, b"c", b"d", b"e"],
        "id": ["v", "w", None, "y", "z"],
        "label": pa.array([1, 2, None, 4, 5], pa.int16()),
    }
    settings = settings_of(write(tmp_path / "x.parquet", columns, row_group_size=2), **options)
    assert_entries_tell_of_the_samples(settings)
    (shard,) = shards_of(settings)
    entries = list(format_of(shard).entries(shard, settings, labels=True))
    assert [row for row, entry in enumerate(entries) if entry and entry.begin is not None] == [0, 2, 4]


def test_parquet_with_uris_begins_anywhere(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").write_bytes(b"one")
    settings = settings_of(write(tmp_path / "x.parquet", {"image": ["1.jpg", "2.jpg", None, "1.jpg"]}))
    assert_entries_tell_of_the_samples(settings)
    (shard,) = shards_of(settings)
    assert all(entry and entry.begin is not None for entry in format_of(shard).entries(shard, settings, labels=True))


def test_file_without_a_footer_is_one_row(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"PAR1 and nothing else")
    assert_entries_tell_of_the_samples(settings_of(tmp_path / "x.parquet", label_column="label"))


def test_labels_that_nobody_asks_for_are_not_read(tmp_path: Path) -> None:
    settings = settings_of(
        write(tmp_path / "x.parquet", {"image": [b"a"], "label": [b"\xff" * 9]}), label_column="label"
    )
    (shard,) = shards_of(settings)
    assert list(format_of(shard).entries(shard, settings, labels=False)) == [Entry("x.parquet#0", None, 0)]
    (tmp_path / "x.tar").write_bytes(written([("a.jpg", b"1"), ("a.cls", b"\xff")]))
    settings = settings_of(tmp_path / "x.tar", label_column="cls")
    (shard,) = shards_of(settings)
    assert [sample.error and sample.error.code for sample in samples_of(settings)] == ["invalid_label"]
    assert list(format_of(shard).entries(shard, settings, labels=False)) == [Entry("x/a", None, 0)]
