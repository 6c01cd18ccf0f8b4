"""K-fold cross-validation: a training for each fold, and what their models come to together."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from typing import Any

from vision_batch.errors import LedgerError, NotFoundError
from vision_batch.jobs.prepare import reading_output
from vision_batch.jobs.prepare_train import PreparedTraining
from vision_batch.jobs.train_account import Result, TrainAccount
from vision_batch.jobs.training import Training, finished_model
from vision_batch.ledger.definition import claim_definition
from vision_batch.ledger.lease import held_lease
from vision_batch.storage.table import storage_for
from vision_batch.storage.uri import join

FOLDS = "folds.json"
FORMAT = 1


def finished_folds(prepared: PreparedTraining) -> Result | None:
    """What all folds have come to, None while they are not done."""
    uri = join(prepared.paths.output, FOLDS)
    try:
        facts = json.loads(storage_for(uri).read(uri))
        if facts["format"] != FORMAT or facts["definition_sha256"] != prepared.definition.digest:
            raise ValueError("of another definition or version")
        return _decode(facts)
    except NotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise LedgerError(uri, f"cannot be read: {error}; delete it and run again: it is written anew") from error


def train_folds(
    prepared: PreparedTraining, trainings: Sequence[PreparedTraining], training: Training, account: TrainAccount
) -> Result:
    """Trains what earlier runs have not, fold by fold; folds.json, written last, says what they come to."""
    results = []
    for fold in trainings:
        result = finished_model(fold)
        if result is None:
            with reading_output():
                claim_definition(fold.paths, fold.definition)
            with held_lease(fold.paths, account.run_id):
                result = training.train(fold)
        else:
            training.skip(fold)
        results.append(result)
    whole = _together(results)
    uri = join(prepared.paths.output, FOLDS)
    data = json.dumps(_encode(prepared, results, whole), indent=2).encode()
    storage_for(uri).put(uri, data, scratch=prepared.paths.scratch)
    return whole


def _together(results: Sequence[Result]) -> Result:
    """The mean of each metric over the folds that have it, and its sample standard deviation."""
    names = dict.fromkeys(name for result in results for name in result.metrics)
    values = {name: [result.metrics[name] for result in results if name in result.metrics] for name in names}
    return Result(
        metrics={name: math.fsum(found) / len(found) for name, found in values.items()},
        deviations={name: statistics.stdev(found) if len(found) > 1 else 0.0 for name, found in values.items()},
        epochs=sum(result.epochs for result in results),
        steps=sum(result.steps for result in results),
        images=max(result.images for result in results),
        folds=tuple(dict(result.metrics) for result in results),
    )


def _encode(prepared: PreparedTraining, results: Sequence[Result], whole: Result) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "definition_sha256": prepared.definition.digest,
        "images": whole.images,
        "epochs": whole.epochs,
        "steps": whole.steps,
        "metrics": whole.metrics,
        "deviations": whole.deviations,
        "folds": [
            {"fold": number, "metrics": dict(result.metrics), "epochs": result.epochs, "steps": result.steps}
            for number, result in enumerate(results)
        ],
    }


def _decode(facts: dict[str, Any]) -> Result:
    return Result(
        metrics=facts["metrics"],
        deviations=facts["deviations"],
        epochs=facts["epochs"],
        steps=facts["steps"],
        images=facts["images"],
        folds=tuple(fold["metrics"] for fold in facts["folds"]),
    )
