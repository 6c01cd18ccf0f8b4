"""Where a worker of Ray Train stands, and how it is asked to end."""

from __future__ import annotations

import logging
import signal
import socket
import threading
from typing import TYPE_CHECKING, Any

import ray

from vision_batch.inference.worker_process import tune_process
from vision_batch.training.event import TrainEvent

if TYPE_CHECKING:
    import torch

    from vision_batch.training.context import Wish

EXCHANGE_S = 0.5
"""How often the first worker passes on what it has to tell, and asks what is asked of it; a checkpoint does not wait:
what is behind it does not come again."""

log = logging.getLogger(__name__)
_is_warned = threading.Event()


def prepare_process() -> None:
    """To be called in the main thread of a worker's process: from then on SIGTERM has the training end in order.

    Ray's own handler would end the process at once.
    """
    tune_process()
    signal.signal(signal.SIGTERM, lambda number, frame: _is_warned.set())


class RayContext:
    """A `WorkerContext` on Ray. A thread of its own talks with the monitor, so that no step waits for it."""

    def __init__(self, monitor: Any, *, rank: int, workers: int, device: torch.device) -> None:
        self.rank = rank
        self.workers = workers
        self.device = device
        self.is_done = False
        self._monitor = monitor
        self._node = ray.get_runtime_context().get_node_id()
        self._wish: Wish = "go"
        self._told: list[TrainEvent] = []
        self._has_complained = False
        self._lock = threading.Lock()
        self._is_over = threading.Event()
        self._is_urgent = threading.Event()
        self._exchange()
        self._talker = threading.Thread(target=self._talk, name="talk", daemon=True)
        self._talker.start()

    def tell(self, event: TrainEvent) -> None:
        self.is_done = self.is_done or event.kind == "done"
        with self._lock:
            self._told.append(event)
        if event.kind == "checkpoint":
            self._is_urgent.set()

    def wish(self) -> Wish:
        return "stop" if _is_warned.is_set() else self._wish

    def close(self) -> None:
        """Passes the rest on. Waits for that as long as the monitor is there."""
        self._is_over.set()
        self._is_urgent.set()
        self._talker.join()
        self._exchange()

    def _talk(self) -> None:
        while not self._is_over.is_set():
            self._is_urgent.wait(EXCHANGE_S)
            self._is_urgent.clear()
            if self._told or self.rank == 0 or _is_warned.is_set():  # what one rank is asked all of them do
                self._exchange()

    def _exchange(self) -> None:
        if _is_warned.is_set() and not self._has_complained:
            self._has_complained = True
            message = (
                f"worker {self.rank} on {socket.gethostname()} was told to end (SIGTERM): the state is stored first"
            )
            self.tell(TrainEvent(kind="note", message=message))
        with self._lock:
            told, self._told = self._told, []
        try:
            self._wish = ray.get(self._monitor.exchange.remote(self._node, told))
        except ray.exceptions.RayError as error:  # with the monitor this process will end too, in seconds
            log.warning("nobody hears this worker any more: %s", error)
            self._wish = "stop"
