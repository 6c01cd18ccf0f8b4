"""One module on many workers: each learns from its own images, and all hold the same parameters after every step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.nn.parallel import DistributedDataParallel

from vision_batch.errors import Problem, SpecError
from vision_batch.training.together import Together

SHARD_PARAMETERS = 1_000_000
"""FSDP gathers a module's parameters when it is called. Smaller pieces would cost more messages than memory."""


class Parallel(Protocol):
    """`module` has the parameters; it is to be called through this, and gradients become the mean over the workers."""

    @property
    def module(self) -> nn.Module: ...

    def __call__(self, images: Tensor, *targets: Any) -> Any: ...

    def gathering(self, *, is_last: bool) -> AbstractContextManager[None]:
        """Around forward and backward of one of several batches: only with the last one gradients are exchanged."""


class Alone:
    """A single worker."""

    def __init__(self, module: nn.Module, *, compiled: bool) -> None:
        self.module = module
        self._call = _callable(_Framed(module), compiled=compiled)

    def __call__(self, images: Tensor, *targets: Any) -> Any:
        return self._call(images, *targets)

    def gathering(self, *, is_last: bool) -> AbstractContextManager[None]:
        return nullcontext()


class Replicated:
    """DDP: every worker has all parameters. Before each call the first worker's buffers become everybody's.

    So of batch norm's running statistics those of the first worker's images hold. Parameters that a call does not use
    are found each time; the ones that no worker used get no gradient, as with a single worker.
    """

    def __init__(self, module: nn.Module, device: torch.device, *, compiled: bool) -> None:
        self.module = module
        self._replica = DistributedDataParallel(
            _Framed(module, spare_on=device),
            device_ids=[device] if device.type == "cuda" else None,
            find_unused_parameters=True,
            gradient_as_bucket_view=True,
        )
        self._call = _callable(self._replica, compiled=compiled)

    def __call__(self, images: Tensor, *targets: Any) -> Any:
        return self._call(images, *targets)

    @contextmanager
    def gathering(self, *, is_last: bool) -> Iterator[None]:
        with nullcontext() if is_last else self._replica.no_sync():
            yield


class Sharded:
    """FSDP: every worker has a part of each parameter, gradient and optimizer state. Buffers are its own."""

    def __init__(self, module: nn.Module, *, compiled: bool) -> None:
        """`module` has been through `shard`."""
        self.module = module
        self._call = _callable(_Framed(module), compiled=compiled)

    def __call__(self, images: Tensor, *targets: Any) -> Any:
        return self._call(images, *targets)

    @contextmanager
    def gathering(self, *, is_last: bool) -> Iterator[None]:
        assert isinstance(self.module, FSDPModule)
        self.module.set_requires_gradient_sync(is_last)
        yield


def place(module: nn.Module, together: Together, *, sync_batch_norm: bool) -> nn.Module:
    """`module` on the worker's device, the first worker's values in all of them.

    SpecError for `sync_batch_norm` without a GPU.
    """
    device = together.device
    if sync_batch_norm:
        if device.type != "cuda":
            found = f"true, with a worker on {device.type}"
            expected = "false, or workers with GPUs: torch has no synchronised batch norm elsewhere"
            raise SpecError(Problem("train.sync_batch_norm", found, expected))
        module = nn.SyncBatchNorm.convert_sync_batchnorm(module)  # type: ignore[no-untyped-call]
    module = module.to(device)
    if device.type == "cuda" and all(parameter.dim() < 5 for parameter in module.parameters()):
        # as the images are: else cuDNN rearranges the kernels at every call
        module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    together.spread([*module.parameters(), *module.buffers()])
    return module


def shard(module: nn.Module, together: Together) -> None:
    """Divides the parameters among all workers, piece by piece from the inside out, and then what is left over."""
    mesh = init_device_mesh(together.device.type, (together.workers,))
    for child in module.children():
        _shard_pieces(child, mesh)
    fully_shard(module, mesh=mesh)


def parallel(module: nn.Module, together: Together, *, compiled: bool) -> Parallel:
    """`module`, which `place` and perhaps `shard` have seen, on all workers; `compiled` by torch at its first call."""
    if isinstance(module, FSDPModule):
        return Sharded(module, compiled=compiled)
    if together.workers == 1:
        return Alone(module, compiled=compiled)
    return Replicated(module, together.device, compiled=compiled)


class _Framed(nn.Module):
    """Calls a module from code of ours: torch compiles no function of its own, such as nn.Sequential's, by itself.

    With `spare_on` it has a parameter that nothing uses, without which DDP warns that it looks for such ones in vain.
    """

    def __init__(self, module: nn.Module, *, spare_on: torch.device | None = None) -> None:
        super().__init__()
        self.module = module
        if spare_on is not None:
            self.spare = nn.Parameter(torch.zeros((), device=spare_on))

    def forward(self, images: Tensor, *targets: Any) -> Any:
        return self.module(images, *targets)


def _callable(module: nn.Module, *, compiled: bool) -> Callable[..., Any]:
    return torch.compile(module) if compiled else module


def _shard_pieces(module: nn.Module, mesh: DeviceMesh) -> int:
    """How many parameters of `module` are not in a piece yet."""
    left = sum(_shard_pieces(child, mesh) for child in module.children())
    left += sum(parameter.numel() for parameter in module.parameters(recurse=False))
    if left < SHARD_PARAMETERS or isinstance(module, (nn.ModuleList, nn.ModuleDict)):  # the latter are never called
        return left
    fully_shard(module, mesh=mesh)
    return 0
