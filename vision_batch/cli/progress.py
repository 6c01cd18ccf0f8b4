"""A run's progress for people, on standard error: a bar on a terminal, a line every ten seconds anywhere else."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from vision_batch.cli.pace import Pace
from vision_batch.cli.ticker import Ticker, write_line
from vision_batch.cluster.progress import describe
from vision_batch.jobs.reporter import Standing

LINE_EVERY_S = 10.0


class Progress:
    """A `vision_batch.jobs.reporter.Reporter` for people."""

    def __init__(self) -> None:
        self._pace = Pace()
        self._bar: _Bar | None = None
        self._ticker: Ticker | None = None

    def note(self, text: str) -> None:
        if self._bar is not None:
            self._bar.write(text)
        else:
            write_line(text)

    def wait(self, what: str | None) -> None:
        self._pace.wait(what)

    def start(self, standing: Standing) -> None:
        self._pace.start(standing)
        if _has_width():
            self._bar = _Bar(standing)
        else:
            self._ticker = Ticker(LINE_EVERY_S, self.line)

    def expect(self, total: int) -> None:
        self._pace.expect(total)
        if self._bar is not None:
            self._bar.expect(total)

    def advance(self, images: int, failed: int) -> None:
        self._pace.advance(images, failed)
        if self._bar is not None:
            self._bar.advance(images, failed)

    def learn(self, figures: Mapping[str, float]) -> None:
        self._pace.learn(figures)
        if self._bar is not None:
            self._bar.learn(figures)

    def complete(self, shards: int) -> None:
        """People are told of images."""

    def finish(self) -> None:
        if self._bar is not None:
            self._bar.close()
        if self._ticker is not None:
            self._ticker.stop()
        self._bar = self._ticker = None

    def line(self) -> str:
        """Where the run is now."""
        progress = self._pace.progress()
        if progress.images_per_second is None and progress.waiting is None:
            return "waiting for the first batch"
        return describe(progress)


def _has_width() -> bool:
    """Whether standard error is a terminal that a bar fits on; some report a width of nothing."""
    return sys.stderr.isatty() and os.get_terminal_size(sys.stderr.fileno()).columns > 0


class _Bar:
    def __init__(self, standing: Standing) -> None:
        from tqdm import tqdm

        self._bar = tqdm(
            total=standing.images_total,
            initial=standing.images_done,
            unit=" images",
            smoothing=0.1,
            dynamic_ncols=True,
            file=sys.stderr,
        )
        self._failed = standing.images_failed
        self._started = False
        self._figures: dict[str, str] = {}

    def write(self, text: str) -> None:
        self._bar.write(text, file=sys.stderr)

    def expect(self, total: int) -> None:
        self._bar.total = total
        self._bar.refresh()

    def advance(self, images: int, failed: int) -> None:
        if not self._started:  # the rate is that of the work, without the start of Ray
            self._started = True
            self._bar.unpause()
        self._failed += failed
        self._bar.set_postfix({**self._figures, "failed": self._failed}, refresh=False)
        self._bar.update(images)

    def learn(self, figures: Mapping[str, float]) -> None:
        rest = dict(figures)
        self._bar.set_description(f"epoch {rest.pop('epoch', 0):g}/{rest.pop('epochs', 0):g}", refresh=False)
        self._figures = {name: f"{value:.4g}" for name, value in rest.items()}

    def close(self) -> None:
        self._bar.close()
