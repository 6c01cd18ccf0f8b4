"""Are the nodes of a Ray cluster fit to run jobs? Asked by a task on each of them."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from vision_batch import __version__
from vision_batch.cluster.checkup import (
    SHARED_MEMORY,
    check_accelerators,
    check_free_disk,
    check_open_files,
    check_packages,
    check_shared_memory,
    reported_gpus,
)
from vision_batch.cluster.connect import connected
from vision_batch.cluster.finding import Finding, fail, ok, warn
from vision_batch.errors import SpecError

NODE_LIMIT_S = 120.0
"""How long a node may take to answer: it starts a worker first, and with a GPU imports torch."""

HEAD = "node:__internal_head__"
"""The resource that Ray gives the head."""

Node = dict[str, Any]
"""A node as Ray describes it."""


def check_nodes(address: str, requirements: Sequence[str] | None = None) -> Iterator[Finding]:
    """What each live node of the Ray at `address` has; `requirements` as in `check_packages`."""
    with _nodes(address) as (nodes, problems):
        yield from problems
        if nodes:
            yield _size(nodes)
            yield from grouped(_answers(nodes, requirements))


def check_on_a_worker(address: str, check: Callable[[], Sequence[Finding]]) -> Iterator[Finding]:
    """What `check`, which is pickled, finds in a task on a node that is not the head, where there is one."""
    with _nodes(address) as (nodes, problems):
        yield from problems
        for node in sorted(nodes, key=lambda node: HEAD in node["Resources"])[:1]:
            yield from _answer(node, _ask(node, check))


def check_node(expected: str, resources: Mapping[str, float], requirements: Sequence[str] | None) -> list[Finding]:
    """Everything that a node has to say of itself; `expected` are the versions of the others, and Ray offers
    `resources`."""
    found = versions()
    findings = [check_packages(requirements), check_open_files()]
    if found == expected:
        findings.append(ok("versions", found))
    else:
        mend = "give all nodes the same image or environment"
        findings.append(fail("versions", f"{found}; elsewhere {expected}", mend))
    disk = check_free_disk("temporary files", Path(tempfile.gettempdir()))
    if disk.level != "ok":
        findings.append(disk)
    if SHARED_MEMORY.is_dir():
        store_bytes = int(resources.get("object_store_memory", 0))
        findings.append(check_shared_memory(shutil.disk_usage(SHARED_MEMORY).total, store_bytes))
    gpus = reported_gpus()
    if gpus:
        os.environ.pop("CUDA_VISIBLE_DEVICES", None)  # Ray hides GPUs from tasks that ask for none
        findings.append(check_accelerators(gpus))
    offered = int(resources.get("GPU", 0))
    if offered != len(gpus):
        text = f"Ray offers {offered}, the driver reports {len(gpus)}"
        findings.append(warn("gpus", text, "let Ray count them: start the node without --num-gpus"))
    return findings


def grouped(findings: Iterable[Finding]) -> list[Finding]:
    """One finding for all nodes of which the same is to be said; a node's name stands before the first `: `."""
    groups: dict[Finding, list[str]] = {}
    for finding in findings:
        name, _, found = finding.found.partition(": ")
        groups.setdefault(replace(finding, found=found), []).append(name)
    return [
        replace(finding, found=f"{names[0] if len(names) == 1 else f'{len(names)} nodes'}: {finding.found}")
        for finding, names in groups.items()
    ]


@contextmanager
def _nodes(address: str) -> Iterator[tuple[list[Node], list[Finding]]]:
    """The live nodes while connected to their Ray; or why there are none."""
    with ExitStack() as stack:
        try:
            stack.enter_context(connected(address))
        except SpecError as error:
            yield [], [fail("ray", problem.found, f"{problem.where}: {problem.expected}") for problem in error.problems]
            return
        yield [node for node in ray.nodes() if node["Alive"]], []  # type: ignore[no-untyped-call]


def versions() -> str:
    """What has to be the same on all nodes."""
    return f"Python {platform.python_version()}, ray {ray.__version__}, torch {_torch()}, vision-batch {__version__}"


def _torch() -> str:
    try:
        return version("torch")
    except PackageNotFoundError:
        return "missing"


def _size(nodes: Sequence[Node]) -> Finding:
    cpus, gpus = (sum(node["Resources"].get(kind, 0) for node in nodes) for kind in ("CPU", "GPU"))
    text = f"{len(nodes)} nodes with {cpus:g} CPUs and {gpus:g} GPUs"
    if not cpus:
        return warn("ray", text, "give the nodes CPUs, unless an autoscaler adds some when there is work")
    return ok("ray", text)


def _answers(nodes: Sequence[Node], requirements: Sequence[str] | None) -> Iterator[Finding]:
    """Of all nodes, which are asked at the same time."""
    expected = versions()
    asked = [_ask(node, check_node, expected, node["Resources"], requirements) for node in nodes]
    for node, answer in zip(nodes, asked, strict=True):
        yield from _answer(node, answer)


def _ask(node: Node, check: Callable[..., Sequence[Finding]], *arguments: object) -> Any:
    place: Any = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
    task: Any = ray.remote(num_cpus=0, max_retries=0, max_calls=1, scheduling_strategy=place)(_call)
    return task.remote(check, *arguments)


def _call(check: Callable[..., Sequence[Finding]], *arguments: object) -> Sequence[Finding]:
    return check(*arguments)


def _answer(node: Node, answer: Any) -> list[Finding]:
    name = node["NodeManagerAddress"]
    try:
        findings: Sequence[Finding] = ray.get(answer, timeout=NODE_LIMIT_S)
    except GetTimeoutError:
        return [fail("node", f"{name}: no answer within {NODE_LIMIT_S:g} s", "see the node's logs, or replace it")]
    except RayError as error:
        reason = " ".join(str(error).split())[-300:]
        return [fail("node", f"{name}: {reason}", "see the node's logs: its worker processes do not work")]
    return [replace(finding, found=f"{name}: {finding.found}") for finding in findings]
