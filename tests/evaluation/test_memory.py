"""Evaluation takes no more memory for more rows: the whole of it, in processes of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

ROWS = 100_000
"""Of a file."""
MEASURED = """
import sys
from pathlib import Path
from vision_batch.evaluation import class_scores, join
from vision_batch.evaluation.evaluate import evaluate
from vision_batch.evaluation.settings import EvaluateSettings, TruthSettings
from vision_batch.ledger.predictions import Predictions

join.IN_MEMORY_BYTES, class_scores.MOST = 1 << 20, 1 << 16  # both are reached with the fewest rows
predictions, truth = sys.argv[1:]
settings = EvaluateSettings(bootstrap=3, by=["site"])
found = evaluate(Predictions.open(predictions), TruthSettings(uri=truth), settings)
status = Path("/proc/self/status").read_text()  # getrusage would tell of the process that has started this one
print(found.images, found.metrics["accuracy"], int(status.partition("VmHWM:")[2].split()[0]))
"""


def written(folder: Path, files: int) -> tuple[float, list[str]]:
    """Predictions and truth, which are joined on disk, and the accuracy of it."""
    random = np.random.default_rng(files)
    right = 0
    for file in range(files):
        truth = random.integers(0, 50, ROWS)
        label = np.where(random.random(ROWS) < 0.7, truth, random.integers(0, 50, ROWS))
        right += int((truth == label).sum())
        ids = pa.array([f"pictures/{number}.jpg" for number in range(file * ROWS, (file + 1) * ROWS)])
        names = pa.array([f"class {number}" for number in range(50)])
        site, score = pa.array(random.integers(0, 4, ROWS)), pa.array(random.random(ROWS, np.float32))
        predicted = {"image_id": ids, "label": names.take(pa.array(label)), "score": score, "site": site}
        true = pa.table({"image_id": ids, "label": names.take(pa.array(truth))})
        for name, table in (("predictions", pa.table(predicted)), ("truth", true.take(random.permutation(ROWS)))):
            (folder / name).mkdir(parents=True, exist_ok=True)
            pq.write_table(table, folder / name / f"{file:04d}.parquet")
    return right / (files * ROWS), [str(folder / name) for name in ("predictions", "truth")]


@pytest.mark.slow
def test_thirty_times_the_rows_take_no_more_memory(tmp_path: Path) -> None:
    peak_mib = {}
    for files in (1, 30):
        accuracy, paths = written(tmp_path / str(files), files)
        said = subprocess.run([sys.executable, "-c", MEASURED, *paths], check=True, capture_output=True, text=True)
        images, found, peak_kib = said.stdout.split()
        assert (int(images), float(found)) == (files * ROWS, accuracy)
        peak_mib[files] = int(peak_kib) / 1024
    assert peak_mib[30] - peak_mib[1] < 100, peak_mib
