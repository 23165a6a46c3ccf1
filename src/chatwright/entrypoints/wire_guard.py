"""Shapes of the guard in the native API: its log, allow list, figures, the tenant's policy, a text tried."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from chatwright.entrypoints.wire import IdText, JsonObject, Request

TriedText = Annotated[str, Meta(min_length=1, max_length=32_000)]
RuleName = Annotated[str, Meta(min_length=1, max_length=64, pattern="^[a-z0-9_.*:-]+$")]


class GuardEventReply(msgspec.Struct, frozen=True):
    """One verdict. `rule` and `span` are the weightiest finding's, `rules` all of them; `score` is the model's, null where
    none read the text. `excerpt` has at most 120 characters. `wrong_at`: when somebody said that it was no attack."""

    id: str
    chatbot_id: str | None
    conversation_id: str | None
    message_id: str | None
    document_id: str | None
    direction: str
    rule: str
    rules: list[str]
    verdict: str
    score: float | None
    span: tuple[int, int]
    excerpt: str
    wrong_at: str | None
    created_at: str


class GuardEventPage(msgspec.Struct, frozen=True):
    items: list[GuardEventReply]
    next_cursor: str | None


class WrongRequest(Request, frozen=True):
    """What is allowed from now on: this `text`, whatever is found in it; or its `span` under its rule, in any text."""

    covers: Literal["text", "span"] = "text"


class AllowRequest(Request, frozen=True):
    """A text that is no attack; with a `rule`: words that this rule may find anywhere."""

    text: Annotated[str, Meta(min_length=1, max_length=4_000)]
    rule: RuleName = "*"


class AllowedReply(msgspec.Struct, frozen=True):
    """`rule` `*`: a whole text. `event_id`: what it was made of."""

    id: str
    rule: str
    excerpt: str
    event_id: str | None
    created_at: str


class AllowedPage(msgspec.Struct, frozen=True):
    items: list[AllowedReply]
    next_cursor: str | None


class GuardStatsReply(msgspec.Struct, frozen=True):
    """Events counted by `day` (UTC), `direction`, `rule` and `verdict`; `wrong` of them were marked so. `wave` says how many
    messages were flagged in the last ten minutes, how many usually are, and since when a wave is under way; null while
    that cannot be asked."""

    days: int
    events: int
    wrong: int
    rows: list[JsonObject]
    wave: JsonObject | None


class GuardPolicyReply(msgspec.Struct, frozen=True):
    """What all chatbots of the tenant inherit: a chatbot's own fields stand before these, lists are joined. `effective`
    has every field, as it holds for a chatbot that sets none."""

    policy: JsonObject
    effective: JsonObject


class TryRequest(Request, frozen=True):
    """A text, and under whose policy it is judged; without `chatbot` under the tenant's."""

    text: TriedText
    chatbot: IdText | None = None


class FindingBody(msgspec.Struct, frozen=True):
    rule: str
    span: tuple[int, int]
    excerpt: str
    score: float | None


class TryReply(msgspec.Struct, frozen=True):
    """`verdict` is what a first message of this text would get, `by_rules` the same without the model's `score` (null: no
    model could be had). `text` is what would be stored. `allowed`: it is on the allow list."""

    verdict: str
    by_rules: str
    score: float | None
    findings: list[FindingBody]
    allowed: bool
    text: str
    input: str
