"""The names of images that are copied."""

from __future__ import annotations

from typing import Final

from vision_batch.datasets.naming import has_extension
from vision_batch.datasets.settings import DEFAULT_EXTENSIONS
from vision_batch.errors import ImageError
from vision_batch.export.safe_name import safe_name, safe_part
from vision_batch.images.formats import read_header

EXTENSIONS: Final = {"jpeg": "jpg", "png": "png", "webp": "webp", "bmp": "bmp", "tiff": "tif"}


def copied_name(image_id: str, data: bytes, *, flat: bool = False) -> str:
    """The relative path of an image's copy: that of its id, with an extension if it has none of a picture's.

    With `flat` it lies in no folder.
    """
    known = has_extension(image_id, DEFAULT_EXTENSIONS.split(";"))
    named = image_id if known else f"{image_id}.{image_extension(data)}"
    return safe_part(named) if flat else safe_name(named)


def image_extension(data: bytes) -> str:
    """By the bytes; `jpg` where they say nothing."""
    try:
        return EXTENSIONS[read_header(data).format]
    except ImageError:
        return "jpg"
