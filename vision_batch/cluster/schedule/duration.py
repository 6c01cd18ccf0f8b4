"""Lengths of time as people write them: `90s`, `15m`, `6h`, `1d12h`."""

from __future__ import annotations

import re
from datetime import timedelta

DURATION = r"^([0-9]{1,6}d)?([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?$"

_UNITS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))


def parse_duration(text: str) -> timedelta:
    """The length of `text`: days, hours, minutes and seconds in this order, more than none. Raises ValueError."""
    found = re.fullmatch(DURATION, text)
    if found is None or not any(found.groups()):
        raise ValueError("a length of time, as 90s, 15m, 6h or 1d12h")
    length = timedelta(
        seconds=sum(int(part[:-1]) * seconds for part, (_, seconds) in zip(found.groups(), _UNITS, strict=True) if part)
    )
    if not length:
        raise ValueError("a length of time above 0")
    return length


def format_duration(length: timedelta) -> str:
    """The shortest text that `parse_duration` reads as `length`, in whole seconds: `1d12h`; `0s` for none."""
    left, text = round(length.total_seconds()), ""
    for unit, seconds in _UNITS:
        count, left = divmod(left, seconds)
        text += f"{count}{unit}" if count else ""
    return text or "0s"
