"""How each kind of prediction is measured: one line a kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from vision_batch.errors import Problem, SpecError
from vision_batch.evaluation.classification import ClassificationMeasure
from vision_batch.evaluation.detection import DetectionMeasure
from vision_batch.evaluation.embedding import EmbeddingMeasure
from vision_batch.evaluation.measure import Measure
from vision_batch.evaluation.multi_label import MultiLabelMeasure
from vision_batch.evaluation.segmentation import SegmentationMeasure
from vision_batch.evaluation.settings import EvaluateSettings
from vision_batch.ledger.predictions import Predictions
from vision_batch.tasks.settings import Kind

MEASURES: Final[dict[Kind, Callable[[Predictions, EvaluateSettings], Measure[Any]]]] = {
    "classification": lambda predictions, settings: ClassificationMeasure(predictions.labels),
    "multi_label": lambda predictions, settings: MultiLabelMeasure(predictions.labels),
    "detection": lambda predictions, settings: DetectionMeasure(predictions.labels),
    "segmentation": lambda predictions, settings: SegmentationMeasure(predictions.labels),
    "embedding": lambda predictions, settings: EmbeddingMeasure(settings.k, seed=settings.seed),
}


def measure_for(predictions: Predictions, settings: EvaluateSettings) -> Measure[Any]:
    """The measure of a table's kind; SpecError where there is none."""
    if predictions.kind not in MEASURES:
        expected = f"predictions of {', '.join(MEASURES)}"
        raise SpecError(Problem(predictions.uri, f"predictions of {predictions.kind}", expected))
    return MEASURES[predictions.kind](predictions, settings)
