"""From a chatbot's provider chain to callable targets: which key, which address, at what price, within which limits.

One link becomes a target per key that may be used for it, in order. What cannot be called (no key, no price, too small
a context) is left out and told why. Read by `pipeline/answer.py`, `inline.py` and `providers.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import msgspec
import structlog

from chatwright.adapters.catalogue import ModelFacts
from chatwright.adapters.providers.gemini import vertex_base_url
from chatwright.adapters.tokens import PromptTokens
from chatwright.domain.chatbot import Chatbot, ProviderLink
from chatwright.domain.errors import (
    BudgetExceeded,
    ChatwrightError,
    ContextLengthError,
    NotFound,
    ProviderError,
    Unavailable,
)
from chatwright.domain.providers import Route, Source
from chatwright.domain.scope import Scope
from chatwright.features.provider_keys import ProviderKey
from chatwright.features.routing import KeyLimits, Spare, Target
from chatwright.pipeline.books import CallBooks, provider_label
from chatwright.pipeline.keyed import KeyedWire
from chatwright.pipeline.services import PlatformProvider, Services

EXTRACTIVE = "extractive"
EXTRACTIVE_MODEL = "extractive"
VERTEX = "vertex"
_log = structlog.get_logger(__name__)
NO_LIMITS = KeyLimits()
_KEYS_PER_LINK = 3
_SETTING = {
    "local": "set CHATWRIGHT_LOCAL_BASE_URL",
    "azure": "set AZURE_OPENAI_ENDPOINT and AZURE_OPENAI_API_KEY, or add a key with a base_url",
    "vertex": "set GOOGLE_CLOUD_PROJECT, or add a service account with `provider-key add`",
}


@dataclass(frozen=True, slots=True)
class Chain:
    """Targets in order of preference, and why other links of the chain are not among them."""

    targets: list[Target]
    skipped: list[ProviderError] = field(default_factory=list[ProviderError])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Access:
    """How one link may be called. `owner` is part of what its breaker counts on: never shared between tenants unless
    the key is the platform's."""

    base_url: str
    secret: str | None
    key_id: str | None
    owner: str
    guarded: bool
    limits: KeyLimits
    stored_for: Scope | Literal["platform"] | None = None
    """Whose stored key this is; None: it is no stored one."""


async def chain_for(
    app: Services,
    scope: Scope,
    links: Sequence[ProviderLink],
    *,
    prompt_tokens: PromptTokens | None = None,
    with_extractive: bool = True,
) -> Chain:
    """The callable targets of `links`. `prompt_tokens` leaves out models that cannot hold the prompt.

    With `with_extractive` the local provider closes the chain, so that a chatbot still answers when every provider is
    down. A chain may come out empty. Raises Unavailable when keys are not in memory and PostgreSQL is away.
    """
    chain = Chain([])
    listed = False
    for link in links:
        if link.provider == EXTRACTIVE:
            listed = True
            chain.targets.append(_local(app))
            continue
        try:
            model = _model_of(app, link)
            _check(app, model, prompt_tokens)
            accesses = await _accesses(app, scope, link)
        except Unavailable:
            raise  # nothing is wrong with the link: its keys cannot be read just now
        except ChatwrightError as error:
            left_out = error if isinstance(error, ProviderError) else _left_out(link, error.message)
            chain.skipped.append(left_out)
            app.metrics.provider_passed_over.labels(provider_label(app, link.provider), left_out.error_class).inc()
            _log.info("provider.left_out", provider=link.provider, model=link.model, reason=left_out.message)
            continue
        chain.targets.extend(_target(app, link, model, access) for access in accesses)
    if with_extractive and not listed:
        chain.targets.append(_local(app))
    return chain


async def targets_for(
    app: Services, chatbot: Chatbot, sources: Sequence[Source], *, prompt_tokens: PromptTokens, local: bool = False
) -> Chain:
    """The chatbot's chain, closed by `extractive` where there is something to quote, or nothing else to call.

    With `local` nobody outside is asked. Raises ProviderError when nothing is left to call, Unavailable as `chain_for`.
    """
    if local:
        return Chain([_local(app)])
    chain = await chain_for(
        app, chatbot.scope, chatbot.providers, prompt_tokens=prompt_tokens, with_extractive=bool(sources)
    )
    if not chain.targets:
        if chain.skipped:
            raise chain.skipped[0]
        chain.targets.append(_local(app))
    return chain


