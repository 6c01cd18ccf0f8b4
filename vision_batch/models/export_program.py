"""An exported program as a module. Importing this imports torch."""

from __future__ import annotations

import io
from typing import Any

import torch
from torch.export.passes import move_to_device_pass
from torch.export.pt2_archive import PT2ArchiveWriter

from vision_batch.errors import ModelError
from vision_batch.models.export_archive import checked_members

DYNAMIC = "torch.export.export(model.eval(), (images,), dynamic_shapes=({0: torch.export.Dim('N')},))"
TRAINING_ARGUMENT: dict[Any, int] = {torch.ops.aten.dropout.default: 2, torch.ops.aten.batch_norm.default: 5}


class Program(torch.nn.Module):
    """Float32 images (N, 3, H, W), normalised, to what the exported program returns, for any N of at least 1."""

    def __init__(self, program: torch.export.ExportedProgram) -> None:
        super().__init__()
        self._program = program
        self._module = program.module(check_guards=False)

    def forward(self, images: torch.Tensor) -> Any:
        return self._module(images)

    def train(self, mode: bool = True) -> Program:
        """A program's mode is fixed when it is exported; this changes nothing."""
        return self

    def to(self, *args: Any, **kwargs: Any) -> Program:
        """To another device, with the constants inside the graph, which Module.to does not know of."""
        device, _dtype, _non_blocking, _memory_format = torch._C._nn._parse_to(*args, **kwargs)
        if device is not None:
            self._program = move_to_device_pass(self._program, device)
            self._module = self._program.module(check_guards=False)
        return self


def load_program(data: bytes, name: str) -> Program:
    """The program in a `.pt2` archive; ModelError, calling it `name`, if it is refused or cannot be loaded."""
    clean = io.BytesIO()
    with PT2ArchiveWriter(clean) as writer:
        for member, content in checked_members(data, name).items():
            writer.write_bytes(member, content)
        writer.write_bytes("data/sample_inputs/model.pt", b"")
    clean.seek(0)
    try:
        program = torch.export.load(clean)
    except (RuntimeError, ValueError, AssertionError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{name} cannot be loaded with torch {torch.__version__}: {error}") from error
    _check_program(program, name)
    return Program(program)


def _check_program(program: torch.export.ExportedProgram, name: str) -> None:
    """ModelError unless the program takes one batch of images, of any size, and is in the mode for inference."""
    inputs = [node for node in program.graph.nodes if node.name in program.graph_signature.user_inputs]
    if len(inputs) != 1 or not isinstance(inputs[0].meta["val"], torch.Tensor):
        raise ModelError(f"{name} takes {len(inputs)} inputs; expected one tensor of images (N, 3, H, W)")
    shape = inputs[0].meta["val"].shape
    if len(shape) != 4 or shape[1] != 3:
        raise ModelError(f"{name} takes a tensor of shape {tuple(shape)}; expected images (N, 3, H, W)")
    if isinstance(shape[0], int):
        raise ModelError(f"{name} takes batches of exactly {shape[0]}; export it with a dynamic batch: {DYNAMIC}")
    if any(_trains(node) for node in program.graph.nodes):
        raise ModelError(
            f"{name} was exported in training mode (dropout or batch statistics); export it with {DYNAMIC}"
        )


def _trains(node: torch.fx.Node) -> bool:
    """Whether a node drops out or takes statistics from the batch; `training` is the argument of that position."""
    position = TRAINING_ARGUMENT.get(node.target)
    return position is not None and len(node.args) > position and node.args[position] is True
