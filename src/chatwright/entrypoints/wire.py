"""Shapes of the native API: requests, replies. Frames of the socket are in `wire_frames.py`, OpenAI's in `wire_openai.py`,
knowledge's in `wire_knowledge.py`.

Requests refuse unknown fields; lengths and ranges stand in the types, so the OpenAPI document says the same as the
decoder does. Money is integer nanodollars, times are RFC 3339 in UTC.
"""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from chatwright.domain.chatbot import AnswerPolicy

Name = Annotated[str, Meta(min_length=1, max_length=200)]
ShortText = Annotated[str, Meta(max_length=2_000)]
LongText = Annotated[str, Meta(max_length=32_000)]
SlugText = Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9-]{0,62}$")]
IdText = Annotated[str, Meta(max_length=64)]
Temperature = Annotated[float, Meta(ge=0, le=2)]
MaxTokens = Annotated[int, Meta(ge=1, le=131_072)]
Priority = Annotated[int, Meta(ge=1, le=10)]
Origins = Annotated[list[Annotated[str, Meta(max_length=300)]], Meta(max_length=100)]
Languages = Annotated[list[Annotated[str, Meta(min_length=2, max_length=35)]], Meta(max_length=50)]
Questions = Annotated[list[Annotated[str, Meta(min_length=1, max_length=300)]], Meta(max_length=10)]
FieldNames = Annotated[list[Annotated[str, Meta(min_length=1, max_length=64)]], Meta(max_length=8)]
BurstWindow = Annotated[int, Meta(ge=0, le=10_000)]
Share = Annotated[float, Meta(ge=0, le=1)]
ClientKey = Annotated[str, Meta(min_length=1, max_length=255)]
VisitorId = Annotated[str, Meta(min_length=1, max_length=200)]
MediaType = Literal["text/plain", "text/markdown", "text/html"]
JsonObject = dict[str, Any]

