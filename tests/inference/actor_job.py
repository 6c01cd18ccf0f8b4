"""A job for actors that are called as Ray would call them, without Ray."""

from __future__ import annotations

from pathlib import Path

from tests.integration.job import MODEL, digits, write_tar
from vision_batch.datasets.settings import InputSettings
from vision_batch.datasets.table import format_named
from vision_batch.images.settings import PreprocessSettings
from vision_batch.inference.job import PredictJob
from vision_batch.inference.layout import Layout
from vision_batch.ledger.lease import Lease
from vision_batch.ledger.patch import Patch
from vision_batch.ledger.paths import LedgerPaths
from vision_batch.ledger.plan import make_plan
from vision_batch.ledger.state import Work
from vision_batch.models.bundle import resolve_model
from vision_batch.models.settings import ModelSettings
from vision_batch.tasks.settings import TaskSettings

RUN = "run"
CELL_ROWS, BATCH_ROWS = 64, 20

LAYOUT = Layout(
    name="split",
    reason="the test asks for it",
    predictors=1,
    cpus_per_predictor=1,
    gpus_per_predictor=0,
    preprocessors=1,
    cpus_per_preprocessor=1,
    decode_threads=2,
    batch_rows=BATCH_ROWS,
)


def make_job(folder: Path, code: str = MODEL, labels: list[str] | None = None) -> PredictJob:
    """One tar of 101 digits, number 25 empty."""
    (folder / "model_code.py").write_text(code)
    images = digits(101)
    images[25] = b""
    write_tar(folder / "data" / "a.tar", images)
    paths = LedgerPaths(str(folder / "out"))
    Lease(paths, RUN).take(print, patience_s=0)
    return PredictJob(
        paths=paths,
        run_id=RUN,
        definition="0" * 64,
        input=InputSettings(uri=str(folder / "data"), format="webdataset"),
        format="webdataset",
        preprocess=PreprocessSettings(resize_px=(28, 24)),
        function=None,
        model=resolve_model(ModelSettings(source="python:model_code:build", labels=labels), folder),
        task=TaskSettings(type="classification", top_k=2),
        max_pixels=10**6,
        precision="fp32",
        cell_rows=CELL_ROWS,
        batch_rows=BATCH_ROWS,
        extra_fields=(),
    )


def works(job: PredictJob, patches: tuple[Patch, ...] = ()) -> list[Work]:
    """What is to be done of its input where only what the patches are of is done."""
    plan = make_plan(job.paths, job.input, format_named(job.format), cell_rows=job.cell_rows, write=False)
    done = frozenset(patch.cell for patch in patches)
    return [Work(shard=shard, done_cells=done, patches=patches) for shard in plan.shards]
