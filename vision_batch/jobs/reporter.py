"""The seam between a run and whoever watches it."""

from __future__ import annotations

from typing import Protocol


class Reporter(Protocol):
    """Told of a run's progress, in images; called from the thread that runs the job."""

    def note(self, text: str) -> None:
        """Something worth a line: what was chosen, what was skipped, what is tried again."""

    def start(self, total: int | None, resumed: int) -> None:
        """The work begins: `total` images in the input (None: not known yet), `resumed` of them done before."""

    def advance(self, images: int, failed: int) -> None:
        """`images` more have their row computed, `failed` of them as error rows."""

    def finish(self) -> None:
        """The work has ended, well or not."""


class Silent:
    """A reporter that says nothing."""

    def note(self, text: str) -> None:
        pass

    def start(self, total: int | None, resumed: int) -> None:
        pass

    def advance(self, images: int, failed: int) -> None:
        pass

    def finish(self) -> None:
        pass