def spare_for(app: Services, chatbot: Chatbot, books: CallBooks, *, prompt_tokens: PromptTokens) -> Spare:
    """What a budget that is used up still allows: nothing, the local provider, or the cheap model before it."""

    async def spare(refusal: BudgetExceeded) -> list[Target]:
        if refusal.action == "block":
            raise refusal
        if refusal.action != "downgrade" or books.cheap:
            return [_local(app)]
        books.cheap = True  # from here on: whatever else is called is the cheap model
        links = cheap_links(app, chatbot)
        return (await chain_for(app, chatbot.scope, links, prompt_tokens=prompt_tokens)).targets

    return spare


def cheap_links(app: Services, chatbot: Chatbot) -> list[ProviderLink]:
    """What small tasks of a chatbot are done by, and all of them once a budget asks for it: the operator's
    `cheap_model`, else the cheap model of its first provider, else that link as it stands. None for a chatbot without
    a language model."""
    provider, _, model = app.settings.cheap_model.partition("/")
    if model:
        return [ProviderLink(provider=provider, model=model)]
    for link in chatbot.providers:
        if link.provider != EXTRACTIVE:
            # A server at an address of its own has the models it has.
            cheap = None if link.base_url is not None else app.catalogue.cheap_model(link.provider)
            return [
                ProviderLink(
                    provider=link.provider, model=cheap or link.model, base_url=link.base_url, key_id=link.key_id
                )
            ]
    return []


def hedges(app: Services, chatbot: Chatbot) -> bool:
    return app.settings.hedging if chatbot.hedging is None else chatbot.hedging


def _local(app: Services) -> Target:
    return Target(Route(provider=EXTRACTIVE, model=EXTRACTIVE_MODEL), app.wires[EXTRACTIVE], counts=False)


def _model_of(app: Services, link: ProviderLink) -> ModelFacts:
    platform = app.platform_providers.get(link.provider)
    name = link.model or (platform.default_model if platform else "")
    if not name:
        raise _left_out(link, "the chain names no model for it")
    return app.catalogue.model(link.provider, name)


def _check(app: Services, model: ModelFacts, prompt_tokens: PromptTokens | None) -> None:
    if model.source == "unknown" and not app.settings.call_unpriced:
        raise ProviderError(
            f"{model.provider}/{model.model} is not called: no price is known for it. Give it one in models.toml; "
            "name a server of your own `local`, which costs 0; or set CHATWRIGHT_UNKNOWN_PRICES=flag.",
            retriable=False,
            error_class="price_unknown",
        )
    if model.context_tokens is None or prompt_tokens is None:
        return
    # Only what surely does not fit is left out: what may still fit is the provider's to judge.
    given = prompt_tokens.estimate(model.provider, model.model)
    if given.least > model.context_tokens:
        raise ContextLengthError(
            f"the prompt has about {given.expected:,} tokens, {model.provider}/{model.model} takes "
            f"{model.context_tokens:,}",
            upstream_status=None,
        )


async def _accesses(app: Services, scope: Scope, link: ProviderLink) -> list[_Access]:
    """The ways to call a link: by the key that it names, else the tenant's keys, else the platform's. Raises
    ProviderError when there is none, NotFound when the named key is gone."""
    platform = app.platform_providers.get(link.provider)
    if link.key_id is not None:
        keys: Sequence[ProviderKey] = (await app.provider_keys.get(scope, link.key_id),)
        if keys[0].provider != link.provider:
            raise NotFound(f"the key {link.key_id} is for {keys[0].provider}")
    else:
        keys = await app.provider_keys.keys_for(scope, link.provider)
    if not keys and app.provider_keys.is_shut(scope, link.provider):
        # The tenant pays its provider itself: its messages must not go out on the platform's bill unasked.
        raise _left_out(link, "the tenant's own key for it does not open; the operator's log says why")
    if keys:
        return [_tenants_own(app, scope, link, key, platform) for key in keys[:_KEYS_PER_LINK]]
    if link.base_url is not None:
        # A platform key is sent to the platform's own address only: a tenant's address would learn it.
        return [
            _Access(
                base_url=link.base_url, secret=None, key_id=None, owner=f"tenant:{scope.tenant_id}", guarded=True,
                limits=NO_LIMITS,
            )
        ]  # fmt: skip
    accesses = [
        _Access(
            base_url=_address(app, link, key, platform), secret=key.secret.reveal(), key_id=key.id, owner=key.id, guarded=False,
            limits=_limits(key) if key.request_limit or key.token_limit else app.settings.provider_limits.get(link.provider, NO_LIMITS),
            stored_for="platform",
        )
        for key in await app.provider_keys.platform_keys(link.provider)
    ]  # fmt: skip
    if platform is not None:
        accesses.append(
            _Access(
                base_url=platform.base_url, secret=platform.api_key, key_id="env" if platform.api_key else None,
                owner=platform.owner, guarded=False, limits=platform.limits,
            )
        )  # fmt: skip
    if not accesses:
        raise _left_out(link, f"it is not set up; {_SETTING.get(link.provider, 'add a key with `provider-key add`')}")
    return accesses[:_KEYS_PER_LINK]


