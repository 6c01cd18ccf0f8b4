"""Evaluation as a whole: values, intervals, slices, and what becomes of images without a prediction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.evaluation.classified import Classified, classified
from tests.export import predicted as outputs
from tests.export.predicted import CLASSIFIED, SEVERAL
from vision_batch.errors import SpecError
from vision_batch.evaluation import bootstrap, sample, slices
from vision_batch.evaluation.classification import ClassificationMeasure
from vision_batch.evaluation.evaluate import evaluate
from vision_batch.evaluation.evaluation import Evaluation, Result
from vision_batch.evaluation.settings import EvaluateSettings, TruthSettings
from vision_batch.ledger.predictions import Predictions


def evaluated(folder: Path, rows: pa.Table, truth: Path | None = None, **settings: Any) -> Evaluation:
    pq.write_table(rows, folder / "p.parquet", row_group_size=150)
    return evaluate(
        Predictions.open(str(folder / "p.parquet")),
        None if truth is None else TruthSettings(uri=str(truth)),
        EvaluateSettings(**{"bootstrap": 0, **settings}),
    )


def result(evaluation: Evaluation, metric: str, part: str | None = None, label: str | None = None) -> Result:
    (found,) = [r for r in evaluation.results if (r.metric, r.slice, r.label) == (metric, part, label)]
    return found


@pytest.fixture
def case() -> Classified:
    return classified(failed=0.1)


def test_images_that_failed_count_as_wrong_or_are_left_out(tmp_path: Path, case: Classified) -> None:
    right = (case.predicted == case.truth) & ~case.failed
    found = evaluated(tmp_path, case.rows())
    assert (found.images, found.images_failed) == (400, case.failed.sum())
    assert found.metrics["accuracy"] == right.mean()
    without = evaluated(tmp_path, case.rows(), failed="left_out")
    assert (without.images, without.images_failed) == (400, case.failed.sum())
    assert without.metrics["accuracy"] == right[~case.failed].mean()
    assert result(without, "accuracy").support == (~case.failed).sum()


@pytest.mark.parametrize("failed", ["wrong", "left_out"])
def test_where_all_images_failed_nothing_breaks(tmp_path: Path, failed: str) -> None:
    found = evaluated(tmp_path, classified(50, failed=1.1).rows(), failed=failed, bootstrap=10, by=["error_code"])
    assert (found.images, found.images_failed) == (50, 50)
    assert result(found, "accuracy").value == (0 if failed == "wrong" else None)
    assert found.curves == ()


def test_the_truth_may_come_from_elsewhere(tmp_path: Path, case: Classified) -> None:
    rows = case.rows()
    pq.write_table(rows.select(["image_id", "truth"]).rename_columns(["image_id", "label"]), tmp_path / "t.parquet")
    apart = evaluated(tmp_path, rows.drop_columns(["truth"]), tmp_path / "t.parquet")
    assert apart.metrics == evaluated(tmp_path, rows).metrics
    assert apart.truth == str(tmp_path / "t.parquet")


def test_a_slice_has_the_values_of_its_images(tmp_path: Path, case: Classified) -> None:
    site = np.array(["north", "south"])[np.random.default_rng(0).integers(0, 2, 400)]
    right = (case.predicted == case.truth) & ~case.failed
    found = evaluated(tmp_path, case.rows().append_column("input_site", pa.array(site)), by=["input_site"])
    for name in ("north", "south"):
        one = result(found, "accuracy", f"input_site={name}")
        assert (one.value, one.support) == (right[site == name].mean(), (site == name).sum())
    assert {r.slice for r in found.results} == {None, "input_site=north", "input_site=south"}


def test_slices_come_from_the_truth_too_and_from_more_than_one_column(tmp_path: Path, case: Classified) -> None:
    rows = case.rows()
    truth = pa.table({"image_id": rows["image_id"], "label": rows["truth"], "night": [n % 2 == 0 for n in range(400)]})
    pq.write_table(truth, tmp_path / "t.parquet")
    found = evaluated(tmp_path, rows, tmp_path / "t.parquet", by=["night", "error_code"])
    assert {r.slice for r in found.results if r.slice} == {
        "night=True",
        "night=False",
        "error_code=(none)",
        "error_code=truncated",
    }
    assert result(found, "accuracy", "error_code=truncated").value == 0
    assert result(found, "accuracy", "night=True").support == 200


@pytest.mark.parametrize(("columns", "label"), [(CLASSIFIED, "label"), (SEVERAL, "labels")])
def test_classes_that_the_model_does_not_know_are_noted(tmp_path: Path, columns: list[pa.Field], label: str) -> None:
    row = outputs.classified() if label == "label" else {"labels": ["cat"], "label_scores": [0.9]}
    output = outputs.predicted(tmp_path, outputs.pictures(tmp_path / "in", "a.png", "b.png"), columns, lambda name: row)
    truth = pa.array(["cat", "Dog"]) if label == "label" else pa.array([["cat"], ["Dog"]])
    pq.write_table(pa.table({"image_id": ["a.png", "b.png"], label: truth}), tmp_path / "t.parquet")
    settings = EvaluateSettings(bootstrap=0)
    found = evaluate(Predictions.open(output), TruthSettings(uri=str(tmp_path / "t.parquet")), settings)
    assert "1 classes of the truth are none of the model's: 'Dog'" in found.notes


def test_slices_are_in_the_order_of_their_numbers(tmp_path: Path, case: Classified) -> None:
    widths = [(90, 1000, 200)[n % 3] for n in range(400)]
    rows = case.rows().append_column("width", pa.array(widths))
    found = [r.slice for r in evaluated(tmp_path, rows, by=["width"]).results if r.slice and r.metric == "accuracy"]
    assert found == ["width=90", "width=200", "width=1000"]


def test_slices_by_the_truth_itself_are_recalls(tmp_path: Path, case: Classified) -> None:
    found = evaluated(tmp_path, case.rows(), by=["truth"])
    assert result(found, "accuracy", "truth=c1").value == result(found, "recall", label="c1").value


def test_of_many_values_the_later_ones_are_one_slice(
    tmp_path: Path, case: Classified, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slices, "MOST_VALUES", 2)
    found = evaluated(tmp_path, case.rows(), by=["image_id"])
    assert {r.slice for r in found.results if r.slice} == {"image_id=0.jpg", "image_id=1.jpg", "image_id=(others)"}
    assert result(found, "accuracy", "image_id=(others)").support == 398
    assert found.notes == ("image_id has more than 2 values: those that came later are (others)",)


def test_a_slice_by_what_there_is_not_or_by_lists_is_refused(tmp_path: Path, case: Classified) -> None:
    with pytest.raises(SpecError, match="no column 'site'"):
        evaluated(tmp_path, case.rows(), by=["site"])
    with pytest.raises(SpecError, match="a column of texts, numbers or dates"):
        evaluated(tmp_path, case.rows(), by=["top_scores"])


def test_intervals_are_those_of_the_binomial_distribution_for_an_accuracy(tmp_path: Path) -> None:
    case = classified(1000)
    accuracy = result(evaluated(tmp_path, case.rows(), bootstrap=400), "accuracy")
    assert accuracy.value is not None
    assert accuracy.low is not None
    assert accuracy.high is not None
    width = 1.96 * np.sqrt(accuracy.value * (1 - accuracy.value) / 1000)
    assert accuracy.low == pytest.approx(accuracy.value - width, abs=0.15 * width)
    assert accuracy.high == pytest.approx(accuracy.value + width, abs=0.15 * width)


def test_intervals_repeat_with_their_seed_and_every_value_has_one(tmp_path: Path) -> None:
    rows = classified(200).rows()
    found = evaluated(tmp_path, rows, bootstrap=50)
    assert found.results == evaluated(tmp_path, rows, bootstrap=50).results
    assert found.results != evaluated(tmp_path, rows, bootstrap=50, seed=1).results
    for each in found.results:
        assert each.value is not None
        assert each.low is not None
        assert each.high is not None
        assert each.low <= each.value <= each.high or each.metric in ("expected_calibration_error",)


def test_of_more_images_than_the_sample_holds_intervals_are_as_narrow_as_of_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = classified(3000).rows()
    whole = result(evaluated(tmp_path, rows, bootstrap=200), "accuracy")
    monkeypatch.setattr(sample, "MOST_IMAGES", 500)
    monkeypatch.setattr(sample.Sample.__init__, "__kwdefaults__", {"most_images": 500, "most_bytes": 1 << 20})
    sampled = result(evaluated(tmp_path, rows, bootstrap=200), "accuracy")
    assert sampled.value == whole.value
    assert whole.low is not None
    assert whole.high is not None
    assert sampled.low is not None
    assert sampled.high is not None
    assert sampled.high - sampled.low == pytest.approx(whole.high - whole.low, rel=0.25)


def test_of_a_slice_of_which_few_images_are_in_the_sample_there_is_no_interval(tmp_path: Path) -> None:
    case = classified(1000)
    facts = ClassificationMeasure(case.labels).facts(case.rows())
    measure = ClassificationMeasure(case.labels)
    tally = measure.tally()
    tally.add(facts)
    told = {"images": 1000, "values": tally.values(), "resamples": 10, "seed": 0}
    few = bootstrap.FEWEST_SAMPLED
    assert not bootstrap.intervals(measure, facts.take(np.arange(few - 1)), **told)
    assert bootstrap.intervals(measure, facts.take(np.arange(few)), **told)
    assert bootstrap.intervals(measure, facts.take(np.arange(few - 1)), **told | {"images": few - 1})


def test_a_sample_is_of_all_images_alike_and_within_its_bytes() -> None:
    case = classified(4000)
    measure = ClassificationMeasure(case.labels)
    facts = measure.facts(case.rows())
    taken: sample.Sample[Any] = sample.Sample(0, most_images=100, most_bytes=1 << 30)
    for some in np.array_split(np.arange(4000), 40):
        taken.add(facts.take(some), some[:, None].astype(np.int32))
    found = taken.taken()
    assert found is not None
    assert len(found[0]) == len(np.unique(found[1])) == 100
    assert 1500 < found[1].mean() < 2500
    assert found[0].truth.tolist() == facts.truth[found[1][:, 0]].tolist()
    small: sample.Sample[Any] = sample.Sample(0, most_images=1000, most_bytes=sample.fact_bytes(facts) // 100)
    small.add(facts, np.zeros((4000, 0), np.int32))
    held = small.taken()
    assert held is not None
    assert sample.fact_bytes(held[0]) <= sample.fact_bytes(facts) // 100


@pytest.mark.parametrize("k", [[], [0], [1001]])
def test_numbers_of_neighbours_that_make_no_sense_are_refused(k: list[int]) -> None:
    with pytest.raises(ValueError, match="k"):
        EvaluateSettings(k=k)


def test_a_bias_of_resamples_shrinks_with_the_images_and_their_noise_with_the_square_root() -> None:
    case = classified(400)
    measure = ClassificationMeasure(case.labels)
    facts, tally = measure.facts(case.rows()), measure.tally()
    tally.add(facts)
    values = {value.metric: value.value for value in tally.values() if value.label is None}
    told = {"values": tally.values(), "resamples": 200, "seed": 0}
    offset, width = {}, {}
    for images in (400, 40_000):
        low, high = bootstrap.intervals(measure, facts, images=images, **told)["expected_calibration_error", None]
        offset[images], width[images] = (low + high) / 2 - (values["expected_calibration_error"] or 0), high - low
    assert width[400] == pytest.approx(10 * width[40_000])
    assert offset[400] > 20 * abs(offset[40_000])
