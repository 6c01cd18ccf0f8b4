"""Very many small objects of an S3 server as a folder, over the best plain concurrent s3fs download of them.

The server is the Ceph gateway of the tests, on the same machine: what it needs of the cores it takes from both sides.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.bare import images_per_second, make_preprocessor
from tests.benchmarks.job import run_job
from tests.benchmarks.measurement import CannotMeasureError, Figures, Line, Measurement
from tests.benchmarks.photos import make_jpegs
from tests.object_store.servers import S3Server, missing_rgw_packages, rgw_server

PREPROCESS = {"resize_px": [64, 64]}
OBJECTS_AT_ONCE = 500
"""Downloaded together, while those before are decoded."""
WAYS = ((1, 64), (2, 16), (2, 64), (2, 256))
"""Processes, and the requests that each has in flight."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadLoop:
    """Downloads with s3fs, `concurrency` requests at once, and decodes what came before meanwhile."""

    server: S3Server
    concurrency: int

    def prepared(self, files: Sequence[str]) -> Callable[[], int]:
        preprocessor, s3 = make_preprocessor(PREPROCESS), file_system(self.server)
        groups = [files[start : start + OBJECTS_AT_ONCE] for start in range(0, len(files), OBJECTS_AT_ONCE)]

        def download(group: Sequence[str]) -> Any:
            return s3.cat(list(group), batch_size=self.concurrency).values()

        def work() -> int:
            count = 0
            with ThreadPoolExecutor(1) as ahead:
                for content in _one_ahead(ahead, download, groups):
                    for data in content:
                        preprocessor(data)
                        count += 1
            return count

        for data in download(files[: self.concurrency]):
            preprocessor(data)
        return work


def _one_ahead(pool: ThreadPoolExecutor, function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
    """As `map`, with the next call under way while the result of the last is used."""
    waiting = pool.submit(function, items[0])
    for item in items[1:]:
        upcoming = pool.submit(function, item)
        yield waiting.result()
        waiting = upcoming
    yield waiting.result()


def file_system(server: S3Server) -> Any:
    """A plain s3fs of the server."""
    from s3fs import S3FileSystem

    return S3FileSystem(
        key=server.access_key,
        secret=server.secret_key,
        endpoint_url=server.endpoint,
        config_kwargs={
            "max_pool_connections": max(concurrency for _, concurrency in WAYS),
            "request_checksum_calculation": "when_required",
            "response_checksum_validation": "when_required",
        },
    )


def rounds(folder: Path, images: int) -> Iterator[Figures]:
    """The job's steady state over the fastest of plain downloads, by concurrency and number of processes."""
    if missing := missing_rgw_packages():
        raise CannotMeasureError(f"Ceph's gateway is not installed: apt-get install {' '.join(missing)}")
    jpegs = make_jpegs(160, 120)
    with rgw_server() as server:
        prefix = f"{server.new_bucket()}/images"
        files = [f"{prefix}/{number // 1000:03d}/{number:08d}.jpg" for number in range(images)]
        _upload(server, files, jpegs)
        while True:
            plain = {
                (processes, concurrency): images_per_second(
                    DownloadLoop(server=server, concurrency=concurrency), files, processes
                )
                for processes, concurrency in WAYS
            }
            best = max(plain, key=lambda way: plain[way])
            data = f"s3://{prefix}"
            environment = server.environment()
            job = run_job(folder, data=data, images=images, preprocess=PREPROCESS, environment=environment)
            print(f"the best plain download: {best[0]} processes of {best[1]} requests at once", file=sys.stderr)
            yield {
                "over s3fs": job.steady / plain[best],
                "steady images/s": job.steady,
                "s3fs images/s": plain[best],
                "whole job images/s": images / job.ran.seconds,
                "driver MiB": job.ran.driver_mib,
                "worker MiB": job.ran.worker_mib,
            }


def _upload(server: S3Server, files: Sequence[str], jpegs: Sequence[bytes]) -> None:
    content = {file: jpegs[number % len(jpegs)] for number, file in enumerate(files)}
    file_system(server).pipe(content)


MEASUREMENT = Measurement(
    name="small-objects",
    rounds=rounds,
    size=20_000,
    quick_size=5_000,
    lines=(Line(figure="over s3fs", what="small objects on S3, steady, over the best plain s3fs download", bound=0.9),),
)
