"""Classes told in words: logits are those of the library's own processor and model for the same files and texts."""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data as pictures

from vision_batch.errors import ModelError, SpecError
from vision_batch.images.preprocess import Preprocessor
from vision_batch.models.bundle import ModelBundle, resolve_model
from vision_batch.models.predictor import Predictor
from vision_batch.models.settings import ModelSettings

transformers = pytest.importorskip("transformers")
transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()

from tests.models import embedders  # noqa: E402 - it needs transformers

PICTURES = {
    "wide": pictures.coffee(),
    "tall": np.ascontiguousarray(pictures.rocket().transpose(1, 0, 2)),
    "small": pictures.chelsea()[100:150, 100:165],
}
PROMPTS = ["a photo of the cat", "a drawing of a dog", "bird"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    torch.manual_seed(0)
    return {name: embedders.save(name, tmp_path_factory.mktemp("model")) for name in ("clip", "siglip", "vit")}


def resolved(folder: Path, prompts: Any, task: str = "classification", **more: Any) -> ModelBundle:
    return resolve_model(ModelSettings(source=f"transformers:{folder}", prompts=prompts, **more), folder, task=task)


def logits(bundle: ModelBundle, picture: np.ndarray, precision: str = "fp32") -> np.ndarray:
    settings = bundle.preprocess
    assert settings is not None
    encoded = io.BytesIO()
    Image.fromarray(picture).save(encoded, "PNG")
    cpu = torch.device("cpu")
    predict = Predictor(bundle.load(), mean=settings.mean, std=settings.std, precision=precision, device=cpu)
    found: np.ndarray = predict(Preprocessor(settings, max_pixels=10**7)(encoded.getvalue()).pixels[None])
    return found


def library(folder: Path, picture: np.ndarray, texts: list[str]) -> Any:
    images = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")(
        Image.fromarray(picture), return_tensors="pt"
    )
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    padding = {"padding": "max_length", "max_length": 16} if "siglip" in str(type(tokenizer)) else {"padding": True}
    model = transformers.AutoModel.from_pretrained(folder).eval()
    if model.config.model_type == "siglip":
        padding = {"padding": "max_length", "max_length": 16}
    with torch.inference_mode():
        return model(**images, **tokenizer(texts, return_tensors="pt", **padding))


@pytest.mark.parametrize("picture", PICTURES)
@pytest.mark.parametrize("name", ["clip", "siglip"])
def test_one_text_for_each_class_gives_the_librarys_logits_per_image(
    folders: dict[str, Path], name: str, picture: str
) -> None:
    bundle = resolved(folders[name], PROMPTS)
    assert bundle.labels == tuple(PROMPTS)
    wanted = library(folders[name], PICTURES[picture], PROMPTS).logits_per_image.numpy()
    np.testing.assert_allclose(logits(bundle, PICTURES[picture]), wanted, atol=0.02)  # pixels differ by 1 of 255


@pytest.mark.parametrize("name", ["clip", "siglip"])
def test_several_texts_of_a_class_are_averaged_as_directions(folders: dict[str, Path], name: str) -> None:
    bundle = resolved(folders[name], ["a photo of a {}", "a drawing of the {}", "{}"], labels=["cat", "bird"])
    assert bundle.labels == ("cat", "bird")
    texts = [template.format(label) for label in ("cat", "bird") for template in bundle.options["prompts"]]
    answer = library(folders[name], PICTURES["wide"], texts)
    units = torch.nn.functional.normalize(answer.text_embeds, dim=-1).reshape(2, 3, -1).mean(dim=1)
    model = transformers.AutoModel.from_pretrained(folders[name])
    cosines = answer.image_embeds @ torch.nn.functional.normalize(units, dim=-1).T
    wanted = (cosines * model.logit_scale.exp() + getattr(model, "logit_bias", 0.0)).detach().numpy()
    np.testing.assert_allclose(logits(bundle, PICTURES["wide"]), wanted, atol=0.02)


