"""Seconds and memory of an audit: an output of many parts made on disk, then verified by the command.

    python -m tests.benchmarks.verify --parts 100000 --rows 1000
    python -m tests.benchmarks.verify --parts 2000 --rows 1000 --deep

Every part is a file of its own with a true footer. Without `--deep` the pages of all parts are those of the first,
since nobody looks at them; with it each part has its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from vision_batch.datasets.shard import Shard
from vision_batch.ledger.definition import Definition, claim_definition
from vision_batch.ledger.manifest import StoredPart, write_manifest
from vision_batch.ledger.part import PartRecord, encode_part, record_for
from vision_batch.ledger.paths import LedgerPaths
from vision_batch.ledger.schema import output_schema
from vision_batch.ledger.sealed_parquet import seal_file
from vision_batch.ledger.segment import Entry, write_segment
from vision_batch.storage.local_file import stat_file
from vision_batch.storage.object_info import ObjectInfo

DEFINITION = Definition({"model.source": "python:digits:build", "precision": "fp32"})
SCHEMA = output_schema([pa.field("label", pa.string()), pa.field("score", pa.float32())], [])


def make_output(paths: LedgerPaths, parts: int, rows: int, *, deep: bool) -> None:
    """An output of one part for each of `parts` tars of `rows` images, complete, with plan and manifest."""
    claim_definition(paths, DEFINITION, cell_rows=rows)
    shards = [_shard(number) for number in range(parts)]
    write_segment(paths, 1, [Entry(kind="shard", shard=shard) for shard in shards])
    stored = []
    for (record, data), shard in zip(part_files(shards, rows, deep=deep), shards, strict=True):
        uri = paths.part(shard.key, 0)
        Path(uri).write_bytes(data)
        stored.append(StoredPart(info=stat_file(uri), record=record))
    write_manifest(paths, stored)


def _shard(number: int) -> Shard:
    key = f"shard-{number:07d}.tar"
    file = ObjectInfo(uri=f"s3://bucket/images/{key}", size_bytes=100_000_000 + number, version=f"{number:032x}")
    return Shard(key=key, input_name="", root="s3://bucket/images/", format="webdataset", files=(file,))


def part_files(shards: Sequence[Shard], rows: int, *, deep: bool = False) -> Iterator[tuple[PartRecord, bytes]]:
    """The part of each shard, in order."""
    first = _record(shards[0], table := _table(shards[0].key, rows))
    template, text = encode_part(table, first), first.to_json().encode()
    for shard in shards:
        if deep:
            table = _table(shard.key, rows)
            record = _record(shard, table)
            yield record, encode_part(table, record)
        else:
            record = replace(first, shard=shard.key, version=shard.version)
            yield record, seal_file(memoryview(template.replace(text, record.to_json().encode())))


def _record(shard: Shard, table: pa.Table) -> PartRecord:
    return record_for(
        table,
        shard=shard.key,
        version=shard.version,
        cell=0,
        cell_rows=table.num_rows,
        last=True,
        definition=DEFINITION.digest,
        run="run-1",
    )


def _table(shard: str, rows: int) -> pa.Table:
    none = pa.nulls(rows, pa.string())
    size = pa.array([500] * rows, pa.int32())
    columns = {
        "image_id": [f"{shard}/{row:06d}" for row in range(rows)],
        "shard": [shard] * rows,
        "row": range(rows),
        "width": size,
        "height": size,
        "error_code": none,
        "error": none,
        "label": ["cat"] * rows,
        "score": [0.5] * rows,
    }
    return pa.table(columns, schema=SCHEMA)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--parts", type=int, default=100_000)
    parser.add_argument("--rows", type=int, default=1000, help="images of each part")
    parser.add_argument("--deep", action="store_true")
    parser.add_argument("--folder", help="where the output is made, and left; by default a temporary folder")
    arguments = parser.parse_args()
    folder = Path(arguments.folder or tempfile.mkdtemp())
    paths = LedgerPaths(str(folder / "out"))
    try:
        if not Path(paths.manifest).exists():
            started = time.monotonic()
            make_output(paths, arguments.parts, arguments.rows, deep=arguments.deep)
            print(f"made {arguments.parts:,} parts in {time.monotonic() - started:.1f} s")
        _measure(paths, deep=arguments.deep)
    finally:
        if arguments.folder is None:
            shutil.rmtree(folder)


def _measure(paths: LedgerPaths, *, deep: bool) -> None:
    command = [sys.executable, "-m", "vision_batch", "verify", paths.output, "--json", *(["--deep"] if deep else [])]
    started = time.monotonic()
    report = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout)
    seconds = time.monotonic() - started
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    took = f"{seconds:.1f} s, {usage.ru_utime + usage.ru_stime:.1f} s of CPU, {usage.ru_maxrss / 1024:,.0f} MiB"
    print(f"verified {report['parts']:,} parts, {report['images']:,} images in {took}")


if __name__ == "__main__":
    main()
