"""A coverage-guided fuzzer of the way from a tar's bytes to samples.

    python -m tests.faults.fuzz_tar [--seconds N] [--corpus DIR] [--seed N]

Law: the reading ends; rows are dense; each sample has bytes or an error; what is wanted does not change what is read;
and an image that stands whole behind the damage, with a header of its own, is found.
"""

from __future__ import annotations

import io

import atheris

from tests.faults.fuzzing import fuzz

with atheris.instrument_imports(include=["vision_batch.datasets"]):
    from vision_batch.datasets import tar
    from vision_batch.datasets.tar import TarDamage, TarReader
    from vision_batch.datasets.tar_samples import TarColumns, tar_samples

from tests.datasets.archives import BLOCK, END, member
from tests.datasets.reading import facts
from tests.faults.corpus_tars import tars
from vision_batch.datasets.sample import Sample

COLUMNS = TarColumns(
    id_prefix="a/",
    images=frozenset({"jpg", "png"}),
    label="cls",
    kept=("txt",),
)
LONGEST_BYTES = 16 << 10
BEHIND = b"\xff" * BLOCK + member(b"behind.png", b"whole") + END


def judge(data: bytes) -> None:
    """The law for one input."""
    samples = _samples(data, every=1)
    assert [sample.row for sample in samples] == list(range(len(samples)))
    assert all((sample.data is None) != (sample.error is None) for sample in samples)
    thirds = [facts(sample) for sample in samples if sample.row % 3 == 0]
    assert thirds == [facts(sample) for sample in _samples(data, every=3)]
    _demand_rest(data)


def _demand_rest(data: bytes) -> None:
    """Behind a block that is no header the next member is found, unless what came before claims these bytes."""
    whole = data[: len(data) // BLOCK * BLOCK]
    entries = TarReader(io.BytesIO(whole), len(whole))
    if not any(isinstance(entry, TarDamage) and entry.code == "truncated" for entry in entries):
        found = _samples(whole + BEHIND, every=1)
        assert (found[-1].image_id, found[-1].data) == ("a/behind", b"whole")


def _samples(data: bytes, *, every: int) -> list[Sample]:
    asked: list[int] = []

    def wanted(row: int) -> bool:
        asked.append(row)
        return row % every == 0

    samples = list(tar_samples(TarReader(io.BytesIO(data), len(data)), COLUMNS, wanted))
    assert asked == list(range(len(asked)))
    assert [sample.row for sample in samples] == asked[::every]
    return samples


if __name__ == "__main__":
    tar.READ_BYTES, tar.SEEK_BYTES = 4096, 1024  # a small window is moved often, and costs little to make
    fuzz(judge, seeds=(case.data for case in tars() if len(case.data) <= LONGEST_BYTES))
