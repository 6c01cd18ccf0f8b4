"""Segmentation: from logits to masks of the full image, and from masks to targets and metrics."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from sklearn.metrics import accuracy_score, jaccard_score

from tests.images.pictures import oriented
from vision_batch.errors import ImageError, ModelError, SpecError
from vision_batch.images.geometry import Geometry
from vision_batch.images.preprocess import Preprocessor
from vision_batch.images.settings import PreprocessSettings
from vision_batch.tasks import segmentation
from vision_batch.tasks.segmentation import full_mask
from vision_batch.tasks.settings import TaskSettings
from vision_batch.tasks.table import trainable_task_for
from vision_batch.tasks.task import IGNORE, TrainableTask, View

LABELS = ("sky", "sea", "land")


def task(labels: tuple[str, ...] | None = LABELS) -> TrainableTask:
    return trainable_task_for(TaskSettings(type="segmentation"), labels)


def view_of(width: int, height: int, model_px: tuple[int, int]) -> View:
    """The whole image, stretched to the model's input."""
    scale_x, scale_y = width / model_px[1], height / model_px[0]
    return View(width=width, height=height, geometry=Geometry(scale_x=scale_x, scale_y=scale_y, offset_x=0, offset_y=0))


def one_hot(mask: NDArray[Any], classes: int = 3) -> NDArray[np.float32]:
    """Logits (C, h, w) of a model that is certain of `mask`."""
    return 10 * np.eye(classes, dtype=np.float32)[mask].transpose(2, 0, 1)


def png(mask: NDArray[Any]) -> bytes:
    return bytes(cv2.imencode(".png", mask)[1])


def unpacked(data: bytes) -> NDArray[Any]:
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED))


class TestColumns:
    def test_they_are_those_of_the_interface(self) -> None:
        assert [(field.name, str(field.type)) for field in task().fields()] == [
            ("mask_png", "binary"),
            ("class_pixels", "list<item: struct<label: string, label_index: int32, pixels: int64>>"),
        ]
        assert all(field.nullable for field in task().fields())

    def rows(self, outputs: NDArray[np.float32], views: list[View], labels: tuple[str, ...] | None = LABELS) -> Any:
        of = task(labels)
        columns = of.columns(outputs, views, (outputs.shape[2], outputs.shape[3]))
        return pa.table(columns, schema=pa.schema(of.fields())).to_pylist()

    def test_a_row_has_the_mask_and_the_pixels_of_the_classes_in_it(self) -> None:
        mask = np.array([[0, 0, 2], [0, 2, 2]], np.uint8)
        (row,) = self.rows(one_hot(mask)[None], [view_of(3, 2, (2, 3))])
        assert unpacked(row["mask_png"]).tolist() == mask.tolist()
        assert row["class_pixels"] == [
            {"label": "sky", "label_index": 0, "pixels": 3},
            {"label": "land", "label_index": 2, "pixels": 3},
        ]

    def test_without_labels_a_class_is_called_by_its_index(self) -> None:
        (row,) = self.rows(one_hot(np.ones((2, 2), np.uint8))[None], [view_of(2, 2, (2, 2))], labels=None)
        assert [pixels["label"] for pixels in row["class_pixels"]] == ["1"]

    def test_images_of_one_batch_have_their_own_sizes(self) -> None:
        outputs = np.stack([one_hot(np.zeros((4, 4), np.uint8))] * 2)
        first, second = self.rows(outputs, [view_of(7, 5, (4, 4)), view_of(2, 9, (4, 4))])
        assert unpacked(first["mask_png"]).shape == (5, 7)
        assert unpacked(second["mask_png"]).shape == (9, 2)

    def test_no_images_give_no_rows(self) -> None:
        assert self.rows(np.empty((0, 3, 4, 4), np.float32), []) == []

    @pytest.mark.parametrize(("classes", "dtype"), [(255, np.uint8), (256, np.uint8), (257, np.uint16)])
    def test_above_256_classes_a_mask_has_16_bits(self, classes: int, dtype: Any) -> None:
        mask = np.array([[0, classes - 1]])
        (row,) = self.rows(one_hot(mask, classes)[None], [view_of(2, 1, (1, 2))], labels=None)
        stored = unpacked(row["mask_png"])
        assert (stored.dtype, stored.tolist()) == (dtype, mask.tolist())
        assert [pixels["label_index"] for pixels in row["class_pixels"]] == [0, classes - 1]

    @pytest.mark.parametrize(("classes", "unseen"), [(3, 255), (300, 65535)])
    def test_what_the_model_did_not_see_has_no_class(self, classes: int, unseen: int) -> None:
        cropped = View(width=8, height=2, geometry=Geometry(scale_x=1, scale_y=1, offset_x=2, offset_y=0))
        logits = one_hot(np.full((2, 4), 1), classes)
        (row,) = self.rows(logits[None], [cropped], labels=None)
        assert unpacked(row["mask_png"]).tolist() == [[unseen, unseen, 1, 1, 1, 1, unseen, unseen]] * 2
        assert row["class_pixels"] == [{"label": "1", "label_index": 1, "pixels": 8}]

    def test_logits_smaller_than_the_input_are_interpolated_as_torch_does(self) -> None:
        random = np.random.default_rng(0)
        logits = random.normal(size=(3, 5, 7)).astype(np.float32)
        mask, pixels = full_mask(logits, view_of(28, 20, (20, 28)), (20, 28))
        scores = torch.nn.functional.interpolate(torch.from_numpy(logits)[None], size=(20, 28), mode="bilinear")
        assert (mask == scores[0].argmax(dim=0).numpy()).mean() > 0.99
        assert pixels.tolist() == np.bincount(mask.ravel(), minlength=3).tolist()

    def test_a_large_image_in_strips_is_the_same(self, monkeypatch: pytest.MonkeyPatch) -> None:
        logits = np.random.default_rng(0).normal(size=(3, 16, 16)).astype(np.float32)
        view = View(width=301, height=203, geometry=Geometry(scale_x=18, scale_y=12, offset_x=3, offset_y=-5))
        whole, pixels = full_mask(logits, view, (16, 16))
        monkeypatch.setattr(segmentation, "STRIP_PIXELS", 1000)
        strips, pixels_of_strips = full_mask(logits, view, (16, 16))
        assert (whole == strips).mean() > 0.9999
        assert np.abs(pixels - pixels_of_strips).max() <= 3

    def test_of_equal_classes_the_first_wins(self) -> None:
        mask, _ = full_mask(np.zeros((5, 2, 2), np.float32), view_of(4, 4, (2, 2)), (2, 2))
        assert not mask.any()


