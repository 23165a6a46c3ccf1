"""What a model charges, and the exact cost of one call's tokens in whole nanodollars.

Rates are decimals as people write them, USD per million tokens; a `Tariff` is the same in integers of one common
scale, so that a cost is a few multiplications and is rounded once, up. Made by `book.py` and `overrides.py`, used by
`catalogue.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from chatwright.domain.money import Nano
from chatwright.domain.providers import Usage

_NANO_PER_USD = 9  # powers of ten
_TOKENS_OF_A_RATE = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """USD per million tokens, and USD per request.

    A rate that is None is not charged apart: cached and cache-written tokens count as input then, reasoning as output.
    `output_usd` None means that nobody knows what output costs: embedding models have none.
    """

    input_usd: Decimal
    cached_usd: Decimal | None = None
    cache_write_usd: Decimal | None = None
    output_usd: Decimal | None = None
    reasoning_usd: Decimal | None = None
    request_usd: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """The rates of calls with more than `above` input tokens: they hold for all tokens of such a call."""

    above: int
    rates: Rates


@dataclass(frozen=True, slots=True)
class _Scaled:
    above: int
    fresh: int
    cached: int
    cache_write: int
    output: int
    reasoning: int
    request: int
    knows_output: bool


class Tariff:
    """The rates of one model at one time. `bands` ascend by `above`, the first one begins at 0."""

    __slots__ = ("_higher", "_lowest", "_scale", "bands")

    def __init__(self, bands: Sequence[Band]) -> None:
        if not bands or bands[0].above != 0 or [band.above for band in bands] != sorted({b.above for b in bands}):
            raise ValueError("the bands of a tariff ascend from 0")
        self.bands = tuple(bands)
        places = max(_places(band.rates) for band in bands)
        self._scale: int = 10**places
        # The highest band first: the first one that a call reaches is its own.
        self._lowest = _scaled(bands[0], places)
        self._higher = tuple(_scaled(band, places) for band in reversed(bands[1:]))

    def cost_nano(self, usage: Usage) -> Nano | None:
        """What the call costs, rounded up; None if it made output that has no known price.

        Tokens are taken as `sane()` leaves them: cached and cache-written ones lie inside the input.
        """
        given, cached, written = usage.input_tokens, usage.cached_tokens, usage.cache_write_tokens
        said, thought = usage.output_tokens, usage.reasoning_tokens
        band = self._band(given)
        if said and not band.knows_output:
            return None
        total = (
            (given - cached - written) * band.fresh
            + cached * band.cached
            + written * band.cache_write
            + said * band.output
            + band.request
        )
        if thought and band.reasoning != band.output:
            total += min(thought, said) * (band.reasoning - band.output)
        return Nano(-(-total // self._scale))

    def worst_nano(self, input_tokens: int, output_tokens: int) -> Nano | None:
        """The most that a call of so many tokens can cost: each of them at the dearest rate of its side."""
        band = self._band(input_tokens)
        if output_tokens and not band.knows_output:
            return None
        total = (
            input_tokens * max(band.fresh, band.cached, band.cache_write)
            + output_tokens * max(band.output, band.reasoning)
            + band.request
        )
        return Nano(-(-total // self._scale))

    def _band(self, input_tokens: int) -> _Scaled:
        for band in self._higher:
            if input_tokens > band.above:
                return band
        return self._lowest


def _places(rates: Rates) -> int:
    """Decimal places that the rates need as nanodollars per token (per request)."""
    per_token = (rates.input_usd, rates.cached_usd, rates.cache_write_usd, rates.output_usd, rates.reasoning_usd)
    shift = _NANO_PER_USD - _TOKENS_OF_A_RATE
    needed = [_exponent(rate) - shift for rate in per_token if rate is not None]
    return max(0, *needed, _exponent(rates.request_usd) - _NANO_PER_USD)


def _exponent(rate: Decimal) -> int:
    exponent = rate.as_tuple().exponent
    if not isinstance(exponent, int) or rate < 0:
        raise ValueError(f"not a rate: {rate}")
    return -exponent


def _scaled(band: Band, places: int) -> _Scaled:
    rates = band.rates
    shift = _NANO_PER_USD - _TOKENS_OF_A_RATE + places

    def token(rate: Decimal) -> int:
        return int(rate.scaleb(shift))

    fresh = token(rates.input_usd)
    output = 0 if rates.output_usd is None else token(rates.output_usd)
    return _Scaled(
        above=band.above,
        fresh=fresh,
        cached=fresh if rates.cached_usd is None else token(rates.cached_usd),
        cache_write=fresh if rates.cache_write_usd is None else token(rates.cache_write_usd),
        output=output,
        reasoning=output if rates.reasoning_usd is None else token(rates.reasoning_usd),
        request=int(rates.request_usd.scaleb(_NANO_PER_USD + places)),
        knows_output=rates.output_usd is not None,
    )


FREE_TARIFF = Tariff((Band(above=0, rates=Rates(input_usd=Decimal(0), output_usd=Decimal(0))),))
