"""What a tenant may put into a chatbot's structured fields: each is read by the room that uses it, before it is stored.

Called by `manage.py`.
"""

from collections.abc import Callable, Mapping
from typing import Any

from chatwright.features.cache import check_policy

CHECKS: Mapping[str, Callable[[Any], object]] = {
    "cache_policy": check_policy,
}


def check_fields(values: Mapping[str, Any]) -> None:
    """Raise Unprocessable, naming the field, for the first value that its room does not take."""
    for name, check in CHECKS.items():
        if name in values:
            check(values[name])
