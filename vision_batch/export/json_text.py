"""JSON as exports write it: compact, with text as it is."""

from __future__ import annotations

import json
from typing import Any


def json_text(value: Any) -> str:
    """One line. ValueError for NaN and infinity, which are no JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
