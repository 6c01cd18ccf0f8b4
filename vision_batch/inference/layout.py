"""Which actors a run places where, from the resources that there are and the spec's wishes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vision_batch.errors import Problem, SpecError
from vision_batch.inference.settings import ComputeSettings

CPU_BATCH_ROWS = 128
GPU_BATCH_ROWS = 1024
"""Where `batch_size` is auto, the most that a trial may choose: 256 images of 224x224 px fit into the budget below."""
CHUNK_PIXEL_BYTES = 64 << 20
CHUNK_ANSWER_BYTES = 256 << 20
"""Of what a model answers about each pixel: several chunks are in work at once."""
"""What the pixels of a chunk may take where `batch_size` is auto; four times as much where the spec gives it."""
CPU_PREDICTOR_BYTES = 1 << 30
"""What a predictor on a CPU takes beside the model: torch and the chunks in work; measured 0.7 GiB at 224 px."""
MODEL_COPIES = 3
"""The weights, and what loading and calling the model takes, as a multiple of them."""
UNKNOWN_MODEL_BYTES = 512 << 20
"""What a model is taken to have whose weights come from its own code."""
CPUS_PER_PREPROCESSOR = 4
CONCURRENT_CALLS = 2
"""Shards in work at once in one actor: while one ends or waits for storage, the other keeps the device busy."""
RAY_UNITS = 10_000
"""In so many parts Ray divides a GPU."""
CPUS_TO_FEED_A_GPU = 6
"""Decoding 500x375 JPEGs gives about 1,000 images/s and core; a small model on a current GPU takes several thousand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """What Ray can reserve on one machine; `memory_bytes` is for the processes of its workers."""

    cpus: int
    gpus: int = 0
    memory_bytes: int = 4 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What the machine or the cluster has. An actor lies on one node."""

    nodes: tuple[Node, ...]

    @property
    def cpus(self) -> int:
        return sum(node.cpus for node in self.nodes)

    @property
    def gpus(self) -> int:
        return sum(node.gpus for node in self.nodes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What one predictor takes of a node."""

    cpus: int
    gpus: float

    def __str__(self) -> str:
        cpus = f"{self.cpus} CPU{'s' if self.cpus > 1 else ''}"
        gpus = f"{self.gpus:g} GPU{'s' if self.gpus > 1 else ''}"
        return cpus if not self.gpus else gpus if self.cpus == 1 else f"{gpus} and {cpus}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Which actors there are and what Ray reserves for each.

    joined: every predictor reads, decodes in `decode_threads` threads, or in its own where these are 0, and predicts.
    split: `preprocessors` read and decode, in `decode_threads` threads each; predictors only predict.
    `batch_rows` images make a chunk, and are the most that the model is given at once; with `batch_trial` each
    predictor finds out whether it is faster with fewer. A compiled model has one size: a trial would compile them all.
    `wanted` is how many predictors the spec asks for, where there may be no room for all of them yet; None: any number.
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
    batch_trial: bool = False
    wanted: int | None = None

    @property
    def place(self) -> Place:
        return Place(cpus=self.cpus_per_predictor, gpus=self.gpus_per_predictor)

    @property
    def cpus(self) -> int:
        """What Ray reserves for all actors that read, decode or predict."""
        return self.predictors * self.cpus_per_predictor + self.preprocessors * self.cpus_per_preprocessor

    @property
    def gpus(self) -> float:
        return self.predictors * self.gpus_per_predictor


