"""The books of one answer: a ledger row per provider call, what they sum up to, and what they say to the metrics."""

from dataclasses import replace

from chatwright.adapters.providers.responses import MIN_OUTPUT_TOKENS
from chatwright.adapters.tokens import PromptTokens
from chatwright.domain.errors import BudgetExceeded, ProviderError
from chatwright.domain.ids import CallId, ConversationId, MessageId, new_id
from chatwright.domain.jobs import Job
from chatwright.domain.providers import Route, Usage
from chatwright.domain.scope import Scope
from chatwright.features.budgets import CallEnd, CallStart, sane
from chatwright.features.routing import ProviderRun, Reach, Trace, reach_of
from chatwright.pipeline.services import Services

EXTRACTIVE = "extractive"


class CallBooks:
    """Opens and closes ledger rows for one answer. Implements `features.routing.Books`.

    `prompt_tokens` (counted, or a number that is not passed) and `max_output_tokens` bound the reservation; `attempt` is the job's, where a message is answered;
    `cheap` is set once a budget lets only the cheap model be called. After the run `usage` and `cost_nano` are the sums over all calls (cost None as soon as one call has no known price).
    """

    def __init__(
        self,
        app: Services,
        scope: Scope,
        *,
        prompt_tokens: PromptTokens | int,
        max_output_tokens: int,
        conversation_id: ConversationId | None = None,
        message_id: MessageId | None = None,
        attempt: int = 0,
        purpose: str = "chat",
        visitor_id: str | None = None,
        import_id: str | None = None,
    ) -> None:
        self._app = app
        self._scope = scope
        self._prompt_tokens = prompt_tokens
        self._max_output_tokens = max_output_tokens
        self._conversation_id = conversation_id
        self._message_id = message_id
        self._attempt = attempt
        self._purpose = purpose
        self._visitor_id = visitor_id
        self._import_id = import_id
        self.cheap = False
        self.usage = Usage()
        self.cost_nano: int | None = 0

    async def open(self, route: Route) -> CallId:
        """Commit the call's row with its reservation. Raises BudgetExceeded, Unavailable or LostLock: then no call is
        made."""
        call_id = CallId(new_id())
        start = CallStart(
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
            reserved_nano=self._reservation(route),
            visitor_id=self._visitor_id,
            import_id=self._import_id,
            cheap=self.cheap,
        )
        try:
            await self._app.ledger.open(start)
        except BudgetExceeded as error:
            self._app.metrics.refusals.labels(error.scope or "other", "budget").inc()
            raise
        if route.key_id is not None:
            self._app.provider_keys.used(route.key_id)
        return call_id

    def close(
        self,
        call_id: CallId,
        route: Route,
        state: str,
        usage: Usage | None,
        error: ProviderError | None,
        trace: Trace | None = None,
    ) -> None:
        """See `features.routing.Books`. Without a usage and without a trace the call was one of an answer in one piece."""
        if usage is None and trace is None:
            reach = reach_of(error, whole=True, begun=False, ended=False, open_book=True, drained=True)
            trace = Trace(reach=reach)
        used = sane(usage) if usage is not None and trace is None else self._guess(route, usage, trace)
        cost_nano = self._cost(route, used, reported=usage)
        end = CallEnd(
            id=call_id,
            state=state,
            provider=route.provider,
            model=route.model,
            usage=used,
            error_class=error.error_class if error else None,
            upstream_status=error.upstream_status if error else None,
            cost_nano=cost_nano,
            price_book=self._app.catalogue.revision,
            saved_nano=self._saved(route, used, cost_nano),
        )
        self._app.ledger.close(end)
        self._add(end)
        self._measure(route, end)

    def passed_over(self, route: Route, reason: str) -> None:
        self._app.metrics.provider_passed_over.labels(provider_label(self._app, route.provider), reason).inc()

    def _reservation(self, route: Route) -> int | None:
        """The most that the call can cost; None when no price is known."""
        if route.provider == EXTRACTIVE:
            return 0
        return self._app.catalogue.worst_case(route.provider, route.model, self._worst(route))

    def _worst(self, route: Route) -> Usage:
        """The most that the call can use: the prompt's bound, and as long an answer as is asked for."""
        facts = self._app.catalogue.model(route.provider, route.model)
        given = self._prompt_tokens
        if isinstance(given, PromptTokens):
            given = given.estimate(
                route.provider, route.model, base_url=route.base_url, context_tokens=facts.context_tokens
            ).bound
        said = max(self._max_output_tokens, MIN_OUTPUT_TOKENS) if self._max_output_tokens else 0
        if facts.max_output_tokens is not None:
            said = min(said, facts.max_output_tokens)
        return Usage(input_tokens=given, output_tokens=said, estimated=True)

    def _guess(self, route: Route, reported: Usage | None, trace: Trace | None) -> Usage:
        """What a call used that did not say so to its end, and not less; `reported` is what it said before."""
        if trace is None or route.provider == EXTRACTIVE:
            return Usage()
        if trace.reach is Reach.NOTHING:
            return sane(reported) if reported is not None else Usage()
        worst = self._worst(route)
        said = self._app.tokens.said(trace.texts, route.provider, route.model)
        output = trace.output_tokens(said, at_most=worst.output_tokens)
        if reported is None:
            return replace(worst, output_tokens=output)
        heard = sane(reported)
        return replace(heard, output_tokens=max(heard.output_tokens, output), estimated=True)

    def _cost(self, route: Route, used: Usage, *, reported: Usage | None) -> int | None:
        """None when no price is known. What used nothing costs nothing."""
        if not (used.input_tokens or used.output_tokens):
            return 0
        catalogue = self._app.catalogue
        if not used.estimated:
            return catalogue.price(route.provider, route.model, used)
        if reported is None:
            # What of it was written into a cache, or thought, is not known: each token at its side's dearest rate.
            return catalogue.worst_case(route.provider, route.model, used)
        costs = [
            catalogue.price(route.provider, route.model, one)
            for one in (used, replace(used, reasoning_tokens=used.output_tokens))
        ]
        return None if None in costs else max(cost for cost in costs if cost is not None)

    def _saved(self, route: Route, used: Usage, cost_nano: int | None) -> int:
        """What the provider's own prompt cache saved: the tokens read from it at the price of fresh ones, less the cost."""
        if not used.cached_tokens or used.estimated or cost_nano is None:
            return 0
        fresh_nano = self._app.catalogue.price(route.provider, route.model, replace(used, cached_tokens=0))
        return 0 if fresh_nano is None else max(0, fresh_nano - cost_nano)

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
        model = model_label(self._app, route, priced=end.cost_nano is not None)
        provider = provider_label(self._app, route.provider)
        metrics.provider_attempts.labels(provider, end.error_class or end.state).inc()
        if end.usage.input_tokens:
            metrics.tokens.labels(tenant, provider, model, "input").inc(end.usage.input_tokens)
        if end.usage.output_tokens:
            metrics.tokens.labels(tenant, provider, model, "output").inc(end.usage.output_tokens)
        if end.cost_nano:
            metrics.cost_dollars.labels(tenant, provider, model).inc(end.cost_nano / 1e9)
        if end.error_class:
            metrics.errors.labels(tenant, provider, end.error_class).inc()


def import_of(job: Job) -> str | None:
    """The import that a job works for, whose budget its calls count in. A payload may come from anywhere."""
    import_id = job.payload.get("import_id")
    return import_id if isinstance(import_id, str) and 0 < len(import_id) <= 200 and "\x00" not in import_id else None


def measure_route(app: Services, run: ProviderRun) -> None:
    """Count an answer that another provider gave than the first one asked."""
    if run.fallbacks and run.route is not None:
        app.metrics.provider_fallbacks.labels(provider_label(app, run.route.provider)).inc()


def provider_label(app: Services, provider: str) -> str:
    """The provider's name as a metric label: names of tenants' own servers are folded into ``other``."""
    if provider in app.platform_providers or app.catalogue.provider(provider) is not None:
        return provider
    return "other"


def model_label(app: Services, route: Route, *, priced: bool) -> str:
    """The model's name as a metric label. Tenants write these names, and a server of theirs answers to any of them: only
    priced ones behind our own addresses are spelled out, and not more than there is room for."""
    return app.metrics.model(route.model) if priced and not route.guarded else "other"
