"""What may be inside a `.pt2` archive: read and checked without torch, before torch sees any of it.

torch.export.load runs what an archive says in more ways than one (torch 2.13, `torch/export/pt2_archive/_package.py`
and `torch/_export/serde/serialize.py`): sample inputs, and weights or constants marked `use_pickle`, are unpickled
(weights_only=False, or with it as a fallback); custom and opaque objects are unpickled; AOTInductor members are shared
libraries; sizes are expressions that sympy evaluates with `eval`; names end up in generated source code; a target is
looked up attribute by attribute from `torch`, so `torch.os.system` is one. So an archive is taken apart here: known
members only, plain tensors only, and a graph in which no text can be code (`export_graph`). What is loaded is put
together anew from what was checked, without the sample inputs.
"""

from __future__ import annotations

import io
import json
import pickletools
import re
import zipfile
from collections.abc import Mapping
from typing import Any

from vision_batch.errors import ModelError
from vision_batch.models.export_graph import checked_graph, checked_table

MODEL, SAMPLE_INPUTS = "models/model.json", "data/sample_inputs/model.pt"
CONFIGS = ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json")
TENSOR = re.compile(r"data/(weights/weight_\d+|constants/tensor_\d+)")
MARKS = ("archive_format", "archive_version", ".data/version", "byteorder", ".data/serialization_id")
ALIGNMENT = (".format_version", ".storage_alignment")
EXTRA = "extra/"
REFUSED = {
    "data/aotinductor/": "is compiled code",
    "data/executorch/": "is compiled code",
    "data/constants/custom_obj_": "is a pickled object, which can run any code when it is loaded",
    "data/constants/opaque_obj_": "is a pickled object, which can run any code when it is loaded",
    "data/weights/": "is not a plain tensor",
    "data/constants/": "is not a plain tensor",
    "serialized_": "belongs to the format of torch before 2.8, which is pickled; export the model anew",
}
PLAIN_GLOBALS = re.compile(
    r"torch\._utils _rebuild_(tensor_v2|parameter)|torch [A-Z][A-Za-z]*Storage|torch\.storage (Untyped|Typed)Storage"
    r"|collections OrderedDict|torch\._export\.serde\.serialize _reconstruct_fake_tensor"
)
KEPT = ("archive_format", "archive_version")
END_BYTES = 22


def checked_members(data: bytes, name: str) -> dict[str, bytes]:
    """The members of an archive to load, name to bytes, without the sample inputs and without extra files.

    ModelError, calling the archive `name` and naming the member, for anything that could run code.
    """
    members = _read_zip(data, name)
    kept: dict[str, bytes] = {}
    for member, content in members.items():
        if TENSOR.fullmatch(member) or member in KEPT:
            kept[member] = content
        elif member == SAMPLE_INPUTS:
            _check_pickle(content, name, member)
        elif member in CONFIGS:
            kept[member] = _checked_config(content, name, member)
        elif member == MODEL:
            kept[member] = checked_graph(content, name, member)
        elif member not in (*MARKS, *ALIGNMENT) and not member.startswith(EXTRA):
            raise _refused(name, member, _why(member))
    _check_complete(members, name)
    return kept


def _read_zip(data: bytes, name: str) -> dict[str, bytes]:
    """Members without the archive's own folder. torch stores them as they are, so what is compressed is not torch's."""
    if data[-END_BYTES : 4 - END_BYTES] != b"PK\x05\x06":  # else a cut archive is taken for the last zip inside it
        raise ModelError(f"{name} is not a whole .pt2 archive: a zip's last record is not at its end")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = archive.infolist()
            root = infos[0].filename.partition("/")[0] + "/" if infos else ""
            _check_zip(infos, root, len(data), name)
            return {info.filename.removeprefix(root): archive.read(info) for info in infos}
    except (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError, RuntimeError) as error:
        raise ModelError(f"{name} is not a whole .pt2 archive: {error}") from error


def _check_zip(infos: list[zipfile.ZipInfo], root: str, archive_bytes: int, name: str) -> None:
    seen: set[str] = set()
    for info in infos:
        member = info.filename
        if not member.startswith(root) or ".." in member.split("/") or "\\" in member:
            raise _refused(name, member, "lies outside the archive's folder")
        if member in seen:
            raise _refused(name, member, "is there twice")
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 0x1:
            raise _refused(name, member, "is compressed or encrypted, which torch.export.save never does")
        seen.add(member)
    if sum(info.file_size for info in infos) > archive_bytes:
        raise ModelError(f"{name} is refused: its members claim more bytes than the archive has")


def _check_complete(members: Mapping[str, bytes], name: str) -> None:
    if lacking := [member for member in (MODEL, *CONFIGS, *KEPT) if member not in members]:
        raise ModelError(
            f"{name} has no {lacking[0]}: it is not an archive of torch.export.save "
            "(torch.save, torch.jit and AOTInductor packages are not loaded)"
        )
    if members.get("byteorder", b"little") != b"little":
        raise ModelError(f"{name} was written with byte order {members['byteorder']!r}; export it on this platform")


def _checked_config(content: bytes, name: str, member: str) -> bytes:
    """The table of tensors; each must lie in the archive as plain numbers."""
    try:
        tensors: dict[str, dict[str, Any]] = json.loads(content)["config"]
        pickled = [key for key, meta in tensors.items() if meta["use_pickle"] is not False]
        strangers = [
            key for key, meta in tensors.items() if not re.fullmatch(r"(weight|tensor)_\d+", meta["path_name"])
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _refused(name, member, f"is not what torch.export.save writes ({error!r})") from error
    if pickled:
        raise _refused(name, member, f"has {pickled[0]!r} pickled, which can run any code when it is loaded")
    if strangers:
        raise _refused(name, member, f"has {strangers[0]!r}, which is not a plain tensor")
    return checked_table(content, name, member)


def _check_pickle(content: bytes, name: str, member: str) -> None:
    """Sample inputs are always pickled, so they are never loaded; more than tensors in them marks a hostile archive."""
    if not content:
        return
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            pickles = [archive.read(info) for info in archive.infolist() if info.filename.endswith("data.pkl")]
        wanted = [
            _imported(opcode.name, value) for pickle in pickles for opcode, value, _ in pickletools.genops(pickle)
        ]
    except (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError, RuntimeError) as error:
        raise _refused(name, member, f"is not what torch.export.save writes ({error})") from error
    for found in filter(None, wanted):
        if not PLAIN_GLOBALS.fullmatch(found):
            raise _refused(name, member, f"is a pickle that calls {found}, and would run it when it is loaded")


def _imported(opcode: str, value: Any) -> str | None:
    """What an opcode of a pickle imports: `module name`, None for the harmless ones."""
    if opcode == "GLOBAL":
        return str(value)
    return opcode if opcode in ("STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4") else None


def _why(member: str) -> str:
    reasons = (reason for prefix, reason in REFUSED.items() if member.startswith(prefix))
    return next(reasons, "is not part of an archive of torch.export.save")


def _refused(name: str, member: str, reason: str) -> ModelError:
    return ModelError(f"{name} is refused: its member {member} {reason}")
