"""What a tenant's and a chatbot's fields may hold, and what each plan grants. Pure."""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

from chatwright.domain.chatbot import AnswerPolicy, ProviderLink
from chatwright.domain.errors import Unprocessable
from chatwright.domain.ids import is_id
from chatwright.domain.limits import Limits

SLUG_MAX_CHARS = 63
_SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_WIDGET_ID = re.compile(r"cw_pub_[A-Za-z0-9_-]{1,100}")
_ORIGIN = re.compile(r"https?://(?:\[[0-9a-f:.]+\]|[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?)(?::[0-9]{1,5})?")
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanLimits:
    """What a plan grants. `weight` is the tenant's share of the workers against other tenants' (1.0 = equal),
    `max_priority` the most urgent that its messages can be, `max_context_tokens` the longest prompt that is built or taken for it."""

    max_chatbots: int
    max_context_tokens: int
    max_priority: int
    weight: float
    limits: Limits = field(default_factory=Limits)


PLANS: Mapping[str, PlanLimits] = {
    "free": PlanLimits(
        max_chatbots=3,
        max_context_tokens=4_096,
        max_priority=7,
        weight=0.5,
        limits=Limits(requests_per_minute=60, tokens_per_minute=100_000, concurrency=8),
    ),
    "standard": PlanLimits(max_chatbots=100, max_context_tokens=131_072, max_priority=10, weight=1.0),
    "pro": PlanLimits(
        max_chatbots=1_000,
        max_context_tokens=262_144,
        max_priority=10,
        weight=2.0,
        limits=Limits(requests_per_minute=6_000, tokens_per_minute=10_000_000, concurrency=256),
    ),
    "enterprise": PlanLimits(max_chatbots=10_000, max_context_tokens=1_048_576, max_priority=10, weight=4.0),
}
LIMIT_NAMES = ("requests_per_minute", "tokens_per_minute", "concurrency")
VISITOR_LIMIT_NAMES = ("visitor_requests_per_minute", "visitor_tokens_per_minute", "visitor_concurrency")
_LIMIT_AT_MOST = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class NewChatbot:
    """A chatbot to be made. `knowledge_base_id` None makes a knowledge base of its own."""

    name: str
    slug: str
    widget_id: str
    providers: tuple[ProviderLink, ...] = ()
    system_prompt: str = ""
    personality: str = ""
    temperature: float | None = None
    max_tokens: int = 1024
    knowledge_base_id: str | None = None
    knowledge_enabled: bool = True
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
    apology_text: str = ""
    hedging: bool | None = None
    metadata_fields: tuple[str, ...] = ()
    persona: dict[str, Any] = field(default_factory=dict[str, Any])
    reading_policy: dict[str, Any] = field(default_factory=dict[str, Any])
    suggestion_policy: dict[str, Any] = field(default_factory=dict[str, Any])
    burst_window_ms: int = 0
    widget: dict[str, Any] = field(default_factory=dict[str, Any])


# Field name -> new value, only what is to change. The names are those of `NewChatbot` without `widget_id`.
ChatbotChanges = Mapping[str, Any]


def limits_of(plan: str) -> PlanLimits:
    """The limits of a plan. Raises Unprocessable for a plan that does not exist."""
    limits = PLANS.get(plan)
    if limits is None:
        raise Unprocessable(f"no such plan; use one of {', '.join(PLANS)}", param="plan")
    return limits


def plan_of(name: str) -> PlanLimits:
    """The limits of a stored tenant's plan; of `standard` where the stored one is not known any more."""
    return PLANS.get(name) or PLANS["standard"]


def check_limits(limits: Mapping[str, Any], *, names: tuple[str, ...] = LIMIT_NAMES) -> Mapping[str, Any]:
    """Return rate limits if each is known and a whole number from 0 (none), else raise Unprocessable."""
    for name, value in limits.items():
        if name not in names:
            raise Unprocessable(f"no such limit: {name!r}; there are {', '.join(names)}"[:300], param="limits")
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _LIMIT_AT_MOST:
            raise Unprocessable(f"{name} is a whole number from 0 to {_LIMIT_AT_MOST:,}", param=f"limits.{name}")
    return limits


def is_slug(text: str) -> bool:
    """Whether `text` can name a chatbot: lower-case letters, digits and hyphens, and never an identifier's shape."""
    return _SLUG.fullmatch(text) is not None and not is_id(text)


def is_widget_id(text: str) -> bool:
    """Whether `text` can be a widget id; anything else is unknown without asking."""
    return _WIDGET_ID.fullmatch(text) is not None


def check_slug(text: str) -> str:
    """Return `text` if it is a slug, else raise Unprocessable naming the field."""
    if not is_slug(text):
        raise Unprocessable(
            "a slug is 1 to 63 lower-case letters, digits and hyphens, starts with a letter or digit and is no UUID",
            param="slug",
        )
    return text


def slug_from_name(name: str) -> str:
    """Derive a slug from a display name; "chatbot" when nothing of it is left."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:SLUG_MAX_CHARS].rstrip("-")
    return slug if slug and is_slug(slug) else "chatbot"


def check_time_zone(name: str) -> str:
    """Return `name` if the IANA data knows it, else raise Unprocessable."""
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # not found, a path outside the data, a name too long for the file system
        raise Unprocessable("no such time zone; use an IANA name such as Europe/Berlin", param="time_zone") from None
    return name


def normalize_origin(origin: str) -> str:
    """Bring an allowed origin into the form that browsers send: lower case, no path, no default port.

    Raises Unprocessable for anything that is not scheme://host[:port]; patterns are refused, because an allow-list
    that matches by pattern is one mistake away from matching everything.
    """
    text = origin.strip().lower().removesuffix("/")
    if _ORIGIN.fullmatch(text) is None:
        raise Unprocessable("an origin is http(s)://host[:port] without a path or a pattern", param="allowed_origins")
    scheme, _, _ = text.partition(":")
    return text.removesuffix(_DEFAULT_PORTS[scheme])
