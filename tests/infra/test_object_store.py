"""The S3 server for development is the one of the tests, reachable from this machine only."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.infra.dockerfile import stages
from tests.object_store.servers import RGW_PROGRAMS, RGW_SCRIPT, missing_rgw_packages, rgw_server

ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / "infra" / "object-store"
COMPOSE = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]["s3"]


def test_it_is_built_from_what_is_there() -> None:
    build = COMPOSE["build"]
    context = (FOLDER / build["context"]).resolve()
    assert context == ROOT
    (stage,) = stages((context / build["dockerfile"]).read_text())
    (copy,) = stage.copies
    assert [ROOT / source for source in copy.sources] == [RGW_SCRIPT]
    assert str(stage.user).partition(":")[0].isdigit()
    assert all(package in stage.commands[0] for package in RGW_PROGRAMS.values())
    ignored = (FOLDER / "Dockerfile.dockerignore").read_text().split()
    assert ignored == ["*", *(f"!{source}" for source in copy.sources)]


def test_nobody_else_reaches_it() -> None:
    """Its key is known to everybody."""
    assert COMPOSE["ports"] == ["127.0.0.1:9105:9105"]
    assert "rgw.sh up /tmp/store 9105 0.0.0.0" in COMPOSE["command"][-1]


@pytest.mark.s3
def test_the_gateway_listens_where_it_is_told_to() -> None:
    if missing := missing_rgw_packages():
        pytest.skip(f"Ceph's gateway is not installed: {' '.join(missing)}")
    with rgw_server("127.0.0.2") as server:
        assert server.endpoint.startswith("http://127.0.0.2:")
        assert server.new_bucket()
