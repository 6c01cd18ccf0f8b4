"""The tar reader: what tarfile writes comes out alike, and nothing hostile gets further than a TarDamage."""

from __future__ import annotations

import io
import tarfile
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.datasets.archives import BLOCK, END, checksummed, header, member, padded, pax, written
from vision_batch.datasets import tar
from vision_batch.datasets.tar import MAX_HEADER_BYTES, ShortFileError, TarDamage, TarMember, TarReader

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
Members = list[tuple[bytes, bytes]]
Damages = list[tuple[str, int]]


def entries(archive: bytes, *, reads: bool = True) -> list[tuple[bytes, bytes] | tuple[str, int]]:
    """What the reader gives: name and bytes of a member, code and offset of damage."""
    reader = TarReader(io.BytesIO(archive), len(archive))
    return [
        (entry.code, entry.offset)
        if isinstance(entry, TarDamage)
        else (entry.name, reader.read(entry) if reads else b"")
        for entry in reader
    ]


def read(archive: bytes) -> tuple[Members, Damages]:
    """The members and the damages. Where they are must not depend on what is read."""
    found, skipped = entries(archive), entries(archive, reads=False)
    assert [first if isinstance(first, bytes) else (first, at) for first, at in found] == [
        first if isinstance(first, bytes) else (first, at) for first, at in skipped
    ]
    members = [(first, data) for first, data in found if isinstance(first, bytes) and isinstance(data, bytes)]
    return members, [(first, at) for first, at in found if isinstance(first, str) and isinstance(at, int)]


def damage_of(archive: bytes) -> tuple[str, int]:
    """The only one."""
    (damage,) = read(archive)[1]
    return damage


class TestWhatTarfileWrites:
    @pytest.mark.parametrize("format", FORMATS)
    def test_an_empty_archive_has_no_members(self, format: str) -> None:
        assert read(written([], FORMATS[format])) == ([], [])

    @pytest.mark.parametrize("format", ["gnu", "pax"])
    @pytest.mark.parametrize("length", [99, 100, 101, 200, 255, 256, 10_000])
    def test_names_of_any_length(self, format: str, length: int) -> None:
        name = "d/" + "n" * (length - 6) + ".jpg"
        assert read(written([(name, b"x")], FORMATS[format])) == ([(name.encode(), b"x")], [])

    def test_ustar_splits_long_names_into_prefix_and_name(self) -> None:
        name = "d" * 150 + "/" + "n" * 90 + ".jpg"
        assert read(written([(name, b"x")], tarfile.USTAR_FORMAT)) == ([(name.encode(), b"x")], [])

    @pytest.mark.parametrize("name", ["a b.jpg", "ü/日本語.jpg", "../up.jpg", "/abs.jpg", "tab\t\n.jpg", "😀.jpg"])
    @pytest.mark.parametrize("format", FORMATS)
    def test_names_are_only_names(self, format: str, name: str) -> None:
        assert read(written([(name, b"x")], FORMATS[format])) == ([(name.encode(), b"x")], [])

    @settings(max_examples=200)
    @given(
        format=st.sampled_from(sorted(FORMATS)),
        files=st.lists(
            st.tuples(
                st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=60)
                .map(lambda text: text.replace("/", "_"))
                .filter(lambda text: len(text.encode()) <= 100),
                st.integers(0, 3 * BLOCK + 1),
            ),
            max_size=12,
        ),
        window=st.sampled_from([1024, 1500, 4096, tar.READ_BYTES]),
        gap=st.sampled_from([0, 600, tar.SEEK_BYTES]),
    )
    def test_every_archive_comes_out_as_it_went_in(
        self, format: str, files: list[tuple[str, int]], window: int, gap: int
    ) -> None:
        members = [(name, bytes([index]) * size) for index, (name, size) in enumerate(files)]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tar, "READ_BYTES", window)
            patch.setattr(tar, "SEEK_BYTES", gap)
            found, damages = read(written(members, FORMATS[format]))
        assert damages == []
        assert found == [(name.encode(), data) for name, data in members]

    @settings(max_examples=60)
    @given(sizes=st.lists(st.integers(0, 1500), min_size=1, max_size=6), data=st.data())
    def test_an_archive_cut_anywhere_gives_its_whole_members(self, sizes: list[int], data: st.DataObject) -> None:
        members = [(f"{index}.jpg", bytes([65 + index]) * size) for index, size in enumerate(sizes)]
        archive = written(members)
        cut = data.draw(st.integers(0, len(archive)))
        found, damages = read(archive[:cut])
        whole = [(name.encode(), content) for name, content in members]
        assert found == whole[: len(found)]
        if len(found) < len(whole) and cut % BLOCK:
            assert [code for code, _ in damages] == ["truncated"]

    @settings(max_examples=150)
    @given(data=st.data())
    def test_a_flipped_byte_never_raises_anything_else(self, data: st.DataObject) -> None:
        archive = bytearray(
            written([("a.jpg", b"A" * 700), ("d/" + "b" * 120 + ".jpg", b"B" * 10)], tarfile.GNU_FORMAT)
        )
        at = data.draw(st.integers(0, len(archive) - 1))
        archive[at] ^= data.draw(st.integers(1, 255))
        read(bytes(archive))


