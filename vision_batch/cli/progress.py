"""A run's progress on standard error: a bar on a terminal, a line every ten seconds anywhere else."""

from __future__ import annotations

import sys
import threading
import time

LINE_EVERY_S = 10.0


class Progress:
    """A `vision_batch.jobs.reporter.Reporter` for people."""

    def __init__(self) -> None:
        self._display: _Bar | _Lines | None = None

    def note(self, text: str) -> None:
        if isinstance(self._display, _Bar):
            self._display.bar.write(text, file=sys.stderr)
        else:
            print(text, file=sys.stderr, flush=True)

    def start(self, total: int | None, resumed: int) -> None:
        self._display = (_Bar if sys.stderr.isatty() else _Lines)(total, resumed)

    def advance(self, images: int, failed: int) -> None:
        if self._display is not None:
            self._display.advance(images, failed)

    def finish(self) -> None:
        if self._display is not None:
            self._display.close()
            self._display = None


class _Bar:
    def __init__(self, total: int | None, resumed: int) -> None:
        from tqdm import tqdm

        self.bar = tqdm(
            total=total, initial=resumed, unit=" images", smoothing=0.1, dynamic_ncols=True, file=sys.stderr
        )
        self._failed = 0

    def advance(self, images: int, failed: int) -> None:
        self._failed += failed
        self.bar.set_postfix(failed=self._failed, refresh=False)
        self.bar.update(images)

    def close(self) -> None:
        self.bar.close()


class _Lines:
    def __init__(self, total: int | None, resumed: int) -> None:
        self._total = total
        self._resumed = self._done = resumed
        self._failed = 0
        self._first: float | None = None
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._tell, name="progress", daemon=True)
        self._thread.start()

    def advance(self, images: int, failed: int) -> None:
        with self._lock:
            self._first = self._first or time.monotonic()
            self._done += images
            self._failed += failed

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    def _tell(self) -> None:
        while not self._stop.wait(LINE_EVERY_S):
            print(self._line(time.monotonic()), file=sys.stderr, flush=True)

    def _line(self, now: float) -> str:
        with self._lock:
            done, failed, first = self._done, self._failed, self._first
        if first is None:
            return "waiting for the first batch"
        rate = (done - self._resumed) / max(now - first, 1e-9)
        text = f"{done:,} of {self._total:,} images" if self._total else f"{done:,} images"
        text += f", {rate:,.0f}/s"
        if self._total and rate > 0:
            text += f", {max(0, self._total - done) / rate:,.0f} s left"
        return f"{text}, {failed:,} failed"
