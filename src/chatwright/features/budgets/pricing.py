"""What a provider says that a call used, within what can be: the books are kept in it."""

from dataclasses import replace

from chatwright.domain.providers import Usage

MOST_TOKENS = 1_000_000_000
"""More than any call can use: a provider that reports more is not believed, and the books must hold the sum."""


def sane(usage: Usage) -> Usage:
    """What a provider reported, within what can be: none negative, none absurd, no more cached than was read."""
    given = min(MOST_TOKENS, max(0, usage.input_tokens))
    cached = min(given, max(0, usage.cached_tokens))
    fields = {
        "input_tokens": given,
        "cached_tokens": cached,
        "cache_write_tokens": min(given - cached, max(0, usage.cache_write_tokens)),
        "output_tokens": min(MOST_TOKENS, max(0, usage.output_tokens)),
        "reasoning_tokens": min(MOST_TOKENS, max(0, usage.reasoning_tokens)),
    }
    changed = {name: value for name, value in fields.items() if getattr(usage, name) != value}
    return replace(usage, **changed) if changed else usage
