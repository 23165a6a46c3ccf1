"""The maintained price book `genai-prices`: finds a model as the book finds it, and reads its rates at a time.

Only the book's data and its matching of names are used; costs are computed in `tariff.py`, because the book's own
calculation takes 0.1 ms and its look-up remembers every name that was ever asked for. Nothing here goes to the network.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from importlib import metadata
from typing import TYPE_CHECKING, Any

from chatwright.adapters.catalogue.facts import ProviderFacts
from chatwright.adapters.catalogue.tariff import FREE_TARIFF, Band, Rates, Tariff

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, Provider, TieredPrices

_AT_MOST_CHARS = 200  # of a model's name; the longest in the book has 70
_PUBLISHER = re.compile(r"^(?:publishers/[^/]+/)?(?:models/|google/|anthropic/)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A model as the book has it at one time. `tariff` is None where the book has no price per token.

    `until_s` is the time (seconds of the epoch) up to which the tariff holds.
    """

    context_tokens: int | None
    tariff: Tariff | None
    deprecated: bool
    until_s: float


class Book:
    """The book's data of one process. Made by `open_book`, which loads them."""

    def __init__(self, providers: "list[Provider]", revision: str) -> None:
        self._all = providers
        self._by_id = {provider.id: provider for provider in providers}
        self.revision = revision

    def find(self, provider: ProviderFacts, model: str, at_s: float) -> Listed | None:
        """The model as `provider` sells it at the time `at_s`; None if the book does not know it."""
        info = self._model(provider, model)
        if info is None:
            return None
        prices, until_s = _prices_at(info, at_s)
        tariff = _tariff(prices)
        if tariff is None and info.id.endswith(":free"):
            tariff = FREE_TARIFF  # its name says so; any other model without prices is one whose price nobody knows
        return Listed(
            context_tokens=info.context_window,
            tariff=tariff,
            deprecated=bool(info.deprecated),
            until_s=until_s,
        )

    def names(self, provider: ProviderFacts) -> list[str]:
        """The models that the book lists under the provider itself, by names that it can be asked for."""
        head, star, _ = provider.prices.partition("*")
        sellers = [seller for name, seller in self._by_id.items() if (name.startswith(head) if star else name == head)]
        found = [(_asked_as(model), seller.id) for seller in sellers for model in seller.models]
        return sorted(f"{name}:{sold_by.removeprefix(head)}" if star else name for name, sold_by in found if name)

    def _model(self, provider: ProviderFacts, model: str) -> "ModelInfo | None":
        if not provider.prices or not model or len(model) > _AT_MOST_CHARS:
            return None
        sold_by, name = provider.prices, model
        if "*" in sold_by:
            name, _, seller_name = model.rpartition(":")
            sold_by = sold_by.replace("*", seller_name)
        seller = self._by_id.get(sold_by)
        if seller is None:
            return None
        found = seller.find_model(name, all_providers=self._all)
        if found is None and sold_by == "google":
            # Vertex names publishers and versions; the book knows the bare names.
            bare = _PUBLISHER.sub("", name).partition("@")[0]
            found = seller.find_model(bare, all_providers=self._all) if bare != name else None
        return found


def open_book() -> Book:
    """Load the book: about 0.3 s of processor time, so call it off the event loop."""
    from genai_prices.data_snapshot import get_snapshot

    return Book(get_snapshot().providers, f"genai-prices {metadata.version('genai-prices')}")


def _asked_as(info: "ModelInfo") -> str | None:
    """A name that a call can use: the listed one, unless it only stands for others; then the first of these."""
    if info.is_match(info.id):
        return info.id
    clauses: list[Any] = [info.match]
    for clause in clauses:  # grows while it is read
        name = getattr(clause, "equals", None)
        if isinstance(name, str):
            return name
        clauses += getattr(clause, "or_", ())
    return None


def _prices_at(info: "ModelInfo", at_s: float) -> "tuple[ModelPrice, float]":
    """The prices in force, and until when they are: the next moment at which one of the conditions may turn."""
    from genai_prices.types import StartDateConstraint

    at = datetime.fromtimestamp(at_s, UTC)
    if not isinstance(info.prices, list):
        return info.prices, math.inf
    turns: list[float] = []
    for constraint in (conditional.constraint for conditional in info.prices):
        if isinstance(constraint, StartDateConstraint):
            turns.append(datetime.combine(constraint.start_date, time(), UTC).timestamp())
        elif constraint is not None:
            for edge in (constraint.start_time, constraint.end_time):
                today = datetime.combine(at.date(), edge if edge.tzinfo else edge.replace(tzinfo=UTC))
                turns += [(today + timedelta(days=days)).timestamp() for days in (-1, 0, 1, 2)]
    return info.get_prices(at), min((turn for turn in turns if turn > at_s), default=math.inf)


def _tariff(prices: "ModelPrice") -> Tariff | None:
    """The prices per token as a tariff; None when input has none (models sold by the minute, the page …)."""
    listed: Mapping[str, Decimal | TieredPrices | None] = vars(prices)
    tokens = {
        "input_usd": listed.get("input_mtok"),
        "cached_usd": listed.get("cache_read_mtok"),
        "cache_write_usd": listed.get("cache_write_mtok"),
        "output_usd": listed.get("output_mtok"),
        "reasoning_usd": listed.get("output_reasoning_mtok"),
    }
    if tokens["input_usd"] is None:
        return None
    requests = listed.get("requests_kcount")
    request_usd = Decimal(0) if requests is None else _rate(requests, 0) / 1000
    starts = {tier.start for price in tokens.values() for tier in getattr(price, "tiers", ())}
    return Tariff(
        [
            Band(
                above=start,
                rates=Rates(
                    request_usd=request_usd,
                    **{name: _rate(price, start) for name, price in tokens.items() if price is not None},
                ),
            )
            for start in sorted({0, *starts})
        ]
    )


def _rate(price: "Decimal | TieredPrices", start: int) -> Decimal:
    """The rate of calls that lie just above `start` input tokens."""
    if isinstance(price, Decimal):
        return price
    return next((tier.price for tier in reversed(price.tiers) if start >= tier.start), price.base)
