"""What settings expect, in plain words."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from pydantic import Field, TypeAdapter

from vision_batch.documents.schema import describe_schema


@pytest.mark.parametrize(
    ("bounds", "said"),
    [
        ({}, "a number"),
        ({"ge": 1}, "a number of at least 1"),
        ({"le": 1}, "a number of at most 1"),
        ({"gt": 0}, "a number above 0"),
        ({"lt": 0.5}, "a number below 0.5"),
        ({"gt": 0, "lt": 1}, "a number above 0 and below 1"),
        ({"gt": 0, "le": 1}, "a number above 0 and of at most 1"),
        ({"ge": 0, "lt": 1}, "a number of at least 0 and below 1"),
        ({"ge": 0, "le": 1}, "a number from 0 to 1"),
    ],
)
def test_every_bound_of_a_number_is_said(bounds: dict[str, Any], said: str) -> None:
    schema = TypeAdapter(Annotated[float, Field(**bounds)]).json_schema()
    assert describe_schema(schema, schema) == said
