"""The seam between a run and whoever watches it."""

from __future__ import annotations

from typing import Protocol


class Reporter(Protocol):
    """Told of a run's progress, in images; called from the thread that runs the job."""

    def note(self, text: str) -> None:
        """Something worth a line: what was chosen, skipped, or is tried again. Any thread may call this one."""

    def start(self, total: int, resumed: int) -> None:
        """The work begins: about `total` images in the input, `resumed` of them done before."""

    def expect(self, total: int) -> None:
        """The number of images in the input is better known now."""

    def advance(self, images: int, failed: int) -> None:
        """`images` more have their row computed, `failed` of them as error rows."""

    def finish(self) -> None:
        """The work has ended, well or not."""


class Silent:
    """A reporter that says nothing."""

    def note(self, text: str) -> None:
        pass

    def start(self, total: int, resumed: int) -> None:
        pass

    def expect(self, total: int) -> None:
        pass

    def advance(self, images: int, failed: int) -> None:
        pass

    def finish(self) -> None:
        pass
