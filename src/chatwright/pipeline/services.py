"""What every flow works with. `app/services.py` opens it all in order and yields one frozen `Services`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256

from chatwright.adapters.alerts import Courier
from chatwright.adapters.catalogue import Catalogue
from chatwright.adapters.files import Files
from chatwright.adapters.models import LocalEmbedders
from chatwright.adapters.postgres import Database
from chatwright.adapters.providers.base import WireFormat
from chatwright.adapters.providers.http import HttpClients
from chatwright.adapters.queue import Producer
from chatwright.adapters.tokens import TokenCounts
from chatwright.adapters.valkey import Channel, StreamLog, Valkey
from chatwright.features.analysis.intent_memory import IntentMemory
from chatwright.features.analysis.reader import Reader
from chatwright.features.budgets import Ledger
from chatwright.features.cache import ExactTier
from chatwright.features.cache.memory import SemanticMemory
from chatwright.features.credentials import KeyDirectory
from chatwright.features.guard.desk import GuardDesk
from chatwright.features.limits import Limiter
from chatwright.features.provider_keys import KeyRing
from chatwright.features.routing import Gates, KeyLimits
from chatwright.features.tenancy import ChatbotDirectory
from chatwright.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformProvider:
    """A provider that the operator configured for everybody: wire format, address, key and the key's limits."""

    wire: str
    base_url: str
    api_key: str | None = field(default=None, repr=False)
    default_model: str = ""
    limits: KeyLimits = field(default_factory=KeyLimits)
    owner: str = field(init=False)
    """What its breaker is counted on: another one for another key, so that a corrected key is used at once."""

    def __post_init__(self) -> None:
        mark = sha256((self.api_key or "").encode()).hexdigest()[:8]
        object.__setattr__(self, "owner", f"platform-{mark}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineSettings:
    """The options that flows read. Times in seconds."""

    answer_deadline_s: float = 60.0
    max_provider_calls: int = 3
    max_text_chars: int = 32_000
    coalesce_s: float = 0.03
    context_messages: int = 10
    summary_every: int = 10
    summary_tokens: int = 600
    room_tokens: int = 6_000
    cache_wait_s: float = 20.0
    knowledge_top_k: int = 5
    relevance_threshold: float = 0.7
    wait_timeout_s: float = 75.0
    lease_s: float = 5.0
    idempotency_hours: int = 24
    provider_connect_timeout_s: float = 5.0
    provider_first_byte_timeout_s: float = 30.0
    provider_idle_timeout_s: float = 20.0
    provider_patience_s: float = 5.0
    call_unpriced: bool = False
    hedging: bool = False
    cheap_model: str = ""
    provider_limits: Mapping[str, KeyLimits] = field(default_factory=dict[str, KeyLimits])
    """Of the platform's keys, by provider."""
    document_max_bytes: int = 50 * 1024 * 1024
    index_memory_mib: int = 2048
    page_timeout_s: float = 30.0
    web_user_agent: str = "chatwright"
    robots_txt: bool = True
    crawl_max_pages: int = 500
    crawl_delay_s: float = 0.5
    import_max_bytes: int = 8 * 1024**3
    import_batch_rows: int = 100
    import_batches_at_once: int = 5
    vertex_location: str = "global"
    vertex_gateway: str = ""
    guard_log_days: int = 30

    @property
    def history_messages(self) -> int:
        """How many earlier messages are loaded at most: while a summary lags behind, those it is to cover stand in
        prompts as they are."""
        if not self.context_messages or not self.summary_tokens:
            return self.context_messages
        return self.context_messages + 4 * self.summary_every


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Pools, clients and rooms that must wait; everything else a flow needs arrives as an argument."""

    settings: PipelineSettings
    metrics: Metrics
    db: Database
    valkey: Valkey
    log: StreamLog
    channel: Channel
    producer: Producer
    http: HttpClients
    wires: Mapping[str, WireFormat]
    platform_providers: Mapping[str, PlatformProvider]
    embedder: LocalEmbedders
    tokens: TokenCounts
    files: Files
    ledger: Ledger
    chatbots: ChatbotDirectory
    keys: KeyDirectory
    provider_keys: KeyRing
    catalogue: Catalogue
    gates: Gates
    limiter: Limiter
    cache: ExactTier
    semantic: SemanticMemory
    intents: IntentMemory
    guard: GuardDesk
    reader: Reader
    couriers: Mapping[str, Courier]
    """Ways to deliver an alert, by kind of webhook; `email` only where a mail server is set."""
