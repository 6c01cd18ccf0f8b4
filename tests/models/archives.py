"""Archives of torch.export, honest ones and hostile ones."""

from __future__ import annotations

import functools
import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

GRAPH, SAMPLES = "models/model.json", "data/sample_inputs/model.pt"
WEIGHTS, CONSTANTS = "data/weights/model_weights_config.json", "data/constants/model_constants_config.json"

DYNAMIC_BATCH = ({0: torch.export.Dim("N")},)


class Small(torch.nn.Module):
    """Logits of five classes, with parameters, buffers, a constant and operators that take strings."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = torch.nn.Conv2d(3, 8, 3, padding="same")
        self.norm = torch.nn.BatchNorm2d(8)
        self.dropout = torch.nn.Dropout(0.5)
        self.head = torch.nn.Linear(8, 5)
        self.shift = torch.ones(5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = torch.nn.functional.gelu(self.norm(self.convolution(images)), approximate="tanh")
        x = torch.nn.functional.pad(x, (1, 1, 1, 1), mode="reflect").mean(dim=(2, 3))
        return torch.einsum("bc,oc->bo", self.dropout(x), self.head.weight) + self.shift + torch.tensor(range(5))


def exported(module: torch.nn.Module, example: torch.Tensor | None = None, dynamic: Any = DYNAMIC_BATCH) -> bytes:
    """What torch.export.save writes of `module`."""
    buffer = io.BytesIO()
    images = torch.zeros(2, 3, 16, 16) if example is None else example
    torch.export.save(torch.export.export(module, (images,), dynamic_shapes=dynamic), buffer)
    return buffer.getvalue()


@functools.cache
def honest() -> bytes:
    torch.manual_seed(0)
    return exported(Small().eval())


def members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


def packed(files: dict[str, bytes], root: str = "archive", compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(f"{root}/{name}" if root else name, content)
    return buffer.getvalue()


def changed(member: str, content: bytes | None) -> bytes:
    """The honest archive with one member replaced, added or left out."""
    files = members(honest()) | ({} if content is None else {member: content})
    return packed({name: data for name, data in files.items() if name != member or content is not None})


def edited(member: str, edit: Callable[[Any], None]) -> bytes:
    """The honest archive with one JSON member changed in place."""
    document = json.loads(members(honest())[member])
    edit(document)
    return changed(member, json.dumps(document).encode())


class Writes:
    """Its pickle writes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.path, "executed")


def code_that_writes(path: Path) -> str:
    return f"__import__('pathlib').Path({str(path)!r}).write_text('executed')"


def saved(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def first_size(document: Any) -> dict[str, Any]:
    """The first size in a graph that is an expression."""
    for meta in document["graph_module"]["graph"]["tensor_values"].values():
        for size in meta["sizes"]:
            if "as_expr" in size:
                expression: dict[str, Any] = size["as_expr"]
                return expression
    raise LookupError("no dynamic size")


def hostile(path: Path) -> dict[str, bytes]:
    """Archives that make torch.export.load, or the first call of what it returns, write `path`; by the way they do."""

    def pickled_weight(document: Any) -> None:
        meta = next(iter(document["config"].values()))
        meta["use_pickle"] = True

    def constant(path_name: str) -> Callable[[Any], None]:
        def edit(document: Any) -> None:
            next(iter(document["config"].values())).update(path_name=path_name, use_pickle=True)

        return edit

    def expression(document: Any) -> None:
        first_size(document)["expr_str"] = code_that_writes(path)

    def target(document: Any) -> None:
        graph = document["graph_module"]["graph"]
        graph["tensor_values"]["called"] = next(iter(graph["tensor_values"].values()))
        argument = {"name": "", "arg": {"as_string": f"echo executed > {path}"}, "kind": 1}
        call = {"target": "torch.os.system", "inputs": [argument], "outputs": [{"as_tensor": {"name": "called"}}]}
        graph["nodes"].insert(0, call | {"metadata": {}, "is_hop_single_tensor_return": True, "name": "called"})

    def name(document: Any) -> None:
        text = json.dumps(document)
        code = f"x = {code_that_writes(path)}; y"
        document.clear()
        document.update(json.loads(text.replace('"relu"', json.dumps(code)).replace('"gelu"', json.dumps(code))))

    def with_constant(path_name: str, content: bytes) -> bytes:
        files = members(edited(CONSTANTS, constant(path_name)))
        return packed(files | {f"data/constants/{path_name}": content})

    pickled = pickle.dumps(Writes(path), 2)
    weight = members(edited(WEIGHTS, pickled_weight))
    weight[f"data/weights/{next(iter(json.loads(weight[WEIGHTS])['config'].values()))['path_name']}"] = saved(
        Writes(path)
    )
    return {
        "sample inputs": changed(SAMPLES, saved(Writes(path))),
        "weight": packed(weight),
        "opaque object": with_constant("opaque_obj_0", pickled),
        "size expression": edited(GRAPH, expression),
        "target": edited(GRAPH, target),
        "node name": edited(GRAPH, name),
    }
