"""The providers as an operator or a tenant sees them: which are set up, in what state, and whether they really answer."""

import asyncio
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from chatwright.adapters.providers.base import join
from chatwright.domain.chatbot import Chatbot, ProviderLink
from chatwright.domain.errors import ChatwrightError, ProviderError, Unavailable, Unprocessable
from chatwright.domain.providers import Prompt, Turn, Usage
from chatwright.domain.scope import Scope
from chatwright.features.routing import Target
from chatwright.pipeline.books import CallBooks
from chatwright.pipeline.services import Services
from chatwright.pipeline.targets import EXTRACTIVE, chain_for

_QUESTION = "Reply with the word OK."
_ANSWER_TOKENS = 32
_TEST_S = 25.0
_AT_ONCE = 4
_STATES = {"closed": 1.0, "half_open": 0.5, "limited": 0.5, "open": 0.0, "key_refused": 0.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderView:
    """One provider. `keys` says whose keys would be used: `tenant`, `platform`, or `none` for a server without one."""

    provider: str
    wire: str
    keys: str
    key_count: int
    default_model: str
    state: str
    retry_in_s: float | None
    first_delta_p95_ms: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """How one key of one provider answered a tiny prompt. `mend` says what to do when it did not."""

    provider: str
    model: str
    key_id: str | None
    ok: bool
    text: str = ""
    first_delta_ms: float | None = None
    took_ms: float | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    cost_nano: int | None = None
    error_class: str | None = None
    message: str = ""
    mend: str = ""


async def list_providers(app: Services, scope: Scope) -> list[ProviderView]:
    """Every provider that the tenant can name in a chain without an address of its own."""
    own = await app.provider_keys.providers_of(scope)
    stored = await app.provider_keys.providers_of(None)
    states, own_states = _states(app), _states(app, await app.provider_keys.ids_of(scope))
    views: list[ProviderView] = []
    for name in sorted({*app.platform_providers, *own, *stored} - {EXTRACTIVE}):
        count = own.get(name, 0)
        state = (own_states if count else states).get(name)
        views.append(
            ProviderView(
                provider=name,
                wire=_wire_of(app, name),
                keys="tenant" if count else "platform" if name in stored or _has_platform_key(app, name) else "none",
                key_count=count or stored.get(name, 0) + _has_platform_key(app, name),
                default_model=_default_model(app, name),
                state=state["state"] if state else "closed",
                retry_in_s=state["retry_in_s"] if state else None,
                first_delta_p95_ms=state["first_delta_p95_ms"] if state else None,
            )
        )
    return views


async def try_providers(
    app: Services, scope: Scope, *, chatbot: Chatbot | None = None, providers: Sequence[str] = ()
) -> list[Tried]:
    """Call every key of the named providers (else of the chatbot's chain, else of all that are set up) once with a tiny
    prompt. The calls are booked to the scope's tenant with purpose `test`. Raises Unprocessable for unknown names,
    Unavailable when PostgreSQL is away."""
    if chatbot is not None:
        links: Sequence[ProviderLink] = [link for link in chatbot.providers if link.provider != EXTRACTIVE]
        if providers:
            links = [link for link in links if link.provider in providers]
    else:
        known = [view.provider for view in await list_providers(app, scope)]
        for name in providers:
            if name not in known:
                raise Unprocessable(f"no provider {name!r} is set up here; there is {', '.join(known) or 'none'}")
        names = dict.fromkeys(providers or known)
        links = [ProviderLink(provider=name, model=_tiny_model(app, name)) for name in names]
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(link: ProviderLink) -> list[Tried]:
        async with gate:
            return await _try_link(app, scope, link)

    try:
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(one(link), name=f"provider-test-{link.provider}") for link in links]
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from failures
    return [tried for task in running for tried in task.result()]


async def health(app: Services) -> dict[str, Any]:
    """The platform's own providers for `/health/providers`: no tenant's key or address is in it."""
    states = _states(app)
    names = {*app.platform_providers, *states}
    with suppress(Unavailable):  # without PostgreSQL nobody is called by a stored key either
        names |= {*await app.provider_keys.providers_of(None)}
    rows = [
        {
            "provider": name,
            "wire": _wire_of(app, name),
            **(states.get(name) or {"state": "closed", "retry_in_s": None, "first_delta_p95_ms": None}),
        }
        for name in sorted(names - {EXTRACTIVE})
    ]
    shut = sum(row["state"] in ("open", "key_refused") for row in rows)
    status = "none" if not rows else "ok" if not shut else "down" if shut == len(rows) else "degraded"
    return {"status": status, "providers": rows}


def measure_states(app: Services) -> None:
    """Bring the gauge of provider states up to date."""
    states = _states(app)
    for name in {*app.platform_providers, *states} - {EXTRACTIVE}:
        state = states[name]["state"] if name in states else "closed"
        app.metrics.provider_state.labels(name).set(_STATES.get(state, 1.0))


