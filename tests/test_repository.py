"""What the repository says of itself is true: links, commands, specs, folders, codes."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from vision_batch import __version__
from vision_batch.cli import main
from vision_batch.cli.exit_code import ExitCode
from vision_batch.errors import ErrorCode
from vision_batch.jobs.spec import load_spec
from vision_batch.models.table import SOURCES
from vision_batch.settings import Settings
from vision_batch.training.settings import (
    CheckpointSettings,
    EarlyStoppingSettings,
    EmaSettings,
    LearningRateSettings,
    LossSettings,
    OptimizerSettings,
    TrainComputeSettings,
    TrainSettings,
    ValidationSettings,
)

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "vision_batch"
MARKDOWN = sorted(
    str(path.relative_to(ROOT)) for folder in (".", "docs", "infra", "cluster") for path in (ROOT / folder).glob("*.md")
)
TYPED = [
    *("README.md", "CONTRIBUTING.md", "infra/README.md"),
    *("docs/benchmarks.md", "docs/operations.md", "docs/schedule.md"),
]
"""The documents whose commands a reader is to type."""

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
TABLE_ROW = re.compile(r"^\|(.+?)\|", re.MULTILINE)

# In pieces, so that this file does not hold them itself.
MACHINE_PATHS = ("/wo" + "rk/", "/ro" + "ot/", "../sha" + "red")
INDEX_HOSTS = ("py" + "pi.", "python" + "hosted.")


def text_of(name: str) -> str:
    return (ROOT / name).read_text()


def prose_of(name: str) -> str:
    return FENCE.sub("", text_of(name))


def section(name: str, heading: str) -> str:
    """The text below a heading of a document, up to the next one."""
    return re.split(r"^#+ ", text_of(name).split(f"# {heading}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]


def first_column(text: str) -> list[str]:
    """The code spans in the first column of a table."""
    return [span for cell in TABLE_ROW.findall(text) for span in SPAN.findall(cell)]


def anchors(name: str) -> set[str]:
    """As GitHub makes them from headings."""
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in HEADING.findall(prose_of(name))}


def commands(name: str, program: str) -> Iterator[list[str]]:
    """The arguments of every call of `program` in a document; brackets and dots of a synopsis are taken away."""
    lines = [
        line for language, block in FENCE.findall(text_of(name)) if language == "sh" for line in block.splitlines()
    ]
    for text in [*lines, *SPAN.findall(prose_of(name))]:
        if text.startswith(f"{program} "):
            yield shlex.split(re.sub(r"[\[\]…]", "", text), comments=True)[1:]


def folders() -> set[str]:
    return {path.parent.name for path in PACKAGE.glob("*/__init__.py")}


def tracked_files() -> list[Path]:
    """Those that git knows; all but what git ignores where there is no repository."""
    listing = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listing.returncode == 0:
        return [path for name in listing.stdout.split("\0") if name and (path := ROOT / name).is_file()]
    ignored = {line.strip("/") for line in text_of(".gitignore").splitlines()} | {".git"}
    paths = (path for path in ROOT.rglob("*") if path.is_file())
    return [path for path in paths if ignored.isdisjoint(path.relative_to(ROOT).parts)]


def test_readme_is_short() -> None:
    assert len(text_of("README.md").splitlines()) <= 150


@pytest.mark.parametrize("name", MARKDOWN)
def test_links_lead_somewhere(name: str) -> None:
    for target in LINK.findall(prose_of(name)):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        found = (ROOT / name).parent / path if path else ROOT / name
        assert found.exists(), f"{name} links to {target}"
        if anchor:
            assert anchor in anchors(str(found.resolve().relative_to(ROOT))), f"{name} links to {target}"


@pytest.mark.parametrize("name", TYPED)
def test_commands_can_be_typed(name: str) -> None:
    """A command that is only named has to exist; with arguments its own parser has to take them."""
    for command, *arguments in commands(name, "vision-batch"):
        assert command in main.COMMANDS
        if arguments:
            main._command_parser(command, main._command(command)).parse_args(arguments)


@pytest.mark.parametrize("name", TYPED)
def test_make_targets_exist(name: str) -> None:
    targets = set(re.findall(r"^(\w+):", text_of("Makefile"), re.MULTILINE))
    assert {target for arguments in commands(name, "make") for target in arguments} <= targets


def test_readme_tells_of_every_command() -> None:
    told = {command for command, *_ in commands("README.md", "vision-batch")}
    assert told == set(main.COMMANDS)


def test_readme_spec_loads(tmp_path: Path) -> None:
    blocks = [block for language, block in FENCE.findall(text_of("README.md")) if language == "yaml"]
    assert blocks
    for number, block in enumerate(blocks):
        spec = tmp_path / f"{number}.yaml"
        spec.write_text(block)
        assert load_spec(spec).settings.job == "predict"


def test_readme_maps_every_folder() -> None:
    named = [span.removeprefix("vision_batch/") for span in first_column(section("README.md", "Folders"))]
    outside = {name for name in named if name.endswith("/")}
    assert set(named) - outside == folders()
    assert all((ROOT / name).is_dir() for name in outside)


def test_architecture_maps_every_folder() -> None:
    named = first_column(section("docs/architecture.md", "What each folder answers"))
    modules = {path.name for path in PACKAGE.glob("*.py")} - {"__init__.py", "__main__.py"}
    assert set(named) == folders() | modules


def test_architecture_names_files_that_exist() -> None:
    for span in SPAN.findall(prose_of("docs/architecture.md")):
        if re.fullmatch(r"\w+/[\w/]+\.py", span):
            assert (PACKAGE / span).is_file() or (ROOT / span).is_file(), span


def test_every_kind_of_model_source_has_its_row() -> None:
    named = [span.partition(":")[0] for span in first_column(section("docs/models.md", "Sources")) if ":" in span]
    assert named == list(SOURCES)


@pytest.mark.parametrize("name", ["docs/failure-model.md", "docs/security.md"])
def test_what_is_promised_is_shown_by_tests_that_exist(name: str) -> None:
    tables = re.findall(r"^\| (?:fault|attack) .*\n\| ---.*\n((?:\|.*\n)+)", text_of(name), re.MULTILINE)
    rows = [row for table in tables for row in table.splitlines()]
    assert rows
    for row in rows:
        shown_by = SPAN.findall(row.rstrip("| ").rpartition("|")[2])
        assert shown_by, row
        for span in shown_by:
            path, _, name = span.partition("::")
            assert f"def {name}(" in text_of(f"tests/{path}") if name else (ROOT / "tests" / path).is_file(), span


def test_training_explains_every_key() -> None:
    """Of `validation:`, `train:` and `compute:`, down to the last one."""
    settings: list[type[Settings]] = [ValidationSettings, TrainSettings, TrainComputeSettings, LossSettings]
    settings += [OptimizerSettings, LearningRateSettings, EmaSettings, EarlyStoppingSettings, CheckpointSettings]
    table = section("docs/training.md", "Every key")
    said = {word for span in SPAN.findall(table) for word in re.findall(r"\w+", span)}
    assert {name for model in settings for name in model.model_fields} - said == set()


def test_readme_has_every_exit_code() -> None:
    codes = re.findall(r"^\| (\d+) \|", section("README.md", "Commands and exit codes"), re.MULTILINE)
    assert [int(code) for code in codes] == sorted(ExitCode)


def test_readme_has_every_error_code_that_is_given() -> None:
    sources = "".join(path.read_text() for path in PACKAGE.glob("*/**/*.py"))
    given = {code for code in get_args(ErrorCode) if f'"{code}"' in sources}
    assert set(first_column(section("README.md", "Bad images"))) - {"error_code"} == given


def test_changelog_has_this_version() -> None:
    versions = re.findall(r"^## \[([^\]]+)\]", text_of("CHANGELOG.md"), re.MULTILINE)
    assert {"Unreleased", __version__} & set(versions)


def test_contributing_has_every_marker() -> None:
    config = tomllib.loads(text_of("pyproject.toml"))
    markers = [line.split(":")[0] for line in config["tool"]["pytest"]["ini_options"]["markers"]]
    table = section("CONTRIBUTING.md", "Tests")
    assert first_column(table) == markers


def test_license_is_whole() -> None:
    text = text_of("LICENSE")
    assert text.lstrip().startswith("Apache License")
    assert "END OF TERMS AND CONDITIONS" in text


def test_ci_can_be_run() -> None:
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_no_file_tells_of_the_machine_that_it_was_written_on() -> None:
    machine = re.compile("|".join(rf"(?<![\w./}}]){re.escape(path)}" for path in MACHINE_PATHS))
    hosts = re.compile("|".join(map(re.escape, INDEX_HOSTS)))
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for path in tracked_files()
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if machine.search(line) or hosts.search(line.lower())
    ]
    assert not found, "\n".join(found)
