"""What an input names: a folder, one file or a pattern, as an ordered stream of stored objects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from vision_batch.datasets.pattern import Pattern, is_pattern, parse
from vision_batch.datasets.settings import InputSettings
from vision_batch.datasets.yolo_files import LabelVersions, demand_images, images_of
from vision_batch.errors import NotFoundError
from vision_batch.storage.object_info import ObjectInfo
from vision_batch.storage.table import storage_for
from vision_batch.storage.uri import is_inside, parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The objects of one input, in byte order of their URIs; each iteration lists the storage anew.

    `root` is the folder that relative names count from: the folder itself, a file's own folder, or the part of a
    pattern before its first special character. Iterating raises NotFoundError where there is no such folder, or
    nothing that matches.
    """

    uri: str
    root: str
    file: ObjectInfo | None = None
    pattern: Pattern | None = None

    def __iter__(self) -> Iterator[ObjectInfo]:
        if self.file is not None:
            yield self.file
        elif self.pattern is not None:
            yield from self._matching(self.pattern)
        else:
            yield from storage_for(self.root).list(self.root)

    def covers(self, uri: str) -> bool:
        """Whether an object of this name belongs to the input, judged by its name alone."""
        if self.pattern is not None:
            return self.pattern.regex.fullmatch(uri) is not None
        return uri == self.uri if self.file is not None else is_inside(uri, self.root)

    def _matching(self, pattern: Pattern) -> Iterator[ObjectInfo]:
        found = False
        for info in storage_for(self.root).list(self.root):
            if pattern.regex.fullmatch(info.uri):
                found = True
                yield info
        if not found:
            raise NotFoundError(self.uri, "nothing matches; [*], [?], [[] and [{] are the characters themselves")


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledListing(Listing):
    """Images whose versions tell of their labels too: an image whose labels change is a changed one."""

    def __iter__(self) -> Iterator[ObjectInfo]:
        versions = LabelVersions.of(self.root)
        for info in super(LabelledListing, self).__iter__():
            yield versions.with_labels(info)


@dataclass(slots=True, kw_only=True)
class InputListing:
    """One input of a spec without what an input before it holds too.

    Names decide, so that nothing is kept in memory: two links to one file are two files. `repeated` counts what the
    latest iteration has left out, for whoever warns of it.
    """

    name: str
    listing: Listing
    before: Sequence[Listing] = ()
    repeated: int = field(default=0, init=False)

    @property
    def root(self) -> str:
        """The folder that relative names count from."""
        return self.listing.root

    def __iter__(self) -> Iterator[ObjectInfo]:
        self.repeated = 0
        for info in self.listing:
            if any(earlier.covers(info.uri) for earlier in self.before):
                self.repeated += 1
            else:
                yield info


def list_input(uri: str, format: str = "auto") -> Listing:
    """The listing of a normalised URI: a pattern, a file, or else a folder. Of YOLO it is that of its images.

    Whether a folder is there shows when the listing is iterated.
    """
    if format == "yolo":
        listing = list_input(uri if is_pattern(uri) else images_of(uri))
        demand_images(uri, listing.root)
        return LabelledListing(uri=uri, root=listing.root, file=listing.file, pattern=listing.pattern)
    if is_pattern(uri):
        pattern = parse(uri)
        return Listing(uri=uri, root=pattern.root, pattern=pattern)
    folder = uri.rstrip("/") or "/"
    if not uri.endswith("/"):
        try:
            return Listing(uri=uri, root=parent(uri), file=storage_for(uri).stat(uri))
        except NotFoundError:
            pass
    return Listing(uri=uri, root=folder)


def list_inputs(settings: InputSettings) -> list[InputListing]:
    """Every input of a spec, in order, each object in the first input that holds it."""
    listings = [list_input(entry.uri, settings.format) for entry in settings.inputs]
    return [
        InputListing(name=entry.name, listing=listing, before=listings[:index])
        for index, (entry, listing) in enumerate(zip(settings.inputs, listings, strict=True))
    ]
