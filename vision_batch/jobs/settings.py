"""The whole of a spec of each kind of job, put together from the settings of its parts."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from vision_batch.cluster.schedule.settings import ScheduleSettings
from vision_batch.datasets.pattern import is_pattern
from vision_batch.datasets.settings import BESIDE, InputSettings
from vision_batch.evaluation.settings import EvaluateSettings, PredictionsSettings, TruthSettings
from vision_batch.images.augmentations.settings import AugmentSettings
from vision_batch.images.settings import PreprocessSettings
from vision_batch.inference.settings import ComputeSettings, LimitsSettings
from vision_batch.models.settings import ModelSettings
from vision_batch.settings import Settings
from vision_batch.tasks.settings import TaskSettings
from vision_batch.training.settings import TrainComputeSettings, TrainSettings, ValidationSettings

NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$"


class OutputSettings(Settings):
    """Where the parts and their ledger go: a folder of its own."""

    uri: str = Field(min_length=1)

    @field_validator("uri")
    @classmethod
    def _is_a_folder(cls, value: str) -> str:
        if value.rstrip("/").endswith(".parquet") or is_pattern(value):
            raise ValueError("a folder, neither a .parquet file nor a glob")
        return value


class JobSettings(Settings):
    """What the specs of every kind of job have. `schedule` is for `vision-batch schedule`; `run` passes it over."""

    job: str
    name: str = Field(pattern=NAME)
    output: OutputSettings
    schedule: ScheduleSettings | None = None

    @property
    def read_uris(self) -> tuple[str, ...]:
        """What the job reads, its model aside."""
        return ()


class ImageJobSettings(JobSettings):
    """What the specs of jobs have that take images to a model.

    `preprocess` is None where the model brings its own (`transformers:`, `trained:`), `task` where it was trained for
    one (`trained:`).
    """

    input: InputSettings
    model: ModelSettings
    task: TaskSettings | None = None
    preprocess: PreprocessSettings | None = None
    limits: LimitsSettings = Field(default_factory=LimitsSettings)

    @property
    def sections(self) -> dict[str, InputSettings]:
        """The images that the job reads, by the part of the spec that names them."""
        return {"input": self.input}

    @property
    def read_uris(self) -> tuple[str, ...]:
        return tuple(entry.uri for images in self.sections.values() for entry in images.inputs)


class PredictSettings(ImageJobSettings):
    """A predict job: every image of the input gets its row."""

    job: Literal["predict"]
    name: str = Field(default="predict", pattern=NAME)
    compute: ComputeSettings = Field(default_factory=ComputeSettings)


class TrainJobSettings(ImageJobSettings):
    """A train job: a model learns from the input's images and labels. Without `validation` nothing is measured."""

    job: Literal["train"]
    name: str = Field(default="train", pattern=NAME)
    validation: ValidationSettings | None = None
    augment: list[AugmentSettings] = Field(default_factory=list)
    train: TrainSettings
    compute: TrainComputeSettings = Field(default_factory=TrainComputeSettings)

    @property
    def validation_input(self) -> InputSettings | None:
        """The images to validate on, mapped like the input's; None where they have no URI of their own."""
        if self.validation is None or self.validation.uri is None:
            return None
        beside = {key: getattr(self.validation, key) for key in BESIDE if getattr(self.validation, key) is not None}
        return InputSettings.model_validate(self.input.model_dump() | {"uri": self.validation.uri} | beside)

    @property
    def sections(self) -> dict[str, InputSettings]:
        validation = self.validation_input
        return {"input": self.input} | ({} if validation is None else {"validation": validation})


class EvaluateJobSettings(JobSettings):
    """An evaluate job: predictions are measured. Without `truth` it is their own column of that name."""

    job: Literal["evaluate"]
    name: str = Field(default="evaluate", pattern=NAME)
    predictions: PredictionsSettings
    truth: TruthSettings | None = None
    evaluate: EvaluateSettings = Field(default_factory=EvaluateSettings)

    @property
    def read_uris(self) -> tuple[str, ...]:
        return (self.predictions.uri, *(() if self.truth is None else (self.truth.uri,)))
