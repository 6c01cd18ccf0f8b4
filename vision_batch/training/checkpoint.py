"""Checkpoints of a training, in a folder or on S3: each is there whole or not at all, and checked when it is read."""

from __future__ import annotations

import hashlib
import logging
import math
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from vision_batch.errors import CheckpointError, NotFoundError, StorageError
from vision_batch.storage.object_info import ObjectInfo
from vision_batch.storage.table import storage_for
from vision_batch.storage.uri import join, name, parent, scheme
from vision_batch.training.checkpoint_record import FORMAT, RECORD, SCRATCH, list_checkpoints, read_record, seal_record
from vision_batch.training.state_document import pack_state, unpack_state

FILE_BYTES = 256 << 20
"""A file of tensors gets no larger, but by a single tensor."""
FILES_AT_ONCE = 4
"""So many are in memory, besides the tensors. S3 gives 85 to 90 MB/s to one request
(https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance-design-patterns.html)."""
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A committed one: after optimizer step `step`, its folder's `uri`, and its `score`, more being better."""

    step: int
    uri: str
    score: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A checkpoint with what it holds: the module's tensors and the state, on the CPU."""

    checkpoint: Checkpoint
    tensors: dict[str, Tensor]
    state: Any


class CheckpointStore:
    """The checkpoints of one training: FOLDER/<step, 9 digits>/ with safetensors and, written last, `state.json`.

    That names the other files with their SHA-256 and is itself under a digest, so that it is the commit. Files are
    called by their content, and none is written over by another: a step that is saved again, killed half-way, leaves
    its former checkpoint as it was. One process at a time saves; any may load.
    """

    def __init__(self, folder_uri: str, *, keep_last: int, note: Callable[[str], object] = log.warning) -> None:
        """`note` is told of damaged ones, which cost the steps since the one before."""
        self._folder = folder_uri
        self._note = note
        self._scratch = join(folder_uri, SCRATCH)
        self._storage = storage_for(folder_uri)
        self._keep_last = keep_last
        self._damaged: set[str] = set()

    def save(self, step: int, tensors: Mapping[str, Tensor], state: Any, *, score: float | None) -> Checkpoint:
        """Commits a checkpoint, then sweeps. `tensors` are the module's, `state` is what `pack_state` takes.

        It returns when all is stored, each file by one PUT; StorageError when it could not be. A score that is no
        finite number counts as none. The same weights, saved again without a score, keep the one that they had.
        """
        document, state_tensors = pack_state(state)
        folder = join(self._folder, f"{step:09d}")
        model = self._put_tensors(folder, "model", tensors)
        score = _former_score(folder, model) if score is None or not math.isfinite(score) else score
        record = {
            "format": FORMAT,
            "step": step,
            "score": score,
            "model": model,
            "tensors": self._put_tensors(folder, "state", state_tensors),
            "state": document,
        }
        self._storage.put(join(folder, RECORD), seal_record(record), scratch=self._scratch)
        self._damaged.discard(folder)
        try:
            self.sweep()
        except StorageError as error:
            self._note(f"{error}; older checkpoints may have been left there")
        return Checkpoint(step=step, uri=folder, score=score)

    def latest(self) -> Loaded | None:
        """The newest one that can be loaded; None without any. All of it is compared with its digests.

        LedgerError where one is of another version's format: it is neither taken nor swept.
        """
        return self._first_whole(sorted(self._committed(), key=lambda found: found.step, reverse=True))

    def best(self) -> Loaded | None:
        """The one with the highest score that can be loaded, the earliest of equal ones; None where none has any."""
        scored = [found for found in self._committed() if found.score is not None]
        return self._first_whole(sorted(scored, key=_rank))

    def load(self, checkpoint: Checkpoint) -> tuple[dict[str, Tensor], Any]:
        """The module's tensors and the state, on the CPU; CheckpointError unless it is all as it was saved."""
        record = read_record(checkpoint.uri)
        tensors = self._read_tensors(checkpoint.uri, record["model"])
        state_tensors = self._read_tensors(checkpoint.uri, record["tensors"])
        try:
            return tensors, unpack_state(record["state"], state_tensors)
        except (KeyError, ValueError) as error:
            raise CheckpointError(checkpoint.uri, f"its state does not go with its tensors: {error}") from error

    def sweep(self) -> None:
        """Removes all but the best and the last `keep_last` checkpoints: others, damaged and half-written ones."""
        listed = list(list_checkpoints(self._folder))
        committed = sorted(self._committed(listed), key=lambda found: found.step)
        scored = [found for found in committed if found.score is not None]
        kept = {found.uri for found in [*committed[-self._keep_last :], *sorted(scored, key=_rank)[:1]]}
        named = {uri for folder in kept for uri in self._files(folder)}
        doomed = [info.uri for info in listed if info.uri not in named]
        for uri in sorted(doomed, key=lambda uri: name(uri) != RECORD):  # what commits goes first
            self._storage.delete(uri)
        if not scheme(self._folder):
            for folder in {parent(uri) for uri in doomed}:
                with suppress(OSError):  # a file system keeps empty folders, and one that is not empty
                    os.rmdir(folder)

    def _committed(self, listed: list[ObjectInfo] | None = None) -> Iterator[Checkpoint]:
        """Those with a record that can be read, but what is known to be damaged."""
        for info in list_checkpoints(self._folder) if listed is None else listed:
            folder = parent(info.uri)
            if name(info.uri) != RECORD or folder in self._damaged:
                continue
            try:
                record = read_record(folder)
            except CheckpointError as error:
                self._set_aside(folder, error)
                continue
            yield Checkpoint(step=record["step"], uri=folder, score=record["score"])

    def _first_whole(self, checkpoints: list[Checkpoint]) -> Loaded | None:
        for checkpoint in checkpoints:
            try:
                tensors, state = self.load(checkpoint)
            except CheckpointError as error:
                self._set_aside(checkpoint.uri, error)
                continue
            return Loaded(checkpoint=checkpoint, tensors=tensors, state=state)
        return None

    def _set_aside(self, folder: str, error: CheckpointError) -> None:
        self._damaged.add(folder)
        self._note(f"{error}; the checkpoint before it is taken, if there is one")

    def _files(self, folder: str) -> list[str]:
        record = read_record(folder)
        return [
            join(folder, file) for file in (RECORD, *(file["name"] for file in record["model"] + record["tensors"]))
        ]

    def _put_tensors(self, folder: str, stem: str, tensors: Mapping[str, Tensor]) -> list[dict[str, str]]:
        """Stores tensors in files of about FILE_BYTES; their names and digests."""

        def put(group: dict[str, Tensor]) -> dict[str, str]:
            data = safetensors.torch.save(group)
            digest = hashlib.sha256(data).hexdigest()
            file = f"{stem}-{digest[:16]}.safetensors"
            self._storage.put(join(folder, file), data, scratch=self._scratch)
            return {"name": file, "sha256": digest}

        with ThreadPoolExecutor(FILES_AT_ONCE, "checkpoint") as pool:
            return list(pool.map(put, _groups(tensors)))

    def _read_tensors(self, folder: str, files: list[dict[str, str]]) -> dict[str, Tensor]:
        def read(file: dict[str, str]) -> dict[str, Tensor]:
            try:
                return safetensors.torch.load(self._read_file(folder, file))
            except safetensors.SafetensorError as error:
                raise CheckpointError(join(folder, file["name"]), f"is not safetensors: {error}") from error

        with ThreadPoolExecutor(FILES_AT_ONCE, "checkpoint") as pool:
            return {key: tensor for tensors in pool.map(read, files) for key, tensor in tensors.items()}

    def _read_file(self, folder: str, file: Mapping[str, str]) -> bytes:
        uri = join(folder, file["name"])
        data = self._read(uri)
        if hashlib.sha256(data).hexdigest() != file["sha256"]:
            raise CheckpointError(uri, "is not what was written: its SHA-256 differs")
        return data

    def _read(self, uri: str) -> bytes:
        try:
            return self._storage.read(uri)
        except NotFoundError as error:
            raise CheckpointError(uri, "is not there") from error


def _former_score(folder: str, model: list[dict[str, str]]) -> float | None:
    """The score of the checkpoint that is there, if it has the same weights."""
    try:
        record = read_record(folder)
    except CheckpointError:
        return None
    return record["score"] if record["model"] == model else None


def _rank(checkpoint: Checkpoint) -> tuple[float, int]:
    """Sorts the best first."""
    assert checkpoint.score is not None
    return -checkpoint.score, checkpoint.step


def _groups(tensors: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """The tensors on the CPU, in files' worths. Those that share memory are copied: a file holds each by itself."""
    group: dict[str, Tensor] = {}
    size, seen = 0, set[int]()
    for key, value in tensors.items():
        tensor = value.detach().to("cpu", copy=False).contiguous()
        memory = tensor.untyped_storage().data_ptr()
        if memory in seen or tensor.untyped_storage().nbytes() != tensor.nbytes:
            tensor = tensor.clone()
        seen.add(memory)
        if group and size + tensor.nbytes > FILE_BYTES:
            yield group
            group, size = {}, 0
        group[key] = tensor
        size += tensor.nbytes
    if group:
        yield group
