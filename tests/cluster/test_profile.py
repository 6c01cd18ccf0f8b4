"""A profile is found by path or name, and every problem in it is said at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from vision_batch.cluster.profile import LocalProfile, RayProfile, load_profile
from vision_batch.errors import SpecError

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with an empty `cluster/` in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cluster").mkdir()
    return tmp_path


def write(text: str) -> str:
    Path("cluster/our.yaml").write_text(text)
    return "our"


def problems(text: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        load_profile(write(text))
    return [str(problem) for problem in caught.value.problems]


def test_a_profile_is_found_by_name_and_by_path(here: Path) -> None:
    name = write("kind: local\n")
    for text in (name, "cluster/our.yaml", str(here / "cluster" / "our.yaml")):
        profile = load_profile(text)
        assert profile.settings == LocalProfile(kind="local")
        assert (profile.name, profile.folder) == ("our", here / "cluster")


def test_a_name_without_a_file_is_told_the_names_that_there_are() -> None:
    write("kind: local\n")
    with pytest.raises(SpecError, match=r"--cluster: found 'ours'.*one in ./cluster \(our\)"):
        load_profile("ours")


def test_a_ray_cluster_wants_a_token_unless_told_otherwise() -> None:
    profile = load_profile(write("kind: ray\naddress: https://ray.example:8265/\n")).settings
    assert profile == RayProfile(kind="ray", address="https://ray.example:8265", auth="token", shared_paths=[])


def test_what_is_below_a_shared_path_is_seen_by_every_node() -> None:
    text = "kind: ray\naddress: http://head:8265\nshared_paths: [/mnt/data/]\n"
    settings = load_profile(write(text)).settings
    assert settings.sees("/mnt/data")
    assert settings.sees("/mnt/data/images/a.tar")
    assert not settings.sees("/mnt/database")
    assert not settings.sees("/mnt")


def test_this_machine_sees_everything() -> None:
    assert load_profile(write("kind: local\n")).settings.sees("/anything")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("kind: rya", "kind: found 'rya' (did you mean 'ray'?); expected one of the kinds of profile: local, ray"),
        ("address: http://head:8265", "kind: found nothing"),
        ("kind: ray", "address: found nothing; expected text"),
        ("kind: local\nadress: x", "adress: found an unknown key"),
        ("kind: ray\nadress: http://head:8265", "adress: found an unknown key (did you mean 'address'?)"),
        ("kind: ray\naddress: head:8265", "address: found 'head:8265'; expected the URL of the cluster's dashboard"),
        ("kind: ray\naddress: http://head:82650", "expected the URL of the cluster's dashboard"),
        ("kind: ray\naddress: http://[::1:8265", "expected the URL of the cluster's dashboard"),
        ("kind: ray\naddress: ray://head:10001", "expected the URL of the cluster's dashboard"),
        ("kind: ray\naddress: http://me:secret@head:8265", "'http://head:8265'; expected a URL without credentials"),
        ("kind: ray\naddress: http://head:8265\nauth: false", "auth: found false; expected token or none"),
        ("kind: ray\naddress: http://head:8265\nshared_paths: [data]", "shared_paths.0: found 'data'"),
        ("kind: ray\naddress: http://head:8265\nshared_paths: [/]", "shared_paths.0: found '/'"),
        ("", "an empty file; expected a profile: a YAML file that begins with kind:"),
        ("[1]", "a list of 1; expected a profile"),
    ],
)
def test_problems_name_the_file_and_the_place(text: str, found: str) -> None:
    said = "\n".join(problems(text))
    assert "cluster/our.yaml" in said
    assert found in said


def test_every_problem_is_said_at_once() -> None:
    assert len(problems("kind: ray\naddress: head\nauth: maybe\nport: 1\n")) == 3


@pytest.mark.parametrize("path", sorted((ROOT / "cluster").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_example_profiles_are_valid(path: Path) -> None:
    assert load_profile(str(path)).settings.kind in path.read_text()
