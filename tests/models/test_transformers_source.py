"""Folders of transformers: our path gives what the library's own processor and model give."""

from __future__ import annotations

import io
import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from skimage import data as pictures

from vision_batch.errors import ModelError, SpecError
from vision_batch.images.preprocess import Preprocessor
from vision_batch.images.settings import PreprocessSettings
from vision_batch.models.bundle import ModelBundle, resolve_model
from vision_batch.models.predictor import Predictor
from vision_batch.models.settings import ModelSettings
from vision_batch.models.transformers_folder import CONVERT

transformers = pytest.importorskip("transformers")
transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()

NAMES = ["cat", "dog", "bird", "cat"]
PICTURES = {
    "astronaut, square": pictures.astronaut(),
    "coffee, wide": pictures.coffee(),
    "rocket, tall": np.ascontiguousarray(pictures.rocket().transpose(1, 0, 2)),
    "cat, small": pictures.chelsea()[100:150, 100:165],
    "camera, grey": np.repeat(pictures.camera()[:, :, None], 3, axis=2),
}


def vit(folder: Path) -> Path:
    config = transformers.ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, image_size=64, num_labels=4
    )
    config.id2label = dict(enumerate(NAMES))
    transformers.ViTForImageClassification(config).save_pretrained(folder)
    transformers.ViTImageProcessorPil(size={"height": 64, "width": 64}).save_pretrained(folder)
    return folder


def resnet(folder: Path) -> Path:
    config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], num_labels=4)
    config.id2label = dict(enumerate(NAMES))
    transformers.ResNetForImageClassification(config).save_pretrained(folder)
    transformers.ConvNextImageProcessorPil(size={"shortest_edge": 64}, crop_pct=0.875).save_pretrained(folder)
    return folder


def bit(folder: Path) -> Path:
    config = transformers.BitConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], num_groups=4, num_labels=4)
    config.id2label = dict(enumerate(NAMES))
    transformers.BitForImageClassification(config).save_pretrained(folder)
    crop = {"height": 56, "width": 56}
    transformers.BitImageProcessorPil(size={"shortest_edge": 64}, crop_size=crop).save_pretrained(folder)
    return folder


MAKERS = {"vit": vit, "resnet": resnet, "bit": bit}


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    torch.manual_seed(0)
    return {name: make(tmp_path_factory.mktemp(name)) for name, make in MAKERS.items()}


@pytest.fixture
def folder(originals: dict[str, Path], tmp_path: Path) -> Path:
    """A ViT that a test may spoil."""
    return Path(shutil.copytree(originals["vit"], tmp_path / "model"))


def resolved(folder: Path, source: str = "") -> ModelBundle:
    return resolve_model(ModelSettings(source=f"transformers:{source or folder.name}"), folder.parent)


def pixels(picture: np.ndarray, settings: PreprocessSettings) -> np.ndarray:
    """The settings' meaning, by Pillow; crops begin where the library's do."""
    image = Image.fromarray(picture)
    if settings.resize_px is not None:
        size = settings.resize_px[::-1]
    else:
        assert settings.resize_shorter_px is not None
        short, long = sorted(image.size)
        other = int(settings.resize_shorter_px * long / short)
        size = (
            (settings.resize_shorter_px, other) if image.width <= image.height else (other, settings.resize_shorter_px)
        )
    image = image.resize(size, getattr(Image.Resampling, settings.interpolation.upper()))
    if settings.crop_px is not None:
        left, top = (image.width - settings.crop_px) // 2, (image.height - settings.crop_px) // 2
        image = image.crop((left, top, left + settings.crop_px, top + settings.crop_px))
    return np.asarray(image)


@pytest.mark.parametrize("picture", PICTURES)
@pytest.mark.parametrize("kind", MAKERS)
def test_logits_are_those_of_the_librarys_own_processor_and_model(
    originals: dict[str, Path], kind: str, picture: str
) -> None:
    bundle = resolved(originals[kind])
    assert bundle.preprocess is not None
    settings = bundle.preprocess
    predict = Predictor(
        bundle.load(), mean=settings.mean, std=settings.std, precision="fp32", device=torch.device("cpu")
    )
    got = predict(pixels(PICTURES[picture], settings)[None])

    processor = transformers.AutoImageProcessor.from_pretrained(originals[kind], backend="pil")
    model = transformers.AutoModelForImageClassification.from_pretrained(originals[kind]).eval()
    with torch.inference_mode():
        wanted = model(**processor(Image.fromarray(PICTURES[picture]), return_tensors="pt")).logits.numpy()
    np.testing.assert_allclose(got, wanted, atol=2e-5)


FILES = {
    "square": ("PNG", pictures.astronaut()),
    "wide": ("PNG", pictures.coffee()),
    "tall": ("PNG", np.ascontiguousarray(pictures.rocket()[:400].transpose(1, 0, 2))),
    "crops that leave an odd number of columns": ("PNG", pictures.rocket()),
    "small": ("PNG", pictures.chelsea()[100:150, 100:175]),
    "enlarged": ("PNG", pictures.chelsea()[100:140, 100:130]),
    "scaled by the decoder": ("JPEG", pictures.retina()[..., :3]),
    "wide, scaled by the decoder": ("JPEG", pictures.hubble_deep_field()[100:700, :900]),
}


def file_of(picture: np.ndarray, format: str = "PNG") -> bytes:
    encoded = io.BytesIO()
    Image.fromarray(picture).save(encoded, format, **({"quality": 90} if format == "JPEG" else {}))
    return encoded.getvalue()


def ours_and_theirs(data: bytes, folder: Path, settings: PreprocessSettings) -> tuple[np.ndarray, np.ndarray]:
    """The pixels that the model gets from us and from the library's processor: (H, W, 3), of 255."""
    processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    theirs = processor(Image.open(io.BytesIO(data)), return_tensors="np")["pixel_values"][0].transpose(1, 2, 0)
    theirs = (theirs * np.array(settings.std) + np.array(settings.mean)) * 255
    return Preprocessor(settings, max_pixels=10**7)(data).pixels, theirs.round().astype(np.uint8)


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("kind", MAKERS)
def test_with_our_own_decoding_and_resizing_they_differ_by_little(
    originals: dict[str, Path], kind: str, file: str
) -> None:
    format, picture = FILES[file]
    bundle = resolved(originals[kind])
    assert bundle.preprocess is not None
    settings = bundle.preprocess
    ours, theirs = ours_and_theirs(file_of(picture, format), originals[kind], settings)
    assert np.abs(ours - theirs.astype(float)).mean() < 1
    predict = Predictor(
        bundle.load(), mean=settings.mean, std=settings.std, precision="fp32", device=torch.device("cpu")
    )
    wanted = predict(theirs[None])
    np.testing.assert_allclose(predict(ours[None]), wanted, atol=0.02 * np.ptp(wanted))


class TestWhatAFolderSays:
    def test_labels_may_repeat_as_they_do_on_the_hub(self, folder: Path) -> None:
        assert resolved(folder).labels == tuple(NAMES)

    def test_the_specs_labels_come_first(self, folder: Path) -> None:
        settings = ModelSettings(source="transformers:model", labels=["a", "b", "c", "d"])
        assert resolve_model(settings, folder.parent).labels == ("a", "b", "c", "d")

    def test_facts_are_the_digests_of_all_its_files(self, folder: Path) -> None:
        facts = resolved(folder).facts
        assert {name for name in facts if name.endswith("_sha256")} == {
            "config.json_sha256",
            "model.safetensors_sha256",
            "preprocessor_config.json_sha256",
        }
        (folder / "README.md").write_text("not part of the model")
        assert resolved(folder).facts == facts

    def test_a_processor_beside_the_one_that_is_read_changes_no_definition(self, folder: Path) -> None:
        facts = resolved(folder).facts
        (folder / "processor_config.json").write_text("{}")
        assert resolved(folder).facts == facts

    def test_without_a_processor_it_says_nothing_of_preprocessing(self, folder: Path) -> None:
        (folder / "preprocessor_config.json").unlink()
        assert resolved(folder).preprocess is None

    def test_a_spec_with_steps_of_its_own_needs_no_known_processor(self, folder: Path) -> None:
        (folder / "preprocessor_config.json").write_text('{"image_processor_type": "LevitImageProcessor"}')
        settings = ModelSettings(source="transformers:model")
        with pytest.raises(SpecError, match="LevitImageProcessor"):
            resolve_model(settings, folder.parent)
        bundle = resolve_model(settings, folder.parent, read_preprocess=False)
        assert bundle.preprocess is None
        assert "preprocessor_config.json_sha256" not in bundle.facts

    def test_it_travels(self, folder: Path) -> None:
        bundle = pickle.loads(pickle.dumps(resolved(folder)))
        assert bundle.load()(torch.zeros(2, 3, 64, 64)).shape == (2, 4)

    def test_several_files_of_weights(self, folder: Path) -> None:
        model = transformers.AutoModelForImageClassification.from_pretrained(folder)
        (folder / "model.safetensors").unlink()
        model.save_pretrained(folder, max_shard_size="20KB")
        bundle = resolved(folder)
        assert len([name for name in bundle.facts if name.endswith(".safetensors_sha256")]) > 1
        assert "model.safetensors.index.json_sha256" in bundle.facts
        images = torch.rand(1, 3, 64, 64)
        assert torch.equal(bundle.load()(images), model.eval()(images).logits)


class TestWhatIsRefused:
    def test_pickled_weights(self, folder: Path) -> None:
        torch.save({}, folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
        with pytest.raises(
            SpecError, match=r"only pytorch_model.bin in .*: a pickle, .* convert a folder you trust: pyth"
        ):
            resolved(folder)

    @pytest.mark.slow
    def test_pickled_weights_are_converted_as_the_message_says(self, folder: Path) -> None:
        torch.save(safetensors.torch.load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
        before = (folder / "model.safetensors").rename(folder / "kept").read_bytes()
        command = CONVERT.replace("FOLDER", str(folder)).replace("python", sys.executable, 1)
        subprocess.run(command, shell=True, check=True, capture_output=True)
        assert (folder / "model.safetensors").read_bytes() == before

    def test_pickled_weights_beside_safetensors_are_not_looked_at(self, folder: Path) -> None:
        (folder / "pytorch_model.bin").write_bytes(b"anything")
        assert resolved(folder).load()(torch.zeros(1, 3, 64, 64)).shape == (1, 4)

    def test_no_weights_and_no_config(self, folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        with pytest.raises(SpecError, match=r"no \*.safetensors in"):
            resolved(folder)
        (folder / "config.json").unlink()
        with pytest.raises(SpecError, match=r"no config.json in"):
            resolved(folder)

    def test_weights_of_another_task(self, folder: Path) -> None:
        """The library would fill the missing classifier with random numbers, and warn."""
        model = transformers.AutoModelForImageClassification.from_pretrained(folder)
        model.vit.save_pretrained(folder)
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"architectures": ["ViTForImageClassification"]}))
        with pytest.raises(ModelError, match=r"lacks weights of an image classifier \(classifier"):
            resolved(folder).load()

    def test_a_model_that_is_no_image_classifier(self, folder: Path) -> None:
        (folder / "config.json").write_text('{"model_type": "bert"}')
        with pytest.raises(ModelError, match="cannot be loaded as an image classifier"):
            resolved(folder).load()

    def test_code_in_the_folder(self, folder: Path) -> None:
        config: dict[str, Any] = json.loads((folder / "config.json").read_text())
        auto_map = {"AutoConfig": "mine.Config", "AutoModelForImageClassification": "mine.Model"}
        (folder / "config.json").write_text(json.dumps(config | {"model_type": "mine", "auto_map": auto_map}))
        (folder / "mine.py").write_text(f"open({str(folder / 'executed')!r}, 'w')")
        with pytest.raises(ModelError, match="cannot be loaded as an image classifier"):
            resolved(folder).load()
        assert not (folder / "executed").exists()

    def test_a_file_that_changed(self, folder: Path) -> None:
        bundle = resolved(folder)
        (folder / "config.json").write_text((folder / "config.json").read_text() + " ")
        with pytest.raises(ModelError, match=r"config.json has changed since the run began"):
            bundle.load()

    @pytest.mark.parametrize(("text", "words"), [("{", "is not JSON"), ("[]", "is a list; expected a JSON object")])
    def test_files_that_are_not_what_they_should_be(self, folder: Path, text: str, words: str) -> None:
        (folder / "preprocessor_config.json").write_text(text)
        with pytest.raises(SpecError, match=words):
            resolved(folder)

    def test_a_gap_in_the_labels(self, folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"id2label": {"0": "a", "2": "c"}}))
        with pytest.raises(SpecError, match="no name for class 1"):
            resolved(folder)

    def test_a_model_of_the_hub_without_a_network(self, folder: Path) -> None:
        code = f"""
from pathlib import Path
from vision_batch.models.bundle import resolve_model
from vision_batch.models.settings import ModelSettings
resolve_model(ModelSettings(source="transformers:nobody/nothing"), Path({str(folder)!r}))
"""
        environment = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "cache"), "PATH": ""}
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
        )
        assert "SpecError: model.source: found no folder" in done.stderr
        assert "huggingface-cli download nobody/nothing --local-dir FOLDER" in done.stderr


def test_without_the_library_it_says_how_to_install_it(folder: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from vision_batch.models.bundle import resolve_model
from vision_batch.models.settings import ModelSettings
sys.modules["transformers"] = None
bundle = resolve_model(ModelSettings(source="transformers:model"), Path({str(folder.parent)!r}))
assert "torch" not in sys.modules
bundle.load()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "SpecError: model.source: found transformers is not installed; expected pip install" in done.stderr
