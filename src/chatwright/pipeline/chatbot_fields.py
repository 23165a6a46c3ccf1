"""What a tenant may put into a chatbot's structured fields: each is read by the room that uses it, before it is stored.

Called by `manage.py`.
"""

from collections.abc import Callable, Mapping
from typing import Any

from chatwright.features.analysis.by_model import check_reading_policy
from chatwright.features.animation import check_animation_set
from chatwright.features.cache import check_policy
from chatwright.features.guard.policy import check_policy as check_guard_policy
from chatwright.features.prompting import check_persona
from chatwright.features.suggestions import check_suggestion_policy
from chatwright.features.tenancy.widget import check_widget

CHECKS: Mapping[str, Callable[[Any], object]] = {
    "cache_policy": check_policy,
    "guard_policy": check_guard_policy,
    "animation_set": check_animation_set,
    "persona": check_persona,
    "reading_policy": check_reading_policy,
    "suggestion_policy": check_suggestion_policy,
    "widget": check_widget,
}


def check_fields(values: Mapping[str, Any]) -> None:
    """Raise Unprocessable, naming the field, for the first value that its room does not take."""
    for name, check in CHECKS.items():
        if name in values:
            check(values[name])
