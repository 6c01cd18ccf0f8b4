"""What a training leaves beside its output: every step and epoch once, and curves that TensorBoard reads."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from vision_batch.training import records
from vision_batch.training.event import BrokenImage, TakenStep, TrainEvent
from vision_batch.training.records import TrainRecords


@pytest.fixture
def written(tmp_path: Path) -> TrainRecords:
    return TrainRecords(str(tmp_path), "run", time.monotonic())


def step(last: int, *losses: float | None, epoch: int = 0) -> TrainEvent:
    first = last - len(losses) + 1
    taken = (
        TakenStep(loss=loss, learning_rate=0.1 / number, gradient_norm=2.0 * number)
        for number, loss in enumerate(losses, first)
    )
    return TrainEvent(kind="step", step=last, epoch=epoch, taken=tuple(taken), images=8, seconds=2.0)


def epoch(number: int, last: int, **metrics: float) -> TrainEvent:
    return TrainEvent(kind="epoch", step=last, epoch=number, loss=0.5, images=8, broken=1, metrics=metrics)


def checkpoint(step: int) -> TrainEvent:
    return TrainEvent(kind="checkpoint", step=step)


def begin(*history: TrainEvent) -> TrainEvent:
    return TrainEvent(kind="begin", history=history)


def rows(folder: Path, query: str) -> list[tuple[object, ...]]:
    return duckdb.sql(query.replace("RUN", str(folder / "run"))).fetchall()


def test_every_step_has_its_row(written: TrainRecords, tmp_path: Path) -> None:
    for event in (step(2, 1.0, None), step(3, 0.8), epoch(0, 3), checkpoint(3), step(4, 0.7, epoch=1)):
        written.add(event)
    written.flush()
    found = rows(tmp_path, "SELECT step, epoch, loss, images_per_second FROM 'RUN/steps-*.parquet' ORDER BY step")
    assert found == [(1, 1, 1.0, 4.0), (2, 1, None, 4.0), (3, 1, 0.8, 4.0), (4, 2, 0.7, 4.0)]


def test_every_step_has_its_own_learning_rate_and_norm(written: TrainRecords, tmp_path: Path) -> None:
    written.add(step(2, 1.0, 0.9))
    written.add(checkpoint(2))
    query = "SELECT step, learning_rate, gradient_norm FROM 'RUN/steps-*.parquet' ORDER BY step"
    assert rows(tmp_path, query) == [(1, 0.1, 2.0), (2, 0.05, 4.0)]
    (file,) = (tmp_path / "run" / "tensorboard").iterdir()
    points = list(curve_points(file.read_bytes()))
    assert [(step, value) for tag, step, value in points if tag == "train/gradient_norm"] == [(1, 2.0), (2, 4.0)]
    assert [step for tag, step, _ in points if tag == "train/learning_rate"] == [1, 2]


def test_every_epoch_has_its_row_with_what_validation_gave(written: TrainRecords, tmp_path: Path) -> None:
    for event in (epoch(0, 3), epoch(1, 6, accuracy=0.9), epoch(2, 9)):
        written.add(event)
        written.add(checkpoint(event.step))
    query = "SELECT epoch, step, broken, validation_accuracy FROM read_parquet('RUN/epochs-*', union_by_name=true)"
    assert rows(tmp_path, f"{query} ORDER BY epoch") == [(1, 3, 1, None), (2, 6, 1, 0.9), (3, 9, 1, None)]


def test_what_is_behind_a_checkpoint_is_written_as_soon_as_that_is_told_of(
    written: TrainRecords, tmp_path: Path
) -> None:
    for event in (step(3, 0.8, 0.7, 0.6), epoch(0, 3), checkpoint(3)):
        written.add(event)
    assert rows(tmp_path, "SELECT step FROM 'RUN/steps-*.parquet' ORDER BY step") == [(1,), (2,), (3,)]
    assert rows(tmp_path, "SELECT epoch FROM 'RUN/epochs-*.parquet'") == [(1,)]


def test_an_epoch_that_was_lost_before_its_checkpoint_has_one_row(written: TrainRecords, tmp_path: Path) -> None:
    for event in (epoch(0, 3), begin(), epoch(0, 3), checkpoint(3)):
        written.add(event)
    assert rows(tmp_path, "SELECT epoch FROM 'RUN/epochs-*.parquet'") == [(1,)]


@pytest.mark.parametrize("fold", [None, 1])
def test_an_epoch_whose_run_was_killed_after_its_checkpoint_has_its_row_in_the_next(
    tmp_path: Path, fold: int | None
) -> None:
    killed = TrainRecords(str(tmp_path), "a", time.monotonic(), fold=fold)
    for event in (epoch(0, 3, accuracy=0.8), checkpoint(3), epoch(1, 6, accuracy=0.9)):
        killed.add(event)
    other = TrainRecords(str(tmp_path), "a", time.monotonic(), fold=0)
    for event in (epoch(1, 6), checkpoint(6)):
        other.add(event)
    (tmp_path / "a" / "epochs-000007.parquet").write_bytes(b"no Parquet")
    for run in "bc":
        resumed = TrainRecords(str(tmp_path), run, time.monotonic(), fold=fold)
        resumed.add(begin(epoch(0, 3, accuracy=0.8), epoch(1, 6, accuracy=0.9)))
    folder = tmp_path / "b" / ("" if fold is None else "fold-1")
    query = f"SELECT epoch, step, train_loss, validation_accuracy, seconds FROM '{folder}/epochs-*.parquet'"
    assert duckdb.sql(query).fetchall() == [(2, 6, 0.5, 0.9, None)]
    assert not (tmp_path / "c").exists()
    points = [point for path in folder.glob("tensorboard/*") for point in curve_points(path.read_bytes())]
    assert [step for tag, step, _ in points if tag == "validation/accuracy"] == [6]


def test_a_broken_image_is_listed_once(written: TrainRecords, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MOST_BROKEN", 2)
    images = [BrokenImage(image_id=f"{row}.jpg", shard="s", row=row, error_code="empty", error="") for row in range(3)]
    for number in range(2):
        written.add(TrainEvent(kind="broken", epoch=number, images_broken=tuple(images)))
        written.add(checkpoint(number))
    assert rows(tmp_path, "SELECT image_id, epoch FROM 'RUN/broken-*.parquet'") == [("0.jpg", 1), ("1.jpg", 1)]


def test_no_file_is_written_again(written: TrainRecords, tmp_path: Path) -> None:
    written.add(step(1, 1.0))
    written.flush()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    written.add(epoch(0, 1, accuracy=0.5))
    written.add(checkpoint(1))
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert before.items() < after.items()
    written.flush()
    assert after == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}


def test_steps_do_not_wait_for_the_epochs_end(
    written: TrainRecords, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written.add(step(1, 1.0))
    assert not (tmp_path / "run").exists()
    monkeypatch.setattr(records, "PERIOD_S", -1.0)
    written.add(step(2, 1.0))
    assert (tmp_path / "run" / "steps-000000.parquet").is_file()


def test_tensorboard_reads_the_curves(written: TrainRecords, tmp_path: Path) -> None:
    written.add(step(2, 1.0, 0.5))
    written.flush()
    written.add(epoch(0, 2, accuracy=0.75))
    written.add(checkpoint(2))
    files = sorted((tmp_path / "run" / "tensorboard").iterdir())
    assert all("tfevents" in path.name for path in files)
    points = [point for path in files for point in curve_points(path.read_bytes())]
    assert ("train/step_loss", 1, 1.0) in points
    assert ("train/step_loss", 2, 0.5) in points
    assert ("validation/accuracy", 2, 0.75) in points


def curve_points(data: bytes) -> Iterator[tuple[str, int, float]]:
    """Every scalar of an event file, whose frames and checksums are as TensorFlow's record_writer.h says."""
    from tensorboardX.proto.event_pb2 import Event

    first = True
    while data:
        (length, of_length) = struct.unpack("<QI", data[:12])
        body, of_body = data[12 : 12 + length], struct.unpack("<I", data[12 + length : 16 + length])[0]
        assert (of_length, of_body) == (masked_crc(data[:8]), masked_crc(body))
        event = Event.FromString(body)
        assert first == (event.file_version == "brain.Event:2")
        yield from ((value.tag, event.step, value.simple_value) for value in event.summary.value)
        data, first = data[16 + length :], False


def masked_crc(data: bytes) -> int:
    """CRC-32C (Castagnoli), bit by bit, rotated right by 15 bits plus a constant."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF
