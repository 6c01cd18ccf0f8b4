"""`preview` draws what the model will see."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from tests.images.pictures import encoded, photo
from vision_batch.cli.main import main
from vision_batch.images.draw import colour_of
from vision_batch.images.preprocess import Preprocessor
from vision_batch.images.settings import PreprocessSettings

MODEL = "import torch\n\n\ndef build():\n    raise AssertionError('nobody loads a model for a picture')\n"
AUGMENT = [{"random_resized_crop": {"scale": [0.3, 0.6]}}, {"rotate": {"degrees": 30}}, "iso_noise"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three classes of images, one of them broken, and masks for all of them."""
    (tmp_path / "plug_in.py").write_text(MODEL)
    for number, name in enumerate(("cats/a", "cats/b", "dogs/a", "dogs/b", "owls/a", "owls/broken")):
        path = tmp_path / "images" / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        data = encoded(photo(200, 150, number), "JPEG", quality=95)
        path.write_bytes(data[:2000] if "broken" in name else data)
        mask = np.zeros((150, 200), np.uint8)
        mask[:, 100:] = 1
        (tmp_path / "masks" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(tmp_path / "masks" / f"{name}.png")
    return tmp_path


def spec(folder: Path, kind: str, **changes: Any) -> Path:
    document = {
        "job": kind,
        "input": {"uri": "images/", "label_column": "folder"},
        "model": {"source": "python:plug_in:build", "labels": ["cats", "dogs", "owls"]},
        "task": {"type": "classification"},
        "preprocess": {"resize_px": [130, 140]},
        "output": {"uri": "out/"},
        **({"augment": AUGMENT, "train": {"epochs": 2, "batch_size": 4}} if kind == "train" else {}),
        **changes,
    }
    path = folder / "spec.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def drawn(path: Path, *options: str) -> np.ndarray:
    """The picture, RGB."""
    to = path.parent / "seen.png"
    assert main(["preview", str(path), "--to", str(to), *options]) == 0
    return cv2.imread(str(to), cv2.IMREAD_COLOR_RGB)


def served(folder: Path, name: str) -> np.ndarray:
    settings = PreprocessSettings(resize_px=(130, 140))
    return Preprocessor(settings, max_pixels=10**6)((folder / "images" / name).read_bytes()).pixels


def is_in(tile: np.ndarray, picture: np.ndarray) -> bool:
    """Whether the tile's exact pixels are somewhere in a column of the picture."""
    height, width = tile.shape[:2]
    lefts, tops = range(4, picture.shape[1] - width, width + 8), range(picture.shape[0] - height)
    return any(np.array_equal(picture[y : y + height, x : x + width], tile) for x in lefts for y in tops)


def test_a_predict_spec_shows_every_image_as_it_is_served(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seen = drawn(spec(folder, "predict"))
    assert all(is_in(served(folder, name), seen) for name in ("cats/a.jpg", "dogs/b.jpg", "owls/a.jpg"))
    assert capsys.readouterr().out.endswith("seen.png: 6 images, 1 of them broken\n")
    assert not (folder / "out").exists()


def test_a_train_spec_shows_each_image_as_served_and_in_four_epochs(folder: Path) -> None:
    path = spec(folder, "train")
    first, again, later = drawn(path), drawn(path), drawn(path, "--epoch", "2")
    width = first.shape[1] // 5
    assert np.array_equal(first, again)
    assert np.array_equal(first, drawn(path, "--epoch", "1"))
    assert is_in(served(folder, "cats/a.jpg"), first[:, :width])
    assert not is_in(served(folder, "cats/a.jpg"), first[:, width:])
    top = slice(0, 4 + 130)
    assert np.array_equal(first[top, 2 * width :], later[top, width : 4 * width])
    assert len({first[top, n * width : (n + 1) * width].tobytes() for n in range(5)}) == 5


def test_masks_are_drawn_where_the_pixels_are(folder: Path) -> None:
    labels = {"source": "python:plug_in:build", "labels": ["left", "right"]}
    changes = {"task": {"type": "segmentation"}, "input": {"uri": "images/", "masks": "masks/"}, "model": labels}
    plain = served(folder, "cats/a.jpg").astype(float)
    for kind in ("train", "predict"):
        tile = drawn(spec(folder, kind, **changes))[4 : 4 + 130, 4 : 4 + 140]
        assert np.abs(tile[:, :69] - plain[:, :69] * 0.75).max() <= 1
        assert np.abs(tile[:, 71:] - plain[:, 71:] * 0.5).max() > 50


def test_boxes_are_drawn_where_the_pixels_are(folder: Path) -> None:
    """Edges of 200 x 150 pixels in a picture of 140 x 130."""
    box = {"label": "cat", "x_min": 50, "y_min": 30, "x_max": 150, "y_max": 120}
    pictures = [(folder / "images" / "cats" / f"{name}.jpg").read_bytes() for name in "ab"]
    pq.write_table(pa.table({"image": pictures, "boxes": [[box], []]}), folder / "boxes.parquet")
    changes = {
        "task": {"type": "detection"},
        "input": {"uri": "boxes.parquet", "label_column": "boxes"},
        "model": {"source": "python:plug_in:build", "labels": ["dog", "cat"]},
    }
    framed = np.zeros((130, 140), bool)
    framed[26:104, 35:105] = True
    framed[27:103, 36:104] = False
    for kind in ("train", "predict"):
        tile = drawn(spec(folder, kind, **changes))[4 : 4 + 130, 4 : 4 + 140]
        assert (tile[framed] == colour_of(1)).all(axis=1).mean() > 0.9  # but where its name is
        assert np.array_equal(tile[110:], served(folder, "cats/a.jpg")[110:])


def test_a_label_that_cannot_be_used_is_shown_as_broken(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = {"source": "python:plug_in:build", "labels": ["cats", "dogs"]}
    drawn(spec(folder, "train", model=model))
    assert "6 images, 2 of them broken" in capsys.readouterr().out


def test_so_many_images_from_all_over_the_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seen = drawn(spec(folder, "predict"), "--images", "3")
    assert "3 images\n" in capsys.readouterr().out
    assert all(is_in(served(folder, name), seen) for name in ("cats/a.jpg", "dogs/a.jpg", "owls/a.jpg"))


def test_the_plug_in_of_preprocess_is_seen(folder: Path) -> None:
    (folder / "dark.py").write_text("def darken(pixels):\n    return pixels // 8\n")
    seen = drawn(spec(folder, "predict", preprocess={"resize_px": [130, 140], "function": "dark:darken"}))
    assert seen[10:100, 10:100].max() < 32


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--to", "seen.jpg"], "a file that ends in .png"),
        (["--to", "nowhere/seen.png"], "in a folder that is there"),
        (["--to", "seen.png", "--images", "0"], "from 1 to 100"),
        (["--to", "seen.png", "--epoch", "0"], "counted from 1"),
        (["--to", "seen.png", "-o", "input.uri=masks/none/"], "input.uri"),
        (["--to", "seen.png", "-o", "augment=[{rotat: {}}]"], "did you mean 'rotate'?"),
    ],
)
def test_what_is_wrong_is_one_line(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(folder)
    assert main(["preview", str(spec(folder, "train")), *options]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
    assert not list(folder.glob("seen*"))


def test_it_needs_no_ray(folder: Path) -> None:
    code = "import sys; from vision_batch.cli.main import main; main(sys.argv[1:]); print('ray' in sys.modules)"
    arguments = ["preview", str(spec(folder, "train")), "--to", str(folder / "seen.png")]
    shown = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True).stdout
    assert shown.splitlines()[-1] == "False"
