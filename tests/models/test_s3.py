"""Models whose files lie on S3."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from tests.conftest import S3Bucket
from tests.models.archives import honest
from vision_batch.errors import ModelError, SpecError
from vision_batch.models.bundle import resolve_model
from vision_batch.models.settings import ModelSettings
from vision_batch.storage.table import storage_for

pytestmark = [pytest.mark.s3, pytest.mark.usefixtures("temporary")]
PLUGIN = "import torch\ndef build(): return torch.nn.Linear(3, 2)\n"


def put(uri: str, data: bytes) -> None:
    storage_for(uri).put(uri, data)


def test_weights_and_labels(moto_s3: S3Bucket, tmp_path: Path) -> None:
    (tmp_path / "vb_s3_model.py").write_text(PLUGIN)
    put(f"{moto_s3.uri}/m/w.safetensors", save({"weight": torch.ones(2, 3), "bias": torch.zeros(2)}))
    put(f"{moto_s3.uri}/m/labels.txt", b"cat\ndog\n")
    settings = ModelSettings(
        source="python:vb_s3_model:build",
        weights=f"{moto_s3.uri}/m/w.safetensors",
        labels=f"{moto_s3.uri}/m/labels.txt",
    )
    bundle = resolve_model(settings, tmp_path)
    assert bundle.labels == ("cat", "dog")
    assert bundle.load()(torch.ones(1, 3)).tolist() == [[3.0, 3.0]]


def test_weights_that_change_before_they_have_come_to_a_machine_are_not_loaded(
    moto_s3: S3Bucket, tmp_path: Path, temporary: Path
) -> None:
    (tmp_path / "vb_s3_model.py").write_text(PLUGIN)
    uri = f"{moto_s3.uri}/w.safetensors"
    put(uri, save({"weight": torch.ones(2, 3), "bias": torch.zeros(2)}))
    bundle = resolve_model(ModelSettings(source="python:vb_s3_model:build", weights=uri), tmp_path)
    put(uri, save({"weight": torch.zeros(2, 3), "bias": torch.zeros(2)}))
    for copy in temporary.glob("*/*"):  # as on another machine
        copy.unlink()
    with pytest.raises(ModelError, match="has changed since the run began"):
        bundle.load()


def test_an_exported_program(moto_s3: S3Bucket, tmp_path: Path) -> None:
    put(f"{moto_s3.uri}/small.pt2", honest())
    bundle = resolve_model(ModelSettings(source=f"export:{moto_s3.uri}/small.pt2"), tmp_path)
    assert bundle.load()(torch.zeros(3, 3, 16, 16)).shape == (3, 5)


def test_a_folder_of_transformers(moto_s3: S3Bucket, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], num_labels=3)
    transformers.ResNetForImageClassification(config).save_pretrained(tmp_path / "model")
    for path in (tmp_path / "model").iterdir():
        put(f"{moto_s3.uri}/model/{path.name}", path.read_bytes())
    settings = ModelSettings(source=f"transformers:{moto_s3.uri}/model")
    assert resolve_model(settings, tmp_path).load()(torch.zeros(1, 3, 32, 32)).shape == (1, 3)


def test_a_folder_with_a_tokenizer(moto_s3: S3Bucket, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    from tests.models import embedders

    for path in embedders.save("clip", tmp_path / "model").iterdir():
        put(f"{moto_s3.uri}/model/{path.name}", path.read_bytes())
    settings = ModelSettings(source=f"transformers:{moto_s3.uri}/model", prompts=["a cat", "a dog"])
    assert resolve_model(settings, tmp_path, task="classification").load()(torch.zeros(1, 3, 32, 32)).shape == (1, 2)


def test_what_is_not_there(moto_s3: S3Bucket, tmp_path: Path) -> None:
    for source in ("export:{}/none.pt2", "transformers:{}/none"):
        with pytest.raises(SpecError, match=r"model.source: found .*s3://.*none"):
            resolve_model(ModelSettings(source=source.format(moto_s3.uri)), tmp_path)
