"""The samples of a WebDataset tar: which members are one, and what of them is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

from vision_batch.datasets.naming import shortened
from vision_batch.datasets.sample import MAX_IMAGE_BYTES, MAX_LABEL_BYTES, Sample, too_large
from vision_batch.datasets.settings import DEFAULT_EXTENSIONS
from vision_batch.datasets.tar import TarDamage, TarMember, TarReader
from vision_batch.errors import ImageError

PICTURES = frozenset(DEFAULT_EXTENSIONS.split(";"))
EXACT, LAST_PART, NO_IMAGE = 2, 1, 0


@dataclass(frozen=True, kw_only=True)
class TarColumns:
    """Which members are read, by extension in lower case, and what begins every image's id."""

    id_prefix: str
    images: frozenset[str]
    label: str | None
    kept: tuple[str, ...]
    with_images: bool = True
    """Without, the samples' images are not read: they have no bytes."""
    with_labels: bool = True

    @cached_property
    def extras(self) -> frozenset[str]:
        """Of the members that are read besides images."""
        return frozenset((*self.kept, *([self.label] if self.label and self.with_labels else [])))

    def image_rank(self, extension: str) -> int:
        """How well an extension names an image: as a whole, by its last dotted part, or not, as the label's."""
        if extension == self.label:
            return NO_IMAGE
        if extension in self.images:
            return EXACT
        return LAST_PART if extension.rpartition(".")[2] in self.images else NO_IMAGE


def tar_samples(
    reader: TarReader, columns: TarColumns, wanted: Callable[[int], bool], first_row: int = 0
) -> Iterator[Sample]:
    """The wanted samples, in order, counted from `first_row`; an error row stands where the archive is damaged.

    The sample that damage interrupts is given if its image is whole; otherwise the error row is its row. That row also
    stands for a sample without an image that comes first behind the damage: it is likely the rest of the broken one.
    """
    sample: _OpenSample | None = None
    rows, after_damage = first_row, False
    for entry in reader:
        if isinstance(entry, TarDamage):
            if sample is not None and sample.row is not None and sample.rank == NO_IMAGE:
                row, is_wanted = sample.row, sample.wanted
            else:
                if sample is not None:
                    yield from sample.finished(columns)
                row, is_wanted = rows, wanted(rows)
                rows += 1
            if is_wanted:
                yield _damage_row(entry, row, columns)
            sample, after_damage = None, True
            continue
        key, extension = split_name(entry.name)
        if not key:
            continue
        if sample is None or key != sample.key:
            if sample is not None:
                yield from sample.finished(columns)
            begin = None if after_damage else entry.begin
            sample, after_damage = _OpenSample(key=key, follows_damage=after_damage, begin=begin), False
        if sample.row is None and (columns.image_rank(extension) or not sample.follows_damage):
            sample.row, sample.wanted = rows, wanted(rows)
            rows += 1
        sample.take(entry, extension, reader, columns)
    if sample is not None:
        yield from sample.finished(columns)


def split_name(name: bytes) -> tuple[bytes, str]:
    """Key and extension, in lower case; the key is empty for a base name that begins with a dot, or is empty."""
    folder, slash, base = name.rpartition(b"/")
    stem, _, extension = base.partition(b".")
    return (folder + slash + stem if stem else b""), _text(extension).lower()


@dataclass(slots=True, kw_only=True)
class _OpenSample:
    """The sample whose members are passing. What an unwanted one holds is not read, only noted.

    One that follows damage has no row before it has an image; until then it counts as wanted.
    """

    key: bytes
    follows_damage: bool
    begin: int | None
    row: int | None = None
    wanted: bool = True
    rank: int = NO_IMAGE
    image: bytes | ImageError | None = None
    extras: dict[str, str | bytes | ImageError] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)

    def take(self, member: TarMember, extension: str, reader: TarReader, columns: TarColumns) -> None:
        rank = columns.image_rank(extension)
        if rank > self.rank:
            self.rank = rank
            if self.wanted:
                self.image = _image(member, reader) if columns.with_images else b""
        if not self.wanted:
            return
        if extension in columns.extras and extension not in self.extras:
            self.extras[extension] = _extra(member, extension, reader)
        if len(self.seen) < 8:
            self.seen.add(extension)

    def finished(self, columns: TarColumns) -> Iterator[Sample]:
        """The sample, if it has a row and is wanted."""
        if self.row is None or not self.wanted:
            return
        faults = [value for value in self.extras.values() if isinstance(value, ImageError)]
        image = faults[0] if faults and not isinstance(self.image, ImageError) else self.image
        if image is None:
            has = ", ".join(sorted(self.seen))
            image = ImageError("missing", f"no member of the sample is an image; it has {shortened(has)}")
        extras = {name: value for name, value in self.extras.items() if not isinstance(value, ImageError)}
        yield Sample(
            row=self.row,
            image_id=columns.id_prefix + _text(self.key),
            data=None if isinstance(image, ImageError) else image,
            error=image if isinstance(image, ImageError) else None,
            truth=extras.get(columns.label) if columns.label else None,
            kept=tuple(extras.get(name) for name in columns.kept),
            begin=self.begin,
        )


def _image(member: TarMember, reader: TarReader) -> bytes | ImageError:
    return too_large(member.size_bytes) if member.size_bytes > MAX_IMAGE_BYTES else reader.read(member)


def is_picture(extension: str) -> bool:
    """Whether members of this extension, such as `png` and `mask.png`, are bytes; all others are text."""
    return extension.rpartition(".")[2] in PICTURES


def _extra(member: TarMember, extension: str, reader: TarReader) -> str | bytes | ImageError:
    if member.size_bytes > MAX_LABEL_BYTES:
        return ImageError("invalid_label", f"member .{extension} has {member.size_bytes} bytes")
    data = reader.read(member)
    if is_picture(extension):
        return data
    try:
        return data.decode("utf-8").strip()
    except UnicodeDecodeError as error:
        return ImageError("invalid_label", f"member .{extension} is not UTF-8 at byte {error.start}")


def _damage_row(damage: TarDamage, row: int, columns: TarColumns) -> Sample:
    return Sample(
        row=row,
        image_id=f"{columns.id_prefix}damage at byte {damage.offset}",
        error=ImageError(damage.code, f"the tar is damaged at byte {damage.offset}: {damage.reason}"),
        kept=(None,) * len(columns.kept),
    )


def _text(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")
