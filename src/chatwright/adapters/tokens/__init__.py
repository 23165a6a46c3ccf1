"""Tokens counted before a call, by the published vocabularies and by what was measured of the others."""

from chatwright.adapters.tokens.counts import PromptTokens, TokenCounts, TokenEstimate, open_token_counts
from chatwright.adapters.tokens.families import family_of

__all__ = ["PromptTokens", "TokenCounts", "TokenEstimate", "family_of", "open_token_counts"]
