"""Every error that vision-batch raises, split by what the caller does about it.

VisionBatchError
├── SpecError              the spec, an option or the environment is wrong: nothing starts, exit 2
│   └── DefinitionError    the output belongs to another definition
├── ImageError             one image cannot be used: becomes its error row, never stops a run
├── StorageError           the storage could not do it
│   ├── NotFoundError      there is no such object (404)
│   ├── ForbiddenError     no permission (401, 403)
│   ├── ChangedError       the object is not the version that was planned (412)
│   ├── ExistsError        put if absent, and it is there already
│   ├── TooLargeError      the object has more bytes than were asked for
│   └── UnavailableError   5xx, resets, cut bodies, time-outs: after all retries
├── LedgerError            a file of the ledger cannot be understood, or says what cannot be: the run fails, exit 1
│   ├── PartError          a Parquet file of the output is not a readable part
│   └── PartConflictError  a cell's part is there already and belongs to something else
├── ShardError             a shard does not fit its output, or kills its readers: it stays undone, exit 4
├── CheckpointError        a checkpoint of a training is damaged: the one before it is taken
├── ModelError             the model cannot be loaded, or does not answer as its task needs: the run fails, exit 1
├── CrashError             a shard's work kills its processes and no image is to blame: it stays undone
├── DeviceError            the accelerator failed (not an image's fault): the actor starts anew
├── EngineError            Ray gave up on a pass; what was committed stays, the run loop looks and tries again
├── ClusterError           a cluster cannot be reached, refuses, or knows no such job: nothing changed there, exit 1
├── ScheduleError          the state of the schedules cannot be read or written: nothing changed there, exit 1
└── HeldError              another run holds the output, exit 5
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

ErrorCode = Literal[
    "empty",
    "missing",
    "unreadable",
    "truncated",
    "unsupported",
    "too_large",
    "forbidden",
    "invalid_label",
    "model_error",
    "worker_killed",
]


class VisionBatchError(Exception):
    """The root: catching it catches everything that vision-batch raises on purpose."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a spec: where, what was found, what is expected.

    `found` is empty where the expectation says it, as of parts of a section that do not agree.
    """

    where: str
    found: str
    expected: str

    def __str__(self) -> str:
        found = f"found {self.found}; " if self.found else ""
        return f"{self.where}: {found}expected {self.expected}"


class SpecError(VisionBatchError):
    """The spec, an option or the environment is wrong. Carries every problem at once."""

    def __init__(self, problems: Sequence[Problem] | Problem) -> None:
        self.problems = (problems,) if isinstance(problems, Problem) else tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.problems,)


class DefinitionError(SpecError):
    """The output belongs to another definition; the problems are what differs."""


class ImageError(VisionBatchError):
    """One image cannot be used. `width` and `height` are of the full image in pixels, where known."""

    def __init__(self, code: ErrorCode, message: str, *, width: int | None = None, height: int | None = None) -> None:
        super().__init__(message)
        self.code: ErrorCode = code
        self.message = message
        self.width = width
        self.height = height

    def __reduce__(self) -> tuple[Any, ...]:
        return _image_error, (self.code, self.message, self.width, self.height)


def _image_error(code: ErrorCode, message: str, width: int | None, height: int | None) -> ImageError:
    return ImageError(code, message, width=width, height=height)


class _AboutObject(Exception):
    """Mixed into errors about one stored object: `uri` names it, `message` says what is wrong with it."""

    def __init__(self, uri: str, message: str) -> None:
        super().__init__(f"{uri}: {message}")
        self.uri = uri
        self.message = message

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.uri, self.message)


class StorageError(_AboutObject, VisionBatchError):
    """The storage could not do what was asked; `uri` names the object."""


class NotFoundError(StorageError):
    """There is no such object."""


class ForbiddenError(StorageError):
    """The credentials at hand may not do this."""


class ChangedError(StorageError):
    """The object is not the version that was asked for."""


class ExistsError(StorageError):
    """A put that demanded absence found an object there."""


class TooLargeError(StorageError):
    """The object has more bytes than were asked for, and was not read."""


class UnavailableError(StorageError):
    """The storage did not answer properly, after all retries."""


class LedgerError(_AboutObject, VisionBatchError):
    """A file of the ledger cannot be understood, or says what cannot be; `uri` names it."""


class PartError(LedgerError):
    """A Parquet file of the output is not a readable part: foreign, or damaged."""


class PartConflictError(LedgerError):
    """A cell's part is there already and is of another version or definition."""


class ShardError(_AboutObject, VisionBatchError):
    """A shard cannot become rows of this output; `uri` names its file or group."""


class CheckpointError(_AboutObject, VisionBatchError):
    """A stored checkpoint is not what was saved; `uri` names its file."""


class ModelError(VisionBatchError):
    """The model cannot be loaded, or does not answer as its task needs."""


class CrashError(VisionBatchError):
    """The processes that do a shard's work die one after the other, and no single image can be blamed for it."""


class DeviceError(VisionBatchError):
    """The accelerator failed; no image is to blame."""


class EngineError(VisionBatchError):
    """Ray gave up on a pass: a device failed, a worker died too often, a node vanished."""


class ClusterError(VisionBatchError):
    """The service that looks after a cluster's jobs did not do what was asked."""


class ScheduleError(VisionBatchError):
    """The state of the schedules cannot be read or written."""


class HeldError(VisionBatchError):
    """Another run holds the output."""
