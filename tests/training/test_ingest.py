"""The laws of the joined ingest, on real files: what each rank gets, whoever the others are and wherever it begins."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from tests.conftest import S3Bucket
from tests.training.catalogues import catalogue_of
from tests.training.inputs import CLASSES, WRITERS, label_of, number_of, write_folder, write_tars
from vision_batch.datasets.settings import InputSettings
from vision_batch.errors import LedgerError, VisionBatchError
from vision_batch.images.example import ExampleMaker
from vision_batch.images.settings import PreprocessSettings
from vision_batch.ledger.paths import LedgerPaths
from vision_batch.storage.table import storage_for
from vision_batch.tasks.classification import Classification
from vision_batch.training.batch import Batch, Ingest
from vision_batch.training.catalogue import Catalogue, load_catalogue
from vision_batch.training.epoch import EpochPlan
from vision_batch.training.ingest import JoinedIngest
from vision_batch.training.lane import Source
from vision_batch.training.made import BatchMaker

IMAGES = 203


def batch_maker() -> BatchMaker:
    preprocess = PreprocessSettings(resize_px=(8, 8))
    examples = ExampleMaker(preprocess, (), max_pixels=10**6, seed=0)
    task = Classification(top_k=1, labels=CLASSES)
    return BatchMaker(examples, task, augmented=True, output_px=preprocess.output_px)


def ingest_of(output: Path | str, settings: InputSettings, catalogue: Catalogue, *, threads: int = 2) -> JoinedIngest:
    source = Source(LedgerPaths(str(output)), settings, EpochPlan(catalogue, frozenset({0}), seed=5))
    return JoinedIngest(source, batch_maker(), threads=threads)


@pytest.fixture(scope="module", params=WRITERS)
def ingest(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JoinedIngest]:
    folder = tmp_path_factory.mktemp("ingest")
    settings = WRITERS[request.param](folder / "data", IMAGES)
    with closing(ingest_of(folder / "out", settings, catalogue_of(folder / "out", settings))) as ingest:
        yield ingest


def ranks(ingest: Ingest, workers: int, batch_images: int, *, epoch: int = 0, start: int = 0) -> list[list[Batch]]:
    """The batches of every rank."""
    return [
        list(ingest.batches(epoch=epoch, start=start, rank=rank, workers=workers, batch_images=batch_images))
        for rank in range(workers)
    ]


def global_batches(ingest: Ingest, workers: int, batch_images: int, **where: int) -> list[list[int]]:
    """The images of each global batch, as a set."""
    return [
        sorted(identity for batch in batches for identity in batch.identities.tolist())
        for batches in zip(*ranks(ingest, workers, batch_images, **where), strict=True)
    ]


@pytest.mark.parametrize("workers", [1, 2, 3, 5])
def test_every_image_comes_once_and_with_its_own_label(ingest: JoinedIngest, workers: int) -> None:
    found = []
    for batches in ranks(ingest, workers, 8):
        for batch in batches:
            numbers = [number_of(pixels) for pixels in batch.pixels]
            assert [CLASSES[target] for target in batch.targets] == list(map(label_of, numbers))
            assert len(batch) == len(batch.identities) == len(batch.image_ids)
            found += numbers
    assert sorted(found) == list(range(IMAGES))


def test_global_batches_are_the_same_for_any_number_of_workers(ingest: JoinedIngest) -> None:
    one = global_batches(ingest, 1, 12, epoch=3)
    assert one == global_batches(ingest, 2, 6, epoch=3) == global_batches(ingest, 3, 4, epoch=3)
    assert [len(batch) for batch in one] == [12] * 16 + [11]


@pytest.mark.parametrize("start", [1, 24, 64, 130, 202, 203])
def test_to_begin_at_a_position_is_to_pass_over_what_comes_before(ingest: JoinedIngest, start: int) -> None:
    whole = global_batches(ingest, 1, 1, epoch=1)
    assert global_batches(ingest, 2, 1, epoch=1, start=start) == [
        sorted(chain(*whole[at : at + 2])) for at in range(start, IMAGES, 2)
    ]


def test_ranks_have_as_many_batches_and_equal_shares(ingest: JoinedIngest) -> None:
    for workers, batch_images in ((2, 16), (4, 4), (3, 20), (40, 2)):
        shares = [[len(batch) for batch in batches] for batches in ranks(ingest, workers, batch_images)]
        assert {len(share) for share in shares} == {-(-IMAGES // (workers * batch_images))}
        full = IMAGES // (workers * batch_images)
        most = 0 if 64 % workers == 0 else 1 + workers * batch_images // 64
        assert all(abs(count - batch_images) <= most for share in shares for count in share[:full])


def test_checksum_is_that_of_all_ranks(ingest: JoinedIngest) -> None:
    batches = [batch for batches in ranks(ingest, 3, 5, epoch=2) for batch in batches]
    assert sum(batch.checksum for batch in batches) % 2**64 == ingest.checksum(2)


def test_epochs_differ(ingest: JoinedIngest) -> None:
    first, second = (global_batches(ingest, 1, 16, epoch=epoch) for epoch in (0, 1))
    assert first[0] != second[0]
    assert first == global_batches(ingest, 1, 16)


def test_broken_images_are_told_of_and_their_neighbours_are_there(tmp_path: Path) -> None:
    settings = write_folder(tmp_path / "data", 30)
    (tmp_path / "data" / "cat" / "00000.png").write_bytes(b"no picture")
    (tmp_path / "data" / "dog" / "00001.png").write_bytes(b"")
    ingest = ingest_of(tmp_path / "out", settings, catalogue_of(tmp_path / "out", settings))
    with closing(ingest):
        batches = [batch for batches in ranks(ingest, 2, 4) for batch in batches]
    assert sorted(number_of(pixels) for batch in batches for pixels in batch.pixels) == list(range(2, 30))
    broken = sorted((image.image_id, image.error_code) for batch in batches for image in batch.broken)
    assert broken == [("cat/00000.png", "unreadable"), ("dog/00001.png", "empty")]
    assert {image.shard for batch in batches for image in batch.broken} == {"files-000001"}
    assert sum(batch.checksum for batch in batches) % 2**64 == ingest.checksum(0)


def test_batch_of_broken_images_only_has_no_images(tmp_path: Path) -> None:
    settings = write_folder(tmp_path / "data", 3)
    for path in (tmp_path / "data").rglob("*.png"):
        path.write_bytes(b"no picture")
    with closing(ingest_of(tmp_path / "out", settings, catalogue_of(tmp_path / "out", settings))) as ingest:
        (batch,) = ingest.batches(epoch=0, start=0, rank=0, workers=1, batch_images=4)
    assert (len(batch), len(batch.broken), batch.targets.shape, batch.pixels.shape[0]) == (0, 3, (0,), 0)


def test_input_that_changes_after_it_was_counted_ends_the_reading(tmp_path: Path) -> None:
    settings = write_tars(tmp_path / "data", 40)
    ingest = ingest_of(tmp_path / "out", settings, catalogue_of(tmp_path / "out", settings))
    with (tmp_path / "data" / "00000.tar").open("ab") as tar:
        tar.write(b"more")
    with closing(ingest), pytest.raises(VisionBatchError, match=r"00000\.tar"):
        ranks(ingest, 1, 8)


def test_rows_that_are_not_there_end_the_reading(tmp_path: Path) -> None:
    settings = write_tars(tmp_path / "data", 40)
    catalogue = catalogue_of(tmp_path / "out", settings)
    catalogue.blocks["begin"][0] = catalogue.blocks["begin"][1]
    with (
        closing(ingest_of(tmp_path / "out", settings, catalogue)) as ingest,
        pytest.raises(LedgerError, match="counted"),
    ):
        ranks(ingest, 1, 8)


@pytest.mark.s3
def test_images_on_s3_come_as_those_on_disk(moto_s3: S3Bucket, tmp_path: Path) -> None:
    on_disk = write_tars(tmp_path / "data", 60)
    for tar in (tmp_path / "data").iterdir():
        storage_for(moto_s3.uri).put(f"{moto_s3.uri}/data/{tar.name}", tar.read_bytes())
    on_s3 = on_disk.model_copy(update={"uri": f"{moto_s3.uri}/data"})
    found = []
    for output, settings in ((str(tmp_path / "out"), on_disk), (f"{moto_s3.uri}/out", on_s3)):
        with closing(ingest_of(output, settings, catalogue_of(output, settings))) as ingest:
            found.append(ranks(ingest, 1, 16)[0])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_array_equal(ours.pixels, theirs.pixels)
        assert (ours.image_ids, ours.identities.tolist()) == (theirs.image_ids, theirs.identities.tolist())


def test_one_thread_of_the_caller_gives_the_same_batches(ingest: JoinedIngest, tmp_path: Path) -> None:
    source = cast(Source, ingest._source)
    with closing(JoinedIngest(source, batch_maker(), threads=0)) as alone:
        for ours, theirs in zip(ranks(alone, 1, 16)[0], ranks(ingest, 1, 16)[0], strict=True):
            np.testing.assert_array_equal(ours.pixels, theirs.pixels)
            assert ours.image_ids == theirs.image_ids


def test_to_stop_early_lets_go_of_what_was_read(ingest: JoinedIngest) -> None:
    batches = cast("Iterator[Batch]", ingest.batches(epoch=0, start=0, rank=0, workers=1, batch_images=8))
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert len(global_batches(ingest, 1, 64)) == 4


def test_worker_that_loads_the_catalogue_has_the_same_order(tmp_path: Path) -> None:
    settings = write_tars(tmp_path / "data", 100)
    made = catalogue_of(tmp_path / "out", settings)
    loaded = load_catalogue(LedgerPaths(str(tmp_path / "out")))
    assert loaded is not None
    with (
        closing(ingest_of(tmp_path / "out", settings, made)) as one,
        closing(ingest_of(tmp_path / "out", settings, loaded)) as other,
    ):
        assert global_batches(one, 1, 8) == global_batches(other, 1, 8)
