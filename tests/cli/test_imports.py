"""Asking for help is quick: nothing heavy is imported before a command needs it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from vision_batch import __version__
from vision_batch.cli.main import COMMANDS

HEAVY = ("torch", "ray", "pyarrow", "cv2", "pydantic", "numpy", "yaml", "s3fs")

REPORT = """
import sys
from vision_batch.cli.main import main
code = main(sys.argv[1:])
print(code, *sorted(name for name in sys.modules if "." not in name), file=sys.stderr)
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False, timeout=60)


def modules_after(*arguments: str) -> set[str]:
    code, *modules = run("-c", REPORT, *arguments).stderr.split("\n")[-2].split()
    assert code == "0"
    return set(modules)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    assert modules_after(*arguments).isdisjoint(HEAVY)


@pytest.mark.parametrize(
    "arguments", [["schema"], ["schema", "--help"], ["init", "predict"], ["doctor", "--help"], ["verify", "--help"]]
)
def test_small_commands_import_neither_torch_nor_ray(arguments: list[str]) -> None:
    if find_spec(f"vision_batch.cli.{arguments[0]}") is None:
        pytest.fail(f"the command {arguments[0]} has no module")
    assert modules_after(*arguments).isdisjoint({"torch", "ray"})


def test_loading_a_spec_imports_neither_torch_nor_ray() -> None:
    code = "import sys, vision_batch.jobs.spec; print(*{'torch', 'ray', 'pyarrow', 'cv2', 's3fs'} & set(sys.modules))"
    assert run("-c", code).stdout.strip() == ""


def test_help_is_quick() -> None:
    def seconds() -> float:
        started = time.monotonic()
        assert run("-m", "vision_batch", "--help").returncode == 0
        return time.monotonic() - started

    assert min(seconds() for _ in range(3)) < 0.5


def test_the_console_script_is_the_module() -> None:
    script = shutil.which("vision-batch", path=str(Path(sys.executable).parent))
    assert script is not None, "vision-batch is not installed: pip install -e ."
    shown = subprocess.run([script, "--version"], capture_output=True, text=True, check=True).stdout
    assert shown == f"vision-batch {__version__}\n"
    assert shown == run("-m", "vision_batch", "--version").stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_a_module_that_says_the_same_of_itself(name: str) -> None:
    module = import_module(f"vision_batch.cli.{name}")
    assert COMMANDS[name] == module.SUMMARY
    assert callable(module.add_arguments)
    assert callable(module.execute)
