"""A report tells what its output holds, for every kind of prediction, and is one file that fetches nothing."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.report.outputs import BOX, CLASSIFICATION, DETECTION, EMBEDDING, MULTI_LABEL, SEGMENTATION, make_output
from tests.report.test_html import Reader
from vision_batch.errors import SpecError
from vision_batch.evaluation.settings import TruthSettings
from vision_batch.ledger.run_record import RunRecord
from vision_batch.report.colours import Palette
from vision_batch.report.html import Html
from vision_batch.report.report import default_place, render_report, write_report
from vision_batch.report.sections_run import _throughput
from vision_batch.report.thumbnail import make_thumbnail
from vision_batch.tasks.rle import encode

ADDRESS = re.compile(r"""(?:src|href|action|data|poster|srcset)=["'](?!#|data:image/jpeg;base64,)|url\((?!#)|@import""")


def shows(page: str, value: float) -> bool:
    return f'value="{value}"' in page


def digits(count: int = 6) -> dict[str, dict[str, object]]:
    return {
        f"{n}.jpg": {"label": "odd" if n % 2 else "even", "label_index": n % 2, "score": 0.5 + n / 20}
        for n in range(count)
    }


def test_the_numbers_are_those_of_the_output(tmp_path: Path) -> None:
    broken = {"x.jpg": ("unreadable", "no known image format"), "y.jpg": ("empty", "no bytes")}
    output = make_output(
        tmp_path, CLASSIFICATION, digits(), broken=broken, counts={"images_per_second": 123.5, "bottleneck": "model: b"}
    )
    page = render_report(output)
    assert "8 images and the output 8 rows: one for each image" in page
    for number in (8, 6, 2, 3, 6 / 8, 2 / 8, 3 / 6, 1 / 8, 123.5, 61.5):
        assert shows(page, number), number
    assert "Limited by model: b." in page
    assert page.count("<img ") == 2 * 6 + 2 * 3  # of all, and of each of both labels
    assert page.count('class="blank"') == 2


def test_it_lies_beside_the_output_and_fetches_nothing(tmp_path: Path) -> None:
    output = make_output(tmp_path, CLASSIFICATION, digits())
    place = write_report(output)
    assert place == default_place(output) == f"{tmp_path}/out-report.html"
    page = Path(place).read_text("utf-8")
    assert ADDRESS.search(page) is None
    assert "<script" not in page
    elsewhere = write_report(output, to=str(tmp_path / "sub" / "a.html"))
    assert Path(elsewhere).read_text("utf-8") == page


@pytest.mark.parametrize("place", ["out/report.html", "truth.parquet", "in"])
def test_it_is_never_in_the_way(tmp_path: Path, place: str) -> None:
    """In an output is nothing but its parts; and what is there and no page stays."""
    output = make_output(tmp_path, CLASSIFICATION, digits(2))
    with pytest.raises(SpecError, match=r"--to: found .*; expected a file that ends in .html, outside"):
        write_report(output, to=str(tmp_path / place))
    assert len(pq.read_table(output)) == 2


def test_rows_that_are_not_all_there_are_said_to_be(tmp_path: Path) -> None:
    page = render_report(make_output(tmp_path, CLASSIFICATION, digits(2), counts={"images_total": 5}))
    assert "The input has 5 images and the output 2 rows: 3 without a row so far." in page
    assert "Every image accounted for" not in page


def test_long_specs_are_cut(tmp_path: Path) -> None:
    output = make_output(tmp_path, CLASSIFICATION, digits(2), name="n" * 1_000_000, counts={"warnings": ["w"] * 9999})
    assert len(render_report(output)) < 200_000


def test_pictures_of_noise_are_no_larger() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (400, 400, 3), np.uint8)
    made = make_thumbnail(bytes(cv2.imencode(".png", noise)[1]), {}, Palette.of([]))
    assert (made.width, made.height) == (320, 320)
    assert len(base64.b64decode(made.uri.partition(",")[2])) <= 24 << 10


def test_what_others_wrote_is_text(tmp_path: Path) -> None:
    hostile = {
        "<script>alert(1)</script>.jpg": '"><img src=x onerror=alert(1)>',
        "‮gpj.evil.jpg": "</title></style><script>1</script>",
        "$x^2$" + "long" * 50 + ".jpg": "\x00\x1b[31m\x7f" + "wide" * 200,
        "عربي.jpg": "قطة",
    }
    rows = {name: {"label": label, "label_index": 0, "score": 0.5} for name, label in hostile.items()}
    page = render_report(make_output(tmp_path, CLASSIFICATION, rows, name="</h1><script>2</script>"))
    names = {name for name, _ in Reader(Html(page)).elements}
    assert "script" not in names
    assert not [key for _, attributes in Reader(Html(page)).elements for key in attributes if key.startswith("on")]
    assert "قطة" in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;.jpg" in page


