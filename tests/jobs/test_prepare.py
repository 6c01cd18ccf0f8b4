"""Whose fault it is when input or output cannot be read: the spec's, or a storage's that may answer later."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.integration.job import Job, digits, write_folder
from tests.jobs.finished import complete
from vision_batch.errors import ForbiddenError, NotFoundError, SpecError, StorageError, UnavailableError
from vision_batch.jobs import backlog as backlog_module
from vision_batch.jobs.backlog import Backlog
from vision_batch.jobs.prepare import prepare, reading_input, reading_output
from vision_batch.jobs.spec import load_spec

Reading = Callable[[], AbstractContextManager[None]]


@pytest.mark.parametrize(("reading", "where"), [(reading_input, "input.uri"), (reading_output, "output.uri")])
def test_only_what_the_storage_says_of_the_spec_is_a_problem_of_the_spec(reading: Reading, where: str) -> None:
    for kind in (NotFoundError, ForbiddenError, StorageError):
        with pytest.raises(SpecError, match=f"{where}: found s3://bucket/images: no"), reading():
            raise kind("s3://bucket/images", "no")
    with pytest.raises(UnavailableError, match="gave up after 9 attempts"), reading():
        raise UnavailableError("s3://bucket/images", "gave up after 9 attempts")


def test_an_input_that_does_not_answer_in_mid_run_leaves_the_plan_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Job(tmp_path, {})
    write_folder(job.data, digits(3))
    complete(job)
    backlog = Backlog(prepare(load_spec(job.spec)), "run-2")

    def unavailable(*_: object, **__: object) -> None:
        raise UnavailableError("s3://bucket/images", "gave up after 9 attempts")

    monkeypatch.setattr(backlog_module, "plan_input", unavailable)
    assert backlog.look_again() == []
    assert "gave up after 9 attempts" in str(backlog.trouble)


def test_a_model_that_sees_each_picture_in_its_own_size_is_not_compiled(tmp_path: Path) -> None:
    folder = tmp_path / "detr"
    folder.mkdir()
    (folder / "config.json").write_text('{"architectures": ["DetrForObjectDetection"], "id2label": {"0": "cat"}}')
    (folder / "preprocessor_config.json").write_text('{"image_processor_type": "DetrImageProcessor"}')
    (folder / "model.safetensors").write_bytes(b"not looked into")
    write_folder(tmp_path / "data", digits(1))
    (tmp_path / "job.yaml").write_text(
        "{job: predict, input: {uri: data/}, model: {source: 'transformers:detr'}, task: {type: detection}, "
        "output: {uri: out/}}"
    )
    with pytest.raises(SpecError, match=r"compute\.compile: found true, for a model that sees each picture"):
        prepare(load_spec(tmp_path / "job.yaml", ["compute.compile=true"]))
    assert prepare(load_spec(tmp_path / "job.yaml", [])).model.variant == "softmax detector"
    prepare(load_spec(tmp_path / "job.yaml", ["compute.compile=true", "preprocess={letterbox_px: 640}"]))
