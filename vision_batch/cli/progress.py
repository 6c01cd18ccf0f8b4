"""A run's progress on standard error: a bar on a terminal, a line every ten seconds anywhere else."""

from __future__ import annotations

import os
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

    def start(self, total: int, resumed: int) -> None:
        self._display = (_Bar if _has_width() else _Lines)(total, resumed)

    def expect(self, total: int) -> None:
        if self._display is not None:
            self._display.expect(total)

    def advance(self, images: int, failed: int) -> None:
        if self._display is not None:
            self._display.advance(images, failed)

    def finish(self) -> None:
        if self._display is not None:
            self._display.close()
            self._display = None


def _has_width() -> bool:
    """Whether standard error is a terminal that a bar fits on; some report a width of nothing."""
    return sys.stderr.isatty() and os.get_terminal_size(sys.stderr.fileno()).columns > 0


class _Bar:
    def __init__(self, total: int, resumed: int) -> None:
        from tqdm import tqdm

        self.bar = tqdm(
            total=total, initial=resumed, unit=" images", smoothing=0.1, dynamic_ncols=True, file=sys.stderr
        )
        self._failed = 0
        self._started = False

    def expect(self, total: int) -> None:
        self.bar.total = total
        self.bar.refresh()

    def advance(self, images: int, failed: int) -> None:
        if not self._started:  # the rate is that of the work, without the start of Ray
            self._started = True
            self.bar.unpause()
        self._failed += failed
        self.bar.set_postfix(failed=self._failed, refresh=False)
        self.bar.update(images)

    def close(self) -> None:
        self.bar.close()


class _Lines:
    def __init__(self, total: int, resumed: int) -> None:
        self._total = total
        self._before = self._done = resumed
        self._failed = 0
        self._first: float | None = None
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._tell, name="progress", daemon=True)
        self._thread.start()

    def expect(self, total: int) -> None:
        with self._lock:
            self._total = total

    def advance(self, images: int, failed: int) -> None:
        with self._lock:
            self._done += images
            if self._first is None:  # the rate counts from here on: this batch waited for Ray to start
                self._first, self._before = time.monotonic(), self._done
            self._failed += failed

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    def _tell(self) -> None:
        while not self._stop.wait(LINE_EVERY_S):
            print(self._line(time.monotonic()), file=sys.stderr, flush=True)

    def _line(self, now: float) -> str:
        with self._lock:
            done, failed, first, total = self._done, self._failed, self._first, self._total
        if first is None:
            return "waiting for the first batch"
        rate = (done - self._before) / max(now - first, 1e-9)
        left = f"{max(0, total - done) / rate:,.0f} s left, " if rate > 0 else ""
        return f"{done:,} of about {total:,} images, {rate:,.0f}/s, {left}{failed:,} failed"