MESSAGE_TEXT_AT_MOST = 32_000


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of all request bodies."""


class ErrorDetail(msgspec.Struct, frozen=True):
    type: str
    code: str
    message: str
    param: str | None
    request_id: str


class ErrorReply(msgspec.Struct, frozen=True, omit_defaults=True):
    """Every refusal. `message_id` and `conversation_id` are there when a message was accepted before it failed."""

    error: ErrorDetail
    message_id: str | None = None
    conversation_id: str | None = None


# Tenants and keys ---------------------------------------------------------------------------------------------------


class TenantCreate(Request, frozen=True):
    name: Name
    plan: Annotated[str, Meta(max_length=50)] = "standard"
    time_zone: Annotated[str, Meta(max_length=100)] = "UTC"


class TenantPatch(Request, frozen=True):
    name: Name | None = None
    plan: Annotated[str, Meta(max_length=50)] | None = None
    time_zone: Annotated[str, Meta(max_length=100)] | None = None
    disabled: bool | None = None


class KeyReply(msgspec.Struct, frozen=True):
    id: str
    kind: str
    name: str
    prefix: str
    limits: JsonObject
    created_at: str
    last_used_at: str | None
    revoked_at: str | None


class NewKeyReply(KeyReply, frozen=True):
    """`secret` is shown here once and never again."""

    secret: str


class TenantReply(msgspec.Struct, frozen=True):
    id: str
    name: str
    plan: str
    time_zone: str
    weight: float
    disabled_at: str | None
    created_at: str


class NewTenantReply(TenantReply, frozen=True):
    key: NewKeyReply


class TenantPage(msgspec.Struct, frozen=True):
    items: list[TenantReply]
    next_cursor: str | None


class KeyCreate(Request, frozen=True):
    """`limits`: requests_per_minute, tokens_per_minute, concurrency of this key alone; for good."""

    name: Annotated[str, Meta(max_length=200)] = ""
    limits: JsonObject = {}


class KeyRotate(Request, frozen=True):
    """`overlap_s`: seconds for which the old key goes on working."""

    overlap_s: Annotated[float, Meta(ge=0, le=30 * 86_400)] = 0.0


class KeyPage(msgspec.Struct, frozen=True):
    items: list[KeyReply]
    next_cursor: str | None


# Chatbots -----------------------------------------------------------------------------------------------------------


class ProviderLinkBody(Request, frozen=True):
    provider: Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9_-]{0,62}$")]
    model: Annotated[str, Meta(max_length=200)] = ""
    base_url: Annotated[str, Meta(max_length=2_000)] | None = None
    key_id: IdText | None = None


ProviderChain = Annotated[list[ProviderLinkBody], Meta(max_length=8)]


class ChatbotCreate(Request, frozen=True):
    """`slug` is derived from the name when absent; `knowledge_base_id` absent makes a knowledge base of its own."""

    name: Name
    slug: SlugText | None = None
    providers: ProviderChain = []
    system_prompt: LongText = ""
    personality: ShortText = ""
    temperature: Temperature | None = None
    max_tokens: MaxTokens = 1024
    knowledge_base_id: IdText | None = None
    knowledge_enabled: bool = True
    languages: Languages = msgspec.field(default_factory=lambda: ["en"])
    cache_policy: JsonObject = {}
    guard_policy: JsonObject = {}
    animation_set: JsonObject = {}
    allowed_origins: Origins = []
    limits: JsonObject = {}
    greeting: ShortText = ""
    suggested_questions: Questions = []
    no_answer_text: ShortText = ""
    answer_policy: AnswerPolicy = "sources_only"
    relevance_threshold: Share | None = None
    apology_text: ShortText = ""
    hedging: bool | None = None
    metadata_fields: FieldNames = []
    persona: JsonObject = {}
    reading_policy: JsonObject = {}
    suggestion_policy: JsonObject = {}
    burst_window_ms: BurstWindow = 0
    widget: JsonObject = {}


class ChatbotPatch(Request, frozen=True):
    """Only the fields that are given change."""

    name: Name | UnsetType = UNSET
    slug: SlugText | UnsetType = UNSET
    providers: ProviderChain | UnsetType = UNSET
    system_prompt: LongText | UnsetType = UNSET
    personality: ShortText | UnsetType = UNSET
    temperature: Temperature | UnsetType | None = UNSET
    max_tokens: MaxTokens | UnsetType = UNSET
    knowledge_base_id: IdText | UnsetType | None = UNSET
    knowledge_enabled: bool | UnsetType = UNSET
    languages: Languages | UnsetType = UNSET
    cache_policy: JsonObject | UnsetType = UNSET
    guard_policy: JsonObject | UnsetType = UNSET
    animation_set: JsonObject | UnsetType = UNSET
    allowed_origins: Origins | UnsetType = UNSET
    limits: JsonObject | UnsetType = UNSET
    greeting: ShortText | UnsetType = UNSET
    suggested_questions: Questions | UnsetType = UNSET
    no_answer_text: ShortText | UnsetType = UNSET
    answer_policy: AnswerPolicy | UnsetType = UNSET
    relevance_threshold: Share | UnsetType | None = UNSET
    apology_text: ShortText | UnsetType = UNSET
    hedging: bool | UnsetType | None = UNSET
    metadata_fields: FieldNames | UnsetType = UNSET
    persona: JsonObject | UnsetType = UNSET
    reading_policy: JsonObject | UnsetType = UNSET
    suggestion_policy: JsonObject | UnsetType = UNSET
    burst_window_ms: BurstWindow | UnsetType = UNSET
    widget: JsonObject | UnsetType = UNSET


class ChatbotReply(msgspec.Struct, frozen=True):
    """`warnings`: what is wrong with its instructions, each with `code`, `field` and `message`; empty in lists."""

    id: str
    tenant_id: str
    slug: str
    name: str
    widget_id: str
    revision: int
    providers: list[JsonObject]
    system_prompt: str
    personality: str
    temperature: float | None
    max_tokens: int
    knowledge_base_id: str | None
    knowledge_enabled: bool
    has_knowledge: bool
    knowledge_version: int
    languages: list[str]
    cache_policy: JsonObject
    guard_policy: JsonObject
    animation_set: JsonObject
    allowed_origins: list[str]
    limits: JsonObject
    greeting: str
    suggested_questions: list[str]
    no_answer_text: str
    answer_policy: str
    relevance_threshold: float | None
    apology_text: str
    hedging: bool | None
    metadata_fields: list[str]
    persona: JsonObject
    reading_policy: JsonObject
    suggestion_policy: JsonObject
    burst_window_ms: int
    widget: JsonObject
    plan: str
    created_at: str
    updated_at: str
    warnings: list[JsonObject] = msgspec.field(default_factory=list[JsonObject])


class ChatbotPage(msgspec.Struct, frozen=True):
    items: list[ChatbotReply]
    next_cursor: str | None


# Visitors and conversations -----------------------------------------------------------------------------------------


class ConversationCreate(Request, frozen=True):
    """`chatbot` is a slug or id; a visitor's token names its chatbot itself."""

    chatbot: Annotated[str, Meta(max_length=200)] | None = None
    visitor_id: VisitorId | None = None
    metadata: JsonObject = {}


