"""What limited a run, in one sentence: the stage that kept what it had busy, what shows it, and what would help."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vision_batch.inference.layout import Layout
from vision_batch.inference.lever import Lever, Setting, best_lever
from vision_batch.inference.load import DECODE, Demand, callers_stages, loads_on, measure_demand
from vision_batch.inference.stopwatch import Lap

STEADY_S = 3.0
"""What limited a run that had no more than this after its first batch is anybody's guess."""

NONE = "no stage"
SATURATED = 0.8
"""What is busy for so much of the time limits the run: work comes unevenly, so little is ever busy all the time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bottleneck:
    """`stage` limited the run, as `evidence` shows; `lever` would help, None where nothing alone would help much."""

    stage: str
    evidence: str
    lever: Lever | None

    def sentence(self) -> str:
        advice = "nothing alone would help much" if self.lever is None else self.lever.sentence()
        return f"{self.stage}: {self.evidence}; {advice}"


def find_bottleneck(laps: Mapping[str, Lap], setting: Setting, wall_s: float) -> Bottleneck | None:
    """From what each worker did in the seconds from the first batch to the last; None where these are too few to tell.

    `setting` is what the run's layout was chosen from.
    """
    layout = setting.layout()
    demand = measure_demand(laps, layout, wall_s) if wall_s > STEADY_S else None
    if demand is None:
        return None
    lever = best_lever(demand, setting)
    if demand.present < SATURATED and (lever is None or lever.gain < 1 / demand.present):
        away = f"the predictors had nothing to do for {_percent(1 - demand.present)} of the time"
        spread = Lever(change="smaller shards, which spread more evenly,", gain=1 / demand.present)
        return Bottleneck(stage="shards", evidence=away, lever=spread)
    stage, evidence = _limit(demand, layout)
    return Bottleneck(stage=stage, evidence=evidence, lever=lever if stage != NONE else None)


def _limit(demand: Demand, layout: Layout) -> tuple[str, str]:
    """The stage that limits, and what shows it."""
    loads = loads_on(layout, demand)
    # callers wait for all the others, so that they are busy as well
    busiest = max((name for name in loads if name != "callers"), key=lambda name: loads[name].share)
    if loads[busiest].share < SATURATED:
        busiest = "callers"
    load, threads = loads[busiest], demand.threads_by_stage
    cpus = f"{loads['cpus'].used:.1f} of {loads['cpus'].of:.0f} CPUs"
    waited = f"the model waited {_percent(1 - loads['predictors'].share)} of the time"
    if busiest == "predictors":
        return "model", f"it was busy {_percent(load.share)} of the time, and {cpus} were"
    if busiest == "writers":
        return "write", f"{waited}, and parts were being put for {_percent(load.share)} of it"
    if busiest == "decoders":
        stage = max(DECODE, key=lambda stage: threads.get(stage, 0.0))
        return stage, f"{waited}, and {load.used:.1f} of {load.of:.0f} threads that decode and {cpus} were busy"
    if busiest == "cpus":
        stage = max(demand.cpus_by_stage, key=lambda stage: demand.cpus_by_stage[stage])
        part = f"{_percent(demand.cpus_by_stage[stage] / demand.cpus)} of that with it"
        busy = f"{cpus} were busy, {part}"
        return stage, f"{waited}, and {busy}" if layout.gpus_per_predictor else busy
    stage = max(callers_stages(layout), key=lambda stage: threads.get(stage, 0.0))
    part = f"{_percent(threads[stage] / load.of)} of the time for which shards are in work, {load.of:.0f} at once"
    name = "write" if stage == "hold" else stage
    if load.share >= SATURATED:
        return name, f"{waited}, {cpus} were busy, and it took {part}"
    return NONE, f"{waited}, {cpus} were busy, and {name} took {part}"


def _percent(share: float) -> str:
    return f"{100 * max(0.0, min(1.0, share)):.0f} %"
