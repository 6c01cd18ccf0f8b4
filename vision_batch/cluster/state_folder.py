"""Where this user's own state lies: jobs of this machine, and schedules."""

from __future__ import annotations

import os
from pathlib import Path


def state_folder() -> Path:
    """`vision-batch` below XDG_STATE_HOME, or below what the XDG specification says stands for it."""
    state = os.environ.get("XDG_STATE_HOME", "")
    base = Path(state) if os.path.isabs(state) else Path.home() / ".local" / "state"
    return base / "vision-batch"
