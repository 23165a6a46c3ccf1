"""What a call costs: exact to the nanodollar, as the price book itself says, and rounded once."""

from datetime import UTC, datetime
from decimal import ROUND_CEILING, Decimal, localcontext

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatwright.adapters.catalogue import Band, Catalogue, Rates, Tariff, load_catalogue
from chatwright.domain.money import NANO_PER_USD
from chatwright.domain.providers import Usage
from chatwright.features.budgets import sane

rates_usd = st.decimals(min_value=0, max_value=600, places=6, allow_nan=False)
maybe_rates = st.none() | rates_usd
tokens = st.integers(0, 1_000_000_000)


@st.composite
def usages(draw: st.DrawFn, most: int = 1_000_000_000) -> Usage:
    given_tokens = draw(st.integers(0, most))
    cached = draw(st.integers(0, given_tokens))
    said = draw(st.integers(0, most))
    return Usage(
        input_tokens=given_tokens,
        cached_tokens=cached,
        cache_write_tokens=draw(st.integers(0, given_tokens - cached)),
        output_tokens=said,
        reasoning_tokens=draw(st.integers(0, said)),
    )


@st.composite
def rates(draw: st.DrawFn) -> Rates:
    return Rates(
        input_usd=draw(rates_usd),
        cached_usd=draw(maybe_rates),
        cache_write_usd=draw(maybe_rates),
        output_usd=draw(rates_usd),
        reasoning_usd=draw(maybe_rates),
        request_usd=draw(st.decimals(min_value=0, max_value=1, places=9, allow_nan=False)),
    )


@st.composite
def tariffs(draw: st.DrawFn) -> Tariff:
    starts = [0, *sorted(draw(st.sets(st.integers(1, 1_000_000), max_size=3)))]
    return Tariff([Band(above=start, rates=draw(rates())) for start in starts])


def by_hand_usd(rates: Rates, usage: Usage) -> Decimal:
    """The cost as one would write it down, at a precision that loses nothing."""
    with localcontext(prec=80):
        fresh = usage.input_tokens - usage.cached_tokens - usage.cache_write_tokens
        said = usage.output_tokens - usage.reasoning_tokens
        output_usd = rates.output_usd or Decimal(0)
        parts = (
            (fresh, rates.input_usd),
            (usage.cached_tokens, rates.input_usd if rates.cached_usd is None else rates.cached_usd),
            (usage.cache_write_tokens, rates.input_usd if rates.cache_write_usd is None else rates.cache_write_usd),
            (said, output_usd),
            (usage.reasoning_tokens, output_usd if rates.reasoning_usd is None else rates.reasoning_usd),
        )
        return sum((count * rate for count, rate in parts), Decimal(0)) / 1_000_000 + rates.request_usd


def nano_by_hand(usd: Decimal) -> int:
    with localcontext(prec=80):
        return int((usd * NANO_PER_USD).to_integral_value(rounding=ROUND_CEILING))


def band_of(tariff: Tariff, usage: Usage) -> Rates:
    return [band.rates for band in tariff.bands if usage.input_tokens > band.above or band.above == 0][-1]


@given(tariffs(), usages())
def test_a_cost_is_exact_and_rounded_up_once(tariff: Tariff, usage: Usage) -> None:
    assert tariff.cost_nano(usage) == nano_by_hand(by_hand_usd(band_of(tariff, usage), usage))


@given(rates(), usages(), usages())
def test_costs_add_up_to_one_nanodollar_a_call(one: Rates, first: Usage, second: Usage) -> None:
    tariff = Tariff([Band(above=0, rates=one)])
    both = Usage(
        input_tokens=first.input_tokens + second.input_tokens,
        cached_tokens=first.cached_tokens + second.cached_tokens,
        cache_write_tokens=first.cache_write_tokens + second.cache_write_tokens,
        output_tokens=first.output_tokens + second.output_tokens,
        reasoning_tokens=first.reasoning_tokens + second.reasoning_tokens,
    )
    apart = (tariff.cost_nano(first) or 0) + (tariff.cost_nano(second) or 0)
    together = (tariff.cost_nano(both) or 0) + nano_by_hand(one.request_usd)
    assert 0 <= apart - together <= 2


@given(rates(), usages(), st.integers(0, 10**6), st.integers(0, 10**6))
def test_more_tokens_never_cost_less(one: Rates, usage: Usage, more_input: int, more_output: int) -> None:
    tariff = Tariff([Band(above=0, rates=one)])
    more = Usage(
        input_tokens=usage.input_tokens + more_input,
        cached_tokens=usage.cached_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        output_tokens=usage.output_tokens + more_output,
        reasoning_tokens=usage.reasoning_tokens,
    )
    assert (tariff.cost_nano(more) or 0) >= (tariff.cost_nano(usage) or 0)


@given(tariffs(), usages())
def test_a_reservation_covers_every_way_to_use_the_tokens(tariff: Tariff, usage: Usage) -> None:
    worst = tariff.worst_nano(usage.input_tokens, usage.output_tokens)
    assert worst is not None
    assert worst >= (tariff.cost_nano(usage) or 0)


