"""What a call costs, from the maintained price book `genai-prices`. An unknown price is None, never 0."""

from dataclasses import replace
from functools import lru_cache
from importlib import metadata

from chatwright.domain.money import Nano, nano_from_usd
from chatwright.domain.providers import Usage

FREE_PROVIDERS = frozenset({"extractive", "local"})
MOST_TOKENS = 1_000_000_000
"""More than any call can use: a provider that reports more is not believed, and the books must hold the sum."""


def price(provider: str, model: str, usage: Usage) -> Nano | None:
    """Cost of one call in nanodollars, or None when no price is known for the model. Local providers cost 0."""
    if provider in FREE_PROVIDERS:
        return Nano(0)
    return _price(
        provider, model, usage.input_tokens, usage.cached_tokens, usage.cache_write_tokens, usage.output_tokens
    )


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


def warm_price_book() -> None:
    """Load the price book, which is lazy; call it off the event loop."""
    _known("openai", "gpt-4.1-mini")
    price_book()


@lru_cache(maxsize=1)
def price_book() -> str:
    """Which edition of the price book the costs were computed with; stored beside each cost."""
    return f"genai-prices {metadata.version('genai-prices')}"


# The look-up takes 0.1 ms: equal calls (a FAQ bot has many) are priced once.
@lru_cache(maxsize=4096)
def _price(
    provider: str, model: str, input_tokens: int, cached_tokens: int, cache_write_tokens: int, output_tokens: int
) -> Nano | None:
    if not _known(provider, model):
        return None
    from genai_prices import Usage as PricedUsage
    from genai_prices import calc_price

    priced = calc_price(
        PricedUsage(
            input_tokens=input_tokens,
            cache_read_tokens=cached_tokens or None,
            cache_write_tokens=cache_write_tokens or None,
            output_tokens=output_tokens,
        ),
        model,
        provider_id=provider,
    )
    return nano_from_usd(priced.total_price)


@lru_cache(maxsize=1024)
def _known(provider: str, model: str) -> bool:
    from genai_prices import Usage as PricedUsage
    from genai_prices import calc_price

    try:
        calc_price(PricedUsage(input_tokens=1, output_tokens=1), model, provider_id=provider)
    except LookupError:
        return False
    return True
