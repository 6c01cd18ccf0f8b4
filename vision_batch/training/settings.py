"""The `train:` and `validation:` parts of a spec, and a train job's `compute:`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, TypeAlias

from pydantic import Field, model_validator

from vision_batch.datasets.settings import NamedUri
from vision_batch.settings import Settings

Auto: TypeAlias = Literal["auto"]
Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]
BelowOne = Annotated[float, Field(ge=0, lt=1)]

LossName: TypeAlias = Literal["cross_entropy", "focal", "bce", "mse", "huber", "dice"]
WEIGHTED_LOSSES = ("cross_entropy", "focal", "bce")
"""The losses that know class weights."""


class _ChoiceSettings(Settings):
    """A section whose `name` decides which of its other keys make sense: the rest are refused."""

    _owners: ClassVar[dict[str, tuple[str, ...]]] = {}

    @model_validator(mode="after")
    def _keys_belong_to_the_name(self) -> _ChoiceSettings:
        name = getattr(self, "name")  # noqa: B009 (each section has its own type of it)
        for key, owners in self._owners.items():
            if key in self.model_fields_set and name not in owners:
                raise ValueError(f"no {key} with {name}: it belongs to {' and '.join(owners)}")
        return self


class LossSettings(_ChoiceSettings):
    """One loss, or one term of a weighted sum of several; `weight` is its factor there.

    `label_smoothing` (cross_entropy) is the share of a target that is spread over all classes, `gamma` (focal) how
    much easy examples are played down, `delta` (huber) where the square becomes a line, in units of the outputs, and
    `smooth` (dice) the pixels that are added above and below the fraction line.
    """

    _owners: ClassVar[dict[str, tuple[str, ...]]] = {
        "label_smoothing": ("cross_entropy",),
        "gamma": ("focal",),
        "delta": ("huber",),
        "smooth": ("dice",),
    }

    name: LossName
    weight: Positive = 1.0
    label_smoothing: BelowOne = 0.0
    gamma: NotNegative = 2.0
    delta: Positive = 1.0
    smooth: Positive = 1.0


class OptimizerSettings(_ChoiceSettings):
    """What moves the parameters. Biases and the parameters of normalisations get neither `weight_decay` nor `l1`.

    With adam, sgd and rmsprop `weight_decay` is an L2 term of the gradient, with adamw it is decoupled. `l1` is the
    factor of the sum of absolute values. Left out, `momentum` is 0.9 with sgd and 0 with rmsprop.
    """

    _owners: ClassVar[dict[str, tuple[str, ...]]] = {
        "momentum": ("sgd", "rmsprop"),
        "nesterov": ("sgd",),
        "betas": ("adam", "adamw"),
        "alpha": ("rmsprop",),
        "eps": ("adam", "adamw", "rmsprop"),
    }

    name: Literal["sgd", "adam", "adamw", "rmsprop"] = "adamw"
    lr: Positive = 1e-3
    weight_decay: NotNegative = 0.0
    l1: NotNegative = 0.0
    momentum: BelowOne | None = None
    nesterov: bool = False
    betas: tuple[BelowOne, BelowOne] = (0.9, 0.999)
    alpha: BelowOne = 0.99
    eps: Positive = 1e-8

    @model_validator(mode="after")
    def _nesterov_has_momentum(self) -> OptimizerSettings:
        if self.nesterov and self.momentum == 0:
            raise ValueError("momentum above 0 for nesterov")
        return self


class LearningRateSettings(_ChoiceSettings):
    """How the learning rate goes, as factors of `optimizer.lr`, changed at every optimizer step.

    constant; step: times `factor` every `every_epochs`; cosine: half a wave down to `final_factor`; one_cycle: up from
    `start_factor` and down to `final_factor`, each half a wave, momentum left alone. Before all but one_cycle the rate
    rises from `start_factor` along a line for `warmup_epochs`, and the curve comes after that. With one_cycle they are
    the way up (0.3 of all epochs unless given).
    """

    _owners: ClassVar[dict[str, tuple[str, ...]]] = {
        "every_epochs": ("step",),
        "factor": ("step",),
        "final_factor": ("cosine", "one_cycle"),
    }

    name: Literal["constant", "step", "cosine", "one_cycle"] = "cosine"
    warmup_epochs: NotNegative | None = None
    start_factor: Annotated[float, Field(gt=0, le=1)] = 0.04
    every_epochs: Positive = 30.0
    factor: Annotated[float, Field(gt=0, le=1)] = 0.1
    final_factor: Fraction = 0.0

    @model_validator(mode="after")
    def _one_cycle_rises(self) -> LearningRateSettings:
        if self.name == "one_cycle" and self.warmup_epochs == 0:
            raise ValueError(
                "warmup_epochs above 0 with one_cycle: it is the way up; or cosine, which begins at the top"
            )
        if "start_factor" in self.model_fields_set and not (self.warmup_epochs or self.name == "one_cycle"):
            raise ValueError("warmup_epochs above 0 beside start_factor")
        return self


class EmaSettings(Settings):
    """An exponential moving average of parameters and buffers; validation and the final model use it.

    After n steps of the optimizer the share of the old average is min(`decay`, (1 + n) / (10 + n)).
    """

    decay: Annotated[float, Field(gt=0, lt=1)] = 0.999


class EarlyStoppingSettings(Settings):
    """Ends after `patience` validations in a row without a headline metric better by more than `min_delta`."""

    patience: Count = 5
    min_delta: NotNegative = 0.0


class CheckpointSettings(Settings):
    """When the state is saved besides each epoch's end: every so many seconds or optimizer steps, whichever is first.

    Of the last ones `keep_last` stay, and the best.
    """

    every_s: Positive | None = 300.0
    every_steps: Count | None = None
    keep_last: Count = 2


class TrainSettings(Settings):
    """How a model learns. `batch_size` is the images of one worker; an optimizer step has workers x `accumulate` of it.

    `loss` is one or a list to be summed; by default the task's own. `class_weights` weigh the losses, `sampling` how
    often an epoch shows the images of a class. `mixup` and `cutmix` are the alpha of their beta distribution; with both
    a batch gets one or the other. `clip_norm` bounds the norm of all gradients together. `on_nan` says what a loss that
    is no number does. `deterministic` asks for kernels that repeat bit for bit, which may be slower.
    """

    epochs: Count
    batch_size: Count = 32
    optimizer: OptimizerSettings = Field(default_factory=OptimizerSettings)
    schedule: LearningRateSettings = Field(default_factory=LearningRateSettings)
    loss: LossSettings | Annotated[list[LossSettings], Field(min_length=1)] | None = None
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] = 0
    clip_norm: Positive | None = None
    accumulate: Count = 1
    ema: EmaSettings | None = None
    class_weights: Literal["none", "balanced"] | Annotated[list[NotNegative], Field(min_length=2)] = "none"
    sampling: Literal["none", "balanced", "sqrt"] = "none"
    mixup: Positive | None = None
    cutmix: Positive | None = None
    sync_batch_norm: bool = False
    fsdp: bool = False
    on_nan: Literal["stop", "skip"] = "stop"
    early_stopping: EarlyStoppingSettings | None = None
    checkpoint: CheckpointSettings = Field(default_factory=CheckpointSettings)
    deterministic: bool = False

    @model_validator(mode="after")
    def _parts_agree(self) -> TrainSettings:
        warmup = self.schedule.warmup_epochs
        if warmup is not None and warmup >= self.epochs:
            raise ValueError(f"schedule.warmup_epochs ({warmup:g}) below epochs ({self.epochs})")
        if self.class_weights != "none" and self.losses and not self.weighted_losses:
            raise ValueError(f"class_weights only with one of the losses {', '.join(WEIGHTED_LOSSES)}")
        if isinstance(self.class_weights, list) and not any(self.class_weights):
            raise ValueError("class_weights of which one at least is above 0")
        return self

    @property
    def losses(self) -> tuple[LossSettings, ...]:
        """The terms that the spec names; none where it leaves the choice to the task."""
        if self.loss is None:
            return ()
        return tuple(self.loss) if isinstance(self.loss, list) else (self.loss,)

    @property
    def weighted_losses(self) -> tuple[LossSettings, ...]:
        """Those of `losses` that know class weights."""
        return tuple(loss for loss in self.losses if loss.name in WEIGHTED_LOSSES)


class ValidationSettings(Settings):
    """What the model is measured on: images of their own (`uri`, as in `input`), or some of the input's.

    `fraction` of the input's images are set apart by a hash of their `image_id`, the same ones whatever else comes in;
    with `folds` each of so many models is measured on a part that the others learn from. `stratify` does either class
    by class. Measured is every `every_epochs` epochs, and after the last. The masks of `uri` lie below `masks`, or with
    those of the input; so do the images of a COCO JSON, below `images`.
    """

    uri: str | list[str | NamedUri] | None = None
    masks: str | None = Field(default=None, min_length=1, exclude_if=lambda value: value is None)
    images: str | None = Field(default=None, min_length=1, exclude_if=lambda value: value is None)
    fraction: Annotated[float, Field(gt=0, lt=1)] | None = None
    folds: Annotated[int, Field(ge=2, le=100)] | None = None
    stratify: bool = False
    every_epochs: Count = 1

    @model_validator(mode="after")
    def _one_choice(self) -> ValidationSettings:
        given = [name for name in ("uri", "fraction", "folds") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"exactly one of uri, fraction and folds, here {' and '.join(given) or 'none'}")
        if self.uri is not None and not self.uri:
            raise ValueError("uri: a folder, file or glob, or a list of them")
        if self.uri is None and self.masks is not None:
            raise ValueError("masks only with uri: the input's images have theirs below input.masks")
        if self.uri is None and self.images is not None:
            raise ValueError("images only with uri: the input's images lie below input.images")
        if self.uri is not None and self.stratify:
            raise ValueError("stratify only with fraction or folds: a uri has the images that it has")
        return self


class TrainComputeSettings(Settings):
    """Where a train job runs. Only `precision` and `compile` can change a weight beyond the order of sums.

    `workers` as [min, max] is elastic. A worker has one device: `gpus_per_worker` is 0 or 1. `preprocessors` are the
    actors of the split layout.
    """

    layout: Literal["auto", "joined", "split"] = "auto"
    workers: Auto | Count | tuple[Count, Count] = "auto"
    gpus_per_worker: Auto | Annotated[int, Field(ge=0, le=1)] = "auto"
    cpus_per_worker: Auto | Count = "auto"
    preprocessors: Auto | Count = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    compile: bool = False

    @model_validator(mode="after")
    def _range_of_workers(self) -> TrainComputeSettings:
        if isinstance(self.workers, tuple) and self.workers[0] > self.workers[1]:
            raise ValueError(f"workers as [fewest, most], here [{self.workers[0]}, {self.workers[1]}]")
        return self
