"""Shapes of imports in the native API."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from chatwright.entrypoints.wire import JsonObject, Request


class ImportAccepted(msgspec.Struct, frozen=True):
    id: str
    state: str
    quote_nano: int | None
    columns: JsonObject


class ImportReply(msgspec.Struct, frozen=True, kw_only=True):
    """`rows_read` is the sum of stored, failed and skipped ones. `stage`: reading, ordering, summarising, reporting or over;
    `reason` and `error` say why an import is paused or failed. `progress` is 0 to 1, `eta_s` null where nobody can tell. While
    its state is `deleting`, `conversations` are those that are left.
    The addresses open for 15 minutes without a key."""

    id: str
    state: str
    stage: str
    reason: str | None
    error: str | None
    chatbot_id: str
    source: str
    file: str
    size_bytes: int
    rows_read: int
    rows_stored: int
    rows_failed: int
    rows_skipped: int
    rows_recoded: int
    messages: int
    conversations: int
    summaries: int
    summaries_waiting: int
    rows_per_s: float | None
    progress: float
    eta_s: float | None
    quote_nano: int | None
    columns: JsonObject
    options: JsonObject
    report_url: str | None
    report_json_url: str | None
    errors_url: str | None
    created_at: str
    started_at: str | None
    finished_at: str | None


class ImportPage(msgspec.Struct, frozen=True):
    items: list[ImportReply]
    next_cursor: str | None


class ImportPatch(Request, frozen=True):
    """`limit_usd`: what the import may cost in all, a decimal string. Resume it afterwards."""

    limit_usd: Annotated[str, Meta(max_length=20)]


class PlanReply(msgspec.Struct, frozen=True, kw_only=True):
    """What a file would bring; nothing was stored. `is_whole` false: reckoned from its beginning. `quote_nano`: what
    summaries by the model would cost at most for what was looked at."""

    dialect: JsonObject
    columns: JsonObject
    rows: int
    failed: int
    skipped: dict[str, int]
    conversations: int
    messages: int
    visitor_messages: int
    characters: int
    is_whole: bool
    quote_nano: int | None
    sample: list[dict[str, str]]
    problems: list[JsonObject]
    presets: list[str]


class QuoteReply(msgspec.Struct, frozen=True):
    """Null: no price is known. 0: the chatbot has no language model, or one that costs nothing."""

    quote_nano: int | None
    quote_usd: str | None


class PresetReply(msgspec.Struct, frozen=True):
    name: str
    columns: JsonObject
    is_own: bool


class PresetPage(msgspec.Struct, frozen=True):
    items: list[PresetReply]
    next_cursor: None = None


class ImportRow(msgspec.Struct, frozen=True):
    """A row that failed."""

    row: int
    reason: str
    original: str


class ImportRowPage(msgspec.Struct, frozen=True):
    items: list[ImportRow]
    next_cursor: str | None


class ImportedConversation(msgspec.Struct, frozen=True):
    conversation_id: str
    first_at: str
    last_at: str
    summary: str


class ImportedPage(msgspec.Struct, frozen=True):
    items: list[ImportedConversation]
    next_cursor: str | None


class FaqEntry(msgspec.Struct, frozen=True):
    """A question that `asked` messages asked, and an agent's answer: to be reviewed."""

    question: str
    answer: str
    asked: int
    conversation_id: str
    message_id: str


class FaqReply(msgspec.Struct, frozen=True):
    """`markdown`: the same as a page, to be edited and added to a knowledge base."""

    items: list[FaqEntry]
    markdown: str


def plain(value: Any) -> JsonObject:
    """A struct as a JSON object."""
    fields: JsonObject = msgspec.to_builtins(value)
    return fields
