"""From a chatbot's provider chain to callable targets, and the books that each call goes through."""

from collections.abc import Sequence

from chatwright.domain.chatbot import Chatbot
from chatwright.domain.errors import ProviderError
from chatwright.domain.ids import CallId, ConversationId, MessageId, new_id
from chatwright.domain.providers import Route, Source, Usage
from chatwright.domain.scope import Scope
from chatwright.features.budgets import CallEnd, CallStart, price, sane
from chatwright.features.routing import Target
from chatwright.pipeline.services import Services

EXTRACTIVE = "extractive"
EXTRACTIVE_MODEL = "extractive"


def targets_for(app: Services, chatbot: Chatbot, sources: Sequence[Source]) -> list[Target]:
    """The chain in order. A link whose provider is not configured is left out; `extractive` closes every chain that
    has knowledge to quote from, so that a chatbot still answers when every provider is down.

    Raises ProviderError when nothing is left to call.
    """
    targets: list[Target] = []
    for link in chatbot.providers:
        platform = app.platform_providers.get(link.provider)
        wire = app.wires.get(platform.wire if platform else link.provider)
        base_url = link.base_url or (platform.base_url if platform else "")
        if wire is None or (link.provider != EXTRACTIVE and not base_url):
            continue
        # A platform key is sent to the platform's own address only: a tenant's address would learn it.
        api_key = platform.api_key if platform and link.base_url is None else None
        targets.append(
            Target(
                Route(
                    provider=link.provider,
                    model=link.model or (platform.default_model if platform else ""),
                    base_url=base_url,
                    api_key=api_key,
                    key_id="platform" if api_key else None,
                    guarded=link.base_url is not None,
                    connect_timeout_s=app.settings.provider_connect_timeout_s,
                    first_byte_timeout_s=app.settings.provider_first_byte_timeout_s,
                    idle_timeout_s=app.settings.provider_idle_timeout_s,
                ),
                wire,
                counts=link.provider != EXTRACTIVE,
            )
        )
    listed = any(target.route.provider == EXTRACTIVE for target in targets)
    if not listed and (sources or not targets) and EXTRACTIVE in app.wires:
        targets.append(Target(Route(provider=EXTRACTIVE, model=EXTRACTIVE_MODEL), app.wires[EXTRACTIVE], counts=False))
    if not targets:
        raise ProviderError(
            f"chatbot {chatbot.slug} has no provider that is configured; set OPENAI_API_KEY or OPENAI_BASE_URL, "
            "or list `extractive` in its chain",
            retriable=False,
            error_class="not_configured",
        )
    return targets


class CallBooks:
    """Opens and closes ledger rows for one answer. Implements `features.routing.Books`.

    `prompt_tokens` and `max_output_tokens` bound the reservation; `attempt` is the job's, where a message is answered;
    after the run `usage` and `cost_nano` are the sums
    over all calls (cost None as soon as one call has no known price).
    """

    def __init__(
        self,
        app: Services,
        scope: Scope,
        *,
        prompt_tokens: int,
        max_output_tokens: int,
        conversation_id: ConversationId | None = None,
        message_id: MessageId | None = None,
        attempt: int = 0,
        purpose: str = "chat",
    ) -> None:
        self._app = app
        self._scope = scope
        self._worst = Usage(input_tokens=prompt_tokens, output_tokens=max_output_tokens)
        self._conversation_id = conversation_id
        self._message_id = message_id
        self._attempt = attempt
        self._purpose = purpose
        self.usage = Usage()
        self.cost_nano: int | None = 0

    async def open(self, route: Route) -> CallId:
        call_id = CallId(new_id())
        await self._app.ledger.open(
            CallStart(
                id=call_id,
                tenant_id=self._scope.tenant_id,
                chatbot_id=self._scope.chatbot_id,
                conversation_id=self._conversation_id,
                message_id=self._message_id,
                attempt=self._attempt,
                purpose=self._purpose,
                provider=route.provider,
                model=route.model,
                key_id=route.key_id,
                reserved_nano=price(route.provider, route.model, self._worst),
            )
        )
        return call_id

    def close(
        self, call_id: CallId, route: Route, state: str, usage: Usage | None, error: ProviderError | None
    ) -> None:
        end = CallEnd(
            id=call_id,
            state=state,
            provider=route.provider,
            model=route.model,
            usage=sane(usage) if usage else Usage(estimated=state != "failed"),
            error_class=error.error_class if error else None,
            upstream_status=error.upstream_status if error else None,
        )
        self._app.ledger.close(end)
        self._add(end)
        self._measure(route, end)

    def _add(self, end: CallEnd) -> None:
        cost = end.cost_nano
        self.cost_nano = None if cost is None or self.cost_nano is None else self.cost_nano + cost
        if end.usage.input_tokens or end.usage.output_tokens:
            self.usage = Usage(
                input_tokens=self.usage.input_tokens + end.usage.input_tokens,
                cached_tokens=self.usage.cached_tokens + end.usage.cached_tokens,
                cache_write_tokens=self.usage.cache_write_tokens + end.usage.cache_write_tokens,
                output_tokens=self.usage.output_tokens + end.usage.output_tokens,
                reasoning_tokens=self.usage.reasoning_tokens + end.usage.reasoning_tokens,
                estimated=self.usage.estimated or end.usage.estimated,
            )

    def _measure(self, route: Route, end: CallEnd) -> None:
        metrics = self._app.metrics
        tenant = metrics.tenant(self._scope.tenant_id)
        # Labels are bounded: a model name comes from the tenant, so only priced ones and our own are spelled out.
        model = route.model if end.cost_nano is not None else "other"
        if end.usage.input_tokens:
            metrics.tokens.labels(tenant, route.provider, model, "input").inc(end.usage.input_tokens)
        if end.usage.output_tokens:
            metrics.tokens.labels(tenant, route.provider, model, "output").inc(end.usage.output_tokens)
        if end.cost_nano:
            metrics.cost_dollars.labels(tenant, route.provider, model).inc(end.cost_nano / 1e9)
        if end.error_class:
            metrics.errors.labels(tenant, route.provider, end.error_class).inc()
        if end.state in ("ok", "failed", "cut"):
            metrics.provider_state.labels(route.provider).set(1 if end.state == "ok" else 0)
