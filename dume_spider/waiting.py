"""How long a service asks to wait: the header ``Retry-After`` (RFC 9110, 10.2.3)."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

#: The longest wait, in seconds, that a service can ask for.
LONGEST_RETRY_AFTER = 300.0


def read_retry_after(text: str) -> float | None:
    """The seconds that a header asks to wait, given in seconds or as a date; ``None`` if it
    cannot be read."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # the latter: numbers too large for a date
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max((moment - datetime.now(UTC)).total_seconds(), 0.0)
