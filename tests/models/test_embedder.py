"""Embeddings of transformers' folders are what the library's own processor and model give for the same files."""

from __future__ import annotations

import io
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from skimage import data as pictures

from vision_batch.errors import ModelError, SpecError
from vision_batch.images.preprocess import Preprocessor
from vision_batch.models.bundle import ModelBundle, resolve_model
from vision_batch.models.embedder import Embedder
from vision_batch.models.predictor import Predictor
from vision_batch.models.settings import ModelSettings

transformers = pytest.importorskip("transformers")
transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()

from tests.models import embedders  # noqa: E402 - it needs transformers

SAME_COSINE = 0.9999
"""What decoding and resizing leave of it: pixels differ by one of 255 here and there."""


def file_of(picture: np.ndarray, format: str, orientation: int = 1) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    encoded = io.BytesIO()
    Image.fromarray(picture).save(encoded, format, exif=exif, **({"quality": 95} if format == "JPEG" else {}))
    return encoded.getvalue()


FILES = {
    "wide": file_of(pictures.coffee(), "PNG"),
    "tall": file_of(np.ascontiguousarray(pictures.rocket().transpose(1, 0, 2)), "PNG"),
    "tiny": file_of(pictures.chelsea()[100:120, 100:124], "PNG"),
    "turned by its EXIF": file_of(pictures.chelsea(), "JPEG", orientation=6),
    "mirrored by its EXIF": file_of(pictures.astronaut()[:300], "JPEG", orientation=5),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    torch.manual_seed(0)
    return {name: embedders.save(name, tmp_path_factory.mktemp("model")) for name in embedders.MODELS}


def resolved(folder: Path, pooling: str = "auto") -> ModelBundle:
    settings = ModelSettings(source=f"transformers:{folder}")
    return resolve_model(settings, folder, task="embedding", pooling=pooling)


@cache
def loaded(folder: Path, pooling: str) -> tuple[Preprocessor, Predictor]:
    bundle = resolved(folder, pooling)
    assert bundle.preprocess is not None
    settings = bundle.preprocess
    cpu = torch.device("cpu")
    predictor = Predictor(bundle.load(), mean=settings.mean, std=settings.std, precision="fp32", device=cpu)
    return Preprocessor(settings, max_pixels=10**7), predictor


def ours(folder: Path, data: bytes, pooling: str = "auto") -> np.ndarray:
    preprocess, predict = loaded(folder, pooling)
    vectors: np.ndarray = predict(preprocess(data).pixels[None])
    return vectors


@cache
def processor_of(folder: Path) -> Any:
    return transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")


@cache
def model_of(kind: str, folder: Path) -> Any:
    return getattr(transformers, kind).from_pretrained(folder).eval()


def library(folder: Path, data: bytes, model: Any) -> Any:
    processor = processor_of(folder)
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    with torch.inference_mode():
        return model(**processor(image, return_tensors="pt"))


def demand_same(found: np.ndarray, wanted: torch.Tensor) -> None:
    assert found.shape == tuple(wanted.shape)
    cosine = torch.nn.functional.cosine_similarity(torch.from_numpy(found), wanted)
    assert float(cosine.min()) >= SAME_COSINE
    np.testing.assert_allclose(np.linalg.norm(found), wanted.norm(), rtol=0.01)


POOLED = {
    "vit": "ViTModel",
    "dinov2": "Dinov2Model",
    "dinov2 with registers": "Dinov2WithRegistersModel",
    "dinov2 that classifies": "Dinov2Model",
    "clip's images": "CLIPVisionModel",
    "siglip's images": "SiglipVisionModel",
    "siglip": "SiglipVisionModel",
}


def test_a_masked_autoencoder_sees_the_whole_picture() -> None:
    """As it comes from the library it hides other patches in every call."""
    config = transformers.ViTMAEConfig(**embedders.TOWER)
    images = torch.rand(2, 3, embedders.SIDE_PX, embedders.SIDE_PX)
    for pooling in ("auto", "mean"):
        embedder = Embedder(transformers.ViTMAEModel(config).eval(), pooling=pooling)
        with torch.inference_mode():
            once, again = embedder(images), embedder(images)
        torch.testing.assert_close(once, again, atol=1e-5, rtol=0)


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("name", POOLED)
def test_what_the_librarys_pooler_gives(folders: dict[str, Path], name: str, file: str) -> None:
    model = model_of(POOLED[name], folders[name])
    demand_same(ours(folders[name], FILES[file]), library(folders[name], FILES[file], model).pooler_output)


@pytest.mark.parametrize("file", FILES)
def test_clips_projection(folders: dict[str, Path], file: str) -> None:
    model = model_of("CLIPModel", folders["clip"])
    wanted = library(folders["clip"], FILES[file], model.get_image_features).pooler_output
    assert wanted.shape == (1, 24)
    demand_same(ours(folders["clip"], FILES[file]), wanted)
    projected = folders["clip's images, projected"]
    model = model_of("CLIPVisionModelWithProjection", projected)
    demand_same(ours(projected, FILES[file]), library(projected, FILES[file], model).image_embeds)


@pytest.mark.parametrize("name", ["resnet", "resnet that classifies"])
def test_a_feature_map_is_averaged(folders: dict[str, Path], name: str) -> None:
    model = model_of("ResNetModel", folders[name])
    answer = library(folders[name], FILES["wide"], model)
    for pooling in ("auto", "mean"):
        demand_same(ours(folders[name], FILES["wide"], pooling), answer.last_hidden_state.mean(dim=(2, 3)))


@pytest.mark.parametrize(
    ("name", "kind", "leading"),
    [
        ("vit", "ViTModel", 1),
        ("vit that classifies", "ViTModel", 1),
        ("deit that classifies", "DeiTModel", 2),
        ("dinov2", "Dinov2Model", 1),
        ("dinov2 with registers", "Dinov2WithRegistersModel", 5),
        ("clip", "CLIPVisionModel", 1),
        ("clip's images, projected", "CLIPVisionModel", 1),
        ("siglip", "SiglipVisionModel", 0),
    ],
)
def test_tokens(folders: dict[str, Path], name: str, kind: str, leading: int) -> None:
    """The mean is that of the patches: neither of the class token nor of registers."""
    model = model_of(kind, folders[name])
    tokens = library(folders[name], FILES["wide"], model).last_hidden_state
    assert tokens.shape[1] == leading + 16
    demand_same(ours(folders[name], FILES["wide"], "mean"), tokens[:, leading:].mean(dim=1))
    if leading:
        demand_same(ours(folders[name], FILES["wide"], "cls"), tokens[:, 0])


@pytest.mark.parametrize("name", ["vit that classifies", "deit that classifies"])
def test_a_classifier_has_no_pooler_so_that_its_class_token_is_taken(folders: dict[str, Path], name: str) -> None:
    model = model_of({"vit": "ViTModel", "deit": "DeiTModel"}[name.split()[0]], folders[name])
    tokens = library(folders[name], FILES["tall"], model).last_hidden_state
    demand_same(ours(folders[name], FILES["tall"]), tokens[:, 0])


@pytest.mark.parametrize("name", ["siglip", "resnet"])
def test_no_class_token(folders: dict[str, Path], name: str) -> None:
    with pytest.raises(ModelError, match=r"task\.pooling is cls and \w+Model has no class token; take mean or auto"):
        resolved(folders[name], "cls").load()


def test_a_class_token_beside_a_feature_map_is_not_guessed() -> None:
    few = {"embed_dim": [8, 8, 8], "num_heads": [1, 1, 1], "depth": [1, 2, 3]}
    module = Embedder(transformers.CvtModel(transformers.CvtConfig(**few)).eval(), pooling="cls")
    with pytest.raises(ModelError, match=r"task\.pooling is cls and CvtModel gives a feature map; take mean"):
        module(torch.rand(1, 3, 64, 64))


def test_the_texts_of_clip_are_dropped(folders: dict[str, Path]) -> None:
    module = resolved(folders["clip"]).load()
    assert not [name for name, _ in module.named_parameters() if "text" in name and "logit" not in name]


def test_an_embedders_labels_are_nothing_to_it(folders: dict[str, Path]) -> None:
    assert resolved(folders["vit that classifies"]).labels is None


def test_weights_that_a_folder_lacks_are_not_made_up(folders: dict[str, Path], tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folders["vit"] / "model.safetensors")
    for name in ("config.json", "preprocessor_config.json"):
        (tmp_path / name).write_bytes((folders["vit"] / name).read_bytes())
    removed = next(name for name in sorted(weights) if "layer" in name)
    save_file({name: weights[name] for name in weights if name != removed}, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match="lacks weights of a model whose body knows images"):
        resolved(tmp_path).load()


def test_a_processor_beside_a_tokenizers_as_transformers_5_writes_them(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    for path in folders["clip"].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    alone = json.loads((tmp_path / "preprocessor_config.json").read_text())
    (tmp_path / "preprocessor_config.json").unlink()
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": alone, "processor_class": "CLIP"}))
    assert resolved(tmp_path).preprocess == resolved(folders["clip"]).preprocess


def test_other_sources_pool_themselves(tmp_path: Path) -> None:
    (tmp_path / "vb_pooled.py").write_text("def build(): ...\n")
    with pytest.raises(SpecError, match=r"task\.pooling: found mean; expected nothing: python: models give their"):
        resolve_model(ModelSettings(source="python:vb_pooled:build"), tmp_path, task="embedding", pooling="mean")
