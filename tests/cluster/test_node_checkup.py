"""What the nodes of a cluster say of themselves, put together."""

from __future__ import annotations

import pytest

from vision_batch.cluster import node_checkup as module
from vision_batch.cluster.finding import Finding, fail, ok
from vision_batch.cluster.node_checkup import check_node, grouped, versions


def node_findings(expected: str, *requirements: str, gpus: int = 0) -> dict[str, Finding]:
    resources = {"CPU": 4.0, "GPU": float(gpus), "object_store_memory": 0.0}
    return {finding.check: finding for finding in check_node(expected, resources, requirements or None)}


def test_a_node_like_the_others_is_fit() -> None:
    found = node_findings(versions())
    assert found["versions"].level == found["packages"].level == "ok"


def test_a_node_of_other_versions_is_named_with_both() -> None:
    found = node_findings("Python 3.10.1, ray 2.0")
    assert found["versions"].level == "fail"
    assert found["versions"].found == f"{versions()}; elsewhere Python 3.10.1, ray 2.0"


def test_a_node_that_lacks_what_the_job_needs() -> None:
    assert node_findings(versions(), "ray>=999")["packages"].level == "fail"


def test_room_on_a_disk_is_said_only_where_it_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "check_free_disk", lambda check, folder: ok(check, "much"))
    assert "temporary files" not in node_findings(versions())
    monkeypatch.setattr(module, "check_free_disk", lambda check, folder: fail(check, "little", "free some"))
    assert node_findings(versions())["temporary files"].found == "little"


def test_gpus_that_the_driver_reports_are_tried_though_ray_hides_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(module, "reported_gpus", lambda: ["NVIDIA L4"])
    found = node_findings(versions(), gpus=1)
    assert (found["torch"].level, "NVIDIA L4" in found["torch"].found) == ("fail", True)
    assert "gpus" not in found


def test_gpus_that_ray_and_the_driver_count_differently_are_worth_a_warning() -> None:
    found = node_findings(versions(), gpus=2)["gpus"]
    assert (found.level, found.found) == ("warn", "Ray offers 2, the driver reports 0")


def test_nodes_of_which_the_same_is_said_share_a_line() -> None:
    findings = [
        ok("versions", "10.0.0.1: Python 3.12"),
        ok("disk", "10.0.0.1: much"),
        ok("versions", "fd00::2: Python 3.12"),
        fail("disk", "fd00::2: little: 3 bytes", "free some"),
    ]
    assert grouped(findings) == [
        ok("versions", "2 nodes: Python 3.12"),
        ok("disk", "10.0.0.1: much"),
        fail("disk", "fd00::2: little: 3 bytes", "free some"),
    ]
