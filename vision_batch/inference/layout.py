"""Which actors a run places where, from the resources that there are and the spec's wishes."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from vision_batch.errors import Problem, SpecError
from vision_batch.inference.settings import ComputeSettings

CPU_BATCH_ROWS = 128
GPU_BATCH_ROWS = 256
CPUS_PER_CPU_PREDICTOR = 4
"""Threads of one process share the interpreter lock: beyond about this many, another process serves better."""
CPUS_TO_FEED_A_GPU = 6
"""Decoding 500x375 JPEGs gives about 1,000 images/s and core; a small model on a current GPU takes several thousand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What the machine or the cluster has. `gpu_node_cpus` are the CPUs of the nodes that have GPUs."""

    cpus: int
    gpus: int = 0
    gpu_node_cpus: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Which actors there are and what Ray reserves for each.

    joined: every predictor reads, decodes in `decode_threads` threads and predicts.
    split: `preprocessors` read and decode, in `decode_threads` threads each; predictors only predict.
    """

    name: str
    reason: str
    predictors: int
    cpus_per_predictor: int
    gpus_per_predictor: float
    preprocessors: int
    cpus_per_preprocessor: int
    decode_threads: int
    batch_rows: int

    def for_shards(self, shards: int) -> Layout:
        """The same with no more reading actors than there are shards to read."""
        if self.name == "joined":
            return replace(self, predictors=min(self.predictors, shards))
        return replace(self, preprocessors=min(self.preprocessors, shards))

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def choose_layout(resources: Resources, compute: ComputeSettings) -> Layout:
    """The layout for these resources; what the spec says outright wins. SpecError for what cannot be placed."""
    gpus_each = _gpus_per_predictor(resources, compute)
    predictors = _predictors(resources, compute, gpus_each)
    name, reason = _name(resources, compute, predictors, gpus_each)
    batch_rows = compute.batch_size if compute.batch_size != "auto" else GPU_BATCH_ROWS if gpus_each else CPU_BATCH_ROWS
    if name == "joined":
        cpus = resources.gpu_node_cpus if gpus_each and resources.gpu_node_cpus else resources.cpus
        each = max(1, cpus // predictors)
        return Layout(
            name=name,
            reason=reason,
            predictors=predictors,
            cpus_per_predictor=each,
            gpus_per_predictor=gpus_each,
            preprocessors=0,
            cpus_per_preprocessor=0,
            decode_threads=each,
            batch_rows=batch_rows,
        )
    preprocessors, cpus_each = _preprocessors(resources, compute, predictors)
    return Layout(
        name=name,
        reason=reason,
        predictors=predictors,
        cpus_per_predictor=1,
        gpus_per_predictor=gpus_each,
        preprocessors=preprocessors,
        cpus_per_preprocessor=cpus_each,
        decode_threads=cpus_each if gpus_each else cpus_each + 1,
        batch_rows=batch_rows,
    )


def _gpus_per_predictor(resources: Resources, compute: ComputeSettings) -> float:
    if compute.gpus_per_predictor == "auto":
        return 1.0 if resources.gpus else 0.0
    if compute.gpus_per_predictor > resources.gpus:
        raise SpecError(
            Problem(
                "compute.gpus_per_predictor",
                f"{compute.gpus_per_predictor:g}",
                f"at most {resources.gpus}, which is what Ray finds here",
            )
        )
    return float(compute.gpus_per_predictor)


def _predictors(resources: Resources, compute: ComputeSettings, gpus_each: float) -> int:
    most = int(resources.gpus / gpus_each) if gpus_each else resources.cpus
    if compute.predictors != "auto":
        if compute.predictors > most:
            what = f"{resources.gpus} GPUs at {gpus_each:g} each" if gpus_each else f"{resources.cpus} CPUs"
            raise SpecError(Problem("compute.predictors", str(compute.predictors), f"at most {most}: there are {what}"))
        return compute.predictors
    return most if gpus_each else max(1, resources.cpus // CPUS_PER_CPU_PREDICTOR)


def _name(resources: Resources, compute: ComputeSettings, predictors: int, gpus_each: float) -> tuple[str, str]:
    if compute.layout != "auto":
        return compute.layout, "the spec asks for it"
    if compute.preprocessors != "auto":
        return "split", "the spec asks for preprocessors"
    if not gpus_each:
        return "joined", "without GPUs every CPU decodes and predicts best in one process"
    beside = resources.gpu_node_cpus / predictors
    elsewhere = resources.cpus - resources.gpu_node_cpus
    if beside < CPUS_TO_FEED_A_GPU and elsewhere > 0:
        return "split", f"{beside:.3g} CPUs beside a predictor cannot feed it, and {elsewhere} CPUs are on other nodes"
    return "joined", f"{beside:.3g} CPUs beside each predictor; only predictions leave its process"


def _preprocessors(resources: Resources, compute: ComputeSettings, predictors: int) -> tuple[int, int]:
    """How many preprocessors, and how many CPUs each. Predictors take one CPU each."""
    free = resources.cpus - predictors
    if free < 1:
        raise SpecError(
            Problem(
                "compute.layout",
                f"split with {resources.cpus} CPUs and {predictors} predictors",
                "at least one CPU more than predictors; use layout: joined here",
            )
        )
    if compute.preprocessors == "auto":
        each = min(4, free)
        return free // each, each
    if compute.preprocessors > free:
        raise SpecError(
            Problem(
                "compute.preprocessors",
                str(compute.preprocessors),
                f"at most {free}: one CPU each beside the predictors",
            )
        )
    return compute.preprocessors, free // compute.preprocessors
