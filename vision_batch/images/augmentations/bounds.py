"""Bounds in the `augment:` part of a spec: each image gets a value from between two, evenly distributed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

Bounds: TypeAlias = tuple[float, float]
Share = Annotated[float, Field(ge=0, le=1)]
Fill: TypeAlias = Annotated[int, Field(ge=0, le=255)] | Literal["reflect"]
"""What is seen where the picture has moved away: a grey of 0 to 255, or the picture's own mirror image."""


@dataclass(frozen=True, slots=True)
class Within:
    """Says of `Bounds` that both lie from `low` to `high`, the lower one first; whole numbers if `whole`.

    With `both_ways` a single number may stand for both: 10 is [-10, 10].
    """

    low: float
    high: float
    both_ways: bool = False
    whole: bool = False

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        inner = core_schema.no_info_after_validator_function(self._checked, handler(source))
        return core_schema.no_info_before_validator_function(self._opened, inner)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        bound = {"type": "integer" if self.whole else "number", "minimum": self.low, "maximum": self.high}
        both = {"type": "array", "prefixItems": [bound, bound], "minItems": 2, "maxItems": 2}
        return {"anyOf": [{**bound, "minimum": 0}, both]} if self.both_ways else both

    def _opened(self, value: Any) -> Any:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return (-value, value) if self.both_ways and is_number else value

    def _checked(self, value: tuple[Any, Any]) -> tuple[Any, Any]:
        if not self.low <= value[0] <= value[1] <= self.high:  # false for a NaN too
            raise ValueError(f"two numbers from {self.low:g} to {self.high:g}, the lower one first")
        return value
