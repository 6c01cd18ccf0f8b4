"""The `input:` part of a spec."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from vision_batch.errors import Problem
from vision_batch.settings import Settings

BESIDE = ("masks", "images")
"""Keys that name folders beside an input's own."""
DEFAULT_EXTENSIONS = "jpg;jpeg;png;webp;bmp;tif;tiff"


class NamedUri(Settings):
    """One of several inputs; `name` begins its images' ids."""

    uri: str = Field(min_length=1)
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")


class InputSettings(Settings):
    """Where the images are and how their rows map to columns.

    Labels come from `label_column`: a column of Parquet; the extension of a WebDataset member (`cls`; `mask.png`, whose
    bytes they are); `folder`, the name of the folder that an image lies in; of COCO and YOLO `boxes` or `labels`, their
    classes. Or they are the files below `masks`: for the image `a/b.jpg` of a folder its mask `a/b.png`. `images` is
    where the images of a COCO JSON are.
    """

    uri: str | list[str | NamedUri]
    format: Literal["auto", "folder", "webdataset", "parquet", "coco", "yolo"] = "auto"
    image_column: str | None = None
    id_column: str | None = None
    label_column: str | None = None
    masks: str | None = Field(default=None, min_length=1, exclude_if=lambda value: value is None)
    images: str | None = Field(default=None, min_length=1, exclude_if=lambda value: value is None)
    keep_columns: list[str] = Field(default_factory=list)
    allow: list[str] = Field(default_factory=list)

    @field_validator("uri")
    @classmethod
    def _not_empty(cls, value: str | list[str | NamedUri]) -> str | list[str | NamedUri]:
        if not value:
            raise ValueError("a folder, file or glob, or a list of them")
        return value

    @model_validator(mode="after")
    def _names_differ(self) -> InputSettings:
        """Shards' keys begin with them: two alike would be two shards of one identity."""
        names = [entry.name for entry in self.inputs]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"every input needs its own name (without one it is its index): {', '.join(repeated)}")
        return self

    @model_validator(mode="after")
    def _only_coco_names_images(self) -> InputSettings:
        if self.images is not None and self.format != "coco":
            raise ValueError("images: only with format: coco, whose file names them")
        return self

    @property
    def inputs(self) -> list[NamedUri]:
        """Every input with its name: empty for a single one, the index where none is given."""
        if isinstance(self.uri, str):
            return [NamedUri.model_construct(uri=self.uri, name="")]
        return [
            NamedUri(uri=entry, name=str(index)) if isinstance(entry, str) else entry
            for index, entry in enumerate(self.uri)
        ]

    @property
    def has_labels(self) -> bool:
        """Whether samples have a `truth`."""
        return self.label_column is not None or self.masks is not None

    @property
    def extra_names(self) -> list[str]:
        """The output's columns that come from the input, in order: `truth` and `input_<name>`, as far as asked for."""
        return (["truth"] if self.has_labels else []) + [f"input_{name}" for name in self.keep_columns]


def no_masks(settings: InputSettings) -> list[Problem]:
    """The problem of `input.masks` with a format that has columns."""
    expected = "label_column: masks lie beside the images of folders only"
    return [Problem("input.masks", repr(settings.masks), expected)] if settings.masks is not None else []
