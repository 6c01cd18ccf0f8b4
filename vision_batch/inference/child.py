"""The child process of a careful actor: sets a stage up, then does chunk after chunk until its parent is gone.

Messages are pickles over one socket. In: what makes the stage, then chunks. Out: the stage's device, then for each
chunk the result and the lap that it took; an exception in place of either, when that is what came.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any

from vision_batch.errors import VisionBatchError
from vision_batch.inference.message import pickled
from vision_batch.inference.stage import Stage
from vision_batch.inference.stopwatch import Lap, Stopwatch

OUT_OF_MEMORY = 77
"""The exit code of a child in which an allocation failed: no other code of Python's or of a signal's."""


def serve(descriptor: int) -> None:
    """The child's whole life; `descriptor` is its end of the socket."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # threads of a Ray worker block signals, and children inherit that
    connection = Connection(descriptor)
    inbox: SimpleQueue[bytes] = SimpleQueue()
    threading.Thread(target=_receive, args=(connection, inbox), daemon=True).start()
    stage: Stage | None = None
    while True:
        try:
            message = pickle.loads(inbox.get())
            if stage is None:
                stage = message()
                answer = pickled(stage.device)
            else:
                answer = pickled(_answer(stage, message))
        except MemoryError:
            os._exit(OUT_OF_MEMORY)
        except VisionBatchError as error:
            answer = pickled(error)
        except Exception as error:  # noqa: BLE001 - whatever it is, the actor raises it in the child's place
            answer = pickled(RuntimeError(f"{type(error).__name__}: {error}"))
        connection.send_bytes(answer)


def _answer(stage: Stage, chunk: Any) -> tuple[Any, Lap]:
    watch = Stopwatch()
    (result,) = stage.run(iter([chunk]), watch)
    return result, watch.take()


def _receive(connection: Connection[Any, Any], inbox: SimpleQueue[bytes]) -> None:
    """Receives until the parent is gone; then nobody wants what is being done, however long it would take."""
    while True:
        try:
            inbox.put(connection.recv_bytes())
        except (EOFError, OSError):
            os._exit(1)
        except MemoryError:
            os._exit(OUT_OF_MEMORY)


if __name__ == "__main__":
    serve(int(sys.argv[1]))
