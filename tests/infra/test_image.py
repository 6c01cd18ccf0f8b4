"""The image is built from what is there, holds what the tests have seen, and runs as nobody in particular."""

from __future__ import annotations

import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.infra.dockerfile import Copy, Stage, stages

ROOT = Path(__file__).parent.parent.parent
DOCKERFILE = ROOT / "infra" / "image" / "Dockerfile"
STAGES = {stage.name: stage for stage in stages(DOCKERFILE.read_text())}
TARGETS = ["cpu", "cuda"]
"""The stages that become images."""

FROM_CONTEXT = [copy for stage in STAGES.values() for copy in stage.copies if copy.origin is None]
SECRET = re.compile(r"secret|token|password|credential|_key", re.IGNORECASE)


def base_images() -> set[str]:
    return {stage.image for stage in STAGES.values()} - STAGES.keys()


def ignore_rules() -> list[str]:
    lines = DOCKERFILE.with_name("Dockerfile.dockerignore").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def in_context(path: str) -> bool:
    """Whether the build sees `path`: the last rule that matches it, or a folder above it, decides."""
    above = [path, *(str(folder) for folder in Path(path).parents if str(folder) != ".")]
    sees = True
    for rule in ignore_rules():
        if any(fnmatch(part, rule.lstrip("!").removeprefix("**/")) for part in above):
            sees = rule.startswith("!")
    return sees


def installs(stage: Stage) -> list[str]:
    return [command for command in stage.commands if command.startswith("pip install")]


def test_base_images_are_pinned_to_the_python_that_the_code_is_checked_for() -> None:
    (image,) = base_images()
    assert re.fullmatch(r"python:\d+\.\d+\.\d+-slim-[a-z]+", image), image
    checked = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]["python_version"]
    assert image.startswith(f"python:{checked}.")


@pytest.mark.parametrize("copy", FROM_CONTEXT, ids=lambda copy: copy.target)
def test_what_is_copied_is_there(copy: Copy) -> None:
    for source in copy.sources:
        assert (ROOT / source).exists(), source
        assert in_context(source), source


def test_what_a_build_needs_is_copied() -> None:
    """The wheel's own configuration names the files that it cannot be built without."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {
        "pyproject.toml",
        project["project"]["readme"],
        *project["project"]["license-files"],
        *wheel["packages"],
        *wheel["force-include"],
    }
    assert {source for copy in STAGES["wheel"].copies for source in copy.sources} == needed


@pytest.mark.parametrize("path", [".git/config", ".env", "id_rsa", "demo/images.tar", "tests/conftest.py", "infra"])
def test_a_build_sees_nothing_else(path: str) -> None:
    assert not in_context(path)


def test_stages_copy_from_stages_before_them() -> None:
    before: set[str] = set()
    for stage in STAGES.values():
        origins = {copy.origin for copy in stage.copies if copy.origin is not None}
        assert origins <= before, f"{stage.name} copies from {origins - before}"
        before.add(stage.name)


def test_every_package_has_the_version_of_the_constraints() -> None:
    commands = [command for stage in STAGES.values() for command in installs(stage)]
    assert commands
    for command in commands:
        assert "--constraint constraints.txt" in command
        assert "==" not in command, "versions are said once, in constraints.txt"


def test_an_index_of_its_own_gives_torch_and_nothing_else() -> None:
    """Else it could give any package: an index is trusted with all names that are asked of it."""
    (command,) = (text for stage in STAGES.values() for text in installs(stage) if "index-url" in text)
    assert "--no-deps" in command
    assert command.split()[-1] == "torch"


def test_extras_exist_and_are_the_same_in_both_images() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [re.findall(r"\.whl\)\[([^\]]+)\]", command) for stage in STAGES.values() for command in installs(stage)]
    cpu, cuda = (names[0].split(",") for names in asked if names)
    assert cpu == cuda
    assert set(cpu) <= project["optional-dependencies"].keys()


@pytest.mark.parametrize("name", TARGETS)
def test_images_do_not_run_as_root(name: str) -> None:
    user, _, group = str(STAGES[name].user).partition(":")
    assert user.isdigit(), "Kubernetes compares numbers only"
    assert int(user) > 0
    assert int(group) > 0


@pytest.mark.parametrize("name", TARGETS)
def test_images_find_their_programs_in_login_shells_too(name: str) -> None:
    stage, runtime = STAGES[name], STAGES["runtime"]
    (copy,) = stage.copies
    assert copy.origin == f"packages-{name}"
    assert stage.env["PATH"].startswith(f"{copy.target}/bin:")
    assert any(f"PATH={copy.target}/bin" in text and "/etc/profile.d/" in text for text in runtime.commands)


def test_probes_find_wget() -> None:
    assert any(re.search(r"apt-get install .*\bwget\b", command) for command in STAGES["runtime"].commands)


def test_no_stage_holds_a_secret() -> None:
    """What ARG and ENV hold can be read in the image by anyone who has it; ARG is not even known to the parser."""
    assert not [name for stage in STAGES.values() for name in stage.env if SECRET.search(name)]


def test_packages_lists_leave_no_trace() -> None:
    for stage in STAGES.values():
        for command in stage.commands:
            if "apt-get install" in command:
                assert "rm -rf /var/lib/apt/lists/*" in command
            if command.startswith("pip"):
                assert "--no-cache-dir" in command


@pytest.mark.parametrize("text", ["ARG TOKEN\n", "FROM python:3\n", "FROM a AS b\nCOPY --chown=1 a b\n"])
def test_what_is_not_known_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        stages(text)