@given(usages())
def test_output_without_a_price_is_unknown_and_never_free(usage: Usage) -> None:
    tariff = Tariff([Band(above=0, rates=Rates(input_usd=Decimal("0.02")))])
    assert (tariff.cost_nano(usage) is None) == (usage.output_tokens > 0)
    assert tariff.worst_nano(10, 1) is None


@pytest.mark.parametrize("starts", [[], [1], [0, 5, 5], [0, 9, 3]])
def test_bands_that_do_not_ascend_from_zero_are_refused(starts: list[int]) -> None:
    with pytest.raises(ValueError, match="ascend"):
        Tariff([Band(above=start, rates=Rates(input_usd=Decimal(1))) for start in starts])


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return load_catalogue()


# One of each kind: plain, cached, cache writes, tiers, dated, by the time of day, by request, reasoning apart,
# another provider's model, many decimal places.
BOOKED = (
    ("openai", "gpt-4.1-mini", "openai"),
    ("openai", "gpt-4o-2024-08-06", "openai"),
    ("openai", "gpt-6-luna", "openai"),
    ("openai", "gpt-5.6-luna", "openai"),
    ("anthropic", "claude-haiku-4-5", "anthropic"),
    ("anthropic", "claude-haiku-5-5-20261007", "anthropic"),
    ("anthropic", "claude-opus-4-6", "anthropic"),
    ("gemini", "gemini-2.5-pro", "google"),
    ("gemini", "gemini-4-argon", "google"),
    ("vertex", "claude-sonnet-4-5@20250929", "google"),
    ("azure", "gpt-4o-mini", "azure"),
    ("deepseek", "deepseek-chat", "deepseek"),
    ("perplexity", "sonar", "perplexity"),
    ("perplexity", "sonar-deep-research", "perplexity"),
    ("openrouter", "qwen/qwen3.7-flash", "openrouter"),
    ("openrouter", "openai/gpt-4.1-nano", "openrouter"),
    ("xai", "grok-4", "x-ai"),
)


@settings(max_examples=300)
@given(st.sampled_from(BOOKED), usages(most=3_000_000), st.datetimes(datetime(2025, 1, 1), datetime(2027, 6, 1)))
def test_the_price_book_itself_computes_the_same(
    catalogue: Catalogue, booked: tuple[str, str, str], usage: Usage, at: datetime
) -> None:
    from genai_prices import Usage as BookUsage
    from genai_prices import calc_price

    provider, model, book_id = booked
    at = at.replace(tzinfo=UTC)
    theirs = calc_price(
        BookUsage(
            input_tokens=usage.input_tokens,
            cache_read_tokens=usage.cached_tokens,
            cache_write_tokens=usage.cache_write_tokens,
            output_tokens=usage.output_tokens,
            output_reasoning_tokens=usage.reasoning_tokens,
        ),
        model,
        provider_id=book_id,
        genai_request_timestamp=at,
    )
    assert catalogue.price(provider, model, usage, at_s=at.timestamp()) == nano_by_hand(theirs.total_price)


@given(usages(), st.sampled_from(["local", "extractive"]), st.text(max_size=30))
def test_what_is_free_costs_nothing(catalogue: Catalogue, usage: Usage, provider: str, model: str) -> None:
    assert catalogue.price(provider, model, usage) == 0
    assert catalogue.worst_case(provider, model, usage) == 0


@given(st.text(max_size=60), usages())
def test_a_model_that_nobody_knows_has_no_price(catalogue: Catalogue, name: str, usage: Usage) -> None:
    assert catalogue.price("openai", f"no-such-{name}", usage) is None
    assert catalogue.worst_case("openai", f"no-such-{name}", usage) is None


def test_known_prices_in_round_figures(catalogue: Catalogue) -> None:
    million = Usage(input_tokens=1_000_000, output_tokens=1_000_000)
    assert catalogue.price("openai", "gpt-4.1-mini", million) == 2 * NANO_PER_USD  # 0.40 in, 1.60 out
    assert catalogue.price("anthropic", "claude-haiku-4-5", million) == 6 * NANO_PER_USD  # 1 in, 5 out
    cached = Usage(input_tokens=1_000_000, cached_tokens=900_000)
    assert catalogue.price("openai", "gpt-4.1-mini", cached) == 130_000_000  # 0.1 × 0.40 + 0.9 × 0.10


def test_a_long_prompt_is_dearer_from_the_first_token_past_the_threshold(catalogue: Catalogue) -> None:
    at, past = (Usage(input_tokens=tokens, output_tokens=1_000) for tokens in (100_000, 100_001))
    assert catalogue.price("anthropic", "claude-haiku-5-5", at) == 10_500_000  # 0.10 in, 0.50 out
    assert catalogue.price("anthropic", "claude-haiku-5-5", past) == 52_500_500  # 0.50 in, 2.50 out: for all of it


@given(st.integers(-(10**30), 10**30), st.integers(-(10**30), 10**30), st.integers(-(10**30), 10**30))
def test_nonsense_is_put_within_what_can_be(given_tokens: int, cached: int, written: int) -> None:
    usage = sane(Usage(input_tokens=given_tokens, cached_tokens=cached, cache_write_tokens=written, output_tokens=-1))
    assert 0 <= usage.cached_tokens + usage.cache_write_tokens <= usage.input_tokens <= 1_000_000_000
    assert usage.output_tokens == 0
