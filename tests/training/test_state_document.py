"""States as JSON and tensors: what comes out is what went in."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from vision_batch.training.state_document import pack_state, unpack_state

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool]


def tensor_of(dtype: torch.dtype, shape: list[int]) -> torch.Tensor:
    return (torch.arange(int(torch.tensor(shape).prod()) if shape else 1).reshape(shape) * 0.3).to(dtype)


leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.builds(tensor_of, st.sampled_from(DTYPES), st.lists(st.integers(0, 3), max_size=4))
)
states = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3)
    ),
    max_leaves=10,
)


def there_and_back(state: Any) -> Any:
    document, tensors = pack_state(state)
    return unpack_state(json.loads(json.dumps(document)), tensors)


def same(left: Any, right: Any) -> bool:
    """Equal in values, types, the order of keys, and tensors' strides."""
    if type(left) is not type(right):
        return False
    if isinstance(left, torch.Tensor):
        return left.dtype == right.dtype and left.stride() == right.stride() and torch.equal(left, right)
    if isinstance(left, dict):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)


@given(states)
def test_states_come_back_exactly(state: Any) -> None:
    assert same(there_and_back(state), state)


def test_numbers_that_json_does_not_know_come_back() -> None:
    assert there_and_back([float("inf"), -float("inf")]) == [float("inf"), -float("inf")]
    assert there_and_back(float("nan")) != there_and_back(float("nan"))


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop"])
def test_an_optimizers_state_comes_back(name: str) -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4, 2)).to(torch.bfloat16)
    options = {"momentum": 0.9} if name in ("SGD", "RMSprop") else {}
    optimizer = getattr(torch.optim, name)(module.parameters(), lr=0.1, **options)
    module(torch.randn(2, 3, 3, 3, dtype=torch.bfloat16)).sum().backward()
    optimizer.step()
    state = optimizer.state_dict()
    assert any(value.dtype == torch.bfloat16 for value in state["state"][0].values() if torch.is_tensor(value))
    assert same(there_and_back(state), state)


@pytest.mark.parametrize("strange", [{1.5: 2}, {(1, 2): 3}, {True: 1}, object(), {"a": [b"bytes"]}])
def test_what_cannot_come_back_is_refused(strange: Any) -> None:
    with pytest.raises(TypeError, match="state"):
        pack_state(strange)


@pytest.mark.parametrize("document", [{"tensor": "7", "channels_last": False}, {"other": 1}, {"dict": [1, 2]}])
def test_what_was_never_packed_is_refused(document: Any) -> None:
    with pytest.raises((KeyError, ValueError, TypeError)):
        unpack_state(document, {})
