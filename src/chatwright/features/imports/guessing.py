"""What a file's columns probably mean, by their names and by what stands in them. Pure.

The guess is shown before anything is imported, and each field of it can be set otherwise.
"""

from collections.abc import Sequence

import msgspec
from msgspec import UNSET

from chatwright.features.imports.dialect import Dialect
from chatwright.features.imports.mapping import FIELDS, ColumnMap, Field, role_of, zone_of
from chatwright.features.imports.records import Record
from chatwright.features.imports.times import read_time

_NAMES: dict[Field, tuple[str, ...]] = {
    "conversation": ("conversationid", "conversation", "convid", "ticketid", "ticket", "chatid", "threadid", "thread",
                     "sessionid", "session", "dialogueid", "dialogid", "caseid", "conversationuuid", "displayid", "chat",
                     "conv", "convo", "dialogue"),
    "message_id": ("messageid", "partid", "conversationpartid", "commentid", "msgid", "eventid", "uuid", "id", "sourceid"),
    "role": ("role", "authortype", "sendertype", "authorrole", "senderrole", "messagetype", "direction", "from",
             "speaker", "usertype", "inbound", "author", "sender", "type"),
    "text": ("text", "body", "content", "message", "messagebody", "messagetext", "plainbody", "commentbody", "comment",
             "utterance", "usermessage", "question", "query", "prompt", "input", "customermessage", "description"),
    "answer": ("answer", "reply", "response", "botresponse", "agentresponse", "completion", "output", "botreply"),
    "time": ("time", "timestamp", "createdat", "sentat", "date", "datetime", "created", "messagetime", "sent", "when",
             "at", "ts"),
    "visitor": ("visitorid", "visitor", "userid", "customerid", "contactid", "requesterid", "requester", "useremail",
                "customeremail", "email", "contact", "customer", "username", "user"),
    "messages": ("messages", "conversations", "turns", "conversationparts", "comments", "transcript"),
}  # fmt: skip
_SAMPLE = 200


def guess(columns: ColumnMap, dialect: Dialect, sample: Sequence[Record]) -> ColumnMap:
    """The map with every field that it leaves out guessed; null where nothing fits. `sample`: some of the first rows."""
    rows = [record for record in sample if not record.problem][:_SAMPLE]
    values = _values(dialect, rows)
    taken = set(columns.columns().values()) | set(columns.metadata)
    found: dict[Field, str | None] = {}
    for field in FIELDS:
        if getattr(columns, field) is not UNSET:
            continue
        found[field] = None
        ranked = sorted((rank, name) for name in dialect.columns if (rank := _rank(field, name)) is not None)
        for _, name in ranked:
            if field == "message_id":
                # Numbers that begin anew in each conversation are names as well.
                beside = found["conversation"] if "conversation" in found else columns.column("conversation")
                if not _are_names(dialect, rows, name, beside):
                    continue
            if name not in taken and _fits(field, values[name], columns):
                found[field] = name
                taken.add(name)
                break
    if found.get("messages") is not None and "text" in found:
        found["text"] = None  # the texts stand in the list
    if found.get("text", "") is None and found.get("messages", columns.column("messages")) is None:
        found["text"] = _longest(values, taken)
    if found.get("role") is not None and found.get("answer") is not None:
        found["answer"] = None  # a row has one writer, or both sides in it
    return msgspec.structs.replace(columns, **found)


def _rank(field: Field, name: str) -> int | None:
    """How well a column's name fits a field, 0 best; None: not at all."""
    plain = "".join(character for character in name.casefold() if character.isalnum())
    names = _NAMES[field]
    return names.index(plain) if plain in names else None


def _values(dialect: Dialect, sample: Sequence[Record]) -> dict[str, list[object]]:
    values: dict[str, list[object]] = {name: [] for name in dialect.columns}
    for record in sample:
        if record.value is not None:
            for name, seen in values.items():
                if (value := record.value.get(name)) not in (None, ""):
                    seen.append(value)
        else:
            for name, cell in zip(dialect.columns, record.cells, strict=False):
                if cell:
                    values[name].append(cell)
    return values


def _fits(field: Field, values: Sequence[object], columns: ColumnMap) -> bool:
    """Whether what stands in a column can be such a field at all."""
    if field == "messages":
        return bool(values) and all(isinstance(value, list) for value in values)
    texts = [value if isinstance(value, str) else str(value) for value in values if not isinstance(value, list | dict)]
    if not values:
        return field in ("message_id", "visitor", "answer")
    if len(texts) < len(values):
        return False
    if field == "time":
        zone = zone_of(columns)
        readable = sum(read_time(text, zone=zone, day_first=columns.day_first) is not None for text in texts)
        return readable * 10 >= 9 * len(texts)
    if field == "role":
        # A file's beginning may hold one side only; words that mean nothing yet are asked about before the import.
        known = sum(role_of(text, columns.roles) is not None for text in texts)
        return len(set(texts)) <= 20 and known * 2 >= len(texts)
    return True


def _are_names(dialect: Dialect, rows: Sequence[Record], name: str, beside: str | None) -> bool:
    """Whether nearly every value of the column stands there once, or once for each value of the column `beside` it."""
    told: list[tuple[object, ...]] = []
    for record in rows:
        fields = record.value if record.value is not None else dict(zip(dialect.columns, record.cells, strict=False))
        value = fields.get(name)
        if value not in (None, ""):
            told.append((str(value), str(fields.get(beside)) if beside is not None else None))
    return len(set(told)) * 10 >= 9 * len(told)


def _longest(values: dict[str, list[object]], taken: set[str]) -> str | None:
    """The column with the longest texts, if one has texts."""
    best, length = None, 0.0
    for name, found in values.items():
        texts = [value for value in found if isinstance(value, str)]
        if name in taken or not texts or len(texts) < len(found):
            continue
        mean = sum(map(len, texts)) / len(texts)
        if mean > length and any(" " in text.strip() or len(text) > 20 for text in texts):
            best, length = name, mean
    return best
