"""Which column means what: as an operator says it, by a preset for a common export, or guessed (`guessing.py`). Pure.

A map names columns of the file (keys, for JSON Lines). What it leaves out is guessed; what it sets to null is not used.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

import msgspec
from msgspec import UNSET, Meta, UnsetType

from chatwright.domain.errors import Unprocessable
from chatwright.features.imports.dialect import Dialect, Wishes

Role = Literal["visitor", "agent", "skip"]
Column = Annotated[str, Meta(min_length=1, max_length=200)]
Field = Literal["conversation", "message_id", "role", "text", "answer", "time", "visitor", "messages"]
FIELDS: tuple[Field, ...] = ("conversation", "message_id", "role", "text", "answer", "time", "visitor", "messages")

ROLES: dict[str, Role] = {
    **dict.fromkeys(
        ("visitor", "user", "customer", "enduser", "client", "contact", "lead", "human", "requester", "incoming",
         "inbound", "guest", "caller", "question", "prompter", "received", "true", "0"), "visitor",
    ),
    **dict.fromkeys(
        ("agent", "assistant", "bot", "admin", "operator", "teammate", "support", "staff", "ai", "gpt", "model",
         "company", "outgoing", "outbound", "answer", "reply", "sent", "template", "chatbot", "false", "1", "3"), "agent",
    ),
    **dict.fromkeys(("system", "note", "internal", "activity", "event", "private", "tool", "function", "2"), "skip"),
}  # fmt: skip
"""What exports call the two sides, in lower case without punctuation. `skip`: no part of the conversation."""

_ALIASES: dict[str, str] = {
    "conversation_id": "conversation",
    "id": "message_id",
    "message": "text",
    "content": "text",
    "body": "text",
    "timestamp": "time",
    "created_at": "time",
    "visitor_id": "visitor",
}

PRESETS: dict[str, dict[str, str]] = {
    "intercom": {
        "conversation": "Conversation ID", "message_id": "Part ID", "role": "Author type", "text": "Body",
        "time": "Created at", "visitor": "User ID",
    },
    "zendesk": {
        "conversation": "Ticket ID", "message_id": "Comment ID", "role": "Author role", "text": "Comment body",
        "time": "Comment created at", "visitor": "Requester ID",
    },
    "chatwoot": {
        "conversation": "conversation_id", "message_id": "id", "role": "message_type", "text": "content",
        "time": "created_at", "visitor": "contact_id",
    },
    "generic": {},
}  # fmt: skip
"""Maps for common exports. A column of a preset's that the file lacks is guessed; `generic` guesses all of them."""


class ColumnMap(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """See the module. `roles` says what a value of the role column means, over ROLES; `time_zone` is that of times without
    one; with `day_first` 03/04/2025 is the third of April. The last three say how the file is written."""

    preset: str | None = None
    conversation: Column | UnsetType | None = UNSET
    message_id: Column | UnsetType | None = UNSET
    role: Column | UnsetType | None = UNSET
    text: Column | UnsetType | None = UNSET
    answer: Column | UnsetType | None = UNSET
    time: Column | UnsetType | None = UNSET
    visitor: Column | UnsetType | None = UNSET
    messages: Column | UnsetType | None = UNSET
    metadata: Annotated[list[Column], Meta(max_length=20)] = []
    roles: dict[str, Role] = {}
    time_zone: str = "UTC"
    day_first: bool = False
    encoding: str | None = None
    delimiter: str | None = None
    has_header: bool | None = None

    def wishes(self) -> Wishes:
        return Wishes(encoding=self.encoding, delimiter=self.delimiter, has_header=self.has_header)

    def column(self, field: Field) -> str | None:
        """The column of a field; None where there is none."""
        value: str | UnsetType | None = getattr(self, field)
        return None if value is UNSET else value

    def columns(self) -> dict[Field, str]:
        """The fields that have a column."""
        return {field: column for field in FIELDS if (column := self.column(field)) is not None}


def read_map(given: Mapping[str, Any]) -> ColumnMap:
    """A map out of JSON. Raises Unprocessable for an unknown field, role or time zone."""
    renamed = {_ALIASES.get(name, name): value for name, value in given.items()}
    if isinstance(renamed.get("metadata"), str):
        renamed["metadata"] = [renamed["metadata"]]
    try:
        columns = msgspec.convert(renamed, ColumnMap)
    except msgspec.ValidationError as error:
        raise Unprocessable(
            f"{error}; a mapping names columns for {', '.join(FIELDS)} and metadata, and may have preset, roles, "
            "time_zone, day_first, encoding, delimiter and has_header",
            param="mapping",
        ) from error
    zone_of(columns)
    return columns


def over_preset(columns: ColumnMap, preset: Mapping[str, Any], dialect: Dialect) -> ColumnMap:
    """The map with what a preset says where the map is silent and the file has the column."""
    known = {_plain(name): name for name in dialect.columns}
    given = {
        name: known.get(_plain(value), value) if name in FIELDS and isinstance(value, str) else value
        for name, value in preset.items()
        if name not in FIELDS or not isinstance(value, str) or _plain(value) in known
    }
    own = {field: getattr(columns, field) for field in columns.__struct_fields__ if _is_said(columns, field)}
    return msgspec.convert({**given, **own}, ColumnMap)


def check_map(columns: ColumnMap, dialect: Dialect) -> None:
    """Raises Unprocessable when the file has no such column, or none with the text."""
    known = set(dialect.columns)
    for field, column in (*columns.columns().items(), *(("metadata", name) for name in columns.metadata)):
        if column not in known:
            shown = ", ".join(dialect.columns[:30])
            raise Unprocessable(f"the file has no column {column!r} for {field}; it has {shown}", param="mapping")
    if columns.column("text") is None and columns.column("messages") is None:
        raise Unprocessable(
            f"which column holds the text? Name it as text in the mapping; there are {', '.join(dialect.columns[:30])}",
            param="mapping",
        )


def zone_of(columns: ColumnMap) -> ZoneInfo:
    """Raises Unprocessable for a time zone that is not known."""
    try:
        return ZoneInfo(columns.time_zone)
    except (KeyError, ValueError, OSError) as error:
        raise Unprocessable(
            f"no time zone {columns.time_zone[:60]!r} is known; e.g. Europe/Berlin", param="mapping.time_zone"
        ) from error


def role_of(word: str, own: Mapping[str, Role]) -> Role | None:
    """What a value of the role column means; None for a word that nobody has said the meaning of."""
    return own.get(word) or own.get(word.strip().casefold()) or ROLES.get(_plain(word))


def _is_said(columns: ColumnMap, field: str) -> bool:
    value = getattr(columns, field)
    if field in FIELDS:
        return value is not UNSET
    default = ColumnMap()
    return value != getattr(default, field)


def _plain(name: str) -> str:
    return "".join(character for character in name.casefold() if character.isalnum())