def choose_layout(
    resources: Resources,
    compute: ComputeSettings,
    *,
    shards: int,
    output_px: tuple[int, int] | None,
    answers_per_pixel: int = 0,
    weights_bytes: int | None = None,
    partly: bool = False,
) -> Layout:
    """The layout for `shards` shards to do on these resources; what the spec says outright wins.

    With `partly` fewer actors than the spec asks for will do, as on a cluster whose nodes come and go.

    `output_px` is the height and width that every image gets, `weights_bytes` the size of the model, both None where
    nobody knows; `answers_per_pixel` is how many numbers the model may answer for each of these pixels. No more actors
    read than there are shards. SpecError for what cannot be placed.
    """
    gpus_each = _gpus_each(resources, compute)
    nodes = [node for node in resources.nodes if node.cpus and (node.gpus >= gpus_each or not gpus_each)]
    if not nodes:
        found = f"{gpus_each:g}, and no node that has so many has a CPU for Ray"
        expected = "at least one CPU beside the GPUs (ray start --num-cpus there), or 0 to predict on CPUs"
        raise SpecError(Problem("compute.gpus_per_predictor", found, expected))
    most = sum(_fits(node, 1, gpus_each) for node in nodes)
    predictors = _predictors(compute, nodes, gpus_each, most, weights_bytes, partly)
    name, reason = _name(resources, compute, nodes, predictors, gpus_each)
    batch_rows = _batch_rows(compute, bool(gpus_each), output_px, answers_per_pixel)
    wanted = None if compute.predictors == "auto" else compute.predictors
    if name == "joined":
        predictors = min(predictors, max(1, shards))
        each = _cpus_each(nodes, predictors, gpus_each)
        return Layout(
            name=name,
            reason=reason,
            predictors=predictors,
            cpus_per_predictor=each,
            gpus_per_predictor=gpus_each,
            preprocessors=0,
            cpus_per_preprocessor=0,
            decode_threads=0 if each == 1 and not gpus_each else each,
            batch_rows=batch_rows,
            batch_trial=compute.batch_size == "auto" and not compute.compile,
            wanted=wanted,
        )
    if partly:
        predictors = max(1, min(predictors, resources.cpus - 1))
    preprocessors, each = _preprocessors(resources, compute, nodes, predictors, gpus_each, partly)
    return Layout(
        name=name,
        reason=reason,
        predictors=predictors,
        cpus_per_predictor=1,
        gpus_per_predictor=gpus_each,
        preprocessors=min(preprocessors, max(1, shards)),
        cpus_per_preprocessor=each,
        decode_threads=each if gpus_each else each + 1,
        batch_rows=batch_rows,
        batch_trial=compute.batch_size == "auto" and not compute.compile,
        wanted=wanted,
    )


def missing_place(resources: Resources, compute: ComputeSettings) -> Place | None:
    """The least that a predictor takes, where no node has it, now free or not; None where one has."""
    least = Place(cpus=1, gpus=0.0 if compute.gpus_per_predictor == "auto" else _whole_or_part(compute))
    return None if any(node.cpus and node.gpus >= least.gpus for node in resources.nodes) else least


def room(resources: Resources, place: Place) -> int:
    """How many predictors of this size the nodes hold."""
    return sum(_fits(node, place.cpus, place.gpus) for node in resources.nodes)


