"""`vision-batch schedule serve` on a clock that a file shows: nights pass as fast as a test writes them into it.

python -m tests.integration.nights_server CLOCK ARGUMENT…
"""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path

from vision_batch.cli import schedule_serve
from vision_batch.cli.main import main

CLOCK = Path(sys.argv[1])


class FileClock(schedule_serve.WallClock):
    """Shows the time that is written in the file."""

    def now(self) -> datetime:
        return datetime.fromisoformat(CLOCK.read_text())

    def sleep(self, seconds: float) -> None:
        super().sleep(0.1)


if __name__ == "__main__":
    schedule_serve.WallClock = FileClock
    sys.exit(main(["schedule", "serve", *sys.argv[2:]]))
