"""Numbers as a person reads them."""

from __future__ import annotations


def counted(number: int, one: str, many: str = "") -> str:
    """A number of things in words: ``1 day``, ``2,000 days``; ``many`` where an s is not enough."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def money(amount: float) -> str:
    """An amount in euros as a person reads it."""
    for unit, name in ((1e12, "tn"), (1e9, "bn"), (1e6, "M")):
        if abs(amount) >= unit:
            return f"€{amount / unit:,.2f}{name}"
    return f"€{amount:,.0f}"


def size(count: int) -> str:
    """A number of bytes as a person reads it."""
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= unit:
            return f"{count / unit:,.1f} {name}"
    return f"{count} bytes"