def _states(app: Services, own: Collection[str] | None = None) -> dict[str, dict[str, Any]]:
    """By provider: the worst state among the gates of the platform, or of the keys `own`."""
    found: dict[str, dict[str, Any]] = {}

    def wanted(gate: str) -> bool:  # of thousands that tenants may have
        owner = gate.partition("|")[2].partition("|")[0]
        return (
            owner in own if own is not None else owner.startswith("platform-") or app.provider_keys.is_platform(owner)
        )

    for gate in app.gates.states(wanted):
        provider = gate.gate.partition("|")[0]
        row = {
            "state": gate.state,
            "retry_in_s": None if gate.state == "closed" else round(gate.retry_in_s, 1),
            "first_delta_p95_ms": None if gate.p95_first_delta_ms is None else round(gate.p95_first_delta_ms, 1),
        }
        before = found.get(provider)
        if before is None or _STATES.get(gate.state, 1.0) < _STATES.get(before["state"], 1.0):
            found[provider] = row
    return found


async def _try_link(app: Services, scope: Scope, link: ProviderLink) -> list[Tried]:
    if not link.model:
        message = "no model is known for it: name one in the chatbot's chain, or set its default model"
        return [Tried(provider=link.provider, model="", key_id=None, ok=False, error_class="not_configured",
                      message=message)]  # fmt: skip
    chain = await chain_for(app, scope, [link], with_extractive=False)
    tried = [
        Tried(provider=link.provider, model=link.model, key_id=link.key_id, ok=False, cost_nano=0,
              error_class=error.error_class,
              message=error.message)
        for error in chain.skipped
    ]  # fmt: skip
    return tried + [await _try(app, scope, target) for target in chain.targets]


async def _try(app: Services, scope: Scope, target: Target) -> Tried:
    route = target.route
    prompt = Prompt(turns=(Turn("user", _QUESTION),), question=_QUESTION, max_tokens=_ANSWER_TOKENS)
    prompt_tokens = await app.tokens.prompt(prompt)
    books = CallBooks(app, scope, prompt_tokens=prompt_tokens, max_output_tokens=_ANSWER_TOKENS, purpose="test")
    started = time.perf_counter()
    call_id = await books.open(route)
    state, usage, failed = "cancelled", None, None
    pieces, first_s = [], None
    try:
        async with asyncio.timeout(_TEST_S):
            async for delta in target.wire.stream(replace(route, call_id=call_id), prompt):
                if first_s is None and (delta.text or delta.reasoning):
                    first_s = time.perf_counter() - started
                pieces.append(delta)
                usage = delta.usage or usage
        state = "ok"
    except ProviderError as error:
        state, usage, failed = "failed", usage or error.usage, error
    except TimeoutError:
        state = "failed"
        failed = ProviderError(
            f"{route.provider} did not finish within {_TEST_S:g} s", retriable=True, error_class="timeout"
        )
    finally:
        books.close(call_id, route, state, usage, failed)
    used = usage or Usage()
    return Tried(
        provider=route.provider,
        model=route.model,
        key_id=route.key_id,
        ok=failed is None,
        text=join(pieces).text.strip()[:200] if failed is None else "",
        first_delta_ms=None if first_s is None else round(first_s * 1000, 1),
        took_ms=round((time.perf_counter() - started) * 1000, 1),
        input_tokens=used.input_tokens,
        output_tokens=used.output_tokens,
        cost_nano=books.cost_nano,
        error_class=failed.error_class if failed else None,
        message=failed.message if failed else "",
        mend=_mend(failed),
    )


def _mend(error: ChatwrightError | None) -> str:
    match getattr(error, "error_class", None):
        case "authentication":
            return "the key is refused: add a valid one with `chatwright provider-key add`, or correct the environment"
        case "quota":
            return "the account is used up: add credit at the provider, or use another key"
        case "rate_limited":
            return "the key's limit is reached: wait, or add a second key"
        case "model_not_found":
            return "name a model that this key may use"
        case "transport" | "timeout":
            return "check the base URL, the network and whether the server runs"
        case "address_refused":
            return "the operator can allow the address with CHATWRIGHT_ALLOWED_ADDRESSES"
        case _:
            return ""


def _wire_of(app: Services, name: str) -> str:
    platform, known = app.platform_providers.get(name), app.catalogue.provider(name)
    return platform.wire if platform else known.wire if known else "openai"


def _has_platform_key(app: Services, name: str) -> bool:
    platform = app.platform_providers.get(name)
    return bool(platform and (platform.api_key or platform.wire == "vertex"))


def _default_model(app: Services, name: str) -> str:
    platform = app.platform_providers.get(name)
    return (platform.default_model if platform else "") or app.catalogue.cheap_model(name) or ""


def _tiny_model(app: Services, name: str) -> str:
    """What a test calls: the default model, since that is the one which has to work."""
    return _default_model(app, name)