class TestWhatIsPassedOver:
    @pytest.mark.parametrize(
        "kind", [b"1", b"2", b"3", b"4", b"5", b"6"], ids=["hard", "sym", "char", "block", "folder", "fifo"]
    )
    def test_links_devices_and_folders_have_no_data_whatever_size_they_claim(self, kind: bytes) -> None:
        archive = header(b"odd.jpg", 700, kind) + member(b"a.jpg", b"x") + END
        assert read(archive) == ([(b"a.jpg", b"x")], [])

    @pytest.mark.parametrize("kind", [b"V", b"M", b"N", b"D", b"Z"])
    def test_unknown_kinds_are_skipped_with_their_data(self, kind: bytes) -> None:
        archive = member(b"odd.jpg", b"y" * 700, kind=kind) + member(b"a.jpg", b"x") + END
        assert read(archive) == ([(b"a.jpg", b"x")], [])

    def test_gnu_sparse_files_are_skipped_with_their_maps(self) -> None:
        first = bytearray(header(b"sparse.jpg", 600, b"S"))
        first[482] = 1
        maps = bytes(504) + b"\1" + bytes(7) + bytes(BLOCK)
        archive = checksummed(first) + maps + padded(b"s" * 600) + member(b"a.jpg", b"x") + END
        assert read(archive) == ([(b"a.jpg", b"x")], [])

    def test_pax_sparse_files_are_skipped(self) -> None:
        sparse = pax(("GNU.sparse.major", "1"), ("GNU.sparse.name", "b.jpg"), ("GNU.sparse.realsize", "9999999"))
        archive = sparse + member(b"b.jpg", b"map") + member(b"a.jpg", b"x") + END
        assert read(archive) == ([(b"a.jpg", b"x")], [])

    def test_long_link_names_do_not_name_the_member(self) -> None:
        archive = member(b"././@LongLink", b"target" * 50 + b"\0", kind=b"K") + member(b"a.jpg", b"x") + END
        assert read(archive) == ([(b"a.jpg", b"x")], [])

    def test_global_pax_headers_are_ignored(self) -> None:
        content = b"20 path=elsewhere.x\n"
        archive = member(b"g", content, kind=b"g") + member(b"a.jpg", b"x") + END
        assert read(archive) == ([(b"a.jpg", b"x")], [])


class TestOldAndForeignWriters:
    def test_v7_headers(self) -> None:
        archive = member(b"a.jpg", b"x", kind=b"\0", magic=b"") + END
        assert read(archive) == ([(b"a.jpg", b"x")], [])

    def test_gnu_times_where_ustar_has_its_prefix_are_no_prefix(self) -> None:
        archive = member(b"a.jpg", b"x", magic=b"ustar  \0", tail=b"14371234567\0") + END
        assert read(archive) == ([(b"a.jpg", b"x")], [])

    def test_checksums_over_signed_bytes(self) -> None:
        block = checksummed(bytearray(header("ü.jpg".encode(), 1)), signed=True)
        assert read(block + padded(b"x") + END) == ([("ü.jpg".encode(), b"x")], [])

    def test_sizes_in_base_256(self) -> None:
        size = b"\x80" + (3).to_bytes(11, "big")
        assert read(header(b"a.jpg", size) + padded(b"xyz") + END) == ([(b"a.jpg", b"xyz")], [])

    def test_sizes_padded_with_spaces(self) -> None:
        assert read(header(b"a.jpg", b"         3 \0") + padded(b"xyz") + END) == ([(b"a.jpg", b"xyz")], [])

    def test_a_pax_size_outranks_the_headers(self) -> None:
        archive = pax(("size", "3"), ("path", "b.jpg")) + header(b"a.jpg", 0) + padded(b"xyz") + END
        assert read(archive) == ([(b"b.jpg", b"xyz")], [])

    def test_names_that_are_not_utf_8_stay_bytes(self) -> None:
        assert read(member(b"caf\xe9.jpg", b"x") + END) == ([(b"caf\xe9.jpg", b"x")], [])

    @pytest.mark.parametrize("end", [b"", bytes(BLOCK), END, bytes(20 * BLOCK), bytes(100)])
    def test_any_number_of_zero_blocks_may_end_an_archive(self, end: bytes) -> None:
        assert read(member(b"a.jpg", b"x") + end) == ([(b"a.jpg", b"x")], [])

    def test_a_file_without_a_byte_is_an_empty_archive(self) -> None:
        assert read(b"") == ([], [])