SEEN = {
    "resize": {"resize_px": [48, 64]},
    "shorter and crop": {"resize_shorter_px": 48, "crop_px": 48},
    "letterbox": {"letterbox_px": 64},
    "crop alone": {"crop_px": 64},
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("steps", SEEN.values(), ids=SEEN)
def test_a_model_that_answers_with_the_truth_gives_back_the_truth(steps: dict[str, Any], orientation: int) -> None:
    """Black is class 0, white class 1; the mask may differ from the picture, as shown, within a pixel of its edges."""
    stored = np.zeros((150, 200, 3), np.uint8)
    stored[30:117, 53:] = 255
    data = oriented(Image.fromarray(stored), "png", orientation)
    truth = np.asarray(Image.fromarray(stored[..., 0])) // 255
    truth = _as_shown(truth, orientation)
    preprocessed = Preprocessor(PreprocessSettings.model_validate(steps), max_pixels=10**6)(data)
    white = preprocessed.pixels[..., 0].astype(np.float32)
    view = View(width=preprocessed.width, height=preprocessed.height, geometry=preprocessed.geometry)
    mask, _ = full_mask(np.stack([255 - white, white]), view, white.shape)
    assert mask.shape == truth.shape
    near_edge = cv2.dilate(truth, np.ones((3, 3), np.uint8)) != cv2.erode(truth, np.ones((3, 3), np.uint8))
    seen = mask != IGNORE
    wrong = (mask != truth) & seen & ~near_edge
    assert wrong.sum() <= 2 * max(view.geometry.scale_x, view.geometry.scale_y) ** 2, "corners are rounded"
    share = seen.mean()
    assert share == 1 if "crop_px" not in steps else 0.1 < share < 1


def _as_shown(mask: NDArray[Any], orientation: int) -> NDArray[Any]:
    """EXIF 2.32 in Pillow's words."""
    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
    picture = Image.fromarray(mask)
    return np.asarray(picture if orientation == 1 else picture.transpose(turns[orientation]))


class TestTarget:
    def test_a_mask_moves_with_the_image(self) -> None:
        mask = np.array([[0, 1], [2, 255]], np.uint8)
        for truth in (png(mask), memoryview(png(mask)), {"bytes": png(mask), "path": "a.png"}):
            target = task().target(truth)
            assert target.value is None
            assert target.annotation is not None
            assert target.annotation.mask is not None
            assert target.annotation.mask.tolist() == mask.tolist()

    def test_a_mask_of_16_bits_becomes_bytes(self) -> None:
        annotation = task().target(png(np.array([[0, 2, 65535]], np.uint16))).annotation
        assert annotation is not None
        assert annotation.mask is not None
        assert (annotation.mask.dtype, annotation.mask.tolist()) == (np.uint8, [[0, 2, IGNORE]])

    @pytest.mark.parametrize(
        ("truth", "words"),
        [
            (None, "the label is nothing"),
            ("sky", "the label is a str"),
            (b"", "mask"),
            (b"no picture", "mask"),
            (png(np.zeros((2, 2), np.uint8))[:-20], "mask"),
            (png(np.array([[0, 3]], np.uint8)), r"the value 3; model.labels has 3 names, 255 is none"),
            (png(np.array([[0, 255]], np.uint16)), r"the value 255; model.labels has 3 names, 65535 is none"),
            (png(np.zeros((2, 2, 3), np.uint8)), "mask"),
            ({"bytes": None, "path": "a.png"}, "the label is nothing"),
        ],
    )
    def test_what_is_no_mask_is_an_invalid_label(self, truth: Any, words: str) -> None:
        with pytest.raises(ImageError, match=words) as caught:
            task().target(truth)
        assert caught.value.code == "invalid_label"

    @pytest.mark.parametrize("labels", [None, (), tuple(map(str, range(256)))])
    def test_a_byte_must_hold_the_classes_and_ignore(self, labels: tuple[str, ...] | None) -> None:
        with pytest.raises(SpecError, match=r"model\.labels"):
            task(labels).metrics()


def measured(truth: NDArray[Any], predicted: NDArray[Any], classes: int = 3) -> dict[str, float]:
    metrics = task(tuple(map(str, range(classes)))).metrics()
    for one_truth, one_predicted in zip(truth, predicted, strict=True):
        logits = torch.from_numpy(one_hot(one_predicted, classes))[None]
        metrics.update(logits, torch.from_numpy(one_truth)[None])
    return metrics.result(metrics.state())


class TestMetrics:
    @given(st.integers(0, 2**32 - 1), st.integers(1, 3))
    @settings(max_examples=25)
    def test_they_are_scikit_learns(self, seed: int, classes: int) -> None:
        random = np.random.default_rng(seed)
        truth = random.integers(0, classes, (2, 4, 5)).astype(np.uint8)
        predicted = random.integers(0, classes, truth.shape)
        truth[random.random(truth.shape) < 0.2] = IGNORE
        judged = truth != IGNORE
        found = measured(truth, predicted, classes)
        if not judged.any():
            assert found == {}
            return
        iou = jaccard_score(truth[judged], predicted[judged], average=None, labels=np.arange(classes), zero_division=0)
        occurs = np.union1d(truth[judged], predicted[judged])
        assert found["mean_iou"] == pytest.approx(iou[occurs].mean())
        assert found["pixel_accuracy"] == pytest.approx(accuracy_score(truth[judged], predicted[judged]))

    def test_nothing_but_ignored_pixels_has_no_metrics(self) -> None:
        assert measured(np.full((1, 2, 2), IGNORE, np.uint8), np.zeros((1, 2, 2), np.int64)) == {}

    def test_states_of_workers_sum_to_that_of_all(self) -> None:
        random = np.random.default_rng(0)
        outputs = torch.from_numpy(random.normal(size=(6, 3, 4, 4)).astype(np.float32))
        targets = torch.from_numpy(random.integers(0, 3, (6, 8, 8)).astype(np.uint8))
        whole, *shares = (task().metrics() for _ in range(4))
        whole.update(outputs, targets)
        for share, chosen in zip(shares, (slice(0, 1), slice(1, 6), slice(6, 6)), strict=True):
            share.update(outputs[chosen], targets[chosen])
        total = np.sum([share.state() for share in shares], axis=0)
        assert total.tolist() == whole.state().tolist()
        assert whole.result(total) == whole.result(whole.state())

    def test_logits_are_interpolated_to_the_targets_size(self) -> None:
        metrics = task().metrics()
        mask = np.repeat(np.repeat(np.array([[0, 1], [1, 2]], np.uint8), 4, axis=0), 4, axis=1)
        metrics.update(torch.from_numpy(one_hot(mask[::4, ::4]))[None], torch.from_numpy(mask)[None])
        assert metrics.result(metrics.state())["pixel_accuracy"] > 0.8


class TestAgreement:
    def test_one_pixel_in_a_hundred_may_change(self) -> None:
        exact = one_hot(np.zeros((10, 20), np.uint8))[None]
        for changed, is_close in ((2, True), (3, False)):
            mask = np.zeros((10, 20), np.uint8)
            mask[0, :changed] = 1
            agreement = task().agreement(exact, one_hot(mask)[None])
            assert agreement.is_close == is_close
            assert agreement.text == f"{100 - changed / 2:.2f} % of the pixels have the class of fp32"

    def test_what_overflows_in_the_lower_one_alone_is_not_close(self) -> None:
        exact = one_hot(np.zeros((2, 2), np.uint8))[None]
        assert not task().agreement(exact, np.full_like(exact, np.inf)).is_close


def test_which_images_have_a_prediction() -> None:
    outputs = np.zeros((3, 2, 2, 2), np.float32)
    outputs[1, 0, 1, 1] = np.nan
    outputs[2, 1, 0, 0] = -np.inf
    assert task(None).finite(outputs).tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("outputs", "words"),
    [
        (np.zeros((2, 3), np.float32), r"shape \(2, 3\); segmentation needs .* \(N, C, h, w\)"),
        (np.zeros((2, 4, 5, 5), np.float32), "4 classes and model.labels has 3"),
        (np.zeros((1, 3, 5, 5), np.float32), "1 rows for 2 images"),
        (np.zeros((2, 3, 0, 5), np.float32), r"shape \(2, 3, 0, 5\)"),
        ({"out": np.zeros((2, 3, 5, 5))}, "a dict with out"),
    ],
)
def test_outputs_that_do_not_fit(outputs: Any, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        task().check(outputs, 2)