def test_boxes_are_drawn_in_the_colour_of_their_label(tmp_path: Path) -> None:
    box = {"label": "cat", "label_index": 3, "score": 0.9, "x_min": 20.0, "y_min": 10.0, "x_max": 80.0, "y_max": 70.0}
    page = render_report(make_output(tmp_path, DETECTION, {"a.jpg": {"boxes": [box]}, "b.jpg": {"boxes": []}}))
    pixels = picture_of(page, "a.jpg")
    blue = np.array([0x3F, 0x7F, 0xE0])
    assert np.abs(pixels[40, 20] - blue).max() < 60
    assert "2 Boxes" not in page
    assert "Boxes in an image" in page


def test_true_boxes_are_white_where_it_is_about_mistakes(tmp_path: Path) -> None:
    box = {"label": "cat", "label_index": 0, "score": 0.9, "x_min": 60.0, "y_min": 10.0, "x_max": 90.0, "y_max": 70.0}
    output = make_output(tmp_path, DETECTION, {"a.jpg": {"boxes": [box]}})
    expected = [[{"label": "cat", "x_min": 10, "y_min": 10, "x_max": 40, "y_max": 70}]]
    pq.write_table(pa.table({"image_id": ["a.jpg"], "boxes": expected}), tmp_path / "truth.parquet")
    page = render_report(output, truth=TruthSettings(uri=str(tmp_path / "truth.parquet")))
    wrong, plain = (
        picture_of(page[page.index(f'<section id="{key}"') :], "a.jpg", step=1) for key in ("mistakes", "gallery")
    )
    assert wrong[80, 21].mean() - wrong[80, 20].mean() > 100
    assert plain[80, 21].mean() - plain[80, 20].mean() < 10


def test_instance_masks_are_laid_over_and_a_broken_one_costs_its_picture(tmp_path: Path) -> None:
    fields = [pa.field("boxes", pa.list_(pa.struct([*BOX, ("mask_rle", pa.string())])))]
    mask = np.zeros((90, 120), bool)
    mask[20:60, 30:70] = True
    box = {"label": "cat", "label_index": 0, "score": 0.9, "x_min": 30.0, "y_min": 20.0, "x_max": 70.0, "y_max": 60.0}
    rows = {"a.jpg": {"boxes": [box | {"mask_rle": encode(mask)}]}, "b.jpg": {"boxes": [box | {"mask_rle": "no mask"}]}}
    page = render_report(make_output(tmp_path, fields, rows))
    plain = cv2.imread(str(tmp_path / "in" / "a.jpg"))[..., ::-1].astype(int)
    moved = np.abs(picture_of(page, "a.jpg") - plain).mean(axis=2)
    assert moved[24:56, 34:66].mean() > 5 * moved[:, 80:].mean()
    assert "not shown: " in page


def test_masks_are_laid_over_their_images(tmp_path: Path) -> None:
    mask = np.zeros((90, 120), np.uint8)
    mask[:, 60:] = 1
    png = bytes(cv2.imencode(".png", mask)[1])
    classes = [{"label": name, "label_index": index, "pixels": 5400} for index, name in enumerate(("road", "sky"))]
    output = make_output(tmp_path, SEGMENTATION, {"a.jpg": {"mask_png": png, "class_pixels": classes}})
    page = render_report(output)
    assert shows(page, 0.5)
    plain = cv2.imread(str(tmp_path / "in" / "a.jpg"))[..., ::-1].astype(int)
    moved = np.abs(picture_of(page, "a.jpg") - plain).mean((0, 2))
    assert moved[70:].mean() > 1.5 * moved[:50].mean()


def test_the_borders_of_the_true_mask_are_white_where_it_is_about_mistakes(tmp_path: Path) -> None:
    png = {}
    for edge in (40, 60):
        mask = np.zeros((90, 120), np.uint8)
        mask[:, edge:] = 1
        png[edge] = bytes(cv2.imencode(".png", mask)[1])
    classes = [{"label": name, "label_index": index, "pixels": 5400} for index, name in enumerate(("road", "sky"))]
    output = make_output(tmp_path, SEGMENTATION, {"a.jpg": {"mask_png": png[60], "class_pixels": classes}})
    pq.write_table(pa.table({"image_id": ["a.jpg"], "mask_png": [png[40]]}), tmp_path / "truth.parquet")
    page = render_report(output, truth=TruthSettings(uri=str(tmp_path / "truth.parquet")))
    wrong, plain = (
        picture_of(page[page.index(f'<section id="{key}"') :], "a.jpg", step=1) for key in ("mistakes", "gallery")
    )
    assert (wrong - plain)[20:160, 80].mean() > 60
    assert np.abs(wrong - plain)[:, 100:].mean() < 5


def test_several_labels(tmp_path: Path) -> None:
    rows = {"a.jpg": {"labels": ["x", "y"], "label_scores": [0.9, 0.6]}, "b.jpg": {"labels": [], "label_scores": []}}
    assert "Labels in an image" in render_report(make_output(tmp_path, MULTI_LABEL, rows))


