"""A job's archive holds this version of vision-batch, the job's files, and nothing else."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from pathlib import Path

import vision_batch
from vision_batch.cluster.archive import archive, archive_name
from vision_batch.cluster.package import JobPackage

PACKAGE = JobPackage(
    name="n",
    files={"spec.yaml": b"job: predict", "parts/net.py": b""},
    arguments=("run", "spec.yaml"),
    output="s3://b/o",
)


def members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        return {name: file.read(name) for name in file.namelist()}


def test_it_holds_the_package_and_the_job() -> None:
    found = members(archive(PACKAGE))
    root = Path(vision_batch.__file__).parent
    assert {name: found.pop(name) for name in ("job/spec.yaml", "job/parts/net.py")} == {
        "job/spec.yaml": b"job: predict",
        "job/parts/net.py": b"",
    }
    own = {path.relative_to(root.parent).as_posix() for path in root.rglob("*") if path.is_file()}
    assert set(found) == {name for name in own if "__pycache__" not in name}
    assert found["vision_batch/cluster/archive.py"] == (root / "cluster" / "archive.py").read_bytes()


def test_the_same_package_gives_the_same_bytes_and_name() -> None:
    assert archive(PACKAGE) == archive(PACKAGE)
    assert archive_name(archive(PACKAGE)) == archive_name(archive(PACKAGE))
    assert archive_name(b"1") != archive_name(b"2")


def test_it_runs_where_it_is_unpacked_whatever_lies_beside_the_spec(tmp_path: Path) -> None:
    """As on the cluster: the archive is the working directory and stands first in PYTHONPATH."""
    with zipfile.ZipFile(io.BytesIO(archive(PACKAGE))) as file:
        file.extractall(tmp_path)
    (tmp_path / "job" / "yaml.py").write_text("raise SystemExit('a plug-in in the place of an installed module')")
    done = subprocess.run(
        [sys.executable, "-P", "-c", "import yaml, vision_batch; print(vision_batch.__file__)"],
        cwd=tmp_path / "job",
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str(tmp_path / "vision_batch" / "__init__.py")
