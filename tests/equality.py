"""Which values JSON Schema takes for the same."""

from __future__ import annotations

import json
from typing import Any


def key_of(value: Any) -> str:
    """One text for all values that are equal in ``uniqueItems``, where 0 is 0.0."""
    return json.dumps(json.loads(json.dumps(value), parse_int=float), sort_keys=True)
