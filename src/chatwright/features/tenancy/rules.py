"""What a tenant's and a chatbot's fields may hold, and what each plan grants. Pure."""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

from chatwright.domain.chatbot import ProviderLink
from chatwright.domain.errors import Unprocessable
from chatwright.domain.ids import is_id

SLUG_MAX_CHARS = 63
_SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_WIDGET_ID = re.compile(r"cw_pub_[A-Za-z0-9_-]{1,100}")
_ORIGIN = re.compile(r"https?://(?:\[[0-9a-f:.]+\]|[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?)(?::[0-9]{1,5})?")
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanLimits:
    """What a plan grants. `weight` is the tenant's share of the workers against other tenants' (1.0 = equal)."""

    max_chatbots: int
    max_in_flight: int
    max_context_tokens: int
    weight: float


PLANS: Mapping[str, PlanLimits] = {
    "free": PlanLimits(max_chatbots=3, max_in_flight=8, max_context_tokens=4_096, weight=0.5),
    "standard": PlanLimits(max_chatbots=100, max_in_flight=64, max_context_tokens=16_384, weight=1.0),
    "enterprise": PlanLimits(max_chatbots=10_000, max_in_flight=512, max_context_tokens=131_072, weight=4.0),
}


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
    apology_text: str = ""
    hedging: bool | None = None


# Field name -> new value, only what is to change. The names are those of `NewChatbot` without `widget_id`.
ChatbotChanges = Mapping[str, Any]


def limits_of(plan: str) -> PlanLimits:
    """The limits of a plan. Raises Unprocessable for a plan that does not exist."""
    limits = PLANS.get(plan)
    if limits is None:
        raise Unprocessable(f"no such plan; use one of {', '.join(PLANS)}", param="plan")
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
