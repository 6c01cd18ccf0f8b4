"""The model stage: one row per image, and blame only where it belongs."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vision_batch.errors import DeviceError, ModelError
from vision_batch.images.geometry import Geometry
from vision_batch.inference.batch_size import BatchSize
from vision_batch.inference.chunk import DecodedChunk, Place, PredictedChunk, Row
from vision_batch.inference.model_stage import ModelStage
from vision_batch.inference.stopwatch import Stopwatch
from vision_batch.ledger.schema import output_schema
from vision_batch.models.by_size import Sizes
from vision_batch.models.compiled import CompiledPredictor
from vision_batch.models.predictor import Predictor
from vision_batch.models.transfer import Answer
from vision_batch.tasks.classification import Classification
from vision_batch.tasks.settings import TaskSettings
from vision_batch.tasks.table import task_for

TASK = Classification(top_k=2, labels=("even", "odd"))
SCHEMA = output_schema(TASK.fields(), [pa.field("truth", pa.int64()), pa.field("input_site", pa.string())])
POISON, NAN = 255, 254


class Model:
    """Stands in for a Predictor: an image of value 255 makes its batch fail, one of 254 gives NaN."""

    device = "cpu"
    ahead = 0

    def __init__(self, most: int | None = None) -> None:
        self.most = most
        self.batches: list[int] = []

    def start(self, pixels: np.ndarray, sizes: Sizes | None = None) -> Callable[[], Answer]:
        outputs = self.outputs(pixels)
        return lambda: Answer(outputs=outputs, copy_s=0.25, model_s=1.0)

    def outputs(self, pixels: np.ndarray) -> Any:
        self.batches.append(len(pixels))
        if self.most is not None and len(pixels) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        values = pixels[:, 0, 0, 0].astype(np.float32)
        if (values == POISON).any():
            raise ValueError("poison")
        return np.where(values == NAN, np.nan, np.stack([1 - values % 2, values % 2])).T.astype(np.float32)


def stage(model: Any, batch_size: BatchSize | None = None) -> ModelStage:
    return ModelStage(model, TASK, SCHEMA, batch_size=batch_size or BatchSize(64, trial=False), threads=1)


def one(it: ModelStage, chunk: DecodedChunk, watch: Stopwatch | None = None) -> PredictedChunk:
    (predicted,) = it.run(iter([chunk]), watch or Stopwatch())
    return predicted


def decoded(values: list[int | None], index: int = 0) -> DecodedChunk:
    """One image per value, None for one that could not be decoded."""
    rows = [
        Row(
            row=i,
            image_id=f"i{i}",
            width=4,
            height=3,
            geometry=Geometry(scale_x=2, scale_y=1.5, offset_x=0, offset_y=0),
            truth=i,
            kept=("here",),
            error_code=None if v is not None else "empty",
        )
        for i, v in enumerate(values)
    ]
    good = [i for i, v in enumerate(values) if v is not None]
    pixels = np.array([v for v in values if v is not None], np.uint8)[:, None, None, None] * np.ones(
        (1, 2, 2, 3), np.uint8
    )
    place = Place(shard="s", version="v", cell=0, index=index, ends_cell=True, last_cell=True)
    return DecodedChunk(place=place, rows=rows, good=good, pixels=pixels)


def predict(model: Any, values: list[int | None]) -> list[dict[str, Any]]:
    return one(stage(model), decoded(values)).table.to_pylist()


def test_rows_keep_their_order_and_their_facts() -> None:
    rows = predict(Model(), [3, None, 4])
    assert [row["label"] for row in rows] == ["odd", None, "even"]
    assert [row["error_code"] for row in rows] == [None, "empty", None]
    assert [(row["shard"], row["row"], row["truth"], row["input_site"]) for row in rows][2] == ("s", 2, 2, "here")


@given(st.lists(st.sampled_from([1, 2, 3, POISON, NAN, None]), max_size=40))
def test_an_image_that_fails_costs_its_row_and_no_other(values: list[int | None]) -> None:
    model = Model()
    it = stage(model)
    rows = one(it, decoded(values)).table.to_pylist()
    codes = {POISON: "model_error", NAN: "model_error", None: "empty"}
    assert [row["error_code"] for row in rows] == [codes.get(value) for value in values]
    expected = [None if value in codes else ("odd" if value % 2 else "even") for value in values]
    assert [row["label"] for row in rows] == expected


class Sized(Model):
    """Fails for an image of POISON, and knows how large the pictures of its images were said to be."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[Sizes | None] = []

    def start(self, pixels: np.ndarray, sizes: Sizes | None = None) -> Callable[[], Answer]:
        assert sizes is None or len(sizes) == len(pixels)
        self.sizes.append(sizes)
        return super().start(pixels, sizes)


