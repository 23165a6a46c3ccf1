"""Answer and sources -> what a visitor may do next: ask on, open a link, turn to a person, fill in a form."""

from chatwright.features.suggestions.links import is_address, is_web_address, links_in
from chatwright.features.suggestions.policy import (
    KINDS,
    MOST_LABEL_CHARS,
    Action,
    Kind,
    SuggestionPolicy,
    check_suggestion_policy,
)
from chatwright.features.suggestions.rules import Occasion, choose, knows_nothing
from chatwright.features.suggestions.store import find_topics
from chatwright.features.suggestions.topics import Topic, alike, follow_ups, label_of, stems

__all__ = [
    "KINDS",
    "MOST_LABEL_CHARS",
    "Action",
    "Kind",
    "Occasion",
    "SuggestionPolicy",
    "Topic",
    "alike",
    "check_suggestion_policy",
    "choose",
    "find_topics",
    "follow_ups",
    "is_address",
    "is_web_address",
    "knows_nothing",
    "label_of",
    "links_in",
    "stems",
]
