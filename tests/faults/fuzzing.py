"""How the fuzz targets are run: for some seconds, from seeds, with libFuzzer's limits on memory and time."""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import atheris

RSS_MIB = 2048
"""Of the whole process, torch and OpenCV included, which take 500 MiB of it."""
TIMEOUT_S = 10


def fuzz(judge: Callable[[bytes], None], *, seeds: Iterable[bytes]) -> None:
    """Parses the command line and fuzzes. Ends the process: with 0, or with what libFuzzer says of a finding."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--corpus", type=Path, help="a folder in which interesting inputs are kept from run to run")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--findings", type=Path, default=Path.cwd(), help="the folder for inputs that break the law")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as temporary:
        folder = arguments.corpus or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for seed in seeds:
            (folder / hashlib.sha256(seed).hexdigest()[:24]).write_bytes(seed)
        options = [
            f"-max_total_time={arguments.seconds}",
            f"-seed={arguments.seed}",
            f"-rss_limit_mb={RSS_MIB}",
            f"-timeout={TIMEOUT_S}",
            f"-artifact_prefix={arguments.findings}/",
            "-max_len=65536",
            "-print_final_stats=1",
        ]
        atheris.Setup([sys.argv[0], *options, str(folder)], judge)
        atheris.Fuzz()
