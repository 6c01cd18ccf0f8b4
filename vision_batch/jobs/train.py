"""What a train job does with its spec: count the images once, then train until the model is there."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from vision_batch.errors import DefinitionError, ModelError, Problem, SpecError, StorageError
from vision_batch.inference.settings import AUTO
from vision_batch.jobs.folds import finished_folds, train_folds
from vision_batch.jobs.prepare import reading_output
from vision_batch.jobs.prepare_train import PreparedTraining, prepare_training
from vision_batch.jobs.reporter import Reporter, Silent, Standing
from vision_batch.jobs.spec import AnySpec
from vision_batch.jobs.summary import Status
from vision_batch.jobs.train_account import Result, TrainAccount
from vision_batch.jobs.train_data import changed_masks, demand_apart, open_data
from vision_batch.jobs.train_session import TrainSession
from vision_batch.jobs.train_summary import TrainSummary
from vision_batch.jobs.training import Training, finished_model
from vision_batch.ledger.definition import check_definition, claim_definition
from vision_batch.ledger.lease import Lease, held_lease
from vision_batch.models.trained import DESCRIPTION
from vision_batch.storage.table import storage_for
from vision_batch.storage.uri import join
from vision_batch.training.imbalance import demand_weights


def run_train(
    spec: AnySpec, *, address: str | None = None, reporter: Reporter | None = None, verbose: bool = False
) -> TrainSummary:
    """Trains until the model is there, and says how it ended; what earlier runs did is not done again.

    `address` names a Ray cluster, None starts a local one. SpecError, before anything is started, when the spec or its
    surroundings are wrong; HeldError when another run works on the output; ModelError or EngineError when the run
    failed: the last checkpoint stays, and running again goes on from there. An interrupt stores a checkpoint first.
    """
    started = time.monotonic()
    reporter = reporter or Silent()
    prepared = prepare_training(spec)
    with TrainSession(prepared.settings.compute, reporter, address=address, verbose=verbose) as session:
        return TrainRun(prepared, session, reporter, started).run()


def finished_result(prepared: PreparedTraining) -> Result | None:
    """What earlier runs have come to, None while there is something to do. SpecError for another definition's."""
    if prepared.claimed is not None:
        try:
            check_definition(prepared.paths, prepared.definition, prepared.claimed)
        except DefinitionError as error:
            raise DefinitionError([*error.problems, *_way_on(prepared)]) from None
    result = finished_folds(prepared) if prepared.folds else finished_model(prepared)
    if result is not None and prepared.claimed is None:
        found = f"{prepared.paths.output}, which holds a trained model and no ledger"
        raise SpecError(Problem("output.uri", found, "another output.uri, or the whole of that output"))
    return result


def _way_on(prepared: PreparedTraining) -> Iterator[Problem]:
    """Of a finished training another spec cannot change the model, but begin with it."""
    output = prepared.paths.output
    with suppress(StorageError):
        storage_for(output).stat(join(output, DESCRIPTION))
        expected = (
            f'model: {{source: "trained:{output}"}} in a spec with another output.uri, to train its model further'
        )
        yield Problem("model.source", f"{output}, whose training is finished", expected)


class TrainRun:
    """One run of a train job against its output."""

    def __init__(self, prepared: PreparedTraining, session: TrainSession, reporter: Reporter, started: float) -> None:
        self._prepared = prepared
        self._session = session
        self._reporter = reporter
        self._account = TrainAccount(prepared, started)
        self._result: Result | None = None

    def run(self) -> TrainSummary:
        """As `run_train`."""
        self._session.check()
        done = finished_result(self._prepared)
        if done is not None:
            self._reporter.note("finished: nothing to do")
            self._reporter.start(Standing(images_total=done.images, images_done=done.images))
            self._reporter.finish()
            return self._account.finished(done)
        demand_apart(self._prepared)
        with self._holding_output() as lease:
            try:
                status = self._work(lease)
            except KeyboardInterrupt:
                status = "interrupted"
            except StorageError as error:
                self._account.warnings.append(str(error))
                status = "incomplete"
            except Exception as error:
                self._account.close("failed", None, self._session.layout, error=str(error))
                raise
            return self._account.close(status, self._result, self._session.layout)

    @contextmanager
    def _holding_output(self) -> Iterator[Lease]:
        """Holds the lease during the block; a first run whose spec was wrong gives the output back."""
        with ExitStack() as stack:
            with reading_output():
                lease = stack.enter_context(
                    held_lease(self._prepared.paths, self._account.run_id, note=self._reporter.note)
                )
            try:
                yield lease
            except (SpecError, ModelError):
                self._account.release()
                raise

    def _work(self, lease: Lease) -> Status:
        if self._prepared.precision == AUTO:
            self._prepared = self._prepared.with_precision(self._session.precision())
        prepared = self._prepared
        with reading_output():
            claim_definition(prepared.paths, prepared.definition)
        most_workers = self._session.placed().workers[1]
        data = open_data(prepared, most_workers=most_workers, note=self._reporter.note)
        demand_weights(prepared.settings.train.class_weights, data.labels)
        self._account.open(prepared, data)
        trainings = prepared.trainings()
        training = Training(trainings, data, self._session, self._reporter, self._account, lease)
        try:
            if prepared.folds is None:
                self._result = training.train(prepared)
            else:
                self._result = train_folds(prepared, trainings, training, self._account)
        finally:
            self._reporter.finish()
        self._account.warnings += changed_masks(prepared, data)
        return "done"
