"""How long ended jobs of this machine are remembered, and what killed processes left of others.

The last `KEPT_JOBS` that ended are, and all that ended within `KEPT_S`: whoever submits by an id that comes from a
time, as the schedule server does, finds its job again when it was away for days, and does not submit it twice.
"""

from __future__ import annotations

import shutil
import time
from contextlib import suppress
from pathlib import Path

from vision_batch.cluster.job_folder import ASIDE, JobFolder
from vision_batch.errors import ClusterError

KEPT_JOBS = 200
KEPT_S = 7 * 86400.0
LEFT_S = 3600.0
"""A folder that is being made or removed for longer than this was left by somebody who died."""


def clean(folder: Path) -> None:
    """Removes the jobs below `folder` that are not remembered any more, and what was left half made or half removed.

    Others may clean at the same time. What cannot be read or removed stays: nobody's submission fails for it.
    """
    for left in folder.glob(f"{ASIDE}*"):
        with suppress(FileNotFoundError):  # another one cleans too
            if time.time() - left.stat().st_mtime > LEFT_S:
                shutil.rmtree(left, ignore_errors=True)
    jobs = [JobFolder(path) for path in folder.glob("[!.]*/")]
    ended = [(when, job) for job in jobs if (when := _ended(job)) is not None]
    for when, job in sorted(ended, key=lambda each: each[0])[:-KEPT_JOBS]:
        if time.time() - when > KEPT_S:
            with suppress(OSError):
                job.remove()


def _ended(job: JobFolder) -> float | None:
    with suppress(OSError, ClusterError):
        return job.ended()
    return None
