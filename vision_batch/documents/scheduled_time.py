"""What the scheduled time fills in in a spec's URIs: `{date}` and `{scheduled_time}`."""

from __future__ import annotations

from datetime import UTC, datetime


def expand_time(uri: str, scheduled_time: datetime) -> str:
    """`{date}` becomes YYYY-MM-DD and `{scheduled_time}` YYYYMMDDTHHMMSSZ, both in UTC."""
    moment = scheduled_time.astimezone(UTC)
    return uri.replace("{date}", f"{moment:%Y-%m-%d}").replace("{scheduled_time}", f"{moment:%Y%m%dT%H%M%SZ}")
