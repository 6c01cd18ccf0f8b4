"""What would make a run faster, and how much at most: other settings of its spec, more of the machine, faster storage.

Each change is tried on paper: the layout that it leads to must carry the same work, and what would then be busy all the
time bounds the pace. So only what relieves the true limit promises anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from vision_batch.errors import SpecError
from vision_batch.inference.layout import Layout, Resources, choose_layout
from vision_batch.inference.load import MODEL, Demand, pace_on
from vision_batch.inference.settings import ComputeSettings

LEAST_GAIN = 1.15
"""Less is not worth a word: so much faster a run may be by chance."""
MOST_TOLD = 10.0
NEARLY = 0.95
"""A small change that gains so much of what a large one gains is the better one."""
MOST_CPUS, MOST_CPUS_FOR_A_GPU, MOST_GPUS = 2, 8, 4
"""How many times what there is may be told to buy."""
MODEL_ON_CPUS = 0.25
"""With less of the CPUs' time a model waits for something that no GPU would speed up."""
MANY = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a layout is chosen from; the arguments of `choose_layout`."""

    resources: Resources
    compute: ComputeSettings
    shards: int
    output_px: tuple[int, int] | None = None
    answers_per_pixel: int = 0
    weights_bytes: int | None = None
    partly: bool = False

    def layout(self) -> Layout:
        """SpecError for what cannot be placed."""
        return choose_layout(
            self.resources,
            self.compute,
            shards=self.shards,
            output_px=self.output_px,
            answers_per_pixel=self.answers_per_pixel,
            weights_bytes=self.weights_bytes,
            partly=self.partly,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Lever:
    """`change` would make the run at most `gain` times as fast; `settings` are those of the spec's `compute` in it."""

    change: str
    gain: float
    settings: dict[str, Any] | None = None

    def sentence(self) -> str:
        times = f"up to {self.gain:.1f}" if self.gain < MOST_TOLD else f"more than {MOST_TOLD:.0f}"
        return f"{self.change} would make it {times} times as fast"


def best_lever(demand: Demand, setting: Setting) -> Lever | None:
    """What gains the most: of the spec's settings, which cost nothing, or else of all that can be bought."""
    now = pace_on(setting.layout(), demand)
    for levers in (_other_settings(demand, setting), _purchases(demand, setting)):
        found = [replace(lever, gain=lever.gain / now) for lever in levers]
        most = max((lever.gain for lever in found), default=0.0)
        if most >= LEAST_GAIN:
            return next(lever for lever in found if lever.gain >= NEARLY * most)
    return None


def _other_settings(demand: Demand, setting: Setting) -> Iterator[Lever]:
    """Other settings of the spec, the smallest changes of each first; gains are paces."""
    layout = setting.layout()
    changes: list[dict[str, Any]] = [{"predictors": n} for n in _counts(layout.predictors, _most_predictors(setting))]
    if layout.name == "split" or layout.gpus_per_predictor:
        changes += [{"preprocessors": n} for n in _counts(layout.preprocessors, setting.resources.cpus - 1)]
    if layout.name == "split":
        joined = {"layout": "joined", "predictors": "auto", "preprocessors": "auto"}
        changes += [{name: value for name, value in joined.items() if value != getattr(setting.compute, name)}]
    for change in changes:
        other = _layout(replace(setting, compute=setting.compute.model_copy(update=change)))
        if other is not None:
            told = ", ".join(f"compute.{name}: {value}" for name, value in change.items())
            yield Lever(change=told, gain=pace_on(other, demand), settings=change)


def _purchases(demand: Demand, setting: Setting) -> Iterator[Lever]:
    """More of the machine, smaller amounts first; faster storage; more shards to work on at once. Gains are paces."""
    layout = setting.layout()
    for change, resources in _machines(setting.resources):
        yield from _lever(change, demand, _layout(replace(setting, resources=resources)))
    on_cpus = sum(demand.cpus_by_stage.get(stage, 0.0) for stage in MODEL)
    if not layout.gpus_per_predictor and on_cpus > MODEL_ON_CPUS * demand.cpus:
        yield from _lever("a GPU for the model", demand.without(MODEL, cpus=True), layout)
    yield from _lever("a faster or nearer input storage", demand.without(["read"], cpus=False), layout)
    yield from _lever("a faster or nearer output storage", demand.without(["write", "hold"], cpus=False), layout)
    more_shards = _layout(replace(setting, shards=MANY))
    yield from _lever(f"smaller shards, more than these {setting.shards}", demand, more_shards)


def _machines(resources: Resources) -> Iterator[tuple[str, Resources]]:
    """Every node with more CPUs, in steps of an eighth, and the memory to them; or with more GPUs."""
    most_cpus = MOST_CPUS_FOR_A_GPU if resources.gpus else MOST_CPUS
    for eighths in range(9, 8 * most_cpus + 1):
        grown = Resources(
            nodes=tuple(
                replace(node, cpus=-(-node.cpus * eighths // 8), memory_bytes=node.memory_bytes * eighths // 8)
                for node in resources.nodes
            )
        )
        yield _more(grown.cpus - resources.cpus, "CPU"), grown
    for times in range(2, MOST_GPUS + 1 if resources.gpus else 0):
        grown = Resources(nodes=tuple(replace(node, gpus=node.gpus * times) for node in resources.nodes))
        yield _more(grown.gpus - resources.gpus, "GPU"), grown


def _more(count: int, what: str) -> str:
    return f"{count} more {what}{'s' if count > 1 else ''}"


def _lever(change: str, demand: Demand, layout: Layout | None) -> Iterator[Lever]:
    if layout is not None:
        yield Lever(change=change, gain=pace_on(layout, demand))


def _layout(setting: Setting) -> Layout | None:
    try:
        return setting.layout()
    except SpecError:
        return None


def _most_predictors(setting: Setting) -> int:
    """As many as the devices and, without GPUs, the memory hold."""
    compute = ComputeSettings(layout="joined", gpus_per_predictor=setting.compute.gpus_per_predictor)
    layout = _layout(replace(setting, compute=compute))
    return layout.predictors if layout else 0


def _counts(now: int, most: int) -> list[int]:
    """Other numbers up to `most`, the nearest to `now` first; of many only some."""
    steps = range(1, most + 1, max(1, most // 64))
    return sorted({*steps, most} - {now, 0}, key=lambda count: abs(count - now)) if most > 0 else []
