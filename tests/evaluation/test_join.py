"""Predictions beside their truth: by id, by file name, in memory and in temporary files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vision_batch.errors import SpecError
from vision_batch.evaluation import join as module
from vision_batch.evaluation.id_index import IdIndex, id_hashes
from vision_batch.evaluation.join import Joined
from vision_batch.evaluation.partitions import partition, read_partition
from vision_batch.evaluation.settings import TruthSettings
from vision_batch.evaluation.truth import open_truth
from vision_batch.ledger.predictions import Predictions


@pytest.fixture(params=["in memory", "in files"])
def limit(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "in files":
        monkeypatch.setattr(module, "IN_MEMORY_BYTES", 0)


def joined(folder: Path, ids: list[str], truth: pa.Table, *truth_columns: str) -> Joined:
    pq.write_table(pa.table({"image_id": ids, "label": [f"of {name}" for name in ids]}), folder / "p.parquet")
    pq.write_table(truth, folder / "t.parquet", row_group_size=2)
    return Joined(
        predictions=Predictions.open(str(folder / "p.parquet")),
        columns=["label"],
        truth=open_truth(TruthSettings(uri=str(folder / "t.parquet")), "label"),
        truth_columns=truth_columns,
    )


def rows(joined: Joined) -> dict[str, tuple[object, ...]]:
    table = pa.concat_tables(joined).to_pydict()
    ids = table.pop("image_id")
    return dict(zip(ids, zip(*table.values(), strict=True), strict=True))


@pytest.mark.usefixtures("limit")
def test_rows_find_their_truth_and_what_has_no_partner_is_counted(tmp_path: Path) -> None:
    truth = pa.table(
        {"image_id": ["x", "d", "b", "a", "n"], "label": ["X", "D", "B", "A", None], "site": [0, 1, 2, 3, 4]}
    )
    found = joined(tmp_path, ["a", "b", "c", "d", "n"], truth, "site")
    assert rows(found) == {"a": ("of a", "A", 3), "b": ("of b", "B", 2), "d": ("of d", "D", 1)}
    assert (found.images, found.without_truth, found.without_image) == (3, 2, 1)


@pytest.mark.usefixtures("limit")
def test_many_rows_are_joined_as_few_are(tmp_path: Path) -> None:
    numbers = np.random.default_rng(0).permutation(5000)
    truth = pa.table({"image_id": [f"pictures/{n}.jpg" for n in numbers], "label": [str(n) for n in numbers]})
    found = rows(joined(tmp_path, [f"pictures/{n}.jpg" for n in range(4000)], truth))
    assert found == {f"pictures/{n}.jpg": (f"of pictures/{n}.jpg", str(n)) for n in range(4000)}


@pytest.mark.usefixtures("limit")
def test_an_id_that_repeats_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"t.parquet: found the id 'b' more than once"):
        rows(joined(tmp_path, ["a", "b"], pa.table({"image_id": ["a", "b", "b"], "label": ["A", "B", "B"]})))
    with pytest.raises(SpecError, match=r"p.parquet: found the id 'b' more than once"):
        rows(joined(tmp_path, ["a", "b", "b"], pa.table({"image_id": ["a", "b"], "label": ["A", "B"]})))


def test_an_id_that_repeats_in_another_batch_is_refused_too(tmp_path: Path) -> None:
    truth = pa.table({"image_id": ["a", "b"], "label": ["A", "B"]})
    found = joined(tmp_path, ["a", "b"], truth)
    for name in ("p1", "p2"):
        pq.write_table(pa.table({"image_id": ["a"], "label": ["x"]}), tmp_path / f"{name}.parquet")
    again = Joined(predictions=Predictions.open(str(tmp_path / "p?.parquet")), columns=["label"], truth=found.truth)
    with pytest.raises(SpecError, match="found the id 'a' more than once"):
        rows(again)


def test_where_no_image_has_a_truth_it_is_said(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no truth for any of 1 images"):
        rows(joined(tmp_path, ["a"], pa.table({"image_id": ["b"], "label": ["B"]})))


@pytest.mark.parametrize("ids", [["cats/1.jpg", "dogs/2.jpg"], ["1.jpg", "2.jpg"], ["tar/1", "tar/2"]])
def test_files_are_found_by_path_by_name_or_by_name_without_extension(tmp_path: Path, ids: list[str]) -> None:
    for name in ("cats/1.jpg", "dogs/2.jpg"):
        (tmp_path / "truth" / name).parent.mkdir(parents=True)
        (tmp_path / "truth" / name).touch()
    pq.write_table(pa.table({"image_id": ids, "label": ["x", "y"]}), tmp_path / "p.parquet")
    found = Joined(
        predictions=Predictions.open(str(tmp_path / "p.parquet")),
        columns=["label"],
        truth=open_truth(TruthSettings(uri=str(tmp_path / "truth")), "label"),
    )
    assert rows(found) == {ids[0]: ("x", "cats"), ids[1]: ("y", "dogs")}


def test_masks_of_pngs_among_jpegs_do_not_hide_those_of_the_others(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / "masks" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "masks" / name).write_bytes(name.encode())
    pq.write_table(pa.table({"image_id": ["a.png", "b.jpg"], "mask_png": [b"A", b"B"]}), tmp_path / "p.parquet")
    found = Joined(
        predictions=Predictions.open(str(tmp_path / "p.parquet")),
        columns=["mask_png"],
        truth=open_truth(TruthSettings(uri=str(tmp_path / "masks")), "mask_png"),
    )
    assert rows(found) == {"a.png": (b"A", b"a.png"), "b.jpg": (b"B", b"b.png")}


def test_two_files_of_one_name_are_not_taken_for_one_another(tmp_path: Path) -> None:
    for name in ("cats/1.jpg", "dogs/1.jpg"):
        (tmp_path / "truth" / name).parent.mkdir(parents=True)
        (tmp_path / "truth" / name).touch()
    pq.write_table(pa.table({"image_id": ["1.jpg"], "label": ["x"]}), tmp_path / "p.parquet")
    predictions = Predictions.open(str(tmp_path / "p.parquet"))
    truth = open_truth(TruthSettings(uri=str(tmp_path / "truth")), "label")
    with pytest.raises(SpecError, match=r"found the id '1.jpg' more than once"):
        rows(Joined(predictions=predictions, columns=["label"], truth=truth))


def test_an_input_may_bring_its_own_truth(tmp_path: Path) -> None:
    table = pa.table({"image_id": ["a", "b"], "label": ["x", "y"], "truth": ["x", None]})
    pq.write_table(table, tmp_path / "p.parquet")
    found = Joined(predictions=Predictions.open(str(tmp_path / "p.parquet")), columns=["image_id", "label"])
    assert rows(found) == {"a": ("x", "x")}
    assert (found.images, found.without_truth) == (1, 1)


def test_without_a_row_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"predictions: found no row in .*p\.parquet"):
        rows(joined(tmp_path, [], pa.table({"image_id": ["b"], "label": ["B"]})))


def test_without_any_truth_the_way_out_is_said(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image_id": ["a"], "label": ["x"]}), tmp_path / "p.parquet")
    with pytest.raises(SpecError, match=r"expected a truth, or predictions of an input with input.label_column"):
        rows(Joined(predictions=Predictions.open(str(tmp_path / "p.parquet")), columns=["label"]))


def test_an_index_finds_every_id_and_no_other() -> None:
    ids = pa.array(["", "a", "b", "ab", "ba", "ä", "a\x00", "\x00a", "x" * 1000])
    index = IdIndex(ids, where="here")
    assert index.places(ids[::-1]).tolist() == [*range(8, -1, -1)]
    assert index.places(pa.array(["c", "aa", "a\x00\x00", "x" * 999])).tolist() == [-1] * 4
    assert IdIndex(ids[:0], where="here").places(ids).tolist() == [-1] * 9
    assert len(np.unique(id_hashes(pa.array([str(n) for n in range(100_000)])))) == 100_000
    assert id_hashes(ids[2:4]).tolist() == id_hashes(ids)[2:4].tolist()


def test_what_was_parted_is_read_in_few_batches_in_the_order_it_came_in(tmp_path: Path) -> None:
    colours = (pa.array([f"{n % 7}", "red", "blue"]).dictionary_encode() for n in range(50))
    batches = [pa.record_batch([["a", "b", "c"], each], ["id", "colour"]) for each in colours]
    paths = partition(tmp_path, "rows", batches, key="id")
    found = [list(read_partition(path)) for path in paths if path.exists()]
    assert [len(each) for each in found] == [1] * 3
    by_id = {batch["id"][0].as_py(): batch["colour"].to_pylist() for (batch,) in found}
    assert by_id == {"a": [f"{n % 7}" for n in range(50)], "b": ["red"] * 50, "c": ["blue"] * 50}
