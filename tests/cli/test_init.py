"""`init` prints a spec that loads as it is."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from vision_batch.cli.main import main
from vision_batch.cluster.schedule.settings import ScheduleSettings
from vision_batch.documents.document import parse_yaml
from vision_batch.jobs.spec import load_spec
from vision_batch.jobs.starter import starter_kinds, starter_spec
from vision_batch.jobs.table import JOBS


@pytest.mark.parametrize("kind", starter_kinds())
def test_the_starter_loads(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", kind]) == 0
    (tmp_path / "job.yaml").write_text(capsys.readouterr().out)
    assert load_spec(tmp_path / "job.yaml").settings.job == kind


def test_every_kind_has_a_starter() -> None:
    assert starter_kinds() == sorted(JOBS)


def test_commented_sections_are_the_defaults(tmp_path: Path) -> None:
    """What stands behind `# ` for compute and limits is what holds without it."""
    text = starter_spec("predict")
    (tmp_path / "as_it_is.yaml").write_text(text)
    head, compute, limits, _ = (text[i:j] for i, j in _cuts(text))
    uncommented = "".join(line.removeprefix("# ") for line in (compute + limits).splitlines(keepends=True))
    (tmp_path / "spelled_out.yaml").write_text(head + uncommented)
    assert set(parse_yaml(uncommented, where="")) == {"compute", "limits"}
    assert load_spec(tmp_path / "spelled_out.yaml").settings == load_spec(tmp_path / "as_it_is.yaml").settings


def test_of_a_schedule_all_but_its_times_are_the_defaults() -> None:
    text = starter_spec("predict")
    block = "".join(line.removeprefix("# ") for line in text[_cuts(text)[-1][0] :].splitlines(keepends=True))
    found = ScheduleSettings.model_validate(parse_yaml(block, where="")["schedule"])
    assert found == ScheduleSettings(cron=found.cron)


def _cuts(text: str) -> list[tuple[int, int]]:
    starts = [0, *(text.index(f"# {section}:") for section in ("compute", "limits", "schedule")), len(text)]
    return list(pairwise(starts))


def test_an_unknown_kind_lists_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "measure"]) == 2
    assert capsys.readouterr().err == "error: KIND: found 'measure'; expected one of evaluate, predict, train\n"
