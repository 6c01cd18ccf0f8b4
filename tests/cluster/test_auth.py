"""Tokens: a fresh one for each Ray of our own, and the cluster's for one that we join."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from vision_batch.cluster.auth import Auth, cluster_token, fresh_token, wanted_auth
from vision_batch.errors import SpecError


def shown() -> tuple[str | None, str | None]:
    return os.environ.get("RAY_AUTH_MODE"), os.environ.get("RAY_AUTH_TOKEN")


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """No token in the environment, and a home without one; the home. Then Ray takes the token of all tests again."""
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    yield tmp_path
    monkeypatch.undo()
    with cluster_token("token", "--address"):
        pass


def test_each_ray_of_our_own_has_a_token_of_its_own(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = []
    for _ in range(2):
        with fresh_token():
            mode, token = shown()
            assert mode == "token"
            tokens.append(token)
        assert shown() == (None, None)
    assert len(set(tokens)) == 2
    assert all(token is not None and len(token) == 64 for token in tokens)
    assert list(nowhere.iterdir()) == []
    monkeypatch.setenv("RAY_AUTH_TOKEN", "of a cluster")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with fresh_token():
        assert shown()[0] == "token"
        assert shown()[1] != "of a cluster"
    assert shown() == ("disabled", "of a cluster")


def test_ray_sees_the_token_of_the_block_also_when_it_was_imported_before(nowhere: Path) -> None:
    from ray._raylet import AuthenticationMode, AuthenticationTokenLoader, get_authentication_mode

    for _ in range(2):
        with fresh_token():
            assert get_authentication_mode() == AuthenticationMode.TOKEN
            assert AuthenticationTokenLoader.instance().get_raw_token() == shown()[1]
        assert get_authentication_mode() == AuthenticationMode.DISABLED
        assert not AuthenticationTokenLoader.instance().has_token(ignore_auth_mode=True)


@pytest.mark.parametrize("auth", ["token", "none"])
def test_a_cluster_without_a_token_has_to_be_wanted(nowhere: Path, auth: Auth) -> None:
    if auth == "none":
        with cluster_token(auth, "--address"):
            assert shown() == ("disabled", None)
    else:
        with pytest.raises(SpecError, match=r"--address: found no token .*; expected RAY_AUTH_TOKEN, or"):
            cluster_token(auth, "--address").__enter__()
    assert shown() == (None, None)


@pytest.mark.parametrize("place", ["variable", "file", "home"])
def test_a_token_is_found_where_ray_finds_it(nowhere: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    from ray._raylet import AuthenticationTokenLoader

    file = nowhere / ("token" if place == "file" else ".ray/auth_token")
    if place == "variable":
        monkeypatch.setenv("RAY_AUTH_TOKEN", "abc")
    else:
        file.parent.mkdir(exist_ok=True)
        file.write_text("abc\n")
    if place == "file":
        monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(file))
    with cluster_token("token", "--address"):
        assert AuthenticationTokenLoader.instance().get_raw_token() == "abc"
        assert shown()[0] == "token"


def test_a_token_file_for_which_ray_would_end_the_process_is_refused(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(nowhere / "token"))
    with pytest.raises(SpecError, match=r"RAY_AUTH_TOKEN_PATH: found .*token: No such file"):
        cluster_token("token", "--address").__enter__()


@pytest.mark.parametrize(("mode", "auth"), [(None, "token"), ("token", "token"), ("disabled", "none"), ("x", "token")])
def test_without_a_profile_rays_own_variable_says_aloud_that_there_is_none(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch, mode: str | None, auth: str
) -> None:
    if mode is not None:
        monkeypatch.setenv("RAY_AUTH_MODE", mode)
    assert wanted_auth() == auth
