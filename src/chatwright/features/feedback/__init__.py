"""What visitors say of answers: a thumb up or down, and a comment. The room's door; called by `pipeline/feedback.py` and
entrypoints."""

from chatwright.features.feedback.store import (
    Day,
    Filter,
    Rating,
    Said,
    Saved,
    claim_note,
    count_days,
    list_said,
    release_note,
    save_rating,
)

__all__ = [
    "Day",
    "Filter",
    "Rating",
    "Said",
    "Saved",
    "claim_note",
    "count_days",
    "list_said",
    "release_note",
    "save_rating",
]
