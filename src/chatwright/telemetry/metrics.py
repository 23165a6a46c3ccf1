"""Every metric, declared once. Names and labels are the public contract; a label's values are few and known.

Never a label: conversation, visitor, message or key ids. Tenants beyond the first `TENANT_LABELS` seen, chatbots beyond
the first `CHATBOT_LABELS` and models beyond the first `MODEL_LABELS` fold into ``other``, so that a platform with many does not make a time series of each.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

TENANT_LABELS = 50
CHATBOT_LABELS = 200
MODEL_LABELS = 200
_SECONDS = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_FAST_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """One process's metrics on a registry of its own, so that tests and roles never share counts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        registry = self.registry
        self.processing_seconds = Histogram(
            "ai_processing_duration_seconds",
            "Seconds from taking up a message to its finished answer",
            ["tenant_id", "provider", "model", "type"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.first_token_seconds = Histogram(
            "ai_time_to_first_token_seconds",
            "Seconds from accepting a message to its first visible text",
            ["tenant_id", "provider", "model"],
            buckets=_FAST_SECONDS,
            registry=registry,
        )
        self.tokens = Counter(
            "ai_tokens_used",
            "Tokens of provider calls",
            ["tenant_id", "provider", "model", "token_type"],
            registry=registry,
        )
        self.cost_dollars = Counter(
            "ai_cost_dollars", "Cost of provider calls in USD", ["tenant_id", "provider", "model"], registry=registry
        )
        self.budget_remaining_dollars = Gauge(
            "ai_budget_remaining_dollars",
            "USD left of a budget in its running period; the least of several",
            ["tenant_id", "scope", "period"],
            registry=registry,
        )
        self.refusals = Counter(
            "chatwright_refusals",
            "Requests and calls held back, by whose limit (scope) and which (budget, requests, tokens, concurrency)",
            ["scope", "kind"],
            registry=registry,
        )
        self.limits_local = Gauge(
            "chatwright_limits_local",
            "1 while this process keeps rate limits by itself, because Valkey is away",
            registry=registry,
        )
        self.alert_deliveries = Gauge(
            "chatwright_alert_deliveries",
            "Alerts that wait to be heard (pending), or were given up in the last day (failed)",
            ["state"],
            registry=registry,
        )
        self.knowledge_indexes = Gauge(
            "chatwright_knowledge_indexes",
            "Indexes of large knowledge bases that are there (ready), or not yet (missing: searched slowly)",
            ["state"],
            registry=registry,
        )
        self.errors = Counter(
            "ai_processing_errors",
            "Failed provider calls and jobs by class",
            ["tenant_id", "provider", "error_type"],
            registry=registry,
        )
        self.cache_requests = Counter("ai_cache_requests", "Cache look-ups by result", ["result"], registry=registry)
        self.cache_hits = Counter("ai_cache_hits", "Cache hits", ["tenant_id"], registry=registry)
        self.feedback = Counter("ai_feedback", "Ratings of answers by visitors", ["rating"], registry=registry)
        self.cache_false_hit_rate = Gauge(
            "chatwright_cache_false_hit_rate",
            "Share of wrong answers among the semantic cache's, as its checks measure it (estimate; 95 %: low, high)",
            ["tenant_id", "chatbot_id", "bound"],
            registry=registry,
        )
        self.cache_checks = Counter(
            "chatwright_cache_checks",
            "Answers of the semantic cache that were compared with a provider's, by outcome",
            ["tenant_id", "outcome"],
            registry=registry,
        )
        self.cache_checks_lost = Counter(
            "chatwright_cache_checks_lost",
            "Checks of the semantic cache that were drawn and not made, by reason",
            ["reason"],
            registry=registry,
        )
        self.cache_classes = Gauge(
            "chatwright_cache_classes",
            "Classes of questions that the semantic cache of a chatbot has learned",
            ["tenant_id", "chatbot_id"],
            registry=registry,
        )
        self.cache_training_seconds = Histogram(
            "chatwright_cache_training_seconds",
            "Seconds per training of a semantic cache's router",
            buckets=_SECONDS,
            registry=registry,
        )
        self.queue_depth = Gauge(
            "ai_queue_depth", "Jobs waiting in a queue", ["queue_name", "priority"], registry=registry
        )
        self.queue_wait_seconds = Histogram(
            "ai_queue_wait_seconds",
            "Seconds between queueing a job and its start",
            ["queue_name"],
            buckets=_FAST_SECONDS,
            registry=registry,
        )
        self.dead_letters = Gauge("ai_dead_letters", "Open dead letters", registry=registry)
        self.provider_state = Gauge(
            "ai_provider_state",
            "Breaker of the platform's own key: 1 closed, 0.5 half open or limited, 0 open or key refused",
            ["provider"],
            registry=registry,
        )
        self.provider_attempts = Counter(
            "chatwright_provider_attempts",
            "Provider calls by how they ended",
            ["provider", "outcome"],
            registry=registry,
        )
        self.provider_fallbacks = Counter(
            "chatwright_provider_fallbacks",
            "Answers that another provider gave than the first of the chain",
            ["provider"],
            registry=registry,
        )
        self.provider_passed_over = Counter(
            "chatwright_provider_passed_over",
            "Targets that were not called, by reason",
            ["provider", "reason"],
            registry=registry,
        )
        self.answers_ungrounded = Counter(
            "ai_answers_ungrounded",
            "Answers of which too little stands in their sources",
            ["tenant_id"],
            registry=registry,
        )
        self.guard_verdicts = Counter(
            "ai_guard_verdicts",
            "Guard verdicts on visitor messages (clean, flagged, advised, blocked)",
            ["verdict"],
            registry=registry,
        )
        self.guard_findings = Counter(
            "chatwright_guard_findings",
            "What the guard found, by where (input, metadata, document, output, leak) and rule",
            ["direction", "rule"],
            registry=registry,
        )
        self.guard_events_lost = Counter(
            "chatwright_guard_events_lost",
            "Events that did not get into the guard's log, because it could not be written for long",
            registry=registry,
        )
        self.requests_seconds = Histogram(
            "chatwright_http_request_seconds",
            "Seconds per HTTP request",
            ["route", "method", "status"],
            buckets=_FAST_SECONDS,
            registry=registry,
        )
        self.open_sockets = Gauge("chatwright_open_sockets", "Open WebSockets and event streams", registry=registry)
        self.requeued = Counter(
            "chatwright_requeued_jobs", "Jobs the sweeper put back into the queue", ["reason"], registry=registry
        )
        self.import_rows = Counter(
            "chatwright_import_rows", "Rows of imported files by what became of them", ["outcome"], registry=registry
        )
        self._tenants: set[str] = set()
        self._models: set[str] = set()
        self._chatbots: set[str] = set()

    def tenant(self, tenant_id: str) -> str:
        """The label value for a tenant: itself while there is room, else ``other``."""
        if tenant_id in self._tenants:
            return tenant_id
        if len(self._tenants) < TENANT_LABELS:
            self._tenants.add(tenant_id)
            return tenant_id
        return "other"

    def chatbot(self, chatbot_id: str) -> str:
        """The label value for a chatbot: itself while there is room, else ``other``."""
        if chatbot_id in self._chatbots:
            return chatbot_id
        if len(self._chatbots) < CHATBOT_LABELS:
            self._chatbots.add(chatbot_id)
            return chatbot_id
        return "other"

    def model(self, name: str) -> str:
        """The label value for a model's name, which a tenant wrote: itself while there is room, else ``other``."""
        if name in self._models:
            return name
        if len(self._models) < MODEL_LABELS:
            self._models.add(name)
            return name
        return "other"
