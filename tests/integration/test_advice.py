"""What a run says would help is done, and the next run is faster."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from tests.conftest import S3Bucket
from tests.faults.fault_proxy import FaultProxy, Rule
from tests.integration.job import MODEL, Job, digits, write_tar
from vision_batch.jobs.summary import RunSummary
from vision_batch.storage.table import forget_s3

pytestmark = pytest.mark.ray

MakeJob = Callable[..., Job]

FASTER = 1.2
"""How many times as fast a run must be for having done as told."""

SLOW_PREPROCESSING = """
import time

def slow(pixels):
    time.sleep(0.03)
    return pixels
"""


def told(summary: RunSummary, stage: str) -> str:
    """What would help, in the words of a run that `stage` limited."""
    assert summary.bottleneck is not None
    assert summary.bottleneck.startswith(f"{stage}: "), summary.bottleneck
    return summary.bottleneck.split("; ", 1)[1]


def settings_in(advice: str) -> list[str]:
    """The spec's settings that the advice names, as overrides."""
    found = re.findall(r"(compute\.\w+): (\w+)", advice)
    assert found, advice
    return [f"{key}={value}" for key, value in found]


def run_on(cpus: int, it: Job, output: str, *overrides: str) -> RunSummary:
    """The job, into a folder beside its spec or a URI, on a Ray that believes to have so many CPUs."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(_run_on, cpus, it, output, overrides).result()


def _run_on(cpus: int, it: Job, output: str, overrides: Sequence[str]) -> RunSummary:
    import ray
    from ray.cluster_utils import Cluster

    with tempfile.TemporaryDirectory(prefix="vb-") as folder:
        head = {"num_cpus": cpus, "temp_dir": folder, "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        try:
            return it.run(cluster.address, *overrides, output=output if "://" in output else str(it.folder / output))
        finally:
            ray.shutdown()
            cluster.shutdown()


def assert_faster(later: RunSummary, first: RunSummary) -> None:
    assert later.images_ok == first.images_ok
    assert later.images_per_second is not None
    assert first.images_per_second is not None
    assert later.images_per_second > FASTER * first.images_per_second, (first.bottleneck, later.bottleneck)


def test_a_model_that_is_waited_for_wants_more_predictors_which_have_gpus_of_their_own(
    job: MakeJob, ray_address: str
) -> None:
    it = job(code=MODEL.replace("return self.layers", "import time; time.sleep(0.12)\n        return self.layers"))
    for number in range(8):
        write_tar(it.data / f"{number}.tar", digits(100))
    spec = ("compute.layout=split", "compute.gpus_per_predictor=1", "compute.batch_size=20")
    first = it.run(ray_address, *spec, "compute.predictors=1", output=str(it.folder / "first"))
    advised = settings_in(told(first, "model"))
    assert advised == ["compute.predictors=2"]
    later = it.run(ray_address, *spec, *advised)
    assert_faster(later, first)
    pinned = [dict(fact.split("=") for fact in predictor.split()) for predictor in later.predictors]
    assert sorted(p["gpus"] for p in pinned) == ["0", "1"]
    assert len({p["pid"] for p in pinned}) == 2
    assert later.images_ok == 800


@pytest.mark.slow
def test_preprocessing_that_cores_wait_for_wants_more_cpus(job: MakeJob) -> None:
    it = job(preprocess={"resize_px": [28, 28], "function": "slow_code:slow"})
    (it.folder / "slow_code.py").write_text(SLOW_PREPROCESSING)
    for number in range(16):
        write_tar(it.data / f"{number}.tar", digits(50))
    first = run_on(2, it, "first")
    more = re.match(r"(\d) more CPUs", told(first, "preprocess"))
    assert more is not None
    assert_faster(run_on(2 + int(more[1]), it, "later"), first)


@pytest.mark.slow
def test_a_split_layout_whose_preprocessors_are_waited_for_wants_others(job: MakeJob) -> None:
    it = job(preprocess={"resize_px": [28, 28], "function": "slow_code:slow"})
    (it.folder / "slow_code.py").write_text(SLOW_PREPROCESSING)
    for number in range(8):
        write_tar(it.data / f"{number}.tar", digits(100))
    split = ("compute.layout=split", "compute.predictors=1", "compute.preprocessors=1", "compute.batch_size=16")
    first = run_on(4, it, "first", *split)
    assert_faster(run_on(4, it, "later", *split, *settings_in(told(first, "preprocess"))), first)


@pytest.mark.slow
@pytest.mark.s3
def test_slow_input_wants_to_be_read_by_more_predictors(
    job: MakeJob, moto_s3: S3Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    it = job(input={"uri": f"{moto_s3.uri}/data/"})
    client = moto_s3.server.client()
    for number in range(40):
        write_tar(it.folder / "tars" / f"{number}.tar", digits(20))
        content = (it.folder / "tars" / f"{number}.tar").read_bytes()
        client.put_object(Bucket=moto_s3.bucket, Key=f"data/{number}.tar", Body=content)
    client.close()
    with FaultProxy(moto_s3.server.address) as proxy:
        proxy.rules = [Rule(kind="delay", match="^GET .*/data/", s=0.5)]
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        forget_s3()
        first = run_on(4, it, "first", "compute.predictors=1")
        assert_faster(run_on(4, it, "later", *settings_in(told(first, "read"))), first)


@pytest.mark.slow
@pytest.mark.s3
def test_slow_output_wants_a_faster_storage(job: MakeJob, moto_s3: S3Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    it = job()
    for number in range(100):
        write_tar(it.data / f"{number}.tar", digits(5))
    with FaultProxy(moto_s3.server.address) as proxy:
        proxy.rules = [Rule(kind="delay", match=r"^PUT .*/part-", s=1.5)]
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        forget_s3()
        first = run_on(2, it, f"{moto_s3.uri}/first")
        assert told(first, "write").startswith("a faster or nearer output storage")
        proxy.rules = []
        assert_faster(run_on(2, it, f"{moto_s3.uri}/later"), first)
