"""`trained:`: the model in a train output, taken whole and only as it was recorded."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import S3Bucket
from tests.models.trained_outputs import module, write_trained
from vision_batch.errors import ModelError, SpecError
from vision_batch.images.settings import PreprocessSettings
from vision_batch.models.bundle import ModelBundle, resolve_model
from vision_batch.models.settings import ModelSettings
from vision_batch.models.trained import encode_model, read_model

IMAGES = torch.rand(3, 3, 8, 8)


def resolved(folder: Path, source: str = "trained:out", *, for_training: bool = False, **more: Any) -> ModelBundle:
    return resolve_model(ModelSettings(source=source, **more), folder, for_training=for_training)


def refusal(folder: Path, source: str = "trained:out", *, for_training: bool = False, **more: Any) -> str:
    with pytest.raises(SpecError) as caught:
        resolved(folder, source, for_training=for_training, **more)
    return str(caught.value)


class TestWithAProgram:
    def test_no_code_is_needed(self, tmp_path: Path) -> None:
        write_trained(str(tmp_path / "out"), tmp_path)
        (tmp_path / "vb_trained_plugin.py").unlink()
        bundle = pickle.loads(pickle.dumps(resolved(tmp_path)))
        torch.testing.assert_close(bundle.load()(IMAGES), module()(IMAGES))

    def test_labels_and_preprocessing_come_with_it(self, tmp_path: Path) -> None:
        trained = write_trained(str(tmp_path / "out"), tmp_path)
        bundle = resolved(tmp_path)
        assert bundle.labels == ("cat", "dog", "owl")
        assert bundle.preprocess == PreprocessSettings(resize_px=(8, 8))
        assert bundle.trained == trained
        assert bundle.weights_bytes == (tmp_path / "out" / "model.pt2").stat().st_size

    def test_its_digest_is_a_fact(self, tmp_path: Path) -> None:
        trained = write_trained(str(tmp_path / "out"), tmp_path)
        facts = resolved(tmp_path).facts
        assert facts["source"] == "trained"
        assert facts["program_sha256"] == trained.files["model.pt2"]

    def test_a_program_that_changes_under_the_run_is_not_loaded(self, tmp_path: Path) -> None:
        write_trained(str(tmp_path / "out"), tmp_path)
        bundle = resolved(tmp_path)
        with (tmp_path / "out" / "model.pt2").open("ab") as file:
            file.write(b"x")
        with pytest.raises(ModelError, match=r"model.pt2 has changed since the run began"):
            bundle.load()


class TestWithoutAProgram:
    def test_the_plug_in_beside_the_spec_builds_it(self, tmp_path: Path) -> None:
        trained = write_trained(str(tmp_path / "out"), tmp_path, program=False)
        bundle = resolved(tmp_path)
        assert torch.equal(bundle.load()(IMAGES), module()(IMAGES))
        assert bundle.options == {"classes": 3}
        assert bundle.facts["weights_sha256"] == trained.files["model.safetensors"]

    def test_another_plug_in_is_refused(self, tmp_path: Path) -> None:
        write_trained(str(tmp_path / "out"), tmp_path, program=False)
        with (tmp_path / "vb_trained_plugin.py").open("a") as file:
            file.write("# changed\n")
        words = refusal(tmp_path)
        assert "expected the code that the model was trained with, SHA-256" in words
        assert "has no model.pt2 (it branches on its input)" in words

    def test_no_plug_in_is_refused(self, tmp_path: Path) -> None:
        write_trained(str(tmp_path / "out"), tmp_path, program=False)
        (tmp_path / "vb_trained_plugin.py").unlink()
        assert "no vb_trained_plugin.py in" in refusal(tmp_path)

    def test_further_training_needs_the_plug_in_too(self, tmp_path: Path) -> None:
        write_trained(str(tmp_path / "out"), tmp_path)
        assert torch.equal(resolved(tmp_path, for_training=True).load()(IMAGES), module()(IMAGES))
        (tmp_path / "vb_trained_plugin.py").unlink()
        assert "is to be trained further" in refusal(tmp_path, for_training=True)

    def test_a_program_cannot_be_trained(self, tmp_path: Path) -> None:
        write_trained(str(tmp_path / "out"), tmp_path)
        assert "a program is fixed" in refusal(tmp_path, "export:out/model.pt2", for_training=True)


class TestWhatIsRefused:
    def test_no_train_output(self, tmp_path: Path) -> None:
        words = refusal(tmp_path, "trained:nowhere")
        assert f"no model.yaml in {tmp_path}/nowhere; expected trained:<output.uri of a train job that has" in words

    def test_a_training_that_has_not_ended(self, tmp_path: Path) -> None:
        (tmp_path / "out" / "checkpoints" / "000000010").mkdir(parents=True)
        (tmp_path / "out" / "checkpoints" / "000000010" / "state.json").write_text("{}")
        words = refusal(tmp_path)
        assert f"{tmp_path}/out, whose training has not ended" in words
        assert "run the train job again" in words

    @pytest.mark.parametrize("name", ["model.pt2", "model.safetensors"])
    def test_files_that_are_not_those_recorded(self, tmp_path: Path, name: str) -> None:
        write_trained(str(tmp_path / "out"), tmp_path, program=name == "model.pt2")
        (tmp_path / "out" / name).write_bytes(b"another")
        words = refusal(tmp_path)
        assert f"{name} with SHA-256" in words
        assert "as model.yaml has recorded it" in words

    def test_a_file_that_is_gone(self, tmp_path: Path) -> None:
        write_trained(str(tmp_path / "out"), tmp_path)
        (tmp_path / "out" / "model.pt2").unlink()
        assert "model.pt2" in refusal(tmp_path)

    @pytest.mark.parametrize("text", ["", "- a list", "format: 2", "surprise: 1", "a: &a [*a]", "\udcff"])
    def test_a_record_that_is_none(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "model.yaml").write_bytes(text.encode(errors="surrogateescape"))
        assert "which this version does not understand" in refusal(tmp_path)

    def test_labels_of_the_spec(self, tmp_path: Path) -> None:
        write_trained(str(tmp_path / "out"), tmp_path)
        assert resolved(tmp_path, labels=["cat", "dog", "owl"]).labels == ("cat", "dog", "owl")
        words = refusal(tmp_path, labels=["cat", "dog", "bat"])
        assert "model.labels: found other names (cat, dog, bat); expected those that it was trained for" in words

    @pytest.mark.parametrize("more", [{"weights": "w.safetensors"}, {"options": {"classes": 3}}])
    def test_weights_and_options_of_the_spec(self, tmp_path: Path, more: dict[str, Any]) -> None:
        write_trained(str(tmp_path / "out"), tmp_path)
        assert "trained models hold their own" in refusal(tmp_path, **more)


class TestTheRecord:
    @pytest.mark.parametrize("label", ["no", "1e-3", "~", "a: b", "ä 'quoted'", "2026-01-01", "0x10"])
    def test_any_label_reads_back(self, tmp_path: Path, label: str) -> None:
        model = write_trained(str(tmp_path), tmp_path, labels=[label], metrics={"accuracy": 1e-5})
        assert read_model(str(tmp_path)) == model

    def test_nothing_there_is_no_record(self, tmp_path: Path) -> None:
        assert read_model(str(tmp_path)) is None

    def test_it_begins_with_how_to_use_it(self, tmp_path: Path) -> None:
        model = write_trained(str(tmp_path), tmp_path)
        assert encode_model(model).startswith(b"# A trained model. For a predict spec: model: {source: trained:")


@pytest.mark.s3
def test_it_lies_on_s3(moto_s3: S3Bucket, tmp_path: Path) -> None:
    write_trained(f"{moto_s3.uri}/runs/1", tmp_path)
    bundle = resolved(tmp_path, f"trained:{moto_s3.uri}/runs/1/")
    torch.testing.assert_close(bundle.load()(IMAGES), module()(IMAGES))
    assert "no model.yaml in s3://" in refusal(tmp_path, f"trained:{moto_s3.uri}/runs/2")
