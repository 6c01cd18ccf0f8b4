"""How close a job comes to the smaller of what its GPU and its CPUs could do alone, for three well-known networks.

- the model's limit: uint8 pixels that lie on the device normalised and predicted there, at its best batch size;
- the decoding limit: plain processes on all cores that do nothing else (`bare.DecodeLoop`);
- the job, as a user starts it, from JPEGs to committed parts; the GPU's own counters say how busy it was meanwhile.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from tests.benchmarks.bare import DecodeLoop, images_per_second
from tests.benchmarks.measurement import CannotMeasureError, Figures, Line, Measurement
from tests.benchmarks.photos import make_jpegs, write_tars
from tests.benchmarks.process import run
from tests.benchmarks.work import PREPROCESS

NETWORKS = Path(__file__).with_name("networks.py")
SECONDS = 2.0
"""For so long one batch size is measured."""
STARTING_S, ENDING_S = 2.0, 2.0
"""Around the steady state, where the GPU has not all of the work yet, or no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnGpu:
    """One network. On a CPU only a `small` one, to try the benchmark itself."""

    network: str
    preprocess: Mapping[str, Any]
    size_px: int
    task: str = "classification"
    precision: str = "bf16"
    small: bool = False

    def rounds(self, folder: Path, images: int) -> Iterator[Figures]:
        import torch

        if not (self.small or torch.cuda.is_available()):
            raise CannotMeasureError("there is no CUDA device")
        data = folder / "data"
        write_tars(data, make_jpegs(500, 375), images)
        files = sorted(map(str, data.iterdir()))
        decode = DecodeLoop(format="webdataset", preprocess=self.preprocess)
        while True:
            rates = self.model_rates()
            decoding, job = images_per_second(decode, files), self.job(folder, data, images)
            model = max(rates.values())
            steady = float(job["images_per_second"] or 0)
            batches = list(job["batch_sizes"].values())
            found = {"found batch": mean(batches)} if batches else {}
            yield {
                "over limit": steady / min(model, decoding),
                "model images/s": model,
                "decoding images/s": decoding,
                "steady images/s": steady,
                "best batch": max(rates, key=lambda rows: rates[rows]),
                **found,
                **job["busy"],
            }

    def model_rates(self) -> dict[int, float]:
        """Images/s by batch size, of pixels that lie on the device; sizes end where its memory does."""
        import torch

        from tests.benchmarks.networks import build
        from vision_batch.models.device import choose_device
        from vision_batch.models.predictor import Predictor

        device = choose_device()
        module = build(self.network, self.small)
        predictor = Predictor(module, mean=(0.5,) * 3, std=(0.5,) * 3, precision=self.precision, device=device)
        rates: dict[int, float] = {}
        for rows in (8 << step for step in range(2 if self.small else 7)):
            pixels = torch.randint(0, 256, (rows, self.size_px, self.size_px, 3), dtype=torch.uint8, device=device)
            try:
                rates[rows] = self._rate(predictor, pixels)
            except torch.OutOfMemoryError:
                break
        return rates

    def _rate(self, predictor: Any, pixels: Any) -> float:
        import torch

        def predict() -> None:
            images = (pixels.float() / 127.5 - 1).permute(0, 3, 1, 2)
            with torch.autocast(pixels.device.type, dtype=predictor.autocast, enabled=predictor.autocast is not None):
                predictor.module(images)

        def wait() -> None:
            if pixels.is_cuda:
                torch.cuda.synchronize()

        with torch.inference_mode():
            predict()
            wait()
            start, batches = time.perf_counter(), 0
            while (seconds := time.perf_counter() - start) < SECONDS / (50 if self.small else 1):
                predict()
                batches += 1
                if batches % 4 == 0:  # else the queue would run far ahead of the device
                    wait()
            wait()
        return batches * len(pixels) / max(seconds, time.perf_counter() - start)

    def job(self, folder: Path, data: Path, images: int) -> dict[str, Any]:
        """What `run --json` says, and in `busy` the mean share of the steady state in which a GPU was at work."""
        shutil.rmtree(folder / "out", ignore_errors=True)
        shutil.copy(NETWORKS, folder)
        spec = {
            "job": "predict",
            "input": {"uri": str(data)},
            "model": {"source": "python:networks:build", "options": {"name": self.network, "small": self.small}},
            "task": {"type": self.task},
            "preprocess": self.preprocess,
            "output": {"uri": str(folder / "out")},
            "compute": {"precision": self.precision},
        }
        (folder / "spec.yaml").write_text(json.dumps(spec))  # JSON is YAML
        with BusySamples() as samples:
            ran = run([sys.executable, "-m", "vision_batch", "run", str(folder / "spec.yaml"), "--json"])
        summary: dict[str, Any] = json.loads(ran.output.splitlines()[-1])
        if summary["images_ok"] != images:
            raise RuntimeError(f"{images:,} images have {summary['images_ok']:,} predictions: {summary}")
        begun = ran.started + summary["first_batch_seconds"] + STARTING_S
        steady = samples.between(begun, ran.started + ran.seconds - ENDING_S)
        return {**summary, "busy": {"GPU busy": mean(steady)} if steady else {}}


class BusySamples:
    """What `nvidia-smi` says again and again: the share of the last moments in which a kernel ran. None without it."""

    def __init__(self) -> None:
        self._samples: list[tuple[float, float]] = []
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    def __enter__(self) -> BusySamples:
        if shutil.which("nvidia-smi"):
            query = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "-lms", "200"]
            self._process = subprocess.Popen(query, stdout=subprocess.PIPE, text=True)
            self._reader = threading.Thread(target=self._read, args=(self._process,), daemon=True)
            self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._reader is not None:
            self._process.terminate()
            self._process.wait()
            self._reader.join()

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                if line.strip().isdigit():
                    self._samples.append((time.time(), int(line) / 100))

    def between(self, start: float, stop: float) -> list[float]:
        """The shares taken between two moments of time.time()."""
        return [share for taken, share in self._samples if start <= taken <= stop]


def on_gpu(what: str, case: OnGpu, *, size: int, quick_size: int) -> Measurement:
    return Measurement(
        name=f"gpu-{case.network}",
        rounds=case.rounds,
        size=size,
        quick_size=quick_size,
        lines=(
            Line(figure="over limit", what=f"{what}: the job over the smaller of model and decoding alone", bound=0.95),
            Line(figure="GPU busy", what=f"{what}: share of the time in which the GPU was busy"),
        ),
    )


CASES = (
    OnGpu(network="resnet-50", preprocess=PREPROCESS, size_px=224),
    OnGpu(network="vit-b16", preprocess=PREPROCESS, size_px=224),
    OnGpu(network="rt-detr-r50", preprocess={"letterbox_px": 640}, size_px=640, task="detection"),
)
MEASUREMENTS = (
    on_gpu("ResNet-50 at 224, bf16", CASES[0], size=200_000, quick_size=50_000),
    on_gpu("ViT-B/16 at 224, bf16", CASES[1], size=200_000, quick_size=50_000),
    on_gpu("RT-DETR R50 at 640, bf16", CASES[2], size=50_000, quick_size=10_000),
)