class TestDamage:
    good = member(b"a.jpg", b"x" * 600)

    def test_a_wrong_checksum(self) -> None:
        broken = bytearray(header(b"b.jpg", 1))
        broken[0] ^= 1
        assert damage_of(self.good + bytes(broken) + padded(b"y") + END) == ("unreadable", len(self.good))

    def test_no_tar_at_all(self) -> None:
        assert damage_of(b"\xff\xd8\xff\xe0" * 1000) == ("unreadable", 0)

    def test_less_than_a_block(self) -> None:
        assert damage_of(b"hello") == ("truncated", 0)

    @pytest.mark.parametrize("magic", [b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"BZh9", b"\xfd7zXZ\0"])
    def test_a_compressed_tar_is_called_that(self, magic: bytes) -> None:
        archive = magic + b"\x55" * 2000
        (damage,) = TarReader(io.BytesIO(archive), len(archive))
        assert isinstance(damage, TarDamage)
        assert "compressed" in damage.reason

    def test_bytes_that_end_within_a_member(self) -> None:
        assert damage_of(self.good + header(b"b.jpg", 600) + b"y" * 599) == ("truncated", len(self.good))

    def test_bytes_that_end_within_a_members_padding_leave_it_whole(self) -> None:
        assert entries(self.good[:-1]) == [(b"a.jpg", b"x" * 600), ("truncated", 2 * BLOCK + BLOCK)]

    def test_bytes_that_end_within_a_header(self) -> None:
        assert damage_of(self.good + header()[:300]) == ("truncated", len(self.good))

    def test_a_size_that_reaches_beyond_every_disk(self) -> None:
        assert damage_of(header(b"a.jpg", b"\x80" + b"\x7f" * 11) + END) == ("truncated", 0)

    @pytest.mark.parametrize(
        "size", [b"\xff" * 12, b"99999999999\0", b"-0000000001\0", b"0_1\0", b"0x1\0", b"\x81" * 12]
    )
    def test_a_size_that_is_no_number(self, size: bytes) -> None:
        assert damage_of(header(b"a.jpg", size) + END) == ("unreadable", 0)

    @pytest.mark.parametrize(
        "content",
        [
            b"x",
            b"9 path=",
            b"99 path=a\n",
            b"0 path=a\n",
            b"-9 path=a\n",
            b"9 pathxxx\n",
            b"7 =abc\n",
            b"9999999999999999999999",
        ],
    )
    def test_a_pax_header_that_is_not_well_formed(self, content: bytes) -> None:
        assert damage_of(member(b"x", content, kind=b"x") + self.good + END) == ("unreadable", 0)

    @pytest.mark.parametrize("size", ["-1", "1e3", "", "9" * 30])
    def test_a_pax_size_that_is_no_number(self, size: str) -> None:
        assert damage_of(pax(("size", size)) + self.good + END) == ("unreadable", 0)

    @pytest.mark.parametrize("kind", [b"L", b"K", b"x", b"g"])
    def test_extension_headers_of_unreasonable_size_are_not_read(self, kind: bytes) -> None:
        archive = header(b"x", MAX_HEADER_BYTES + 1, kind) + bytes(MAX_HEADER_BYTES + BLOCK) + self.good + END
        assert damage_of(archive) == ("unreadable", 0)

    @pytest.mark.parametrize("rest", [b"", bytes(BLOCK)], ids=["at the end of the file", "at the end of the archive"])
    def test_a_long_name_without_a_member(self, rest: bytes) -> None:
        archive = self.good + member(b"././@LongLink", b"n" * 150 + b"\0", kind=b"L") + rest
        assert damage_of(archive)[0] == "truncated"

    def test_a_sparse_map_that_never_ends(self) -> None:
        first = bytearray(header(b"sparse", 0, b"S"))
        first[482] = 1
        assert damage_of(checksummed(first) + (bytes(504) + b"\1" + bytes(7)) * 5)[0] == "truncated"

    def test_zeros_where_a_header_should_be_do_not_hide_what_follows(self) -> None:
        archive = self.good + bytes(4 * BLOCK) + self.good + END
        assert damage_of(archive) == ("unreadable", len(self.good) + 4 * BLOCK)

    def test_two_archives_in_one_file(self) -> None:
        archive = self.good + END
        assert damage_of(archive + archive) == ("unreadable", len(archive))


def test_a_file_that_is_shorter_than_it_was_said_to_be_is_no_damage() -> None:
    archive = written([("a.jpg", b"x" * 5000)])
    reader = TarReader(io.BytesIO(archive[:3000]), len(archive))
    with pytest.raises(ShortFileError):
        [reader.read(entry) for entry in reader if isinstance(entry, TarMember)]


