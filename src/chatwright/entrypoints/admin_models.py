"""The catalogue of models: limits, capabilities and prices, and which chatbots name a model without a price."""

import asyncio
from decimal import Decimal

import msgspec

from chatwright.adapters.catalogue import Catalogue, ModelFacts, PriceSource, Rates
from chatwright.domain.chatbot import Chatbot
from chatwright.domain.errors import BadRequest
from chatwright.domain.ids import TenantId
from chatwright.domain.scope import Scope
from chatwright.entrypoints.auth import staff_of
from chatwright.entrypoints.call import Call, Reply, json_reply
from chatwright.entrypoints.endpoint import Access, Endpoint
from chatwright.features import tenancy
from chatwright.pipeline.services import Services

_CHATBOTS_A_PAGE = 200


class RatesReply(msgspec.Struct, frozen=True):
    """Decimal strings in USD. They hold for calls with more than `above_input_tokens`; null: not charged apart, and
    for output: not known."""

    above_input_tokens: int
    input_usd_per_million: str
    cached_usd_per_million: str | None
    cache_write_usd_per_million: str | None
    output_usd_per_million: str | None
    request_usd: str


class ModelReply(msgspec.Struct, frozen=True):
    """One model as it is known now; null: not known. `price_source` unknown: `rates` is empty."""

    provider: str
    model: str
    context_tokens: int | None
    max_output_tokens: int | None
    capabilities: list[str]
    cheap: bool
    deprecated: bool
    price_source: PriceSource
    rates: list[RatesReply]


class ModelPage(msgspec.Struct, frozen=True):
    """`prices` is the edition of the prices, as it is stored beside each cost."""

    items: list[ModelReply]
    next_cursor: str | None
    prices: str


class UnpricedLink(msgspec.Struct, frozen=True):
    """A link of a chatbot's chain whose cost nobody knows."""

    tenant_id: str
    chatbot_id: str
    chatbot: str
    provider: str
    model: str


class UnpricedPage(msgspec.Struct, frozen=True):
    """The links of some tenants; `next_cursor` goes on with the next tenants."""

    items: list[UnpricedLink]
    next_cursor: str | None


async def list_all(call: Call) -> Reply:
    catalogue = call.app.catalogue
    provider, model = call.query("provider"), call.query("model")
    limit = call.query_int("limit", 50, low=1, high=200)
    if model is not None:
        if provider is None:
            raise BadRequest("name the provider too", param="provider")
        return json_reply(ModelPage([_reply(catalogue.describe(provider, model))], None, catalogue.revision))
    # Looking up 200 names among thousands takes some milliseconds: not in the event loop.
    page = await asyncio.to_thread(_page, catalogue, provider, call.query("cursor") or "", limit)
    return json_reply(page)


async def unpriced(call: Call) -> Reply:
    """Some tenants a page; a tenant's key sees its own chatbots only."""
    tenant = staff_of(call)
    next_cursor = None
    if tenant is not None:
        tenant_ids = [tenant.scope.tenant_id]
    else:
        after, limit = call.page()
        async with call.app.db.operator() as db:
            tenants = await tenancy.list_tenants(db, after=after, limit=limit + 1)
        tenant_ids = [TenantId(one.id) for one in tenants[:limit]]
        next_cursor = tenant_ids[-1] if len(tenants) > limit else None
    found: list[UnpricedLink] = []
    for tenant_id in tenant_ids:
        for chatbot in await _chatbots(call.app, Scope(tenant_id=tenant_id)):
            found += _unpriced(call.app, chatbot)
    return json_reply(UnpricedPage(found, next_cursor))


def _page(catalogue: Catalogue, provider: str | None, cursor: str, limit: int) -> ModelPage:
    """The models behind the cursor, which is `provider/model` of the last one seen."""
    sellers = [provider] if provider is not None else sorted(seller.name for seller in catalogue.providers())
    after_provider, _, after_model = cursor.partition("/")
    names = [
        (seller, name)
        for seller in sellers
        if seller >= after_provider
        for name in catalogue.names(seller)
        if seller > after_provider or name > after_model
    ]
    items = [_reply(catalogue.describe(seller, name)) for seller, name in names[:limit]]
    return ModelPage(items, "/".join(names[limit - 1]) if len(names) > limit else None, catalogue.revision)


async def _chatbots(app: Services, scope: Scope) -> list[Chatbot]:
    found: list[Chatbot] = []
    while True:
        async with app.db.transaction(scope) as db:
            page = await tenancy.list_chatbots(db, scope, after=found[-1].id if found else None, limit=_CHATBOTS_A_PAGE)
        found += page
        if len(page) < _CHATBOTS_A_PAGE:
            return found


def _unpriced(app: Services, chatbot: Chatbot) -> list[UnpricedLink]:
    found: list[UnpricedLink] = []
    for link in chatbot.providers:
        platform = app.platform_providers.get(link.provider)
        model = link.model or (platform.default_model if platform else "")
        if model and app.catalogue.describe(link.provider, model).source == "unknown":
            found.append(UnpricedLink(chatbot.tenant_id, chatbot.id, chatbot.slug, link.provider, model))
    return found


def _reply(facts: ModelFacts) -> ModelReply:
    return ModelReply(
        provider=facts.provider,
        model=facts.model,
        context_tokens=facts.context_tokens,
        max_output_tokens=facts.max_output_tokens,
        capabilities=sorted(facts.capabilities),
        cheap=facts.cheap,
        deprecated=facts.deprecated,
        price_source=facts.source,
        rates=[_rates(band.above, band.rates) for band in facts.tariff.bands] if facts.tariff else [],
    )


def _rates(above: int, rates: Rates) -> RatesReply:
    return RatesReply(
        above_input_tokens=above,
        input_usd_per_million=f"{rates.input_usd:f}",
        cached_usd_per_million=_usd(rates.cached_usd),
        cache_write_usd_per_million=_usd(rates.cache_write_usd),
        output_usd_per_million=_usd(rates.output_usd),
        request_usd=f"{rates.request_usd:f}",
    )


def _usd(rate: Decimal | None) -> str | None:
    return None if rate is None else f"{rate:f}"


ENDPOINTS = (
    Endpoint(
        method="GET", path="/api/v1/models", handle=list_all, access=Access.STAFF,
        summary="Models with their limits, capabilities and prices", tag="models", response=ModelPage,
        query=(("provider", "only this provider's models"),
               ("model", "only this model of the provider, listed or not"),
               ("cursor", "next_cursor of the page before"), ("limit", "1 to 200, default 50")),
    ),
    Endpoint(
        method="GET", path="/api/v1/models/unpriced", handle=unpriced, access=Access.STAFF,
        summary="Chatbots that name a model without a known price", tag="models", response=UnpricedPage,
        query=(("cursor", "next_cursor of the page before"), ("limit", "tenants a page, 1 to 200, default 50")),
    ),
)  # fmt: skip
