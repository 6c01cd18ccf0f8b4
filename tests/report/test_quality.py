"""What a page says of quality is what was evaluated."""

from __future__ import annotations

import numpy as np
import pytest

from tests.report.test_html import Reader
from vision_batch.evaluation.evaluation import Evaluation, Result
from vision_batch.evaluation.measure import ConfusionCell, Curve
from vision_batch.report.colours import Palette
from vision_batch.report.html import join
from vision_batch.report.page import Section
from vision_batch.report.quality import MATRIX_CLASSES, quality
from vision_batch.report.verdict import Verdict, headline_of


def result(metric: str, value: float | None, label: str | None = None, slice: str | None = None) -> Result:
    low, high = (None, None) if value is None else (value - 0.125, value + 0.125)
    return Result(metric=metric, label=label, slice=slice, value=value, low=low, high=high, support=7)


def evaluation(
    results: tuple[Result, ...], confusion: tuple[ConfusionCell, ...] = (), curves: tuple[Curve, ...] = ()
) -> Evaluation:
    return Evaluation(
        kind="classification",
        predictions="/out",
        truth=None,
        images=70,
        images_failed=2,
        images_without_truth=3,
        truths_without_image=4,
        results=results,
        confusion=confusion,
        curves=curves,
        notes=("<b>a note</b>",),
    )


def section(found: Evaluation) -> Section:
    made = quality(Verdict(evaluation=found), Palette.of(["cat", "dog"]))
    assert made is not None
    return made


def words_of(made: Section) -> str:
    return " ".join(Reader(join([made.about, made.content])).text.split())


def test_metrics_classes_and_slices() -> None:
    results = (
        result("top_5_accuracy", None),
        result("accuracy", 0.5),
        result("f1", 0.25, "cat"),
        result("recall", 0.75, "cat"),
        result("f1", 0.375, "<i>dog</i>"),
        result("accuracy", 0.625, slice="camera = 3"),
        result("f1", 0.1, "cat", slice="camera = 3"),
    )
    found = evaluation(results)
    assert headline_of(found) == results[1]
    made = section(found)
    text = words_of(made)
    assert "70 images that have a truth, 2 of which failed; 3 more have none; 4 truths have no image." in text
    for shown in (
        "accuracy",
        "0.5000",
        "0.3750 to 0.6250",
        "top 5 accuracyn/a",
        "0.2500",
        "0.7500",
        "<i>dog</i>",
        "camera = 3",
    ):
        assert shown in text
    assert "<b>a note</b>" in text
    assert "0.1000" not in text


def test_a_confusion_matrix_has_the_classes_that_are_met_most() -> None:
    names = [f"class {number:02d}" for number in range(30)]
    cells = tuple(ConfusionCell(truth=name, predicted=name, count=1000 - n) for n, name in enumerate(names))
    made = section(evaluation((), (*cells, ConfusionCell(truth=names[0], predicted=None, count=5000))))
    text = words_of(made)
    assert f"({MATRIX_CLASSES} of 31 classes)" in text
    assert "(none)" in text
    assert "class 10" in text
    assert "class 11" not in text
    assert "5,000" in text


@pytest.mark.parametrize("kind", ["roc", "precision_recall", "calibration"])
def test_curves_keep_their_ends(kind: str) -> None:
    steps = np.linspace(0, 1, 5001)
    curve = Curve(kind=kind, x=steps, y=steps, thresholds=steps, label="cat")  # type: ignore[arg-type]
    made = section(evaluation((), curves=(curve,)))
    assert "<svg" in str(join(made.content))
    assert "cat" in words_of(made)
    assert len(str(join(made.content))) < 40_000


def test_a_truth_of_no_use_is_said() -> None:
    made = quality(Verdict(reason="<no> truth."), Palette.of([]))
    assert made is not None
    assert words_of(made) == "Not measured: <no> truth."
    assert quality(Verdict(), Palette.of([])) is None
