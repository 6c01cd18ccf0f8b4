"""What changed between two predictions, and which is better, for every kind of prediction."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import accuracy_score, cohen_kappa_score

from vision_batch.errors import SpecError
from vision_batch.evaluation.compare import compare
from vision_batch.evaluation.comparison import Change, ClassAgreement, Comparison
from vision_batch.evaluation.settings import EvaluateSettings, TruthSettings
from vision_batch.ledger.predictions import Predictions

EDGES = ("x_min", "y_min", "x_max", "y_max")
BOXES = pa.list_(pa.struct([("label", pa.string()), *((name, pa.float32()) for name in ("score", *EDGES))]))


class Compared:
    """A comparison of two tables, and the images that changed."""

    def __init__(
        self,
        folder: Path,
        a: pa.Table,
        b: pa.Table,
        truth: pa.Table | None = None,
        *,
        min_score: float = 0,
        **settings: Any,
    ) -> None:
        for name, table in (("a", a), ("b", b), ("truth", truth)):
            if table is not None:
                pq.write_table(table, folder / f"{name}.parquet")
        self.tables: list[pa.Table] = []
        self.comparison: Comparison = compare(
            Predictions.open(str(folder / "a.parquet")),
            Predictions.open(str(folder / "b.parquet")),
            None if truth is None else TruthSettings(uri=str(folder / "truth.parquet")),
            EvaluateSettings(**{"bootstrap": 200, **settings}),
            changed=self.tables.append,
            min_score=min_score,
        )

    @property
    def changed(self) -> list[tuple[Any, ...]]:
        rows = [tuple(row.values()) for table in self.tables for row in table.to_pylist()]
        return sorted(rows, key=lambda row: str(row[0]))


def table(column: str, values: list[Any], kind: pa.DataType | None = None, first: int = 0) -> pa.Table:
    ids = [f"{number}.jpg" for number in range(first, first + len(values))]
    codes = pa.array(["truncated" if value is None else None for value in values], pa.string())
    return pa.table({"image_id": ids, "error_code": codes, column: pa.array(values, kind)})


def test_images_of_one_side_and_failures_are_counted(tmp_path: Path) -> None:
    a = table("label", ["cat", None, None, "cat", "dog", "cat"])
    b = table("label", [None, None, "dog", "dog", "new", "cat"], first=1)
    found = Compared(tmp_path, a, b)
    comparison = found.comparison
    assert (comparison.images, comparison.only_in_a, comparison.only_in_b) == (5, 1, 1)
    assert (comparison.failed_in_both, comparison.failed_only_in_a, comparison.failed_only_in_b) == (2, 0, 0)
    assert (comparison.compared, comparison.changed) == (3, 2)
    assert comparison.judgement is None
    assert found.changed == [("3.jpg", "cat", "dog", 0.0), ("5.jpg", "cat", "new", 0.0)]


def test_an_image_that_failed_on_one_side_only_is_among_the_changed(tmp_path: Path) -> None:
    found = Compared(tmp_path, table("label", ["cat", None]), table("label", [None, "dog"]))
    assert (found.comparison.failed_only_in_a, found.comparison.failed_only_in_b) == (1, 1)
    assert found.changed == [("0.jpg", None, "truncated", None), ("1.jpg", "truncated", None, None)]
    assert found.comparison.agreement == {}


def test_an_error_may_change_too(tmp_path: Path) -> None:
    a = table("label", [None, None, "dog"])
    b = a.set_column(1, "error_code", pa.array(["truncated", "missing", None]))
    found = Compared(tmp_path, a, b)
    assert (found.comparison.failed_in_both, found.comparison.errors_changed) == (2, 1)
    assert found.changed == [("1.jpg", "truncated", "missing", None)]


def test_labels_agree_as_scikit_learn_says(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    names = np.array(["ant", "bee", "cat"])
    a = names[random.integers(0, 3, 500)]
    b = np.where(random.random(500) < 0.8, a, "bee")
    found = Compared(tmp_path, table("label", a.tolist()), table("label", b.tolist()))
    comparison = found.comparison
    assert comparison.agreement["same_label"] == accuracy_score(a, b)
    assert comparison.agreement["cohen_kappa"] == pytest.approx(cohen_kappa_score(a, b))
    assert sum(change.count for change in comparison.changes) == comparison.changed == (a != b).sum()
    first = comparison.changes[0]
    assert first.count == ((a == first.a) & (b == first.b)).sum()
    assert [(a[int(name[:-4])], b[int(name[:-4])]) for name in first.images] == [(first.a, first.b)] * 3
    bee = next(each for each in comparison.classes if each.label == "bee")
    assert (bee.in_a, bee.in_b, bee.in_both) == (
        (a == "bee").sum(),
        (b == "bee").sum(),
        ((a == "bee") & (b == a)).sum(),
    )
    assert found.changed[0][1:3] in {(change.a, change.b) for change in comparison.changes}


def test_sets_of_labels_appear_and_vanish(tmp_path: Path) -> None:
    a, b = ([["cat", "dog"], [], ["cat"]], [["cat", "eel"], [], ["cat"]])
    kind = pa.list_(pa.string())
    found = Compared(tmp_path, table("labels", a, kind), table("labels", b, kind))
    assert found.comparison.agreement == {"mean_of_images": pytest.approx(2.5 / 3), "of_all": pytest.approx(2 / 3)}
    assert set(found.comparison.changes) == {
        Change(a="dog", b=None, count=1, images=("0.jpg",)),
        Change(a=None, b="eel", count=1, images=("0.jpg",)),
    }
    assert found.changed == [("0.jpg", "cat, dog", "cat, eel", 0.5)]


def box(label: str, x: float) -> dict[str, Any]:
    return {"label": label, "score": 0.5, "x_min": x, "y_min": 0.0, "x_max": x + 10, "y_max": 10.0}


def test_boxes_match_at_half_of_their_union(tmp_path: Path) -> None:
    a = [[box("cat", 0), box("dog", 40)], [], [box("cat", 0), box("cat", 2)]]
    b = [[box("cat", 2), box("dog", 50)], [], [box("cat", 1)]]
    found = Compared(tmp_path, table("boxes", a, BOXES), table("boxes", b, BOXES))
    assert found.comparison.agreement["of_all"] == pytest.approx(4 / 7)
    assert found.comparison.classes == (
        ClassAgreement(label="cat", in_a=3, in_b=2, in_both=2),
        ClassAgreement(label="dog", in_a=1, in_b=1, in_both=0),
    )
    assert found.changed == [
        ("0.jpg", "2 boxes", "2 boxes", 0.5),
        ("2.jpg", "2 boxes", "1 boxes", pytest.approx(2 / 3)),
    ]
    assert {(change.a, change.b, change.count) for change in found.comparison.changes} == {
        ("cat", None, 1),
        ("dog", None, 1),
        (None, "dog", 1),
    }


def test_boxes_of_low_scores_can_be_left_out(tmp_path: Path) -> None:
    a, b = [[box("cat", 0)]], [[box("cat", 0), box("cat", 50) | {"score": 0.4}]]
    tables = table("boxes", a, BOXES), table("boxes", b, BOXES)
    assert Compared(tmp_path, *tables).comparison.changed == 1
    assert Compared(tmp_path, *tables, min_score=0.5).comparison.changed == 0


def png(mask: np.ndarray) -> bytes:
    return bytes(cv2.imencode(".png", mask)[1])


def test_masks_agree_pixel_by_pixel(tmp_path: Path) -> None:
    square = np.zeros((10, 10), np.uint8)
    half = square.copy()
    half[:5] = 1
    a = [png(square), png(half), png(square)]
    b = [png(square), png(square), png(square[:5])]
    found = Compared(tmp_path, table("mask_png", a, pa.binary()), table("mask_png", b, pa.binary()))
    assert found.comparison.agreement == {
        "mean_of_images": 0.5,
        "of_all": 0.75,
        "mean_iou": pytest.approx(0.375),
    }
    assert found.comparison.changes == (Change(a="1", b="0", count=50, images=("1.jpg",)),)
    assert [(row[0], row[3]) for row in found.changed] == [("1.jpg", 0.5), ("2.jpg", 0.0)]
    assert found.changed[1][1] == "one mask has 10 x 10 pixels, the other 10 x 5"


def test_vectors_agree_by_their_cosine(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    a = random.normal(size=(50, 8)).astype(np.float32)
    b = np.concatenate([2 * a[:40], random.normal(size=(10, 8))]).astype(np.float32)
    kind = pa.list_(pa.float32())
    found = Compared(tmp_path, table("embedding", a.tolist(), kind), table("embedding", b.tolist(), kind))
    cosine = (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert found.comparison.agreement["cosine_mean"] == pytest.approx(cosine.mean(), abs=1e-6)
    assert found.comparison.agreement["cosine_p5"] == pytest.approx(np.percentile(cosine, 5), abs=1e-6)
    assert found.comparison.changed == 10
    with pytest.raises(SpecError, match="vectors of 8 and of 4 numbers"):
        Compared(tmp_path, table("embedding", a.tolist(), kind), table("embedding", b[:, :4].tolist(), kind))


def test_with_the_truth_the_better_one_is_known_from_noise(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    names = np.array(["ant", "bee", "cat", "dog"])
    truth = names[random.integers(0, 4, 600)]
    a, b, c = (np.where(random.random(600) < right, truth, "ant") for right in (0.7, 0.85, 0.7))
    known = table("label", truth.tolist()).drop_columns(["error_code"])
    judgement = Compared(tmp_path, *(table("label", each.tolist()) for each in (a, b)), known).comparison.judgement
    assert judgement is not None
    first = judgement.differences[0]
    assert (first.metric, first.a, first.b) == ("accuracy", (a == truth).mean(), (b == truth).mean())
    assert first.low is not None
    assert first.high is not None
    assert 0 < first.low < first.difference < first.high
    assert judgement.verdict == "B is better in accuracy, by more than noise"
    test = judgement.mcnemar
    assert test is not None
    only_a, only_b = ((a == truth) & (b != truth)).sum(), ((b == truth) & (a != truth)).sum()
    assert (test.only_a_right, test.only_b_right) == (only_a, only_b)
    assert test.p_value < 1e-3
    same = Compared(tmp_path, *(table("label", each.tolist()) for each in (a, c)), known).comparison.judgement
    assert same is not None
    assert same.verdict == "no difference in accuracy that is more than noise"
    swapped = Compared(tmp_path, *(table("label", each.tolist()) for each in (b, a)), known).comparison.judgement
    assert swapped is not None
    assert swapped.verdict == "A is better in accuracy, by more than noise"


def test_the_truth_may_be_that_of_a(tmp_path: Path) -> None:
    a, b = table("label", ["ant", "bee", "cat"]), table("label", ["ant", "cat", "cat"])
    judgement = Compared(tmp_path, a.append_column("truth", [["ant", "bee", None]]), b).comparison.judgement
    assert judgement is not None
    assert (judgement.images, judgement.differences[0].difference) == (2, -0.5)


def test_boxes_masks_and_vectors_are_judged_by_their_own_measures(tmp_path: Path) -> None:
    good, bad = [[box("cat", 0)]] * 9, [[box("cat", 30)]] * 9
    truth = table("boxes", good, BOXES)
    judged = Compared(tmp_path, *(table("boxes", each, BOXES) for each in (bad, good)), truth).comparison.judgement
    assert judged is not None
    assert (judged.differences[0].metric, judged.differences[0].difference, judged.mcnemar) == ("ap", 1, None)

    masks = [png(np.full((4, 4), number % 2, np.uint8)) for number in range(9)]
    wrong = [png(np.zeros((4, 4), np.uint8))] * 9
    truth = table("mask_png", masks, pa.binary())
    of_both = [table("mask_png", each, pa.binary()) for each in (masks, wrong)]
    judged = Compared(tmp_path, *of_both, truth).comparison.judgement
    assert judged is not None
    assert (judged.differences[0].metric, judged.differences[0].a) == ("mean_iou", 1)

    kind = pa.list_(pa.string())
    labels = [["cat"], ["dog"], ["cat", "dog"]] * 3
    truth = table("labels", labels, kind)
    judged = Compared(tmp_path, *(table("labels", each, kind) for each in ([["cat"]] * 9, labels)), truth).comparison
    assert judged.judgement is not None
    assert judged.judgement.differences[0].difference > 0

    kind = pa.list_(pa.float32())
    vectors = np.repeat(np.eye(2), 10, axis=0) + 0.01 * np.arange(20)[:, None]
    truth = table("label", ["ant"] * 10 + ["bee"] * 10)
    of_both = [
        table("embedding", each.tolist(), kind)
        for each in (vectors, vectors[::-1][[*range(0, 20, 2), *range(1, 20, 2)]])
    ]
    judged = Compared(tmp_path, *of_both, truth, k=[1, 3]).comparison.judgement
    assert judged is not None
    assert (judged.differences[0].metric, judged.differences[0].a) == ("knn_1_accuracy", 1)
    assert judged.differences[0].b < 1
    assert judged.mcnemar is not None
    assert judged.mcnemar.only_b_right == 0


def test_what_has_nothing_in_common_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="two of one kind"):
        Compared(tmp_path, table("label", ["a"]), table("boxes", [[]], BOXES))
    with pytest.raises(SpecError, match=r"no image_id that .*a.parquet and .*b.parquet both have"):
        Compared(tmp_path, table("label", ["a"]), table("label", ["a"], first=5))
    twice = pa.concat_tables([table("label", ["a"])] * 2)
    with pytest.raises(SpecError, match="more than once"):
        Compared(tmp_path, twice, table("label", ["a"]))


def test_labels_that_are_numbers_are_the_same_as_texts_and_as_text(tmp_path: Path) -> None:
    found = Compared(tmp_path, table("label", ["1", "2", "3"]), table("label", [1.0, None, 4.0]))
    assert (found.comparison.compared, found.comparison.changed) == (2, 1)
    assert found.changed[1] == ("2.jpg", "3", "4", 0.0)


def test_a_column_of_truth_without_any_judges_nothing(tmp_path: Path) -> None:
    a, b = table("label", ["ant", "bee"]), table("label", ["ant", "cat"])
    comparison = Compared(tmp_path, a.append_column("truth", pa.nulls(2, pa.string())), b).comparison
    assert (comparison.changed, comparison.judgement) == (1, None)


def test_masks_whose_indices_are_other_classes_are_refused(tmp_path: Path) -> None:
    masks = table("mask_png", [png(np.zeros((2, 2), np.uint8))], pa.binary())
    pq.write_table(masks, tmp_path / "p.parquet")
    found = Predictions.open(str(tmp_path / "p.parquet"))
    a, b, longer = (replace(found, labels=labels) for labels in (("sky", "cat"), ("cat", "sky"), ("sky", "cat", "dog")))
    settings = EvaluateSettings(bootstrap=0)
    with pytest.raises(SpecError, match="masks in which 0 is 'sky' in A and 'cat' in B"):
        compare(a, b, None, settings)
    assert compare(a, longer, None, settings).changed == 0
