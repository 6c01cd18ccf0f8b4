"""A large JSON object is read item by item, whatever its layout."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vision_batch.datasets import json_arrays as module
from vision_batch.datasets.json_arrays import json_arrays

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=20,
)


def items(text: str | bytes) -> list[tuple[str, Any]]:
    return list(json_arrays(io.BytesIO(text.encode() if isinstance(text, str) else text)))


@pytest.fixture(autouse=True, scope="module")
def _small_reads() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "READ_BYTES", 3)
        yield


@given(st.dictionaries(st.text(max_size=5), VALUES, max_size=5), st.sampled_from([None, 2]), st.booleans())
def test_items_are_those_of_the_whole(document: dict[str, Any], indent: int | None, ascii: bool) -> None:
    expected = [(key, item) for key, value in document.items() if isinstance(value, list) for item in value]
    assert items(json.dumps(document, indent=indent, ensure_ascii=ascii)) == expected


def test_a_mark_in_front_means_nothing() -> None:
    assert items(b'\xef\xbb\xbf {"a": [12345678, 2] } ') == [("a", 12345678), ("a", 2)]


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"a"', '{"a": [1', '{"a": [1,', '{"a": [1 2]}', '{"a": 1', "x", '{"a": [}']
)
def test_what_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no JSON object"):
        items(text)


def test_a_value_without_an_end_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_ITEM_CHARACTERS", 1000)
    with pytest.raises(ValueError, match="more than 1000 characters"):
        items('{"a": ["' + "x" * 5000)
