"""Where the files of a YOLO dataset lie, and which versions of its labels there are.

Source of the layout: https://docs.ultralytics.com/datasets/detect/. `labels/a/b.txt` goes with `images/a/b.jpg`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vision_batch.errors import NotFoundError, Problem, SpecError
from vision_batch.storage.object_info import ObjectInfo
from vision_batch.storage.table import storage_for
from vision_batch.storage.uri import join, parent

MARK: Final = "+labels-"
"""In a version, between the image's own and that of its labels."""
NO_LABELS: Final = 0


def images_of(uri: str) -> str:
    """Where the images of a dataset are that is called by its folder, its `data.yaml`, or its images."""
    folder = join(parent(uri) if uri.endswith((".yaml", ".yml")) else uri, "images")
    return folder if folder == join(parent(uri), "images") or _is_folder(folder) else uri


def demand_images(uri: str, root: str) -> None:
    """SpecError where an input's images are in no folder `images`, beside which their labels would be."""
    if "/images/" not in f"{root}/":
        raise SpecError(Problem("input.uri", uri, "a folder with images/ and labels/ in it, its data.yaml, or images/"))


def labels_folder(images: str) -> str:
    """The folder of labels of a folder in or below `images`; the last one of this name counts."""
    head, _, rest = f"{images}/".rpartition("/images/")
    return join(head, "labels", rest).rstrip("/")


def label_uri(image: str) -> str:
    """Where the labels of an image lie."""
    return f"{labels_folder(parent(image))}/{_stem(image)}.txt"


def names_uri(images: str) -> str:
    """Where the names of the classes are, for a folder in or below `images`."""
    return join(f"{images}/".rpartition("/images/")[0], "data.yaml")


def image_file(file: ObjectInfo) -> ObjectInfo:
    """A listed image as the storage knows it."""
    return replace(file, version=file.version.partition(MARK)[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelVersions:
    """Of every file of labels below a folder 16 bytes: hashes of its name (n,), ascending, and of its version (n,).

    `classes` is the version of the names of classes, on which all labels depend; empty without such a file.
    """

    classes: str
    names: NDArray[np.uint64]
    versions: NDArray[np.uint64]

    @classmethod
    def of(cls, images: str) -> LabelVersions:
        """The labels of a folder in or below `images`; none where they have no folder."""
        folder = labels_folder(images)
        pairs = np.fromiter(_hashes(folder), np.dtype([("name", np.uint64), ("version", np.uint64)]))
        pairs.sort(order="name")
        return cls(classes=_version(names_uri(images)), names=pairs["name"], versions=pairs["version"])

    def with_labels(self, image: ObjectInfo) -> ObjectInfo:
        """The image in a version that is another one when its labels are; without labels they are of no version."""
        name = _hash(label_uri(image.uri))
        place = int(np.searchsorted(self.names, name))
        found = place < len(self.names) and self.names[place] == name
        version = int(self.versions[place]) if found else NO_LABELS
        return replace(image, version=f"{image.version}{MARK}{version:016x}-{self.classes}")


def _hashes(folder: str) -> Iterator[tuple[np.uint64, np.uint64]]:
    try:
        for file in storage_for(folder).list(folder):
            if file.uri.endswith(".txt"):
                yield _hash(file.uri), _hash(f"{file.size_bytes} {file.version}")
    except NotFoundError:
        return


def _is_folder(uri: str) -> bool:
    try:
        return next(iter(storage_for(uri).list(uri)), None) is not None
    except NotFoundError:
        return False


def _version(uri: str) -> str:
    try:
        return storage_for(uri).stat(uri).version
    except NotFoundError:
        return ""


def _hash(text: str) -> np.uint64:
    digest = hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return np.uint64(int.from_bytes(digest))


def _stem(uri: str) -> str:
    name = uri.rpartition("/")[2]
    return name.rpartition(".")[0] or name
