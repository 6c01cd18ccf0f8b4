"""What the manifests of a job say of its pods holds for real: Ray and a job run with no more rights than those.

There is no Kubernetes here, but all that it would do to a container: a read-only file system with one place to write,
no capabilities, a network of its own; and KubeRay's way to start Ray, to hand over the entrypoint and to end the head.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.kuberay_profiles import SMALL, package
from tests.integration import machines
from tests.integration.job import MODEL, Job, digits, write_folder
from vision_batch.cluster.kuberay_jobs import job_info
from vision_batch.cluster.kuberay_pods import JOB_FOLDER
from vision_batch.cluster.kuberay_profile import KubeRayProfile
from vision_batch.cluster.manifest import ray_job

pytestmark = [pytest.mark.ray, pytest.mark.slow]

IMAGES = 200
SLOW_MODEL = MODEL.replace(
    "        return self.layers", "        __import__('time').sleep(0.1 * len(images))\n        return self.layers"
)

CONTAINER = """
set -e
ip link set lo up
mount --make-rprivate /
mount -t tmpfs tmpfs "$HOME"
mount --bind "$FOLDER" "$FOLDER"
mount -o remount,ro,bind /
if touch /etc/written 2>/dev/null; then echo "the file system can be written"; exit 1; fi
exec setpriv --no-new-privs --bounding-set -all --inh-caps -all -- bash -ec "$1"
"""
PODS = """
ray() { "$PYTHON" -m ray.scripts.scripts "$@"; }
ray start --head --num-cpus 0 --dashboard-host 0.0.0.0 --disable-usage-stats --temp-dir "$HOME/ray" >&2
ray start --address 127.0.0.1:6379 --num-cpus 2 --disable-usage-stats >&2
submit() {
  if ! ray job status --address "$RAY" $1 >/dev/null 2>&1; then
    ray job submit --address "$RAY" --no-wait --submission-id $1 -- ENTRYPOINT >&2
  fi
  ray job logs --address "$RAY" --follow $1 >&2
}
submit first &
until ls "$FOLDER"/out/*.parquet >/dev/null 2>&1; do sleep 0.2; done
"$PYTHON" -c "from vision_batch.cluster.driver_end import end_drivers; end_drivers('$FOLDER')"
wait $!
submit second
"$PYTHON" - <<END
import json, os
from ray.job_submission import JobSubmissionClient
client = JobSubmissionClient(os.environ["RAY"])
print(json.dumps([vars(client.get_job_info(name)) for name in ("first", "second")], default=str))
END
"""


@pytest.fixture
def home() -> Iterator[Path]:
    """The one place that can be written, with a short name: those of sockets are limited."""
    folder = Path(tempfile.mkdtemp(prefix="vb"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def told(info: dict[str, Any]) -> tuple[str, int | None]:
    """What `status` says of a job of which Ray says `info`, and KubeRay passes it on."""
    deployment = "Complete" if info["status"] == "SUCCEEDED" else "Failed"
    job = made() | {
        "status": {"jobDeploymentStatus": deployment, "jobStatus": info["status"], "message": info["message"]}
    }
    job["metadata"]["creationTimestamp"] = "2026-11-21T03:30:00Z"
    found = job_info(job)
    return found.state, found.exit_code


def made() -> dict[str, Any]:
    profile = KubeRayProfile.model_validate(SMALL)
    return ray_job(profile, package(), name="nightly", job_id="nightly", files="nightly")


@pytest.mark.skipif(bool(machines.missing()), reason=machines.missing())
@pytest.mark.timeout(240)
def test_a_job_runs_and_ends_in_order_with_the_rights_of_its_pods(tmp_path: Path, home: Path) -> None:
    job = Job(tmp_path, {"code": SLOW_MODEL, "compute": {"precision": "fp32", "batch_size": 8}})
    write_folder(job.data, digits(IMAGES))
    python = Path(sys.executable)
    entrypoint = made()["spec"]["entrypoint"].replace(JOB_FOLDER, str(tmp_path)).replace("python", str(python), 1)
    environment = {
        "PATH": f"{python.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "PYTHON": str(python),
        "HOME": str(home),
        "TMPDIR": str(home),
        "FOLDER": str(tmp_path),
        "RAY": "http://127.0.0.1:8265",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
    }
    apart = ("--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
    script = PODS.replace("ENTRYPOINT", entrypoint)
    command = ["unshare", *apart, "bash", "-c", CONTAINER, "container", script]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True, timeout=200)
    first, second = json.loads(done.stdout.splitlines()[-1])
    assert told(first) == ("failed", 130), "a driver that was not asked, or not waited for"
    assert told(second) == ("done", 0)
    assert job.table().num_rows == IMAGES
    stopped, resumed = (json.loads(path.read_text()) for path in sorted((job.output / "_ledger" / "runs").iterdir()))
    assert 0 < stopped["counts"]["images_ok"] < IMAGES
    assert resumed["counts"]["images_resumed"] == stopped["counts"]["images_ok"]
