"""What a person reads at the end of a train job."""

from __future__ import annotations

from typing import Any

import pytest

from vision_batch.cli.train_report import print_train_summary
from vision_batch.jobs.train_summary import TrainSummary

METRICS = {"accuracy": 0.9, "loss": 0.25}


def summary(**changes: Any) -> TrainSummary:
    facts: dict[str, Any] = {
        **dict.fromkeys(("images_ok", "images_failed", "images_resumed", "shards_total", "shards_done"), 0),
        **dict.fromkeys(("images_total", "first_batch_seconds", "images_per_second", "waited", "bottleneck")),
        "run_id": "r",
        "status": "done",
        "precision": "fp32",
        "failures": {},
        "seconds": 1.0,
        "output": "/out",
        "metrics": METRICS,
        "epochs": 2,
        "epochs_total": 2,
        "steps": 8,
        "best_checkpoint": None,
    }
    return TrainSummary(**(facts | changes))


@pytest.mark.parametrize(
    ("status", "whose"),
    [("done", "of the model: its best epoch"), ("interrupted", "of the latest validation")],
)
def test_metrics_say_whose_they_are(status: str, whose: str, capsys: pytest.CaptureFixture[str]) -> None:
    print_train_summary(summary(status=status))
    assert f"  metrics     accuracy 0.9000, validation_loss 0.2500 ({whose})\n" in capsys.readouterr().out


def test_folds_are_called_by_the_number_of_their_folder(capsys: pytest.CaptureFixture[str]) -> None:
    print_train_summary(summary(folds=(METRICS, METRICS), deviations={"accuracy": 0.1, "loss": 0.5}))
    lines = capsys.readouterr().out.splitlines()
    assert "  metrics     accuracy 0.9000 ± 0.1000, validation_loss 0.2500 ± 0.5000 (mean of the folds)" in lines
    folds = [line.split()[:2] for line in lines if line.startswith("  fold ")]
    assert folds == [["fold", "0"], ["fold", "1"]]