def _tenants_own(
    app: Services, scope: Scope, link: ProviderLink, key: ProviderKey, platform: PlatformProvider | None
) -> _Access:
    own = link.base_url or key.base_url
    return _Access(
        base_url=own or _address(app, link, key, platform),
        secret=key.secret.reveal(),
        key_id=key.id,
        owner=key.id,
        guarded=own is not None,
        limits=_limits(key),
        stored_for=scope,
    )


def _address(app: Services, link: ProviderLink, key: ProviderKey, platform: PlatformProvider | None) -> str:
    """Where a key is used when nobody says otherwise: the platform's gateway, or the provider's own address."""
    if key.base_url:
        return key.base_url
    if link.provider == VERTEX:
        return vertex_base_url(_project(key), app.settings.vertex_location, app.settings.vertex_gateway)
    if platform is not None:
        return platform.base_url
    known = app.catalogue.provider(link.provider)
    if known is None or not known.base_url:
        raise _left_out(link, "its address is not known; give the key or the chain's link a base_url")
    return known.base_url


def _project(key: ProviderKey) -> str:
    """The Google project that a service account belongs to."""
    try:
        return str(msgspec.json.decode(key.secret.reveal())["project_id"])
    except (msgspec.DecodeError, KeyError, TypeError) as error:
        raise ProviderError(
            f"the key {key.id} is no service account with a project_id", retriable=False, error_class="not_configured"
        ) from error


def _limits(key: ProviderKey) -> KeyLimits:
    if not (key.request_limit or key.token_limit):
        return NO_LIMITS
    return KeyLimits(requests_per_minute=key.request_limit or 0, tokens_per_minute=key.token_limit or 0)


def _target(app: Services, link: ProviderLink, model: ModelFacts, access: _Access) -> Target:
    platform = app.platform_providers.get(link.provider)
    known = app.catalogue.provider(link.provider)
    wire_name = platform.wire if platform else known.wire if known else "openai"
    wire = app.wires[wire_name]
    if access.stored_for is not None and access.key_id is not None:
        wire = KeyedWire(
            wire, app.provider_keys, None if access.stored_for == "platform" else access.stored_for, access.key_id
        )
    account = f"{link.provider}|{access.owner}|{access.base_url}"
    # Anthropic's models think only where they are told to, and then aloud.
    thinks = wire_name != "anthropic" and "reasoning" in model.capabilities
    settings = app.settings
    return Target(
        Route(
            provider=link.provider,
            model=model.model,
            base_url=access.base_url,
            api_key=access.secret,
            key_id=access.key_id,
            guarded=access.guarded,
            connect_timeout_s=settings.provider_connect_timeout_s,
            first_byte_timeout_s=settings.provider_first_byte_timeout_s,
            idle_timeout_s=settings.provider_idle_timeout_s,
        ),
        wire,
        # By model: what one tenant's model brings about must not shut the key for another's.
        gate=f"{account}|{model.model}",
        account=account,
        open_book=bool(model.capabilities) and not thinks,
        thinks=thinks,
        limits=access.limits,
        context_tokens=model.context_tokens,
    )


def _left_out(link: ProviderLink, why: str) -> ProviderError:
    return ProviderError(f"{link.provider} is not called: {why}.", retriable=False, error_class="not_configured")
