"""A predict spec takes a trained model whole: what it says itself may only be the same."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from tests.models.trained_outputs import write_trained
from vision_batch.errors import DefinitionError, SpecError
from vision_batch.images.settings import PreprocessSettings
from vision_batch.jobs.checkup import check_model
from vision_batch.jobs.package import plugin_files
from vision_batch.jobs.prepare import Prepared, prepare
from vision_batch.jobs.spec import load_spec
from vision_batch.ledger.definition import check_definition, claim_definition
from vision_batch.models.trained import TrainedWith
from vision_batch.plugin import find_plugin
from vision_batch.tasks.settings import TaskSettings

MULTI_LABEL = {"type": "classification", "multi_label": True, "score_threshold": 0.3}


def write_spec(folder: Path, **sections: object) -> Path:
    """A predict spec of the model in `folder`/out that says nothing of task and preprocessing."""
    document = {
        "job": "predict",
        "input": {"uri": "images/", "format": "folder"},
        "model": {"source": "trained:out"},
        "output": {"uri": "labels/"},
        **sections,
    }
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def prepared(folder: Path, **sections: object) -> Prepared:
    return prepare(load_spec(write_spec(folder, **sections)))


def refusal(folder: Path, **sections: object) -> str:
    with pytest.raises(SpecError) as caught:
        prepared(folder, **sections)
    return str(caught.value)


class TestWhatTheModelSays:
    def test_a_threshold_that_the_spec_does_not_say_stays(self, tmp_path: Path) -> None:
        trained = {"type": "detection", "score_threshold": 0.3, "nms_iou": 0.5}
        write_trained(str(tmp_path / "out"), tmp_path, task=trained)
        task = prepared(tmp_path, task={"type": "detection", "max_boxes": 7}).task
        assert task == TaskSettings(**trained, max_boxes=7)

    def test_of_several_labels_it_is_the_one_that_it_always_was(self, tmp_path: Path) -> None:
        write_trained(str(tmp_path / "out"), tmp_path, task=MULTI_LABEL)
        task = prepared(tmp_path, task={"type": "classification", "multi_label": True}).task
        assert task.score_threshold == 0.5

    def test_nothing_but_the_model_is_needed(self, tmp_path: Path) -> None:
        write_trained(str(tmp_path / "out"), tmp_path)
        job = prepared(tmp_path)
        assert job.task == TaskSettings(type="classification", top_k=2)
        assert job.preprocess == PreprocessSettings(resize_px=(8, 8))
        assert job.model.labels == ("cat", "dog", "owl")

    def test_a_threshold_is_for_a_label_of_the_models(self, tmp_path: Path) -> None:
        write_trained(str(tmp_path / "out"), tmp_path, task=MULTI_LABEL)
        task = {"type": "classification", "multi_label": True, "score_threshold": {"owl": 0.2}}
        assert prepared(tmp_path, task=task).task.score_threshold == {"owl": 0.2}
        assert "found 'owls'" in refusal(tmp_path, task=task | {"score_threshold": {"owls": 0.2}})

    def test_what_a_prediction_keeps_is_the_specs_to_say(self, tmp_path: Path) -> None:
        write_trained(str(tmp_path / "out"), tmp_path)
        task = prepared(tmp_path, task={"type": "classification", "score_threshold": 0.5}).task
        assert task == TaskSettings(type="classification", top_k=2, score_threshold=0.5)

    def test_several_labels_stay_several(self, tmp_path: Path) -> None:
        write_trained(str(tmp_path / "out"), tmp_path, task=MULTI_LABEL)
        assert prepared(tmp_path).task == TaskSettings(**MULTI_LABEL)
        task = prepared(tmp_path, task={"type": "classification", "score_threshold": 0.6}).task
        assert task == TaskSettings(type="classification", multi_label=True, score_threshold=0.6)

    def test_the_same_preprocessing_may_stand_there(self, tmp_path: Path) -> None:
        write_trained(str(tmp_path / "out"), tmp_path)
        assert prepared(tmp_path, preprocess={"resize_px": [8, 8]}).preprocess.resize_px == (8, 8)

    def test_another_source_still_needs_its_task(self, tmp_path: Path) -> None:
        words = refusal(tmp_path, model={"source": "python:m:f"})
        assert "task: found nothing; expected what a prediction means" in words
        assert "preprocess: found nothing" in words


class TestWhatContradicts:
    @pytest.mark.parametrize(
        ("task", "words"),
        [
            ({"type": "segmentation"}, "task.type: found 'segmentation'; expected 'classification', for which"),
            ({"type": "classification", "multi_label": True}, "task.multi_label: found True; expected False, for"),
        ],
    )
    def test_another_task(self, tmp_path: Path, task: dict[str, object], words: str) -> None:
        write_trained(str(tmp_path / "out"), tmp_path)
        assert words in refusal(tmp_path, task=task)

    def test_a_task_of_another_version(self, tmp_path: Path) -> None:
        write_trained(str(tmp_path / "out"), tmp_path, task={"type": "depth"})
        words = "model.source: found a model trained for the task {'type': 'depth'}; expected a task that this version"
        assert words in refusal(tmp_path)

    def test_another_preprocessing(self, tmp_path: Path) -> None:
        write_trained(str(tmp_path / "out"), tmp_path)
        words = refusal(tmp_path, preprocess={"resize_px": [8, 9], "mean": [0, 0, 0]})
        assert "preprocess.resize_px: found (8, 9); expected (8, 8), as in training; leave `preprocess` out" in words
        assert "preprocess.mean: found (0.0, 0.0, 0.0); expected (0.485" in words

    def test_another_function_of_the_same_name(self, tmp_path: Path) -> None:
        (tmp_path / "vb_trained_steps.py").write_text("def sharpen(pixels): return pixels\n")
        digest = find_plugin("vb_trained_steps:sharpen", tmp_path, where="preprocess.function").digest
        preprocess = PreprocessSettings(function="vb_trained_steps:sharpen", resize_px=(8, 8))
        code = TrainedWith(vision_batch="0.1.0", torch="2.13.0", plugins={"preprocess.function": digest})
        write_trained(str(tmp_path / "out"), tmp_path, preprocess=preprocess, code=code)
        assert prepared(tmp_path).function is not None
        (tmp_path / "vb_trained_steps.py").write_text("def sharpen(pixels): return pixels[::-1]\n")
        assert f"expected the code that the model was trained with, SHA-256 {digest}" in refusal(tmp_path)
        assert check_model(load_spec(write_spec(tmp_path))).level == "fail"


def test_an_output_belongs_to_one_trained_model(tmp_path: Path) -> None:
    write_trained(str(tmp_path / "out"), tmp_path)
    first = prepared(tmp_path, compute={"precision": "fp32"})
    claimed = claim_definition(first.paths, first.definition)
    check_definition(first.paths, prepared(tmp_path, compute={"precision": "fp32"}).definition, claimed)
    write_trained(str(tmp_path / "out"), tmp_path, seed=2)
    second = prepared(tmp_path, compute={"precision": "fp32"})
    with pytest.raises(DefinitionError, match=r"model\.program_sha256"):
        check_definition(second.paths, second.definition, claimed)


def test_where_it_was_trained_may_be_named_by_the_time(tmp_path: Path) -> None:
    write_trained(str(tmp_path / "2026-11-20"), tmp_path)
    path = write_spec(tmp_path, model={"source": "trained:{date}/"})
    spec = load_spec(path, scheduled_time=datetime(2026, 11, 20, 2, 0, tzinfo=UTC))
    assert spec.settings.model.source == f"trained:{tmp_path}/2026-11-20"
    assert prepare(spec).task.top_k == 2


def test_only_the_code_that_is_needed_travels(tmp_path: Path) -> None:
    write_trained(str(tmp_path / "out"), tmp_path)
    assert plugin_files(load_spec(write_spec(tmp_path))) == {}
    write_trained(str(tmp_path / "out"), tmp_path, program=False)
    assert list(plugin_files(load_spec(write_spec(tmp_path)))) == ["vb_trained_plugin.py"]