def _fits(node: Node, cpus_each: int, gpus_each: float) -> int:
    """How many predictors of this size one node holds."""
    if not gpus_each:
        return node.cpus // cpus_each
    # Ray gives a fraction of one GPU, never parts of two: two predictors of 0.6 need two GPUs
    by_gpus = node.gpus * int(1 / gpus_each) if gpus_each < 1 else node.gpus // int(gpus_each)
    return min(node.cpus // cpus_each, by_gpus)


def _cpus_each(nodes: Sequence[Node], predictors: int, gpus_each: float) -> int:
    """The most CPUs that each of so many predictors can have."""
    largest = max(node.cpus for node in nodes)
    return next(
        (cpus for cpus in range(largest, 1, -1) if sum(_fits(node, cpus, gpus_each) for node in nodes) >= predictors), 1
    )


def _gpus_each(resources: Resources, compute: ComputeSettings) -> float:
    if not any(node.cpus for node in resources.nodes):
        raise SpecError(Problem("resources", "no CPU that Ray may use", "at least one"))
    largest = max(node.gpus for node in resources.nodes)
    if compute.gpus_per_predictor == "auto":
        nodes = [node for node in resources.nodes if node.gpus and node.cpus]
        return _share(nodes, 1 if compute.predictors == "auto" else compute.predictors) if nodes else 0.0
    gpus = _whole_or_part(compute)
    if gpus > largest:
        expected = f"at most {largest}, which is what one node has here"
        raise SpecError(Problem("compute.gpus_per_predictor", f"{gpus:g}", expected))
    return gpus


def _whole_or_part(compute: ComputeSettings) -> float:
    gpus = float(compute.gpus_per_predictor)
    if gpus > 1 and gpus % 1:
        raise SpecError(Problem("compute.gpus_per_predictor", f"{gpus:g}", "a part of one, or a whole number"))
    return gpus


def _share(nodes: Sequence[Node], predictors: int) -> float:
    """One GPU each, or where there are fewer GPUs than predictors, the part of one that lets so many fit.

    Rounded down to the 1/10,000 in which Ray counts.
    """
    sharers = range(1, max(node.cpus for node in nodes) + 1)
    shares = (RAY_UNITS // count / RAY_UNITS for count in sharers)
    return next((share for share in shares if sum(_fits(node, 1, share) for node in nodes) >= predictors), 1.0)


def _predictors(
    compute: ComputeSettings,
    nodes: Sequence[Node],
    gpus_each: float,
    most: int,
    weights_bytes: int | None,
    partly: bool,
) -> int:
    if compute.predictors == "auto":
        if gpus_each:
            return most
        if compute.layout == "split" or compute.preprocessors != "auto":
            wanted = sum(max(1, node.cpus // CPUS_PER_PREPROCESSOR) for node in nodes)
            return max(1, min(wanted, most - 1))  # nodes of one CPU each leave one for preprocessing too
        return sum(_cpu_predictors(node, weights_bytes) for node in nodes)
    if compute.predictors > most and not partly:
        have = f"{sum(node.cpus for node in nodes)} CPUs"
        if gpus_each:
            have += f" and {sum(node.gpus for node in nodes)} GPUs, {gpus_each:g} each"
        raise SpecError(Problem("compute.predictors", str(compute.predictors), f"at most {most}: there are {have}"))
    return min(compute.predictors, most)


def _cpu_predictors(node: Node, weights_bytes: int | None) -> int:
    """One predictor for each CPU, or for each few where the memory does not hold so many models.

    Threads of one process wait for each other, for its interpreter and its memory map: measured on 2 cores, two
    predictors that decode for themselves reach 1.1 times the images/s of one with two decode threads.
    """
    each_bytes = CPU_PREDICTOR_BYTES + MODEL_COPIES * (UNKNOWN_MODEL_BYTES if weights_bytes is None else weights_bytes)
    held = max(1, min(node.cpus, node.memory_bytes // each_bytes))
    return node.cpus // -(-node.cpus // held)


def _name(
    resources: Resources, compute: ComputeSettings, nodes: Sequence[Node], predictors: int, gpus_each: float
) -> tuple[str, str]:
    if compute.layout != "auto":
        return compute.layout, "the spec asks for it"
    if compute.preprocessors != "auto":
        return "split", "the spec asks for preprocessors"
    if not gpus_each:
        return "joined", "without GPUs every CPU decodes and predicts best in a process of its own"
    beside = sum(node.cpus for node in nodes) / predictors
    elsewhere = resources.cpus - sum(node.cpus for node in nodes)
    if beside < CPUS_TO_FEED_A_GPU and elsewhere > 0:
        return "split", f"{beside:.3g} CPUs beside a predictor cannot feed it, and {elsewhere} CPUs are on other nodes"
    return "joined", f"{beside:.3g} CPUs beside each predictor; only predictions leave its process"


def _batch_rows(
    compute: ComputeSettings, on_gpu: bool, output_px: tuple[int, int] | None, answers_per_pixel: int
) -> int:
    is_auto = compute.batch_size == "auto"
    rows = (GPU_BATCH_ROWS if on_gpu else CPU_BATCH_ROWS) if compute.batch_size == "auto" else compute.batch_size
    if output_px is None:
        return rows
    budget = CHUNK_PIXEL_BYTES if is_auto else 4 * CHUNK_PIXEL_BYTES
    pixels = output_px[0] * output_px[1]
    held = max(1, min(budget // (3 * pixels), CHUNK_ANSWER_BYTES // (4 * pixels * max(1, answers_per_pixel))))
    if held >= rows:
        return rows
    return 1 << held.bit_length() - 1 if is_auto else held  # a power of two is what smaller batches divide


def _preprocessors(
    resources: Resources,
    compute: ComputeSettings,
    nodes: Sequence[Node],
    predictors: int,
    gpus_each: float,
    partly: bool,
) -> tuple[int, int]:
    """How many preprocessors, and how many CPUs each, beside predictors that take one CPU each."""
    free, left = [], predictors
    for node in sorted(resources.nodes, key=lambda node: (node.gpus, node.cpus), reverse=True):
        here = min(left, _fits(node, 1, gpus_each)) if node in nodes else 0
        left -= here
        free.append(node.cpus - here)
    if sum(free) < 1:
        found = f"split with {resources.cpus} CPUs and {predictors} predictors"
        expected = "at least one CPU more than predictors; use layout: joined here"
        raise SpecError(Problem("compute.layout", found, expected))
    if compute.preprocessors == "auto":
        each = min(CPUS_PER_PREPROCESSOR, max(free))
        return sum(cpus // each for cpus in free), each
    if compute.preprocessors > sum(free) and not partly:
        expected = f"at most {sum(free)}: one CPU each beside the predictors"
        raise SpecError(Problem("compute.preprocessors", str(compute.preprocessors), expected))
    wanted = min(compute.preprocessors, sum(free))
    return wanted, next(cpus for cpus in range(max(free), 0, -1) if sum(c // cpus for c in free) >= wanted)
