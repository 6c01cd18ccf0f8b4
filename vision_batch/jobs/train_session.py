"""The Ray that a training works on, connected when it is first needed, and the layout that it has room for."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from vision_batch.jobs.reporter import Reporter
from vision_batch.training.layout import TrainLayout, choose_train_layout
from vision_batch.training.settings import TrainComputeSettings

if TYPE_CHECKING:
    from types import TracebackType


class TrainSession:
    """`layout` is chosen from this machine, or from the cluster at an address as soon as that is connected."""

    layout: TrainLayout | None = None

    def __init__(
        self, compute: TrainComputeSettings, reporter: Reporter, *, address: str | None, verbose: bool
    ) -> None:
        self._compute = compute
        self._reporter = reporter
        self._address = address
        self._verbose = verbose
        self._ray = ExitStack()
        self._is_connected = False

    def __enter__(self) -> TrainSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ray.close()

    def check(self) -> None:
        """SpecError where this machine, if the training is to be here, cannot place it."""
        if self._address is None:
            from vision_batch.cluster.machine import machine_resources

            self.layout = choose_train_layout(machine_resources(), self._compute)

    def placed(self) -> TrainLayout:
        """The layout, for which a cluster is connected. It may ask for more than the cluster has now."""
        return self.layout if self.layout is not None else self.connected()

    def connected(self) -> TrainLayout:
        """Connects to Ray, once, and takes the layout from what that has."""
        from vision_batch.cluster.connect import connected

        if not self._is_connected or self.layout is None:
            self._reporter.wait("for Ray")
            resources = self._ray.enter_context(connected(self._address, verbose=self._verbose))
            self._reporter.wait(None)
            self._is_connected = True
            self.layout = choose_train_layout(resources, self._compute, patient=self._address is not None)
        return self.layout

    def precision(self) -> str:
        """What `auto` stands for on the workers' devices."""
        from vision_batch.inference.settings import EXACT

        if not self.placed().gpus_per_worker:
            return EXACT
        layout = self.connected()
        from vision_batch.training.precision import native_precision

        self._reporter.wait("for a GPU to ask for its precision")
        precision = native_precision(layout)
        self._reporter.wait(None)
        return precision
