"""Answers given again: exactly the same question, or one that means the same. Rules, tiers and what they learn."""

from chatwright.features.cache.entry import CachedAnswer, decode_entry, encode_entry
from chatwright.features.cache.exact import ExactTier, Kept, Stats, open_exact_tier
from chatwright.features.cache.flight import Flight
from chatwright.features.cache.key import AnswerScope, context_digest, digest, exact_key, normalise
from chatwright.features.cache.moment import time_bound
from chatwright.features.cache.personal import personal
from chatwright.features.cache.policy import (
    MODES,
    CacheMode,
    CachePolicy,
    check_policy,
    mode_word,
    narrowed,
    requested_mode,
)
from chatwright.features.cache.standalone import standalone

__all__ = [
    "MODES",
    "AnswerScope",
    "CacheMode",
    "CachePolicy",
    "CachedAnswer",
    "ExactTier",
    "Flight",
    "Kept",
    "Stats",
    "check_policy",
    "context_digest",
    "decode_entry",
    "digest",
    "encode_entry",
    "exact_key",
    "mode_word",
    "narrowed",
    "normalise",
    "open_exact_tier",
    "personal",
    "requested_mode",
    "standalone",
    "time_bound",
]