def test_the_model_is_told_how_large_pictures_are_where_they_do_not_fill_their_images() -> None:
    chunk = decoded([1, POISON, 2])
    chunk.rows[2].width = 2
    square, narrow = (2, 2), (2, 1)
    halved = [[square, square, narrow], [square], [square, narrow], [square], [narrow]]
    for padded, sizes in [(False, [None] * 5), (True, halved)]:
        it = ModelStage(model := Sized(), TASK, SCHEMA, batch_size=BatchSize(64, trial=False), threads=1, padded=padded)
        one(it, replace(chunk, rows=[replace(row) for row in chunk.rows]))
        assert model.sizes == sizes


class Detector(Model):
    """Finds as many boxes as an image's value says, of ever less score; of 254 one that lies nowhere."""

    def outputs(self, pixels: np.ndarray) -> Any:
        super().outputs(pixels)
        return [self.found(int(image[0, 0, 0])) for image in pixels]

    def found(self, value: int) -> dict[str, np.ndarray]:
        count = 1 if value == NAN else value
        boxes = np.full((count, 4), np.nan) if value == NAN else np.tile([0, 0, 1, 1], (count, 1))
        scores = np.linspace(1, 0.5, count)
        return {"boxes": boxes.astype(np.float32), "scores": scores, "labels": np.zeros(count, np.int64)}


@given(st.lists(st.sampled_from([0, 1, 2, 3, POISON, NAN, None]), max_size=20), st.sampled_from([None, 2]))
def test_so_it_is_where_each_image_has_its_own_number_of_answers(values: list[int | None], most: int | None) -> None:
    task = task_for(TaskSettings(type="detection"), ("thing",))
    schema = output_schema(task.fields(), list(SCHEMA)[7:9])
    it = ModelStage(Detector(most), task, schema, batch_size=BatchSize(64, trial=False), threads=1)
    rows = one(it, decoded(values)).table.to_pylist()
    found = [None if row["boxes"] is None else len(row["boxes"]) for row in rows]
    assert found == [None if value in (POISON, NAN, None) else value for value in values]
    assert all((row["error_code"] is None) == (row["boxes"] is not None) for row in rows)


def test_the_reason_is_told_in_one_line() -> None:
    rows = predict(Model(), [1, POISON])
    assert rows[1]["error"] == "ValueError: poison"
    assert rows[1]["width"] == 4


def test_out_of_memory_halves_the_batch_and_loses_nothing() -> None:
    model = Model(most=3)
    rows = predict(model, list(range(10)))
    assert [row["label"] for row in rows] == ["even", "odd"] * 5
    assert max(model.batches[1:]) < 10


def test_the_smaller_size_is_kept_after_it_and_the_failed_batches_memory_is_free_again() -> None:
    """A traceback refers to the frames that it passed, and they to the tensors of the batch that was too large."""
    held: list[weakref.ref[np.ndarray]] = []

    class Hungry(Model):
        def outputs(self, pixels: np.ndarray) -> Any:
            assert not any(reference() is not None for reference in held)
            activations = np.zeros(1000)
            held.append(weakref.ref(activations))
            return super().outputs(pixels)

    model = Hungry(most=3)
    it = stage(model)
    for _ in range(2):
        chunk = one(it, decoded(list(range(10))))
    assert (chunk.failed, chunk.batch_rows) == (0, 2)
    assert model.batches[-5:] == [2] * 5


