"""How close a training comes to what its GPU and its CPUs could do alone: ResNet-50 at 224 px, in bf16.

- the step's limit: forward, backward and optimizer on uint8 pixels that lie on the device, and nothing else;
- the decoding limit: plain processes on all cores that read, decode and augment;
- the training, as a user starts it, without its start; `waited` is the share of it in which the GPU had no images.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from typing import Any

from tests.benchmarks.bare import images_per_second
from tests.benchmarks.gpu import ENDING_S, NETWORKS, SECONDS, STARTING_S, BusySamples
from tests.benchmarks.ingest import AUGMENT, example_maker, write_classes
from tests.benchmarks.measurement import CannotMeasureError, Figures, Line, Measurement
from tests.benchmarks.process import run
from tests.benchmarks.work import PREPROCESS
from vision_batch.images.resize import limit_threads

NETWORK, EPOCHS = "resnet-50", 2
CLASSES = [str(number) for number in range(1000)]
"""As many as the network has; the pictures are of the first two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleLoop:
    """Reads, decodes and augments."""

    def prepared(self, files: Sequence[str]) -> Callable[[], int]:
        limit_threads()
        maker = example_maker()

        def work() -> int:
            for number, file in enumerate(files):
                maker(Path(file).read_bytes(), identity=number, epoch=0)
            return len(files)

        return work


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingOnGpu:
    """On a CPU only a `small` network, to try the benchmark itself."""

    preprocess: Mapping[str, Any] = field(default_factory=lambda: dict(PREPROCESS))
    size_px: int = 224
    batch_images: int = 256
    precision: str = "bf16"
    small: bool = False

    def rounds(self, folder: Path, images: int) -> Iterator[Figures]:
        import torch

        if not (self.small or torch.cuda.is_available()):
            raise CannotMeasureError("there is no CUDA device")
        write_classes(folder / "data", images, CLASSES[:2])
        files = sorted(map(str, (folder / "data").rglob("*.jpg")))
        while True:
            step, decoding, job = self.step_rate(), images_per_second(ExampleLoop(), files), self.job(folder)
            rate = float(job["images_per_second"])
            yield {
                "over limit": rate / min(step, decoding),
                "real over resident": rate / step,
                "resident images/s": step,
                "decoding images/s": decoding,
                "training images/s": rate,
                "waited": float(job["waited"]),
                **job["busy"],
            }

    def step_rate(self) -> float:
        """Images/s of steps on one batch that lies on the device."""
        import torch

        from tests.benchmarks.networks import build
        from vision_batch.models.device import choose_device
        from vision_batch.models.predictor import AUTOCAST

        device = choose_device()
        module = build(NETWORK, self.small).to(device).train()
        if device.type == "cuda":
            module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = torch.optim.SGD(module.parameters(), lr=0.01, momentum=0.9)
        shape = (self.batch_images, self.size_px, self.size_px, 3)
        pixels = torch.randint(0, 256, shape, dtype=torch.uint8, device=device)
        targets = torch.randint(0, 2, (self.batch_images,), device=device)

        def step() -> None:
            images = (pixels.float() / 127.5 - 1).permute(0, 3, 1, 2)
            with torch.autocast(device.type, dtype=AUTOCAST[self.precision], enabled=self.precision != "fp32"):
                loss = torch.nn.functional.cross_entropy(module(images), targets)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            loss.item()  # waits for the device, as a training does that looks at its loss

        for _ in range(3):
            step()
        start, steps = time.perf_counter(), 0
        while (seconds := time.perf_counter() - start) < SECONDS:
            step()
            steps += 1
        return steps * self.batch_images / seconds

    def job(self, folder: Path) -> dict[str, Any]:
        """What `run --json` says, and in `busy` the mean share of the steps' time in which the GPU was at work."""
        for left in ("out", "out-metrics"):
            shutil.rmtree(folder / left, ignore_errors=True)
        shutil.copy(NETWORKS, folder)
        spec = {
            "job": "train",
            "input": {"uri": str(folder / "data"), "format": "folder", "label_column": "folder"},
            "model": {
                "source": "python:networks:build",
                "options": {"name": NETWORK, "small": self.small},
                "labels": CLASSES,
            },
            "task": {"type": "classification"},
            "preprocess": self.preprocess,
            "augment": list(AUGMENT),
            "train": {
                "epochs": EPOCHS,
                "batch_size": self.batch_images,
                "optimizer": {"name": "sgd", "lr": 0.01},
                "schedule": {"name": "constant"},
            },
            "output": {"uri": str(folder / "out")},
            "compute": {"workers": 1, "precision": self.precision},
        }
        (folder / "train.yaml").write_text(json.dumps(spec))  # JSON is YAML
        with BusySamples() as samples:
            ran = run([sys.executable, "-m", "vision_batch", "run", str(folder / "train.yaml"), "--json"])
        summary: dict[str, Any] = json.loads(ran.output.splitlines()[-1])
        if summary["status"] != "done":
            raise RuntimeError(f"the training did not end: {summary}")
        begun = ran.started + summary["first_batch_seconds"] + STARTING_S
        steady = samples.between(begun, ran.started + ran.seconds - ENDING_S)
        return {**summary, "busy": {"GPU busy": mean(steady)} if steady else {}}


MEASUREMENT = Measurement(
    name="gpu-train-resnet-50",
    rounds=TrainingOnGpu().rounds,
    size=100_000,
    quick_size=20_000,
    lines=(
        Line(
            figure="over limit",
            what="training ResNet-50 at 224, bf16: images/s over the smaller of resident steps and decoding alone",
            bound=0.95,
        ),
        Line(figure="waited", what="the same: share of the time in which the GPU had no images", better="less"),
        Line(figure="GPU busy", what="the same: share of the time in which the GPU was busy"),
    ),
)
