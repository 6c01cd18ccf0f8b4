"""Truth in COCO's JSON: boxes, masks and classes of images that are called by their files' names.

Source of the format: https://cocodataset.org/#format-data (object detection).
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar, Final

import pyarrow as pa

from vision_batch.errors import NotFoundError, Problem, SpecError
from vision_batch.evaluation.boxes import TRUE_BOXES
from vision_batch.evaluation.settings import TruthSettings
from vision_batch.storage.table import storage_for

BATCH_IMAGES: Final = 1 << 12


@dataclass(frozen=True, slots=True, kw_only=True)
class CocoTruth:
    """All of a file, in memory: it is one JSON object. Images without annotations have no boxes and no labels."""

    uri: str
    images: Sequence[Mapping[str, Any]]
    annotations: Mapping[Any, Sequence[Mapping[str, Any]]]
    names: Mapping[Any, str]
    truth_column: str

    columns: ClassVar[tuple[str, ...]] = ()
    by_file_name: ClassVar[bool] = True
    is_apart: ClassVar[bool] = False

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """SpecError for an annotation that is none."""
        kind = TRUE_BOXES if self.truth_column == "boxes" else pa.list_(pa.string())
        waiting = iter(self.images)
        while images := list(islice(waiting, BATCH_IMAGES)):
            truths = pa.array([self._truth(image) for image in images], kind)
            yield pa.record_batch([pa.array([image["file_name"] for image in images], pa.string()), truths], _NAMES)

    def _truth(self, image: Mapping[str, Any]) -> list[Any]:
        annotations = self.annotations.get(image["id"], ())
        if self.truth_column == "labels":
            return sorted({self._name(each) for each in annotations})
        return [self._box(each, image) for each in annotations]

    def _box(self, annotation: Mapping[str, Any], image: Mapping[str, Any]) -> dict[str, Any]:
        segmentation = annotation.get("segmentation")
        try:
            x, y, width, height = map(float, annotation["bbox"])
        except (KeyError, TypeError, ValueError) as error:
            raise self._problem(annotation, f"{type(error).__name__}: {error}") from error
        return {
            "label": self._name(annotation),
            "x_min": x,
            "y_min": y,
            "x_max": x + width,
            "y_max": y + height,
            "is_crowd": bool(annotation.get("iscrowd")),
            "area": annotation.get("area"),
            "segmentation": json.dumps(segmentation) if segmentation else None,
            "height": image.get("height"),
            "width": image.get("width"),
        }

    def _name(self, annotation: Mapping[str, Any]) -> str:
        try:
            return self.names[annotation["category_id"]]
        except (KeyError, TypeError) as error:
            raise self._problem(annotation, f"category_id is {annotation.get('category_id')!r}") from error

    def _problem(self, annotation: Mapping[str, Any], found: str) -> SpecError:
        expected = "COCO's bbox [x, y, width, height] and a category's id"
        return SpecError(Problem(f"{self.uri}: annotation {annotation.get('id')!r}", found, expected))


def open_coco(settings: TruthSettings, truth_column: str) -> CocoTruth:
    """The file at the settings' URI; SpecError where it is not COCO's, or says nothing of such a task's truth."""
    if truth_column not in ("boxes", "labels"):
        raise SpecError(Problem("truth.uri", f"{settings.uri}, boxes of COCO", f"a truth that has {truth_column}"))
    try:
        content = json.loads(storage_for(settings.uri).read(settings.uri))
        annotations = defaultdict(list)
        for annotation in content["annotations"]:
            annotations[annotation["image_id"]].append(annotation)
        images = [_image(image) for image in content["images"]]
        _demand_different(settings.uri, images)
        return CocoTruth(
            uri=settings.uri,
            images=images,
            annotations=annotations,
            names={category["id"]: str(category["name"]) for category in content["categories"]},
            truth_column=truth_column,
        )
    except NotFoundError as error:
        raise SpecError(Problem("truth.uri", f"{settings.uri}: {error.message}", "COCO's JSON")) from error
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        found = f"{settings.uri}: {type(error).__name__}: {error}"
        raise SpecError(Problem("truth.uri", found, "COCO's JSON, with images, annotations and categories")) from error


def _demand_different(uri: str, images: Sequence[Mapping[str, Any]]) -> None:
    """SpecError where two images have one id: the annotations of both would be those of each."""
    number, count = Counter(image["id"] for image in images).most_common(1)[0] if images else (None, 0)
    if count > 1:
        raise SpecError(Problem(f"{uri}: images", f"the id {number!r} {count} times", "each image its own id"))


def _image(image: Mapping[str, Any]) -> dict[str, Any]:
    """What of an image is needed; masks need its size."""
    named = {"id": image["id"], "file_name": str(image["file_name"])}
    return named | {name: int(image[name]) for name in ("height", "width") if name in image}


_NAMES: Final = ["image_id", "truth"]