@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")  # of torch's own code, about itself
@pytest.mark.parametrize("first", [3, 1])
def test_a_compiled_models_short_first_chunk_costs_later_batches_no_more_than_memory_asks(first: int) -> None:
    """What memory ran out for was not `first` images but the whole batch that they had been padded to."""

    class Hungry(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            sizes.append(len(images))
            if len(images) > 5:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return images.mean(dim=(2, 3))[:, :2]

    sizes: list[int] = []
    batch_size = BatchSize(8, trial=False)
    plain = Predictor(Hungry(), mean=(0, 0, 0), std=(1, 1, 1), precision="fp32", device=torch.device("cpu"))
    it = stage(CompiledPredictor(plain, 8, batch_size.out_of_memory), batch_size)
    with torch.compiler.set_stance("force_eager"):
        chunks = [one(it, decoded([1] * count)) for count in (first, 8)]
    assert [(chunk.failed, chunk.batch_rows) for chunk in chunks] == [(0, 4), (0, 4)]
    assert sizes == [8, 4, 4, 4]


def test_what_a_trial_cuts_a_chunk_into_changes_no_row() -> None:
    values: list[int | None] = [i % 7 if i % 11 else POISON for i in range(200)]
    model = Model()
    it = stage(model, BatchSize(200, trial=True))
    expected = predict(Model(), values)
    for _ in range(4):
        chunk = one(it, decoded(values))
        assert chunk.table.to_pylist() == expected
    assert {8, 16, 32, 64} <= set(model.batches)


def test_one_image_that_needs_too_much_memory_is_the_models_fault() -> None:
    with pytest.raises(ModelError, match="not enough memory"):
        predict(Model(most=0), [1])


def test_one_image_for_which_a_model_asks_more_than_a_machine_can_have_costs_its_row() -> None:
    class Greedy(Model):
        def outputs(self, pixels: np.ndarray) -> Any:
            if (pixels == POISON).any():
                torch.empty(1 << 60, dtype=torch.uint8)
            return super().outputs(pixels)

    chunk = one(stage(Greedy()), decoded([1, POISON, 2]))
    assert chunk.table["error_code"].to_pylist() == [None, "model_error", None]
    assert "DefaultCPUAllocator" in chunk.failure
    assert chunk.batch_rows == 64, "the others need not come in smaller batches for it"


def test_what_the_model_was_asked_and_failed_on_is_counted() -> None:
    chunk = one(stage(Model()), decoded([1, None, POISON, NAN]))
    assert (chunk.asked, chunk.failed, chunk.failure) == (3, 2, "ValueError: poison")


def test_a_batch_of_nothing_but_error_rows_does_not_ask_the_model() -> None:
    model = Model()
    rows = predict(model, [None, None])
    assert [row["error_code"] for row in rows] == ["empty", "empty"]
    assert model.batches == []


class Wrong(Model):
    """Raises, or has the outputs, that it is told."""

    def __init__(self, wrong: Exception | np.ndarray) -> None:
        super().__init__()
        self.wrong = wrong

    def outputs(self, pixels: np.ndarray) -> Any:
        if isinstance(self.wrong, Exception):
            raise self.wrong
        return self.wrong


def test_wrong_answers_and_failed_devices_are_not_blamed_on_images() -> None:
    with pytest.raises(ModelError, match="3 classes"):
        predict(Wrong(np.zeros((2, 3), np.float32)), [1, 2])
    with pytest.raises(DeviceError):
        predict(Wrong(DeviceError("CUDA error")), [1, 2])


def test_seconds_are_booked_to_copies_and_model_for_each_batch() -> None:
    watch = Stopwatch()
    one(stage(Model(), BatchSize(5, trial=False)), decoded([1] * 10), watch)
    stages = watch.take().stages
    assert (stages["copy"].wall_s, stages["model"].wall_s) == (0.5, 2.0)


class Accelerator(Model):
    """Computes by itself: an answer is there when somebody has waited for it. `late` images break the device then."""

    ahead = 1
    late = 253

    def __init__(self) -> None:
        super().__init__()
        self.log: list[str] = []

    def start(self, pixels: np.ndarray, sizes: Sizes | None = None) -> Callable[[], Answer]:
        number = len(self.batches)
        wait = super().start(pixels)
        self.log.append(f"begin {number}")

        def waited() -> Answer:
            self.log.append(f"wait {number}")
            if (pixels == self.late).any():
                raise DeviceError("CUDA error: unspecified launch failure")
            return wait()

        return waited


def chunks_of(*values: list[int | None]) -> Iterator[DecodedChunk]:
    return (decoded(list(value), index) for index, value in enumerate(values))


def test_an_accelerator_has_the_next_chunk_before_the_last_ones_answer_is_waited_for() -> None:
    model = Accelerator()
    predicted = list(stage(model).run(chunks_of([1], [2], [3]), Stopwatch()))
    assert model.log == ["begin 0", "begin 1", "wait 0", "begin 2", "wait 1", "wait 2"]
    assert [chunk.table["label"].to_pylist() for chunk in predicted] == [["odd"], ["even"], ["odd"]]


@given(st.lists(st.lists(st.sampled_from([1, 2, POISON, NAN, None]), max_size=20), max_size=6), st.integers(1, 9))
def test_it_gives_the_same_rows_in_the_same_order(chunks: list[list[int | None]], rows: int) -> None:
    def tables(model: Model) -> list[pa.Table]:
        it = stage(model, BatchSize(rows, trial=False))
        return [(chunk.place.index, chunk.table) for chunk in it.run(chunks_of(*chunks), Stopwatch())]

    assert tables(Accelerator()) == tables(Model())


def test_a_device_that_fails_late_is_not_blamed_on_images() -> None:
    predicted = stage(Accelerator()).run(chunks_of([1], [Accelerator.late], [3]), Stopwatch())
    assert next(predicted).table["label"].to_pylist() == ["odd"]
    with pytest.raises(DeviceError):
        next(predicted)


def test_chunks_of_concurrent_calls_are_not_mixed_up() -> None:
    it = stage(Accelerator(), BatchSize(64, trial=True))

    def labels(parity: int) -> list[str]:
        chunks = (decoded([parity + 2 * (i % 9) for i in range(50)], index) for index in range(20))
        return [label for chunk in it.run(chunks, Stopwatch()) for label in chunk.table["label"].to_pylist()]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(labels, [0, 1, 0, 1])) == [["even"] * 1000, ["odd"] * 1000] * 2
