"""Which kinds of model source there are."""

from __future__ import annotations

from vision_batch.models.export_source import ExportSource
from vision_batch.models.python_source import PythonSource
from vision_batch.models.source import Source
from vision_batch.models.timm_source import TimmSource
from vision_batch.models.torchvision_source import TorchvisionSource
from vision_batch.models.trained_source import TrainedSource
from vision_batch.models.transformers_source import TransformersSource

SOURCES: dict[str, Source] = {
    "python": PythonSource(),
    "export": ExportSource(),
    "transformers": TransformersSource(),
    "trained": TrainedSource(),
    "timm": TimmSource(),
    "torchvision": TorchvisionSource(),
}
