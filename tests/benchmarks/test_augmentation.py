"""The table of what augmentations cost can be made."""

from __future__ import annotations

import pytest

from tests.benchmarks.augmentation import main
from vision_batch.images.augmentations.settings import AugmentSettings


def test_every_operation_has_its_time(capsys: pytest.CaptureFixture[str]) -> None:
    main(rounds=1)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [name for name, _ in lines] == list(AugmentSettings.model_fields)
    assert all(float(time) > 0 for _, time in lines)
