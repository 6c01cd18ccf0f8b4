"""What tests of jobs in Kubernetes share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.cluster.kubernetes_server import TOKEN, KubernetesServer, kubernetes_server


@pytest.fixture
def server() -> Iterator[KubernetesServer]:
    with kubernetes_server() as held:
        yield held


@pytest.fixture
def kubeconfig(server: KubernetesServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What kubectl would use, in a file that KUBECONFIG names."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": {"server": server.url}}],
        "users": [{"name": "me", "user": {"token": TOKEN}}, {"name": "nobody", "user": {"token": "wrong"}}],
        "contexts": [
            {"name": "ours", "context": {"cluster": "test", "user": "me"}},
            {"name": "theirs", "context": {"cluster": "test", "user": "nobody"}},
        ],
        "current-context": "ours",
    }
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(document))
    monkeypatch.setenv("KUBECONFIG", str(path))
    return path
