"""Which format an input has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice

from vision_batch.datasets.listing import list_input
from vision_batch.datasets.naming import extension
from vision_batch.datasets.settings import InputSettings
from vision_batch.datasets.table import AUTO, FORMATS
from vision_batch.errors import Problem, SpecError
from vision_batch.storage.object_info import ObjectInfo

OBJECTS_LOOKED_AT = 10_000


def detect_format(settings: InputSettings) -> str:
    """The format of the first 10,000 objects; the one that the spec names, once an object of it is seen.

    SpecError when nothing there can be used, and when `auto` meets several formats: the second one ends the search.
    """
    auto = settings.format == "auto"
    wanted = list(AUTO) if auto else [settings.format]
    share = -(-OBJECTS_LOOKED_AT // len(settings.inputs))
    seen: Counter[str] = Counter()
    found: dict[str, str] = {}
    for info in _objects(settings, share):
        seen[extension(info.uri)] += 1
        found |= {name: info.uri for name in wanted if name not in found and FORMATS[name].is_member(info.uri)}
        if len(found) > 1:
            raise _several(found)
        if found and not auto:
            return settings.format
    if found:
        return next(iter(found))
    if not auto and sum(seen.values()) >= share:  # it may come later; whoever lists everything will see
        return settings.format
    raise nothing_usable(seen, wanted)


def nothing_usable(seen: Counter[str], formats: Iterable[str]) -> SpecError:
    """The error for an input without a single file of `formats`; `seen` counts its files by extension."""
    if seen:
        counts = ", ".join(
            f"{count} {f'.{name}' if name else 'without extension'}" for name, count in seen.most_common(8)
        )
        found = f"no file of a known kind among {sum(seen.values())}: {counts}"
    else:
        found = "no files"
    known = "; ".join(f"{name}: {' '.join(f'.{e}' for e in FORMATS[name].extensions)}" for name in formats)
    return SpecError(Problem("input.uri", found, known))


def _objects(settings: InputSettings, share: int) -> Iterator[ObjectInfo]:
    """The first objects of every input, so that a large one does not hide the others."""
    for entry in settings.inputs:
        yield from islice(list_input(entry.uri, settings.format), share)


def _several(found: dict[str, str]) -> SpecError:
    what = " and ".join(f"{name} ({uri})" for name, uri in found.items())
    return SpecError(Problem("input.format", f"auto, with files of several formats: {what}", " or ".join(found)))
