"""The names of a model's classes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from vision_batch.errors import ForbiddenError, NotFoundError, Problem, SpecError
from vision_batch.storage.table import storage_for
from vision_batch.storage.uri import normalise


def read_labels(labels: list[str] | str | None, folder: Path) -> tuple[str, ...] | None:
    """The names, class index to name, from a list or from a UTF-8 file with one name a line.

    SpecError if there is no such file, a name is empty or given twice, or there are none.
    """
    if labels is None:
        return None
    names = _lines(labels, folder) if isinstance(labels, str) else list(labels)
    if not names:
        raise SpecError(Problem("model.labels", "no names", "one name per class"))
    problems = [
        Problem(f"model.labels[{index}]", "an empty name", "one name per class")
        for index, name in enumerate(names)
        if not name.strip()
    ]
    problems += [
        Problem("model.labels", f"{name!r} {count} times", "every class its own name")
        for name, count in Counter(names).items()
        if count > 1 and name.strip()
    ]
    if problems:
        raise SpecError(problems)
    return tuple(names)


def _lines(path: str, folder: Path) -> list[str]:
    uri = normalise(path, folder)
    try:
        return storage_for(uri).read(uri).decode("utf-8-sig").splitlines()
    except (NotFoundError, ForbiddenError) as error:
        raise SpecError(Problem("model.labels", str(error), "a readable file with one name a line")) from error
    except UnicodeDecodeError as error:
        raise SpecError(Problem("model.labels", f"{uri} is not UTF-8", "a text file with one name a line")) from error
