"""What a run's work took, and how busy that would keep the workers of a layout."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, replace

from vision_batch.inference.layout import CONCURRENT_CALLS, Layout
from vision_batch.inference.stopwatch import NOTHING, Lap

DECODE = ("decode", "preprocess")
MODEL = ("copy", "model")


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What the work took on average while the workers were there: so many CPUs, and so many threads in each stage.

    `cpus_by_stage` are those of the threads in the stages; `cpus` are those of the whole processes. `present` is how
    much of the time the predictors were there: before, they had not started, and after, nothing was left for them.
    """

    cpus: float
    cpus_by_stage: Mapping[str, float]
    threads_by_stage: Mapping[str, float]
    present: float

    def threads(self, stages: Iterable[str]) -> float:
        return sum(self.threads_by_stage.get(stage, 0.0) for stage in stages)

    def without(self, stages: Container[str], *, cpus: bool) -> Demand:
        """The same work, had these stages taken no time, and also no CPUs."""
        threads = {stage: threads for stage, threads in self.threads_by_stage.items() if stage not in stages}
        saved = sum(used for stage, used in self.cpus_by_stage.items() if stage in stages) if cpus else 0.0
        return replace(self, threads_by_stage=threads, cpus=max(0.0, self.cpus - saved))


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """On average `used` of `of` are busy."""

    used: float
    of: float

    @property
    def share(self) -> float:
        """1 is as much as there is."""
        return self.used / self.of


def measure_demand(laps: Mapping[str, Lap], layout: Layout, wall_s: float) -> Demand | None:
    """From what each worker did in the `wall_s` of the steady state; None where nobody read or predicted in it."""
    crews = _crews(laps, layout)
    stages = dict.fromkeys(stage for _, total in crews for stage in total.stages if stage != "wait")
    if not {"read", "model"} <= stages.keys():
        return None
    there_s = sum(lap.wall_s for lap in laps.values() if "model" in lap.stages)
    return Demand(
        cpus=sum(count * total.cpu_s / total.wall_s for count, total in crews),
        cpus_by_stage={stage: _average(crews, stage, clock=1) for stage in stages},
        threads_by_stage={stage: _average(crews, stage, clock=0) for stage in stages},
        present=min(1.0, there_s / (layout.predictors * wall_s)),
    )


def loads_on(layout: Layout, demand: Demand) -> dict[str, Load]:
    """How busy the work keeps, at the pace at which it was measured, what there is in a layout.

    predictors  with copies or the model
    cpus        all that the layout reserves, with whatever the processes of its actors do
    decoders    the threads of the pools that decode and preprocess, where there are pools
    callers     threads that have a shard in work: joined, with all that nobody does for them; split, with reading
    writers     split, the gatherer with putting parts; joined, that only counts where shards in work wait for it
    """
    is_joined = layout.name == "joined"
    feeders = layout.predictors if is_joined else layout.preprocessors
    callers = feeders * (CONCURRENT_CALLS if is_joined else 1)
    loads = {
        "callers": Load(used=demand.threads(callers_stages(layout)), of=callers),
        "predictors": Load(used=_predicting(layout, demand), of=layout.predictors),
        "cpus": Load(used=demand.cpus, of=layout.cpus),
    }
    if not is_joined:
        loads["writers"] = Load(used=demand.threads(["write"]), of=1)
    if layout.decode_threads:
        loads["decoders"] = Load(used=demand.threads(DECODE), of=feeders * layout.decode_threads)
    return loads


def callers_stages(layout: Layout) -> tuple[str, ...]:
    """What a thread that has a shard in work does itself."""
    if layout.name == "split":
        return ("read",)
    model = () if layout.gpus_per_predictor else MODEL
    decode = () if layout.decode_threads else DECODE
    return ("read", *decode, *model, "postprocess", "hold")


def _predicting(layout: Layout, demand: Demand) -> float:
    """How many predictors are busy: an accelerator copies while it computes."""
    return max(map(demand.threads, (["copy"], ["model"]))) if layout.gpus_per_predictor else demand.threads(MODEL)


def pace_on(layout: Layout, demand: Demand) -> float:
    """How many times the measured pace the work could have where the busiest of a layout are busy all the time."""
    return 1 / max(load.share for load in loads_on(layout, demand).values())


def _crews(laps: Mapping[str, Lap], layout: Layout) -> list[tuple[int, Lap]]:
    """The workers that do the same: how many of them the layout has, and what those that were seen did together."""
    counts = {"read": layout.preprocessors, "model": layout.predictors, "write": 1}
    if layout.name == "joined":
        counts = {"read": layout.predictors}
    alike = {stage: [lap for lap in laps.values() if stage in lap.stages] for stage in counts}
    return [(counts[stage], sum(found, NOTHING)) for stage, found in alike.items() if found]


def _average(crews: list[tuple[int, Lap]], stage: str, *, clock: int) -> float:
    return sum(n * total.stages[stage][clock] / total.wall_s for n, total in crews if stage in total.stages)
