"""From the checkpoints of a training that has ended to its model. Only the first worker does this."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from typing import cast

import numpy as np
from numpy.typing import NDArray

from vision_batch.errors import EngineError
from vision_batch.ledger.paths import LedgerPaths
from vision_batch.models.trained import TrainedModel
from vision_batch.storage.table import storage_for
from vision_batch.training.batch import Batch, Ingest
from vision_batch.training.catalogue import catalogue_files
from vision_batch.training.checkpoint import CheckpointStore
from vision_batch.training.ingest import sources
from vision_batch.training.job import TrainJob
from vision_batch.training.split_sets import training_parts
from vision_batch.training.state import load_trained
from vision_batch.training.trained_model import Outcome, write_model

COMPARED_IMAGES = 8
"""How many images of the validation the exported program is compared on."""


def finish(
    job: TrainJob,
    store: CheckpointStore,
    *,
    validation: Ingest | None,
    demand: Callable[[], object],
    note: Callable[[str], None],
) -> TrainedModel:
    """Writes the best model, or the last one where nothing was validated; the rest is as in `write_model`.

    EngineError where there is no checkpoint.
    """
    trained = load_trained(store)
    if trained is None:
        raise EngineError(f"no checkpoint in {job.paths.output} to make a model of; run again")
    learned, measured = sources(job)
    catalogue = learned.plan.catalogue
    outcome = Outcome(
        weights=trained.weights,
        model_step=trained.model_step,
        steps=trained.steps,
        history=trained.history,
        catalogue=_digest([learned.paths] if measured is None else [learned.paths, measured.paths]),
        images=catalogue.images(training_parts(catalogue.split.parts, job.fold)),
        validation_images=0 if measured is None else measured.plan.images,
        pixels=np.empty((0, 0, 0, 3), np.uint8) if validation is None else _first_images(validation),
    )
    return write_model(job, outcome, demand=demand, note=note)


def _first_images(validation: Ingest) -> NDArray[np.uint8]:
    """uint8 (n, H, W, 3) of the first images that are not broken."""
    batches = validation.batches(epoch=0, start=0, rank=0, workers=1, batch_images=COMPARED_IMAGES)
    with closing(cast("Generator[Batch, None, None]", batches)):
        found = next((batch.pixels for batch in batches if len(batch)), None)
    return np.empty((0, 0, 0, 3), np.uint8) if found is None else found


def _digest(ledgers: Sequence[LedgerPaths]) -> str:
    """SHA-256 over the files of their catalogues, hexadecimal."""
    digest = hashlib.sha256()
    for uri in [uri for paths in ledgers for uri in catalogue_files(paths)]:
        digest.update(storage_for(uri).read(uri))
    return digest.hexdigest()
