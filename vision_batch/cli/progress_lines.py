"""A run's progress for programs: lines of JSON on standard error, for whoever reads the job's log."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType

from vision_batch.cli.pace import Pace
from vision_batch.cli.ticker import Ticker, write_line
from vision_batch.cluster.progress import JobProgress
from vision_batch.jobs.reporter import Standing
from vision_batch.jobs.summary import RunSummary

LINE_EVERY_S = 5.0


class ProgressLines:
    """A `vision_batch.jobs.reporter.Reporter` that writes a progress line every five seconds of its block, planning and
    waiting included, and a last one when that ends, however it does."""

    def __init__(self) -> None:
        self._pace = Pace()
        self._ended: JobProgress | None = None

    def __enter__(self) -> ProgressLines:
        self._ticker = Ticker(LINE_EVERY_S, lambda: self._pace.progress().line())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ticker.stop()
        write_line((self._ended or self._pace.progress()).line())

    def note(self, text: str) -> None:
        write_line(text)

    def wait(self, what: str | None) -> None:
        self._pace.wait(what)

    def start(self, standing: Standing) -> None:
        self._pace.start(standing)

    def expect(self, total: int) -> None:
        self._pace.expect(total)

    def advance(self, images: int, failed: int) -> None:
        self._pace.advance(images, failed)

    def learn(self, figures: Mapping[str, float]) -> None:
        self._pace.learn(figures)

    def complete(self, shards: int) -> None:
        self._pace.complete(shards)

    def finish(self) -> None:
        """What is left to tell is in the summary."""

    def end(self, summary: RunSummary) -> None:
        """How the run ended: what was counted on the way gives way to what was found in the output."""
        total = summary.images_total
        self._ended = JobProgress(
            images_total=self._pace.progress().images_total if total is None else total,
            images_done=summary.images_ok + summary.images_failed,
            images_failed=summary.images_failed,
            images_per_second=summary.images_per_second,
            seconds=round(summary.seconds, 1),
            seconds_left=0 if summary.status == "done" else None,
            shards_total=summary.shards_total,
            shards_done=summary.shards_done,
        )
