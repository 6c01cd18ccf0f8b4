"""Each fuzz target for half a minute; `python -m tests.faults.fuzz_tar --seconds N` goes on as long as you like."""

from __future__ import annotations

import base64
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import TypeAlias

import pytest

Ending: TypeAlias = tuple[subprocess.CompletedProcess[str], list[Path]]

TARGETS = ["fuzz_decode", "fuzz_tar"]
SECONDS = 30
FEWEST_RUNS = 2000
"""A target that tries less in this time hardly works."""

LAW_THAT_BREAKS = """
import atheris
from tests.faults.fuzzing import fuzz

@atheris.instrument_func
def judge(data):
    assert not (data[:1] == b"f" and data[1:2] == b"u"), "the law is broken"

fuzz(judge, seeds=[b"fa", b"bu"])
"""


@pytest.fixture(autouse=True, scope="module")
def _atheris() -> None:
    if find_spec("atheris") is None:
        reason = "atheris is not installed: it is built for Linux and for Python before 3.14"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)


def fuzzed(program: list[str], folder: Path, seconds: int) -> Ending:
    """How a target ended, and the files that break its law."""
    options = ["--seconds", str(seconds), "--seed", "1", "--findings", str(folder)]
    ended = subprocess.run(
        [sys.executable, *program, *options], capture_output=True, text=True, check=False, timeout=200
    )
    return ended, sorted(folder.iterdir())


def told(ended: subprocess.CompletedProcess[str], findings: list[Path]) -> str:
    """Enough to do it again: the end of what was said, and the bytes."""
    inputs = [f"{path.name}: base64 {base64.b64encode(path.read_bytes()).decode()}" for path in findings]
    return "\n".join([f"exit {ended.returncode}", (ended.stdout + ended.stderr)[-4000:], *inputs])


@pytest.fixture(scope="module")
def endings(_atheris: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Ending]]]:
    """How each target ends, all of them side by side: each keeps one core busy."""
    folders = {target: tmp_path_factory.mktemp(target) for target in TARGETS}
    with ThreadPoolExecutor(len(TARGETS)) as pool:
        yield {
            target: pool.submit(fuzzed, ["-m", f"tests.faults.{target}"], folder, SECONDS)
            for target, folder in folders.items()
        }


@pytest.mark.timeout(240)
@pytest.mark.parametrize("target", TARGETS)
def test_no_input_breaks_the_law(target: str, endings: dict[str, Future[Ending]]) -> None:
    ended, findings = endings[target].result()
    assert (ended.returncode, findings) == (0, []), told(ended, findings)
    runs = re.search(r"number_of_executed_units:\s+(\d+)", ended.stderr)
    assert runs is not None
    assert int(runs[1]) >= FEWEST_RUNS


def test_an_input_that_breaks_a_law_is_found_and_told(tmp_path: Path) -> None:
    (tmp_path / "found").mkdir()
    ended, findings = fuzzed(["-c", LAW_THAT_BREAKS], tmp_path / "found", 20)
    assert ended.returncode != 0
    (finding,) = findings
    assert finding.read_bytes()[:2] == b"fu"
    assert "the law is broken" in told(ended, findings)
    assert base64.b64encode(finding.read_bytes()).decode() in told(ended, findings)
