"""The `input:` part of a spec."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from vision_batch.datasets.settings import InputSettings


def test_a_single_input_has_no_name() -> None:
    assert [entry.name for entry in InputSettings(uri="/a").inputs] == [""]


def test_several_inputs_are_named_by_their_index_or_their_name() -> None:
    settings = InputSettings.model_validate({"uri": ["/a", {"uri": "/b", "name": "val"}, "/c"]})
    assert [entry.name for entry in settings.inputs] == ["0", "val", "2"]


@pytest.mark.parametrize("second", ["0", "x"])
def test_no_two_inputs_share_a_name(second: str) -> None:
    first = "/a" if second == "0" else {"uri": "/a", "name": "x"}
    with pytest.raises(ValidationError, match="its own name"):
        InputSettings.model_validate({"uri": [first, {"uri": "/b", "name": second}]})
