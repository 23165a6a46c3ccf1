"""What visitors say of answers: a thumb up or down, and a comment. The room's door; called by `pipeline/feedback.py` and
entrypoints."""

from chatwright.features.feedback.store import (
    COMMENT_AT_MOST,
    Day,
    Filter,
    Rating,
    Said,
    Saved,
    claim_telling,
    count_days,
    end_telling,
    list_said,
    save_rating,
)

__all__ = [
    "COMMENT_AT_MOST",
    "Day",
    "Filter",
    "Rating",
    "Said",
    "Saved",
    "claim_telling",
    "count_days",
    "end_telling",
    "list_said",
    "save_rating",
]
