"""Inputs that change every night: what is new comes, what changed is replaced, what left stays until it is pruned."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from tests.conftest import S3Bucket
from tests.faults.fault_proxy import FaultProxy, Rule
from tests.integration.job import Job, digits, write_folder, write_tar
from vision_batch.jobs.prepare import prepare
from vision_batch.jobs.spec import load_spec
from vision_batch.ledger.definition import claim_definition
from vision_batch.ledger.paths import LedgerPaths
from vision_batch.ledger.recorded import read_recorded
from vision_batch.ledger.verify import verify
from vision_batch.storage.table import forget_s3, storage_for

pytestmark = pytest.mark.ray

MakeJob = Callable[..., Job]
NOWHERE = "127.0.0.1:1"
"""No Ray is there: a run that needs one fails."""


def rows_by_id(table: pa.Table) -> dict[str, dict[str, object]]:
    rows = {row["image_id"]: row for row in table.to_pylist()}
    assert len(rows) == table.num_rows
    return rows


def test_of_a_folder_only_what_changed_is_done_again(job: MakeJob, ray_address: str) -> None:
    it = job()
    images = digits(100)
    write_folder(it.data, images[:70])  # groups of 64 and of 6
    it.run(ray_address)
    first, parts = rows_by_id(it.table()), sorted(it.output.glob("*.parquet"))
    times = {part: part.stat().st_mtime_ns for part in parts}

    (it.data / "00003.jpg").write_bytes(images[90])
    os.utime(it.data / "00004.jpg", (1, 1))
    (it.data / "00005.jpg").unlink()
    (it.data / "new.jpg").write_bytes(images[91])
    second = it.run(ray_address)
    assert (second.status, second.images_resumed, second.images_ok) == ("done", 68, 71)
    assert any("1 file no longer in the input" in warning for warning in second.warnings)
    after = rows_by_id(it.table())
    differing = {name for name in first if after[name] != first[name]}
    assert {"00003.jpg"} <= differing <= {"00003.jpg", "00004.jpg"}, (
        "in a smaller batch scores may differ in a last bit"
    )
    assert after.keys() - first.keys() == {"new.jpg"}
    assert len([part for part in parts if part.stat().st_mtime_ns == times[part]]) == 1
    assert verify(str(it.output), deep=True).ok

    (it.data / "00006.jpg").write_bytes(images[92])
    (it.data / "00007.jpg").write_bytes(images[93])
    third = it.run(ray_address, prune=True)
    assert (third.files_pruned, third.images_resumed, third.images_ok, third.warnings) == (1, 68, 70, ())
    pruned = rows_by_id(it.table())
    assert after.keys() - pruned.keys() == {"00005.jpg"}
    assert {name for name in pruned if after[name] != pruned[name]} == {"00006.jpg", "00007.jpg"}

    (it.data / "00010.jpg").unlink()
    (it.data / "new.jpg").unlink()
    fourth = it.run(NOWHERE, prune=True)
    assert (fourth.status, fourth.files_pruned, fourth.images_total, fourth.images_ok) == ("done", 2, 68, 68)
    assert rows_by_id(it.table()).keys() == {path.name for path in it.data.iterdir()}
    assert verify(str(it.output), deep=True).ok

    (it.data / "00005.jpg").write_bytes(images[94])
    assert it.run(ray_address).images_resumed == 68
    planned = read_recorded(LedgerPaths(str(it.output))).shards.values()
    stored = {path.name for path in Path(it.output, "_ledger", "plan").glob("*.members")}
    assert stored == {shard.group.stored_in for shard in planned if shard.group}, "the others are collected"
    back = rows_by_id(it.table())["00005.jpg"]
    assert (back["shard"], back["row"]) == (first["00005.jpg"]["shard"], first["00005.jpg"]["row"])
    assert verify(str(it.output), deep=True).ok


def table_of(uri: str) -> pa.Table:
    """What a plain reader of the parts sees."""
    storage = storage_for(uri)
    parts = [info.uri for info in storage.list(uri) if info.uri.endswith(".parquet")]
    return pa.concat_tables([pq.read_table(io.BytesIO(storage.read(part))) for part in parts])


def upload_tar(bucket: S3Bucket, job: Job, name: str, images: list[bytes]) -> None:
    write_tar(job.folder / name, images)
    storage_for(bucket.uri).put(f"{bucket.uri}/data/{name}", Path(job.folder / name).read_bytes())


def start(job: Job, *options: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "vision_batch", "run", str(job.spec), *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.s3
@pytest.mark.slow
def test_tars_on_s3_are_replaced_also_when_killed_between_the_old_and_the_new(
    job: MakeJob, moto_s3: S3Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    it = job(input={"uri": f"{moto_s3.uri}/data/"}, output={"uri": f"{moto_s3.uri}/out"})
    images = digits(80)
    upload_tar(moto_s3, it, "a.tar", images[:50])
    upload_tar(moto_s3, it, "b.tar", images[50:60])
    upload_tar(moto_s3, it, "c.tar", images[60:70])
    prepared = prepare(load_spec(it.spec))
    claim_definition(prepared.paths, prepared.definition, cell_rows=20)
    with FaultProxy(moto_s3.server.address) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        forget_s3()
        assert start(it).wait(timeout=120) == 0
        before = table_of(f"{moto_s3.uri}/out")

        upload_tar(moto_s3, it, "a.tar", [images[79], *images[:50]])  # every image moves, some to another cell
        upload_tar(moto_s3, it, "b.tar", images[51:61])
        storage_for(moto_s3.uri).delete(f"{moto_s3.uri}/data/c.tar")
        parts = [prepared.paths.part_name("a.tar", cell) for cell in range(3)]
        proxy.rules = [Rule(kind="silence", match=f"^PUT .*({'|'.join(parts)})")]
        proxy.requests.clear()
        process = start(it)
        wait_for(lambda: any(request.startswith("PUT") and parts[0] in request for request in proxy.requests))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        deleted = [request for request in proxy.requests if request.startswith("DELETE")]
        assert all(any(part in request for request in deleted) for part in parts)
        assert not any(prepared.paths.part_name("b.tar", 0) in request for request in deleted), "one for one: one step"
        between = table_of(f"{moto_s3.uri}/out")
        assert set(Counter(between["shard"].to_pylist())) <= {"b.tar", "c.tar"}
        assert between.filter(pc.equal(between["shard"], "c.tar")).equals(
            before.filter(pc.equal(before["shard"], "c.tar"))
        )

        proxy.rules = []
        assert start(it, "--prune").wait(timeout=120) == 0
        after = table_of(f"{moto_s3.uri}/out")
        report = verify(f"{moto_s3.uri}/out", deep=True)
    assert Counter(after["shard"].to_pylist()) == {"a.tar": 51, "b.tar": 10}
    moved = after.filter(pc.equal(after["shard"], "a.tar")).sort_by("row")["score"].to_pylist()
    stood = before.filter(pc.equal(before["shard"], "a.tar")).sort_by("row")["score"].to_pylist()
    assert moved[1:] == pytest.approx(stood, abs=1e-5)
    assert (report.ok, report.images) == (True, 61)
