"""An output belongs to one definition, and a refusal says what differs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.ledger.outputs import CELL_ROWS, Output, new_output, with_input
from vision_batch.errors import DefinitionError, HeldError, LedgerError
from vision_batch.ledger.definition import Definition, claim_definition, read_definition, release_definition
from vision_batch.ledger.lease import held_lease
from vision_batch.ledger.paths import LedgerPaths
from vision_batch.ledger.verify import verify
from vision_batch.storage.local import LocalStorage

FACTS = {
    "model.source": "python:digits:build",
    "preprocess.crop_px": 224,
    "precision": "bf16",
    "model.labels": ["a", "b"],
}


def test_the_digest_does_not_depend_on_order_and_tuples_are_lists() -> None:
    assert Definition(FACTS).digest == Definition(dict(reversed(FACTS.items()))).digest
    assert Definition({"a": (1, 2)}).digest == Definition({"a": [1, 2]}).digest
    assert Definition({"a": 1}).digest != Definition({"a": "1"}).digest
    with pytest.raises(ValueError):
        _ = Definition({"a": float("nan")}).digest


def test_nothing_is_read_where_nothing_was_claimed(tmp_path: Path) -> None:
    assert read_definition(LedgerPaths(str(tmp_path / "out"))) is None
    assert not (tmp_path / "out").exists()


def test_the_first_claim_is_stored_and_comes_back(tmp_path: Path) -> None:
    paths = LedgerPaths(str(tmp_path))
    claimed = claim_definition(paths, Definition(FACTS), cell_rows=128)
    assert claim_definition(paths, Definition(FACTS), cell_rows=4096) == claimed == read_definition(paths)
    assert claimed.cell_rows == 128
    assert claimed.definition.facts["precision"] == "bf16"
    assert claimed.labels is None


def test_an_output_knows_the_names_of_the_classes(tmp_path: Path) -> None:
    paths = LedgerPaths(str(tmp_path))
    claim_definition(paths, Definition(FACTS), labels=("cat", "dög"))
    claimed = read_definition(paths)
    assert claimed is not None
    assert claimed.labels == ("cat", "dög")


def test_of_sections_the_keys_that_differ_are_shown() -> None:
    recorded = {"optimizer": {"name": "adamw", "lr": 0.001, "betas": [0.9, 0.999]}, "ema": None, "loss": {"a": 1}}
    changed = {"optimizer": {"name": "adamw", "lr": 0.01, "eps": 1}, "ema": {"decay": 0.9}, "loss": {"a": 1}}
    assert [str(problem) for problem in Definition(changed).differences(Definition(recorded))] == [
        'ema: found {"decay": 0.9}; expected null',
        "optimizer.betas: found nothing; expected [0.9, 0.999]",
        "optimizer.eps: found 1; expected nothing",
        "optimizer.lr: found 0.01; expected 0.001",
    ]


def test_a_refusal_says_what_differs_and_the_ways_out(tmp_path: Path) -> None:
    paths = LedgerPaths(str(tmp_path))
    claim_definition(paths, Definition(FACTS))
    changed = {**FACTS, "preprocess.crop_px": 288, "preprocess.letterbox_px": 640}
    del changed["model.labels"]
    with pytest.raises(DefinitionError) as refused:
        claim_definition(paths, Definition(changed))
    assert str(refused.value).splitlines()[:3] == [
        'model.labels: found nothing; expected ["a", "b"]',
        "preprocess.crop_px: found 288; expected 224",
        "preprocess.letterbox_px: found 640; expected nothing",
    ]
    assert "expected another output.uri for this definition, or a spec brought back" in str(refused.value)
    assert read_definition(paths) == claim_definition(paths, Definition(FACTS))


def test_of_racing_claims_one_wins_and_the_others_are_refused(tmp_path: Path) -> None:
    paths = LedgerPaths(str(tmp_path))

    def claim(seed: int) -> int | None:
        try:
            claim_definition(paths, Definition({"seed": seed}))
        except DefinitionError:
            return None
        return seed

    with ThreadPoolExecutor(8) as pool:
        winners = [seed for seed in pool.map(claim, range(8)) if seed is not None]
    claimed = read_definition(paths)
    assert claimed is not None
    assert [claimed.definition.facts["seed"]] == winners


@pytest.mark.parametrize("damage", [b"", b"{}", b"[]", b'{"format": 9}'])
def test_a_damaged_definition_is_an_error_and_not_an_unclaimed_output(tmp_path: Path, damage: bytes) -> None:
    paths = LedgerPaths(str(tmp_path))
    claim_definition(paths, Definition(FACTS))
    Path(paths.definition).write_bytes(damage)
    with pytest.raises(LedgerError, match=r"definition cannot be read.*restore it from a copy, or delete it and run"):
        claim_definition(paths, Definition(FACTS))


def test_a_damaged_definition_that_is_deleted_is_written_again_and_the_parts_count_as_before(tmp_path: Path) -> None:
    output = new_output(tmp_path)
    output.run()
    Path(output.paths.definition).write_bytes(b"{")
    assert not verify(output.paths.output).ok
    Path(output.paths.definition).unlink()
    claim_definition(output.paths, output.definition, cell_rows=CELL_ROWS)
    assert output.todo() == []
    assert verify(output.paths.output, deep=True).ok


def test_an_edited_definition_is_noticed(tmp_path: Path) -> None:
    paths = LedgerPaths(str(tmp_path))
    claim_definition(paths, Definition(FACTS))
    file = Path(paths.definition)
    file.write_text(file.read_text().replace("224", "288"))
    with pytest.raises(LedgerError, match="digest differs"):
        read_definition(paths)


def test_an_output_without_a_part_can_be_given_back(tmp_path: Path) -> None:
    paths = LedgerPaths(str(tmp_path))
    with held_lease(paths, "run-1"):
        claim_definition(paths, Definition({"seed": 1}))
        release_definition(paths, "run-1")
        claim_definition(paths, Definition({"seed": 2}))
        (tmp_path / paths.part_name("s", 0)).write_bytes(b"a part")
        release_definition(paths, "run-1")
    with pytest.raises(DefinitionError):
        claim_definition(paths, Definition({"seed": 1}))


def planned_twice(folder: Path) -> Output:
    """Two segments and the members of both."""
    output = new_output(folder, images=5)
    output.plan()
    (folder / "in" / "more.jpg").write_bytes(b"x")
    output.plan()
    return output


def test_its_plan_goes_too_so_that_the_next_definition_inherits_nothing(tmp_path: Path) -> None:
    output = planned_twice(tmp_path)
    with held_lease(output.paths, "run-1"):
        release_definition(output.paths, "run-1")
    assert list(Path(output.paths.plan).iterdir()) == []
    other = tmp_path / "other"
    other.mkdir()
    (other / "image.jpg").write_bytes(b"x")
    (shard,) = with_input(output, str(other)).plan().shards
    assert (shard.root, shard.rows) == (str(other), 1)


def test_a_plan_that_is_given_back_by_half_is_still_a_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = planned_twice(tmp_path)
    left: list[int] = []

    def look_and_delete(storage: LocalStorage, uri: str, **condition: str) -> None:
        left.append(output.plan(write=False).added)
        assert read_definition(output.paths) is not None
        delete(storage, uri, **condition)

    delete = LocalStorage.delete
    with held_lease(output.paths, "run-1"), monkeypatch.context() as patch:
        patch.setattr(LocalStorage, "delete", look_and_delete)
        release_definition(output.paths, "run-1")
    assert left == [0, 1, 2, 2, 2], "groups to plan again: two segments go, two objects of members, the definition"


def test_what_another_run_has_claimed_meanwhile_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first run is suspended between its question for the lease and its last removal."""
    paths = LedgerPaths(str(tmp_path))

    def delete_late(storage: LocalStorage, uri: str, **condition: str) -> None:
        delete(storage, uri)
        claim_definition(paths, Definition({"seed": 2}))
        delete(storage, uri, **condition)

    delete = LocalStorage.delete
    with held_lease(paths, "run-1"), monkeypatch.context() as patch:
        claim_definition(paths, Definition({"seed": 1}))
        patch.setattr(LocalStorage, "delete", delete_late)
        release_definition(paths, "run-1")
    with pytest.raises(DefinitionError):
        claim_definition(paths, Definition({"seed": 1}))


def test_a_run_that_lost_its_lease_gives_nothing_back(tmp_path: Path) -> None:
    output = planned_twice(tmp_path)
    with held_lease(output.paths, "run-2"), pytest.raises(HeldError):
        release_definition(output.paths, "run-1")
    assert read_definition(output.paths) is not None
    assert output.plan().added == 0