def test_mistakes_are_shown_where_the_truth_is_known(tmp_path: Path) -> None:
    truth = {f"{n}.jpg": "odd" for n in range(6)}
    page = render_report(make_output(tmp_path, CLASSIFICATION, digits(), truth=truth))
    section = page[page.index('<section id="mistakes"') :]
    shown = re.findall(r"<bdi>(\d\.jpg)</bdi>", section[: section.index("</section>")])
    assert shown == ["4.jpg", "2.jpg", "0.jpg"]


def test_another_truth_is_measured_by_and_a_training_has_none(tmp_path: Path) -> None:
    output = make_output(tmp_path, CLASSIFICATION, digits())
    assert "How good it is" not in render_report(output)
    pq.write_table(pa.table({"image_id": ["0.jpg", "1.jpg"], "label": ["even", "even"]}), tmp_path / "truth.parquet")
    page = render_report(output, truth=TruthSettings(uri=str(tmp_path / "truth.parquet")))
    assert "Measured on 2 images that have a truth; 4 more have none." in page
    assert '<dt>accuracy</dt><dd><data value="0.5">0.500</data>' in page


def test_images_that_changed_or_went_are_said_to_have(tmp_path: Path) -> None:
    output = make_output(tmp_path, CLASSIFICATION, digits(2))
    (tmp_path / "in" / "0.jpg").unlink()
    page = render_report(output)
    assert page.count("<img ") == 3  # of 1.jpg: among all twice, and of its label
    assert page.count('class="blank"') == 3


def test_any_table_of_predictions_has_a_page(tmp_path: Path) -> None:
    """Without a ledger nobody knows the images; without the scores it is refused."""
    pq.write_table(
        pa.table({"image_id": ["a", "b"], "label": ["x", "x"], "score": [0.5, 0.75]}), tmp_path / "a.parquet"
    )
    page = render_report(str(tmp_path / "a.parquet"))
    assert "nobody knows how many images" in page
    assert shows(page, 0.625)
    assert page.count('class="blank"') == 6
    unequal = {"labels": [["x", "y"]], "label_scores": [[0.5]]}
    for rows in ({"label": ["x"]}, {"boxes": [[{"label": "x"}]]}, unequal):
        pq.write_table(pa.table({"image_id": ["a"], **rows}), tmp_path / "b.parquet")
        with pytest.raises(SpecError, match="score"):
            render_report(str(tmp_path / "b.parquet"))


@pytest.mark.parametrize("fields", [CLASSIFICATION, DETECTION, SEGMENTATION, MULTI_LABEL, EMBEDDING])
def test_an_output_of_nothing_but_failures_has_a_page(tmp_path: Path, fields: Sequence[pa.Field]) -> None:
    page = render_report(make_output(tmp_path, fields, {}, broken={"a.jpg": ("empty", "no bytes")}))
    assert "The input has 1 image and the output 1 row: one for each image." in page
    assert "Some of them, drawn at random" in page


def test_an_output_without_rows_says_what_to_do(tmp_path: Path) -> None:
    output = make_output(tmp_path, CLASSIFICATION, digits(2))
    for part in Path(output).glob("*.parquet"):
        part.unlink()
    with pytest.raises(SpecError, match="an output without a row; expected that of a predict job with rows"):
        render_report(output)


def test_a_run_is_named_or_refused(tmp_path: Path) -> None:
    output = make_output(tmp_path, CLASSIFICATION, digits(2))
    with pytest.raises(SpecError, match="--run"):
        render_report(output, run_id="nobody")
    with pytest.raises(SpecError):
        render_report(str(tmp_path / "nothing"))


def test_the_end_of_a_run_is_no_slower_for_being_short() -> None:
    """12 periods of 10 s and 5 s of another one, in bars of 10 s; 130 in bars of 20 s."""
    run = RunRecord.begun(definition="d", output="out", spec={}).ended_now("done", seconds=125.0, counts={})
    for periods, seconds, last in ((13, 125.0, 20), (121, 1210.0, 10)):
        rows = [{"seconds": 10.0 * period, "images": 100, "failed": 0} for period in range(1, periods + 1)]
        table = pa.Table.from_pylist(rows)
        shown = re.findall(
            r'<td class="number"><data value="([0-9.]+)">', str(_throughput(table, replace(run, seconds=seconds)))
        )
        assert (float(shown[0]), float(shown[-1])) == (10.0, last)


def picture_of(page: str, name: str, step: int = 2) -> np.ndarray:
    """The first thumbnail whose description begins with this name, int (90, 120, 3) RGB: it is shown twice as large."""
    found = re.search(rf'<img src="data:image/jpeg;base64,([^"]+)" alt="{name}', page)
    assert found is not None
    pixels = cv2.imdecode(np.frombuffer(base64.b64decode(found[1]), np.uint8), cv2.IMREAD_COLOR_RGB)
    return pixels[::step, ::step].astype(int)
