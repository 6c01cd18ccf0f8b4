"""Samples of WebDataset tars."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.datasets.archives import END, header, member, written
from tests.datasets.reading import (
    assert_reads_alike_whatever_is_wanted,
    everything,
    format_of,
    outcome,
    samples_of,
    settings_of,
    shards_of,
)
from vision_batch.datasets import sample as sample_module
from vision_batch.datasets import tar_samples
from vision_batch.datasets.sample import Sample
from vision_batch.datasets.settings import InputSettings
from vision_batch.datasets.tar_samples import split_name
from vision_batch.datasets.webdataset import WebDatasetFormat
from vision_batch.errors import ChangedError


def read(folder: Path, archive: bytes, **more: object) -> list[Sample]:
    path = folder / "train-0001.tar"
    path.write_bytes(archive)
    return samples_of(settings_of(path, **more))


def outcomes(samples: list[Sample]) -> list[tuple[str, bytes | str]]:
    return [(sample.image_id, outcome(sample)) for sample in samples]


class TestSamples:
    @pytest.mark.parametrize(
        ("name", "key", "extension"),
        [
            ("a.jpg", "a", "jpg"),
            ("d.x/a.left.JPG", "d.x/a", "left.jpg"),
            ("./a.jpg", "./a", "jpg"),
            ("/a.jpg", "/a", "jpg"),
            ("../a.jpg", "../a", "jpg"),
            ("README", "README", ""),
            ("a.", "a", ""),
            (".hidden.jpg", "", "hidden.jpg"),
            ("d/._a.jpg", "", "_a.jpg"),
            ("d/", "", ""),
        ],
    )
    def test_a_key_is_the_folder_and_the_name_up_to_the_first_dot(self, name: str, key: str, extension: str) -> None:
        assert split_name(name.encode()) == (key.encode(), extension)

    def test_consecutive_members_of_one_key_are_a_sample(self, tmp_path: Path) -> None:
        archive = written([("0.jpg", b"A"), ("0.cls", b"3"), ("1.cls", b"4"), ("1.jpg", b"B"), ("0.jpg", b"C")])
        samples = read(tmp_path, archive)
        assert outcomes(samples) == [("train-0001/0", b"A"), ("train-0001/1", b"B"), ("train-0001/0", b"C")]
        assert [sample.row for sample in samples] == [0, 1, 2]

    def test_one_key_in_two_folders_is_two_samples(self, tmp_path: Path) -> None:
        samples = read(tmp_path, written([("a/0.jpg", b"A"), ("b/0.jpg", b"B")]))
        assert outcomes(samples) == [("train-0001/a/0", b"A"), ("train-0001/b/0", b"B")]

    def test_the_first_image_is_the_image(self, tmp_path: Path) -> None:
        assert outcomes(read(tmp_path, written([("0.PNG", b"A"), ("0.jpg", b"B")]))) == [("train-0001/0", b"A")]

    def test_image_column_says_what_an_image_is(self, tmp_path: Path) -> None:
        archive = written([("0.jpg", b"A"), ("0.left.png", b"B"), ("0.heic", b"C")])
        assert outcomes(read(tmp_path, archive, image_column="left.png; HEIC")) == [("train-0001/0", b"B")]

    def test_a_last_dotted_part_serves_where_no_whole_extension_does(self, tmp_path: Path) -> None:
        archive = written([("0.mask.png", b"M"), ("0.jpg", b"A"), ("1.v2.jpg", b"B"), ("1.v3.jpg", b"C")])
        assert outcomes(read(tmp_path, archive)) == [("train-0001/0", b"A"), ("train-0001/1", b"B")]

    def test_a_sample_without_an_image_is_missing(self, tmp_path: Path) -> None:
        samples = read(tmp_path, written([("0.jpg", b"A"), ("README", b"hello"), ("1.txt", b"t"), ("1.json", b"{}")]))
        assert [outcome(sample) for sample in samples] == [b"A", "missing", "missing"]
        assert samples[2].error is not None
        assert "json, txt" in samples[2].error.message

    def test_an_empty_image_is_left_to_the_decoder(self, tmp_path: Path) -> None:
        assert outcomes(read(tmp_path, written([("0.jpg", b"")]))) == [("train-0001/0", b"")]

    def test_names_that_begin_with_a_dot_are_no_members(self, tmp_path: Path) -> None:
        archive = written([("._0.jpg", b"mac"), ("0.jpg", b"A"), ("._0.cls", b"mac"), ("0.cls", b"3")])
        (sample,) = read(tmp_path, archive, label_column="cls")
        assert (outcome(sample), sample.truth) == (b"A", "3")

    def test_an_image_that_is_too_large_is_not_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for module in (tar_samples, sample_module):
            monkeypatch.setattr(module, "MAX_IMAGE_BYTES", 10)
        assert outcomes(read(tmp_path, written([("0.jpg", b"A" * 11), ("1.jpg", b"A" * 10)]))) == [
            ("train-0001/0", "too_large"),
            ("train-0001/1", b"A" * 10),
        ]

    @pytest.mark.parametrize("name", ["a b", "日本語", "n" * 200, "n" * 10_000])
    def test_names_come_along_as_they_are(self, tmp_path: Path, name: str) -> None:
        assert outcomes(read(tmp_path, written([(f"{name}.jpg", b"A")]))) == [(f"train-0001/{name}", b"A")]

    def test_names_that_are_not_utf_8_stay_apart(self, tmp_path: Path) -> None:
        samples = read(tmp_path, member(b"\xe9.jpg", b"A") + member(b"\xe8.jpg", b"B") + END)
        assert outcomes(samples) == [("train-0001/\\xe9", b"A"), ("train-0001/\\xe8", b"B")]

    @pytest.mark.parametrize("archive", [b"", END, written([])])
    def test_an_empty_tar_has_no_rows(self, tmp_path: Path, archive: bytes) -> None:
        assert read(tmp_path, archive) == []


class TestColumns:
    def test_labels_and_kept_columns_are_the_text_of_members(self, tmp_path: Path) -> None:
        archive = written([("0.jpg", b"A"), ("0.cls", b" 3\n"), ("0.json", '{"ü": 1}'.encode()), ("1.jpg", b"B")])
        samples = read(tmp_path, archive, label_column="cls", keep_columns=["json", "TXT"])
        assert [(sample.truth, sample.kept) for sample in samples] == [("3", ('{"ü": 1}', None)), (None, (None, None))]

    def test_their_fields_are_strings(self, tmp_path: Path) -> None:
        (tmp_path / "a.tar").write_bytes(written([("0.jpg", b"A")]))
        settings = settings_of(tmp_path, label_column="cls", keep_columns=["json", "txt"])
        (shard,) = shards_of(settings)
        names = ["truth", "input_json", "input_txt"]
        assert format_of(shard).extra_fields(shard, settings) == [pa.field(name, pa.string()) for name in names]

    def test_members_with_an_images_extension_are_bytes(self, tmp_path: Path) -> None:
        archive = written([("0.jpg", b"A"), ("0.mask.png", b"\xff "), ("0.seg.PNG", b"\xfe"), ("1.jpg", b"B")])
        columns: dict[str, object] = {"label_column": "mask.png", "keep_columns": ["seg.png", "cls"]}
        samples = read(tmp_path, archive, **columns)
        assert [(outcome(sample), sample.truth) for sample in samples] == [(b"A", b"\xff "), (b"B", None)]
        assert samples[0].kept == (b"\xfe", None)
        settings = settings_of(tmp_path, **columns)
        (shard,) = shards_of(settings)
        fields = format_of(shard).extra_fields(shard, settings)
        assert [str(field.type) for field in fields] == ["binary", "binary", "string"]

    def test_the_labels_member_is_never_the_image(self, tmp_path: Path) -> None:
        archive = written([("0.png", b"M"), ("0.jpg", b"A"), ("1.png", b"M")])
        samples = read(tmp_path, archive, label_column="PNG")
        assert [(outcome(sample), sample.truth) for sample in samples] == [(b"A", b"M"), ("missing", b"M")]

    @pytest.mark.parametrize("column", [{"label_column": "cls"}, {"keep_columns": ["cls"]}])
    def test_text_that_is_not_utf_8_is_an_invalid_label(self, tmp_path: Path, column: dict[str, object]) -> None:
        samples = read(tmp_path, written([("0.jpg", b"A"), ("0.cls", b"\xff"), ("1.jpg", b"B")]), **column)
        assert [outcome(sample) for sample in samples] == ["invalid_label", b"B"]

    def test_a_label_of_unreasonable_size_is_not_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tar_samples, "MAX_LABEL_BYTES", 4)
        samples = read(tmp_path, written([("0.jpg", b"A"), ("0.cls", b"12345")]), label_column="cls")
        assert [outcome(sample) for sample in samples] == ["invalid_label"]

    def test_a_bad_label_outranks_a_missing_image(self, tmp_path: Path) -> None:
        samples = read(tmp_path, written([("0.cls", b"3"), ("1.cls", b"\xff")]), label_column="cls")
        assert [(outcome(sample), sample.truth) for sample in samples] == [("missing", "3"), ("invalid_label", None)]

    def test_settings_that_make_no_sense_are_problems(self) -> None:
        found = WebDatasetFormat().problems(settings_of("/x", id_column="id", image_column=" ; ", masks="/masks"))
        assert [problem.where for problem in found] == ["input.image_column", "input.id_column", "input.masks"]
        assert WebDatasetFormat().problems(settings_of("/x", label_column="cls")) == []


class TestDamage:
    def test_good_samples_stand_on_both_sides_of_an_error_row(self, tmp_path: Path) -> None:
        archive = member(b"0.jpg", b"A") + b"garbage!" * 64 + member(b"1.jpg", b"B") + END
        samples = read(tmp_path, archive)
        assert outcomes(samples) == [
            ("train-0001/0", b"A"),
            ("train-0001/damage at byte 1024", "unreadable"),
            ("train-0001/1", b"B"),
        ]
        assert [sample.row for sample in samples] == [0, 1, 2]

    @pytest.mark.parametrize(
        "order", [("cls", "jpg", "txt"), ("jpg", "cls", "txt"), ("txt", "cls", "jpg")], ids="-".join
    )
    @pytest.mark.parametrize("lost", range(3))
    def test_a_sample_whose_image_is_damaged_has_one_row(
        self, tmp_path: Path, order: tuple[str, ...], lost: int
    ) -> None:
        """Whichever of its members it is; where the image itself is whole it has its row, and the damage another."""
        broken = [member(f"1.{name}".encode(), name.encode()) for name in order]
        broken[lost] = b"!" * len(broken[lost])
        around = [member(f"{key}.{name}".encode(), b"x") for key in "02" for name in order]
        archive = b"".join(around[:3] + broken + around[3:]) + END
        samples = read(tmp_path, archive, label_column="cls")
        image_is_whole = order[lost] != "jpg"
        good = ["train-0001/0", *(["train-0001/1"] if image_is_whole else []), "train-0001/2"]
        assert [sample.image_id for sample in samples if sample.error is None] == good
        assert len(samples) == len(good) + 1

    def test_every_damage_has_a_row_of_its_own(self, tmp_path: Path) -> None:
        broken = b"!" * 512
        archive = broken + member(b"0.cls", b"3") + broken + member(b"1.jpg", b"A") + broken
        samples = read(tmp_path, archive)
        assert [outcome(sample) for sample in samples] == ["unreadable", "unreadable", b"A", "unreadable"]
        assert [sample.row for sample in samples] == [0, 1, 2, 3]

    def test_bytes_that_end_are_truncated(self, tmp_path: Path) -> None:
        samples = read(tmp_path, written([("0.jpg", b"A"), ("1.jpg", b"B" * 600)])[:1600])
        assert [outcome(sample) for sample in samples] == [b"A", "truncated"]

    def test_a_sample_whose_image_is_whole_is_given(self, tmp_path: Path) -> None:
        samples = read(tmp_path, member(b"0.jpg", b"A") + header(b"0.cls", 100), label_column="cls")
        assert [(outcome(sample), sample.truth) for sample in samples] == [(b"A", None), ("truncated", None)]

    def test_a_sample_without_its_image_becomes_the_error_row(self, tmp_path: Path) -> None:
        archive = member(b"0.jpg", b"A") + member(b"1.cls", b"3") + header(b"1.jpg", 100)
        samples = read(tmp_path, archive, label_column="cls", keep_columns=["txt"])
        assert [(sample.row, outcome(sample), sample.kept) for sample in samples] == [
            (0, b"A", (None,)),
            (1, "truncated", (None,)),
        ]

    def test_a_file_that_is_no_tar_is_one_error_row(self, tmp_path: Path) -> None:
        assert outcomes(read(tmp_path, b"no tar " * 200)) == [("train-0001/damage at byte 0", "unreadable")]

    def test_a_file_that_changes_is_not_the_images_fault(self, tmp_path: Path) -> None:
        path = tmp_path / "a.tar"
        path.write_bytes(written([("0.jpg", b"A")]))
        settings = settings_of(path)
        (shard,) = shards_of(settings)
        path.write_bytes(written([("0.jpg", b"A"), ("1.jpg", b"B" * 20_000)]))
        with pytest.raises(ChangedError):
            list(format_of(shard).read(shard, settings, everything))


class TestShards:
    def test_a_tar_is_a_shard_named_by_its_path(self, tmp_path: Path) -> None:
        for name in ("b.tar", "a/x y.TAR", "a.txt"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(written([("0.jpg", b"A")]))
        settings = settings_of(tmp_path)
        assert [(shard.key, shard.rows) for shard in shards_of(settings)] == [("a/x y.TAR", None), ("b.tar", None)]
        assert [sample.image_id for sample in samples_of(settings)] == ["a/x y/0", "b/0"]

    def test_several_inputs_begin_keys_and_ids(self, tmp_path: Path) -> None:
        for name in ("x", "y"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "a.tar").write_bytes(written([("0.jpg", b"A")]))
        inputs = [str(tmp_path / "x"), {"uri": str(tmp_path / "y"), "name": "val"}]
        settings = InputSettings.model_validate({"uri": inputs})
        assert [shard.key for shard in shards_of(settings)] == ["0/a.tar", "val/a.tar"]
        assert [sample.image_id for sample in samples_of(settings)] == ["0/a/0", "val/a/0"]

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        names=st.lists(st.sampled_from(["0.jpg", "0.cls", "1.jpg", "1.txt", "2.a.png", "d/1.jpg", ".x"]), max_size=15),
        chosen=st.sets(st.integers(0, 15)),
        cut=st.integers(0, 12_000),
        broken=st.lists(st.integers(0, 12_000), max_size=3),
    )
    def test_what_is_wanted_does_not_change_what_is_read(
        self, tmp_path: Path, names: list[str], chosen: set[int], cut: int, broken: list[int]
    ) -> None:
        archive = written([(name, str(index).encode() * (index * 100)) for index, name in enumerate(names)])
        damaged = bytearray(archive[:cut])
        for at in broken:
            damaged[at : at + 1] = b"\xaa"[: max(len(damaged) - at, 0)]
        (tmp_path / "a.tar").write_bytes(damaged)
        assert_reads_alike_whatever_is_wanted(settings_of(tmp_path, label_column="cls"), chosen)
