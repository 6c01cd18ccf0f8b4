"""The seam between a run and whoever watches it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a run begins: about `images_total` in the input, of which `images_done` have their row already.

    In a training every epoch counts its images anew.
    """

    images_total: int
    images_done: int
    images_failed: int = 0
    shards_total: int = 0
    shards_done: int = 0


class Reporter(Protocol):
    """Told of a run's progress, in images; called from the thread that runs the job."""

    def note(self, text: str) -> None:
        """Something worth a line: what was chosen, skipped, or is tried again. Any thread may call this one."""

    def wait(self, what: str | None) -> None:
        """The run waits, as `for 1 GPU`; None when it goes on. Any thread may call this one."""

    def start(self, standing: Standing) -> None:
        """The work begins."""

    def expect(self, total: int) -> None:
        """The number of images in the input is better known now."""

    def advance(self, images: int, failed: int) -> None:
        """`images` more have their row computed, `failed` of them as error rows."""

    def learn(self, figures: Mapping[str, float]) -> None:
        """How a training goes: its `epoch` of `epochs`, both from 1, its `loss`, and the latest metrics by name."""

    def complete(self, shards: int) -> None:
        """So many shards have all their rows by now."""

    def finish(self) -> None:
        """The work has ended, well or not."""


class Silent:
    """A reporter that says nothing."""

    def note(self, text: str) -> None:
        pass

    def wait(self, what: str | None) -> None:
        pass

    def start(self, standing: Standing) -> None:
        pass

    def expect(self, total: int) -> None:
        pass

    def advance(self, images: int, failed: int) -> None:
        pass

    def learn(self, figures: Mapping[str, float]) -> None:
        pass

    def complete(self, shards: int) -> None:
        pass

    def finish(self) -> None:
        pass
