"""Changed groups are patched as far as the ledger knows what they were."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.ledger.outputs import new_output
from vision_batch.datasets.shard import Group
from vision_batch.ledger.change import change_patches


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_bytes(bytes(path.stat().st_size))])
def test_a_group_whose_old_members_are_lost_is_computed_whole(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    output = new_output(tmp_path, images=2)
    output.run()
    (tmp_path / "in" / "new.jpg").write_bytes(b"new")
    output.run()
    old = output.plan().shards[0].group
    for name in ("00000", "new"):
        (tmp_path / "in" / f"{name}.jpg").write_bytes(b"another")
    plan, state = output.plan(), output.look()
    patches = change_patches(output.paths, plan.shards, state.replaced)
    assert {key: list(patch.rows) for key, patch in patches.items()} == {"files-000001": [0], "files-000002": [0]}
    assert isinstance(old, Group)
    harm(Path(output.paths.members(old.stored_in)))
    assert list(change_patches(output.paths, plan.shards, state.replaced)) == ["files-000002"]
    assert output.plan().shards == plan.shards, "planning needs what is planned now and nothing older"