class ConversationReply(msgspec.Struct, frozen=True):
    id: str
    chatbot_id: str
    visitor_id: str
    metadata: JsonObject
    created_at: datetime
    last_seq: int = 0


class ConversationPage(msgspec.Struct, frozen=True):
    items: list[ConversationReply]
    next_cursor: str | None


class MessageCreate(Request, frozen=True):
    text: Annotated[str, Meta(min_length=1)]
    client_message_id: ClientKey | None = None
    priority: Priority | None = None
    metadata: JsonObject = {}


class AcceptedReply(msgspec.Struct, frozen=True):
    message_id: str
    conversation_id: str
    stream_id: str


class AnswerBody(msgspec.Struct, frozen=True):
    id: str
    text: str
    sources: list[JsonObject]
    animation: str | None
    suggested_actions: list[JsonObject]
    confidence: float | None
    grounding: float | None
    grounded: bool | None
    usage: JsonObject
    cost_nano: int | None
    cached: str
    provider: str
    model: str
    partial: bool


class FinishedReply(msgspec.Struct, frozen=True):
    """`merged_into`: the later message that this one was answered together with; its answer is this one's."""

    message_id: str
    conversation_id: str
    stream_id: str
    state: str
    reading: JsonObject | None
    answer: AnswerBody | None
    merged_into: str | None = None


class CancelReply(msgspec.Struct, frozen=True):
    message_id: str
    state: str


class TranscriptPage(msgspec.Struct, frozen=True):
    items: list[JsonObject]
    next_cursor: str | None


class ConversationDetail(ConversationReply, frozen=True):
    """A conversation with the first page of its transcript."""

    items: list[JsonObject] = []
    next_cursor: str | None = None


# Jobs, analysis, money, audit -----------------------------------------------------------------------------


class JobCreate(Request, frozen=True):
    type: Annotated[str, Meta(max_length=50)]
    chatbot: Annotated[str, Meta(max_length=200)] | None = None
    payload: JsonObject = {}
    priority: Priority | None = None
    deadline: Annotated[datetime, Meta(tz=True)] | None = None
    cost_estimate_nano: Annotated[int, Meta(ge=0, le=2**62)] | None = None


class JobAccepted(msgspec.Struct, frozen=True):
    id: str


class DeadLetterReplay(Request, frozen=True):
    """`payload` replaces the job's own: edit and replay."""

    payload: JsonObject | None = None


class DeadLetterReplayed(msgspec.Struct, frozen=True):
    id: str
    job_id: str


class AnalyzeRequest(Request, frozen=True):
    """With a `chatbot` (slug or id) the texts are also sorted by its own intents."""

    texts: Annotated[list[Annotated[str, Meta(max_length=32_000)]], Meta(min_length=1, max_length=256)]
    chatbot: Annotated[str, Meta(max_length=200)] | None = None


class AnalyzeReply(msgspec.Struct, frozen=True):
    results: list[JsonObject]


class UsageReply(msgspec.Struct, frozen=True):
    """Sums over [since, until); days are those of `time_zone`."""

    rows: list[JsonObject]
    total: JsonObject
    since: str
    until: str
    time_zone: str


class Page(msgspec.Struct, frozen=True):
    """A cursor page: `next_cursor` goes back as ``?cursor=`` and is null on the last page."""

    items: list[JsonObject]
    next_cursor: str | None
