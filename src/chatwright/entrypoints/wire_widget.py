"""Shapes of what the widget asks for: its configuration, its token, and what visitors say of answers.

`widget/src/core/wire.gen.ts` and the interfaces of `widget/src/config.ts` say the same in TypeScript (tested).
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from chatwright.domain.events import UsageView
from chatwright.entrypoints.wire import Request, VisitorId
from chatwright.features.feedback import COMMENT_AT_MOST, Rating
from chatwright.features.tenancy.widget import AvatarKind, Position, Scheme, Tier


class ThemeConfig(msgspec.Struct, frozen=True):
    """Colours as #rrggbb, lengths in CSS pixels."""

    accent: str
    scheme: Scheme
    position: Position
    offset_x: int
    offset_y: int
    radius: int


class AvatarColors(msgspec.Struct, frozen=True):
    shell: str
    accent: str
    glass: str
    glow: str


class AvatarConfig(msgspec.Struct, frozen=True):
    """`url` is null but for the kind "model"; `clips`: animation -> name of a clip in the model."""

    kind: AvatarKind
    url: str | None
    clips: dict[str, str]
    colors: AvatarColors
    tier: Tier


class TextsConfig(msgspec.Struct, frozen=True):
    """Words of the operator's own, in the configuration's language; null: the widget's."""

    title: str | None
    launcher: str | None
    placeholder: str | None
    error: str | None
    over_limit: str | None
    offline: str | None
    handoff: str | None


class FeaturesConfig(msgspec.Struct, frozen=True):
    feedback: bool
    transcript: bool
    read_aloud: bool
    images: bool


class WidgetConfigReply(msgspec.Struct, frozen=True):
    widget_id: str
    name: str
    greeting: str
    suggested_questions: list[str]
    locale: str
    theme: ThemeConfig
    avatar: AvatarConfig
    texts: TextsConfig
    features: FeaturesConfig


class WidgetTokenRequest(Request, frozen=True):
    widget_id: Annotated[str, Meta(max_length=200)]
    visitor_id: VisitorId | None = None


class WidgetTokenReply(msgspec.Struct, frozen=True):
    token: str
    expires_at: str
    visitor_id: str


class RatingRequest(Request, frozen=True):
    """`rating` null takes an earlier word back, with its comment."""

    rating: Rating | None
    comment: Annotated[str, Meta(max_length=COMMENT_AT_MOST)] = ""


class RatingReply(msgspec.Struct, frozen=True):
    message_id: str
    answer_id: str
    rating: Rating | None
    comment: str


class FeedbackItem(msgspec.Struct, frozen=True):
    """`question` and `answer` as the visitor read them; `cached` says whether the answer came from a cache."""

    id: str
    chatbot_id: str
    conversation_id: str
    message_id: str
    answer_id: str
    visitor_id: str
    rating: Rating
    comment: str
    question: str
    answer: str
    sources: list[dict[str, Any]]
    cached: str
    provider: str
    model: str
    created_at: str
    updated_at: str


class FeedbackPage(msgspec.Struct, frozen=True):
    items: list[FeedbackItem]
    next_cursor: str | None


class FeedbackDay(msgspec.Struct, frozen=True):
    day: str
    up: int
    down: int


class FeedbackSummaryReply(msgspec.Struct, frozen=True):
    """Counts over [since, until), by day of `time_zone`. `share`: of thumbs up, 0..1; null where nobody rated. `comments`:
    ratings that came with one."""

    up: int
    down: int
    share: float | None
    comments: int
    days: list[FeedbackDay]
    since: str
    until: str
    time_zone: str


# Shapes that are written elsewhere as plain objects; here they are named for those who read them -----------------------


class SuggestedAction(msgspec.Struct, frozen=True):
    """What a visitor may do next: ask `value`, open it, ask for a person, fill in a form."""

    label: str
    kind: Literal["reply", "link", "handoff", "form"]
    value: str


class TranscriptMessage(msgspec.Struct, frozen=True):
    """A visitor's line of a transcript."""

    id: str
    message_id: str
    role: Literal["visitor"]
    text: str
    state: str
    ordinal: int
    created_at: str
    error_code: str | None
    error_message: str | None
    reading: dict[str, Any] | None
    metadata: dict[str, Any]
    merged_into: str | None


class TranscriptAnswer(msgspec.Struct, frozen=True):
    """An answer's line of a transcript. `rating` is the visitor's word on it."""

    id: str
    message_id: str
    role: Literal["assistant"]
    text: str
    state: str
    ordinal: int
    created_at: str
    sources: list[dict[str, Any]]
    animation: str | None
    suggested_actions: list[dict[str, Any]]
    confidence: float | None
    grounding: float | None
    grounded: bool | None
    provider: str
    model: str
    cost_nano: int | None
    cached: str
    partial: bool
    chunk_count: int
    processing_ms: int
    usage: UsageView
    rating: Rating | None
    tone: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
