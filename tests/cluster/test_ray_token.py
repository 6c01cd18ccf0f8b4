"""A token comes by environment or file, and never as part of an error."""

from __future__ import annotations

from pathlib import Path

import pytest

from vision_batch.cluster.ray_token import read_token
from vision_batch.errors import SpecError


def test_it_comes_from_the_environment_or_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("in-a-file\n")
    assert read_token({"RAY_AUTH_TOKEN": " given\n"}) == "given"
    assert read_token({"RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")}) == "in-a-file"
    assert read_token({"RAY_AUTH_TOKEN": "given", "RAY_AUTH_TOKEN_PATH": "/nowhere"}) == "given"


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({}, "RAY_AUTH_TOKEN: found no token; expected the cluster's token in RAY_AUTH_TOKEN, or its file"),
        ({"RAY_AUTH_TOKEN_PATH": "/nowhere"}, "RAY_AUTH_TOKEN_PATH: found /nowhere: No such file or directory"),
        ({"RAY_AUTH_TOKEN_PATH": "/dev/null"}, "RAY_AUTH_TOKEN_PATH: found /dev/null: nothing in it"),
        (
            {"RAY_AUTH_TOKEN": "planted\nsecret"},
            "RAY_AUTH_TOKEN: found a token with characters that no header",
        ),
    ],
)
def test_what_is_wrong_is_said_without_the_token(environment: dict[str, str], found: str) -> None:
    with pytest.raises(SpecError) as caught:
        read_token(environment)
    assert str(caught.value).startswith(found)
    assert "planted" not in str(caught.value)
