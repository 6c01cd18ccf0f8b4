"""How many workers train, what each has of the cluster, and who decodes for them."""

from __future__ import annotations

from dataclasses import dataclass

from vision_batch.errors import Problem, SpecError
from vision_batch.inference.layout import CPUS_PER_PREPROCESSOR, CPUS_TO_FEED_A_GPU, Node, Place, Resources, room
from vision_batch.training.settings import TrainComputeSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainLayout:
    """Which processes there are and what Ray reserves for each.

    `workers` is the fewest and the most; with more of the one than of the other the training is elastic.
    joined: every worker reads and decodes for itself, in `decode_threads` threads.
    split: `preprocessors`, on any node, read and decode for all workers, in `decode_threads` threads each.
    """

    name: str
    reason: str
    workers: tuple[int, int]
    cpus_per_worker: int
    gpus_per_worker: int
    decode_threads: int
    preprocessors: int = 0
    cpus_per_preprocessor: int = 0

    @property
    def place(self) -> Place:
        """What one worker takes of a node."""
        return Place(cpus=self.cpus_per_worker, gpus=self.gpus_per_worker)


def choose_train_layout(resources: Resources, compute: TrainComputeSettings, *, patient: bool = False) -> TrainLayout:
    """The layout for these resources; what the spec says outright wins.

    Left to itself it is a worker for each GPU, or where there are none, one on each node: measured with a ResNet-18 on
    2 cores, one worker learns from 43 images/s and two from 33, because they compute less at once and add up their
    gradients. With `patient` the spec may ask for more than there is, as on a cluster whose nodes come and go.
    SpecError for what cannot be placed.
    """
    if not resources.cpus:
        raise SpecError(Problem("resources", "no CPU that Ray may use", "at least one"))
    gpus = _gpus_each(resources, compute, patient)
    nodes = [node for node in resources.nodes if node.cpus and node.gpus >= gpus]
    cpus = 1 if compute.cpus_per_worker == "auto" else compute.cpus_per_worker
    least = Place(cpus=cpus, gpus=gpus)
    most = room(Resources(nodes=tuple(nodes)), least)
    workers = _workers(compute, nodes, most, least, patient)
    there = max(1, min(workers[1], most))
    name, reason = _name(resources, compute, nodes, there, gpus)
    if name == "joined":
        if compute.cpus_per_worker == "auto":
            cpus = _cpus_each(nodes, there, gpus)
        return TrainLayout(
            name=name,
            reason=reason,
            workers=workers,
            cpus_per_worker=cpus,
            gpus_per_worker=gpus,
            decode_threads=cpus,
        )
    preprocessors, each = _preprocessors(resources, compute, least, there, min(there, workers[0]), patient)
    return TrainLayout(
        name=name,
        reason=reason,
        workers=workers,
        cpus_per_worker=cpus,
        gpus_per_worker=gpus,
        decode_threads=each,
        preprocessors=preprocessors,
        cpus_per_preprocessor=each,
    )


def _gpus_each(resources: Resources, compute: TrainComputeSettings, patient: bool) -> int:
    has_gpus = any(node.cpus and node.gpus for node in resources.nodes)
    if compute.gpus_per_worker == "auto":
        return int(has_gpus)
    if compute.gpus_per_worker and not has_gpus and not patient:
        expected = "a node with a GPU, and a CPU for Ray beside it; or 0, to train on CPUs"
        raise SpecError(Problem("compute.gpus_per_worker", str(compute.gpus_per_worker), expected))
    return compute.gpus_per_worker


def _workers(
    compute: TrainComputeSettings, nodes: list[Node], most: int, place: Place, patient: bool
) -> tuple[int, int]:
    if compute.workers == "auto":
        wanted = most if place.gpus else min(len(nodes), most)
        fewest, largest = max(1, wanted), max(1, wanted)
    elif isinstance(compute.workers, int):
        fewest, largest = compute.workers, compute.workers
    else:
        fewest, largest = compute.workers
    if fewest > most and not patient:
        there = f"{sum(node.cpus for node in nodes)} CPUs"
        there += f" and {sum(node.gpus for node in nodes)} GPUs" if place.gpus else ""
        raise SpecError(Problem("compute.workers", str(fewest), f"at most {most}: there are {there}, {place} each"))
    return fewest, largest


def _name(
    resources: Resources, compute: TrainComputeSettings, nodes: list[Node], workers: int, gpus: int
) -> tuple[str, str]:
    if compute.layout != "auto":
        return compute.layout, "the spec asks for it"
    if compute.preprocessors != "auto":
        return "split", "the spec asks for preprocessors"
    if not gpus:
        return "joined", "without GPUs the workers' own CPUs are all that there is to decode with"
    beside = sum(node.cpus for node in nodes) / workers
    elsewhere = resources.cpus - sum(node.cpus for node in nodes)
    if beside < CPUS_TO_FEED_A_GPU and elsewhere > 0:
        return "split", f"{beside:.3g} CPUs beside a worker cannot feed it, and {elsewhere} CPUs are on other nodes"
    return "joined", f"{beside:.3g} CPUs beside each worker; no image leaves its process"


def _cpus_each(nodes: list[Node], workers: int, gpus: int) -> int:
    """The most CPUs that each of so many workers can have."""
    there = Resources(nodes=tuple(nodes))
    largest = max((node.cpus for node in nodes), default=1)
    return next((cpus for cpus in range(largest, 1, -1) if room(there, Place(cpus=cpus, gpus=gpus)) >= workers), 1)


def _preprocessors(
    resources: Resources, compute: TrainComputeSettings, place: Place, workers: int, fewest: int, patient: bool
) -> tuple[int, int]:
    """How many preprocessors, and how many CPUs each, beside so many workers, of which each has one at least."""
    free, left = [], workers
    for node in sorted(resources.nodes, key=lambda node: (node.gpus, node.cpus), reverse=True):
        here = min(left, room(Resources(nodes=(node,)), place))
        left -= here
        free.append(node.cpus - here * place.cpus)
    if sum(free) < fewest and not patient:
        found = f"split with {resources.cpus} CPUs and {workers} workers of {place}"
        raise SpecError(Problem("compute.layout", found, "a CPU more for each worker, or layout: joined"))
    wanted = compute.preprocessors
    if wanted == "auto":
        each = _most_cpus(free, min(CPUS_PER_PREPROCESSOR, max(free)), workers)
        return max(fewest, sum(cpus // each for cpus in free)), each
    if wanted < fewest:
        raise SpecError(Problem("compute.preprocessors", str(wanted), f"at least {fewest}: one for each worker"))
    if wanted > sum(free) and not patient:
        expected = f"at most {sum(free)}: one CPU each beside the workers"
        raise SpecError(Problem("compute.preprocessors", str(wanted), expected))
    return wanted, _most_cpus(free, max(free), wanted)


def _most_cpus(free: list[int], most: int, wanted: int) -> int:
    """The most CPUs that each of so many processes can have on nodes with so many free."""
    return next((cpus for cpus in range(most, 1, -1) if sum(here // cpus for here in free) >= wanted), 1)