def test_the_tokenizer_and_the_texts_are_part_of_what_decides_a_prediction(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    before = resolved(folders["clip"], PROMPTS).facts
    assert {"tokenizer.json_sha256", "tokenizer_config.json_sha256", "options", "labels"} <= before.keys()
    assert (
        "tokenizer.json_sha256"
        not in resolve_model(ModelSettings(source=f"transformers:{folders['clip']}"), tmp_path, task="embedding").facts
    )
    changed = resolved(folders["clip"], {"cat": "a photo of the cat"}).facts
    assert changed["options"] != before["options"]
    folder = Path(shutil.copytree(folders["clip"], tmp_path / "model"))
    bundle = resolved(folder, PROMPTS)
    (folder / "tokenizer.json").write_text((folder / "tokenizer.json").read_text() + " ")
    with pytest.raises(ModelError, match=r"tokenizer\.json has changed since the run began"):
        bundle.load()


def test_only_the_image_tower_is_kept(folders: dict[str, Path]) -> None:
    module = resolved(folders["clip"], PROMPTS).load()
    assert not [name for name, _ in module.named_parameters() if "text" in name]
    assert module.classes.shape == (3, 24)


def test_cosines_are_taken_in_float32_whatever_the_precision(folders: dict[str, Path]) -> None:
    bundle = resolved(folders["clip"], PROMPTS)
    exact, lowered = (logits(bundle, PICTURES["wide"], precision) for precision in ("fp32", "bf16"))
    np.testing.assert_allclose(lowered, exact, atol=0.3)
    assert (np.round(lowered * 8) != lowered * 8).any()  # bf16 has steps of 1/8 at 20


class TestRefused:
    def test_a_model_that_knows_no_texts(self, folders: dict[str, Path]) -> None:
        with pytest.raises(
            SpecError, match=r"ViTModel with the task classification by model\.prompts; expected a model"
        ):
            resolved(folders["vit"], PROMPTS)

    def test_a_task_without_classes(self, folders: dict[str, Path]) -> None:
        with pytest.raises(SpecError, match=r"CLIPModel with the task embedding by model\.prompts"):
            resolved(folders["clip"], PROMPTS, task="embedding")

    def test_a_model_of_images_and_texts_without_prompts(self, folders: dict[str, Path]) -> None:
        with pytest.raises(SpecError, match=r"for task\.type: classification by model\.prompts"):
            resolved(folders["clip"], None)

    def test_another_source(self, tmp_path: Path) -> None:
        (tmp_path / "vb_prompted.py").write_text("def build(): ...\n")
        with pytest.raises(SpecError, match=r"model\.prompts: found texts; .*python: models know no texts"):
            resolve_model(ModelSettings(source="python:vb_prompted:build", prompts=["a cat"]), tmp_path)

    def test_a_folder_without_a_tokenizer(self, folders: dict[str, Path], tmp_path: Path) -> None:
        skip = shutil.ignore_patterns("tokenizer*")
        folder = Path(shutil.copytree(folders["clip"], tmp_path / "model", ignore=skip))
        with pytest.raises(SpecError, match=r"no tokenizer in .*; expected tokenizer\.json"):
            resolved(folder, PROMPTS)

    def test_a_tokenizer_of_a_library_that_is_not_there(
        self, folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "sentencepiece", None)
        folder = Path(shutil.copytree(folders["siglip"], tmp_path / "model"))
        (folder / "tokenizer.json").rename(folder / "spiece.model")
        with pytest.raises(SpecError, match=r"only spiece\.model, .* and sentencepiece is not installed; expected pip"):
            resolved(folder, PROMPTS)

    def test_a_tokenizer_that_is_none(self, folders: dict[str, Path], tmp_path: Path) -> None:
        folder = Path(shutil.copytree(folders["clip"], tmp_path / "model"))
        (folder / "tokenizer.json").write_text("{}")
        with pytest.raises(ModelError, match=r"the tokenizer for model\.prompts cannot be loaded"):
            resolved(folder, PROMPTS).load()

    def test_a_text_that_the_model_cannot_read_whole(self, folders: dict[str, Path]) -> None:
        with pytest.raises(ModelError, match=r"a text of model\.prompts has more than 16 tokens, perhaps 'cat cat"):
            resolved(folders["clip"], ["a dog", "cat " * 20]).load()