class TestBehindDamage:
    """Reading goes on at the next header: what is whole is found, and every damage is told once."""

    first, second, last = (member(name, name * 300) for name in (b"1.jpg", b"2.jpg", b"3.jpg"))
    good = (b"1.jpg", b"1.jpg" * 300), (b"3.jpg", b"3.jpg" * 300)

    def between(self, broken: bytes) -> list[tuple[bytes, bytes] | tuple[str, int]]:
        return entries(self.first + broken + self.last + END)

    def test_a_broken_header_costs_its_own_member(self) -> None:
        at = len(self.first)
        for index in range(BLOCK):
            broken = bytearray(self.second)
            broken[index] ^= 4
            no_part_of_the_checksum = index == 155  # it follows the sum's end
            second = (b"2.jpg", b"2.jpg" * 300) if no_part_of_the_checksum else ("unreadable", at)
            assert self.between(bytes(broken)) == [self.good[0], second, self.good[1]], index

    def test_a_size_that_reaches_beyond_the_archive(self) -> None:
        for size in (b"77777777777\0", b"\x80" + b"\xff" * 11):
            broken = header(b"2.jpg", size) + padded(b"2.jpg" * 300)
            assert self.between(broken) == [self.good[0], ("truncated", len(self.first)), self.good[1]]

    @pytest.mark.parametrize("size", [b"\xff" * 12, b"\xff" * 11 + b"\0", b"-0000000001\0"])
    def test_a_negative_size(self, size: bytes) -> None:
        broken = header(b"2.jpg", size) + padded(b"2.jpg" * 300)
        assert self.between(broken) == [self.good[0], ("unreadable", len(self.first)), self.good[1]]

    def test_a_size_that_ends_within_a_later_member(self) -> None:
        broken = header(b"2.jpg", 1500 + BLOCK) + padded(b"2.jpg" * 300)
        name, data = self.between(broken + self.second)[1]
        assert name == b"2.jpg"
        assert isinstance(data, bytes)
        assert data.startswith(b"2.jpg" * 300)
        assert self.between(broken + self.second)[2:] == [("unreadable", len(self.first) + 5 * BLOCK), self.good[1]]

    @pytest.mark.parametrize(
        "broken", [member(b"x", b"99 path=a\n", kind=b"x"), pax(("size", "-1"))], ids=["pax", "size"]
    )
    def test_a_broken_pax_header_leaves_the_member_its_own_name(self, broken: bytes) -> None:
        found = self.between(broken + self.second)
        assert found == [
            self.good[0],
            ("unreadable", len(self.first)),
            (b"2.jpg", b"2.jpg" * 300),
            self.good[1],
        ]

    def test_a_second_archive(self) -> None:
        archive = self.first + END
        assert entries(archive + self.last + END) == [self.good[0], ("unreadable", len(archive)), self.good[1]]

    def test_garbage_of_any_length(self) -> None:
        for blocks in (1, 3, tar.READ_BYTES // BLOCK, 3 * tar.READ_BYTES // BLOCK + 1):
            found = self.between(b"no header".ljust(BLOCK, b"!") * blocks)
            assert found == [self.good[0], ("unreadable", len(self.first)), self.good[1]]

    def test_what_looks_like_a_header_by_its_magic_alone_is_none(self) -> None:
        false = bytearray(header(b"no.jpg", 5))
        false[150] = ord("9")
        unaligned = b"x" * 100 + header(b"no.jpg", 5) + b"x" * (BLOCK - 100)
        found = self.between(bytes(false) + unaligned + b"ustar" * 2048)
        assert found == [self.good[0], ("unreadable", len(self.first)), self.good[1]]

    def test_old_headers_without_a_magic_are_not_found(self) -> None:
        old = member(b"2.jpg", b"y", kind=b"\0", magic=b"")
        assert self.between(b"!" * BLOCK + old) == [self.good[0], ("unreadable", len(self.first)), self.good[1]]

    def test_an_archive_within_the_damaged_member_is_taken_for_the_rest(self) -> None:
        inner = self.second + END
        broken = bytearray(header(b"inner.tar", len(inner)))
        broken[0] ^= 1
        found = self.between(bytes(broken) + inner)
        assert found[1:3] == [("unreadable", len(self.first)), (b"2.jpg", b"2.jpg" * 300)]


def test_large_members_are_skipped_without_being_read() -> None:
    class Counting(io.BytesIO):
        count = 0

        def readinto(self, buffer: Any, /) -> int:
            read = super().readinto(buffer)
            Counting.count += read
            return read

        def read(self, size: int | None = -1, /) -> bytes:
            data = super().read(size)
            Counting.count += len(data)
            return data

    archive = written([(f"{index}.jpg", bytes(8 << 20)) for index in range(4)])
    assert len(list(TarReader(Counting(archive), len(archive)))) == 4
    assert Counting.count < len(archive) / 4
