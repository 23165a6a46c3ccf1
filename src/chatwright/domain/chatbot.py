"""A chatbot as its tenant configured it, at one revision."""

from dataclasses import dataclass, field
from typing import Any, Literal

from chatwright.domain.ids import ChatbotId, KnowledgeBaseId, TenantId
from chatwright.domain.scope import Scope

AnswerPolicy = Literal["sources_only", "sources_first"]
"""What a chatbot with knowledge does where its sources hold nothing: say that it does not know, or ask its model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderLink:
    """One link of a chatbot's provider chain. `base_url` and `key_id` override the platform's own for that provider."""

    provider: str
    model: str
    base_url: str | None = None
    key_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chatbot:
    """The effective configuration. Empty texts mean the platform's default.

    `has_knowledge` is False when the knowledge base is known to be empty or switched off: nothing need be looked up.
    """

    id: ChatbotId
    tenant_id: TenantId
    slug: str
    name: str
    widget_id: str
    revision: int = 1
    plan: str = "standard"
    """Its tenant's."""
    providers: tuple[ProviderLink, ...] = ()
    system_prompt: str = ""
    personality: str = ""
    temperature: float | None = None
    max_tokens: int = 1024
    knowledge_base_id: KnowledgeBaseId | None = None
    knowledge_enabled: bool = True
    has_knowledge: bool = True
    knowledge_version: int = 0
    """Rises with every change of its knowledge base's content; 0 where it was not asked for, or there is no base."""
    languages: tuple[str, ...] = ("en",)
    cache_policy: dict[str, Any] = field(default_factory=dict[str, Any])
    guard_policy: dict[str, Any] = field(default_factory=dict[str, Any])
    animation_set: dict[str, Any] = field(default_factory=dict[str, Any])
    allowed_origins: tuple[str, ...] = ()
    limits: dict[str, Any] = field(default_factory=dict[str, Any])
    greeting: str = ""
    suggested_questions: tuple[str, ...] = ()
    no_answer_text: str = ""
    answer_policy: AnswerPolicy = "sources_only"
    relevance_threshold: float | None = None
    """The relevance below which a passage is no source; None: as the platform says."""
    apology_text: str = ""
    hedging: bool | None = None
    """Whether a slow first provider is overtaken by the next one; None: as the platform says."""
    metadata_fields: tuple[str, ...] = ()
    """Names of the fields of a visitor's metadata that its prompts show."""
    persona: dict[str, Any] = field(default_factory=dict[str, Any])
    """How it speaks: tone, reading level, emoji, language, greetings by language."""
    reading_policy: dict[str, Any] = field(default_factory=dict[str, Any])
    """Who reads its visitors' messages: the local models, or a language model."""
    suggestion_policy: dict[str, Any] = field(default_factory=dict[str, Any])
    """Which actions it suggests with an answer."""
    burst_window_ms: int = 0
    """How long it waits for a next message, so that both are answered once; 0: not at all."""
    widget: dict[str, Any] = field(default_factory=dict[str, Any])
    """How its chat window looks: theme, avatar, texts, features."""
    created_at: str = ""
    updated_at: str = ""

    @property
    def policy(self) -> AnswerPolicy | None:
        """Its answer policy while it has knowledge; None without: then its model answers as it likes."""
        return self.answer_policy if self.knowledge_base_id is not None and self.has_knowledge else None

    @property
    def scope(self) -> Scope:
        return Scope(tenant_id=self.tenant_id, chatbot_id=self.id)
