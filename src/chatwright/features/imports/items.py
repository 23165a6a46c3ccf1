"""A row becomes messages with ids of their own: the same row always the same ids, so that nothing is stored twice. Pure.

An id is made of tenant, chatbot, source, the conversation's name in the file, and the message's; a message without a name
is told by its place in the file and what it says. What is changed about a text is written down here and in
docs/how-to/import-conversations.md: NUL is taken out, and halves of characters become U+FFFD.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from hashlib import blake2b
from typing import Any, Literal, cast

import msgspec

from chatwright.domain.ids import ChatbotId, ConversationId, TenantId
from chatwright.features.imports.dialect import Dialect
from chatwright.features.imports.mapping import ColumnMap, Role, role_of, zone_of
from chatwright.features.imports.records import Record
from chatwright.features.imports.times import read_time

Side = Literal["visitor", "agent"]
Redact = Callable[[str], str]

NAME_AT_MOST_CHARS = 500
VISITOR_AT_MOST_CHARS = 200
_METADATA_CHARS = 500
_TURNS_AT_MOST = 10_000
_COUNTED = re.compile(r"[0-9]{1,12}\Z")
_SURROGATES = re.compile("[\ud800-\udfff]")


class Item(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One message of a conversation. `id` is that of the row it becomes; `number` is its row in the file."""

    conversation_id: ConversationId
    id: str
    side: Side
    text: str
    number: int
    at: datetime | None = None
    visitor: str = ""
    metadata: dict[str, Any] | None = None


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """A row that was not taken, and why. `raw` is the row, or how it begins."""

    number: int
    reason: str
    raw: str


class Skipped(Exception):
    """A row that is no message and no error: `reason` is `empty` or `role`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _Bad(Exception):
    """A row cannot be taken; the text says why."""


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What came of some rows. `skipped` counts rows by reason."""

    items: list[Item]
    problems: list[Problem]
    skipped: dict[str, int]


class ItemMaker:
    """Makes items of one import's rows. `redact` changes texts before they go anywhere."""

    def __init__(
        self,
        *,
        tenant_id: TenantId,
        chatbot_id: ChatbotId,
        source: str,
        columns: ColumnMap,
        dialect: Dialect,
        redact: Redact | None = None,
    ) -> None:
        self._key = blake2b(f"{tenant_id}\0{chatbot_id}\0{source}".encode(), digest_size=32).digest()
        self._columns = columns
        self._zone = zone_of(columns)
        self._redact = redact
        self._dialect = dialect
        place = {name: at for at, name in enumerate(dialect.columns)}
        self._of = {field: (name, place.get(name, -1)) for field, name in columns.columns().items()}
        self._metadata = [(name, place.get(name, -1)) for name in columns.metadata]
        self._roles: dict[str, Role | None] = {}

    def make(self, records: Sequence[Record]) -> Reading:
        """The rows' items in the rows' order, and what became of the others."""
        items: list[Item] = []
        problems: list[Problem] = []
        skipped: dict[str, int] = {}
        for record in records:
            if record.problem:
                problems.append(Problem(number=record.number, reason=record.problem, raw=record.raw))
                continue
            try:
                items += self._items(record)
            except Skipped as skip:
                skipped[skip.reason] = skipped.get(skip.reason, 0) + 1
            except _Bad as bad:
                problems.append(Problem(number=record.number, reason=str(bad), raw=self._shown(record)))
        return Reading(items=items, problems=problems, skipped=skipped)

    def _items(self, record: Record) -> list[Item]:
        if "messages" in self._of:
            return self._turns(record)
        text = self._text(record, "text")
        answer = self._text(record, "answer") if "answer" in self._of else ""
        side = self._side(self._text(record, "role")) if "role" in self._of else "visitor"
        if not text.strip() and not answer.strip():
            raise Skipped("empty")
        name = self._name(record, "message_id")
        digest, conversation_id = self._conversation(record, name, f"{text}\0{answer}")
        at, metadata = self._time(self._text(record, "time")), self._own(record)
        visitor = self._visitor(self._text(record, "visitor"))
        made: list[Item] = []
        for part, (said, by) in enumerate(((text, side), (answer, "agent"))):
            if said.strip():
                made.append(
                    Item(
                        conversation_id=conversation_id,
                        id=self._id(digest, name, record.number, part, by, said),
                        side=cast("Side", by),
                        text=self._shown_text(said),
                        number=record.number,
                        at=at,
                        visitor=visitor,
                        metadata=metadata if part == 0 else None,
                    )
                )
        return made

    def _turns(self, record: Record) -> list[Item]:
        """The messages of a conversation that stands in one JSON object."""
        turns: object = (record.value or {}).get(self._of["messages"][0])
        if not isinstance(turns, list):
            raise _Bad(f"`{self._of['messages'][0]}` is no list of messages")
        listed = cast("list[object]", turns)
        if len(listed) > _TURNS_AT_MOST:
            raise _Bad(f"{len(listed):,} messages in one row; at most {_TURNS_AT_MOST:,}")
        whole = msgspec.json.encode(listed).decode()
        digest, conversation_id = self._conversation(record, self._name(record, "message_id"), whole)
        visitor = self._visitor(self._text(record, "visitor"))
        row_time, metadata = self._time(self._text(record, "time")), self._own(record)
        made: list[Item] = []
        for place, turn in enumerate(listed):
            if not isinstance(turn, dict):
                raise _Bad(f"message {place + 1} is no object")
            fields = cast("dict[str, object]", turn)
            said = _clean(_first(fields, "content", "text", "body", "message", "value"))
            word = _first(fields, "role", "author_type", "sender_type", "from", "author", "type")
            role = self._role(word) if word else "visitor"
            if role is None:
                raise _Bad(_unknown_role(word))
            if role == "skip" or not said.strip():
                continue
            name = _first(fields, "id", "message_id")[:NAME_AT_MOST_CHARS]
            moment = _first(fields, "created_at", "timestamp", "time", "date")
            made.append(
                Item(
                    conversation_id=conversation_id,
                    id=self._id(digest, name or f"\0{place}", record.number, place, role, said),
                    side=role,
                    text=self._shown_text(said),
                    number=record.number,
                    at=self._time(moment) or row_time,
                    visitor=visitor,
                    metadata=metadata if not made else None,
                )
            )
        if not made:
            raise Skipped("empty")
        return made

    # Cells -------------------------------------------------------------------------------------------------------------

    def _text(self, record: Record, field: str) -> str:
        """A field's cell without NUL and broken characters; "" where there is no such column."""
        found = self._of.get(cast("Any", field))
        return "" if found is None else self._cell(record, *found)

    def _cell(self, record: Record, name: str, place: int) -> str:
        if record.value is not None:
            return _clean(record.value.get(name))
        try:
            cell = record.cells[place]
        except IndexError:
            raise _Bad(f"the row ends before column {name!r}: it has {len(record.cells)} cells") from None
        return cell if cell.isprintable() else _clean(cell)

    def _name(self, record: Record, field: str) -> str:
        name = self._text(record, field).strip()
        if len(name) > NAME_AT_MOST_CHARS:
            raise _Bad(f"the {field} is longer than {NAME_AT_MOST_CHARS} characters")
        return name

    def _side(self, word: str) -> Side:
        role = self._role(word)
        if role is None:
            raise _Bad(_unknown_role(word))
        if role == "skip":
            raise Skipped("role")
        return role

    def _role(self, word: str) -> Role | None:
        if word not in self._roles:
            if len(self._roles) > 1_000:
                self._roles.clear()  # a column of free texts: each is looked up, none remembered for long
            self._roles[word] = role_of(word, self._columns.roles)
        return self._roles[word]

    def _time(self, text: str) -> datetime | None:
        if not text or text.isspace():
            return None
        moment = read_time(text, zone=self._zone, day_first=self._columns.day_first)
        if moment is None:
            raise _Bad(f"the time {text[:60]!r} cannot be read, or lies outside 1990 to 2100")
        return moment

    def _own(self, record: Record) -> dict[str, Any] | None:
        own = {
            name: self._shown_text(cell)[:_METADATA_CHARS]
            for name, at in self._metadata
            if (cell := self._cell(record, name, at))
        }
        return own or None

    def _visitor(self, text: str) -> str:
        name = text.strip()
        # What is left of a redacted name is the same for all of them, and would make one visitor of everybody.
        return name[:VISITOR_AT_MOST_CHARS] if self._shown_text(name) == name else ""

    def _shown_text(self, text: str) -> str:
        return text if self._redact is None else self._redact(text)

    def _shown(self, record: Record) -> str:
        if record.value is not None:
            return msgspec.json.encode(record.value).decode()[:2_000]
        return self._dialect.delimiter.join(record.cells)[:2_000].replace("\x00", "")

    # Ids ---------------------------------------------------------------------------------------------------------------

    def _conversation(self, record: Record, message_name: str, said: str) -> tuple[str, ConversationId]:
        """The conversation's digest and id. Without a column for it each row is a conversation, told by the message's name,
        or by its place and what it says."""
        if "conversation" in self._of:
            name = self._name(record, "conversation")
            if not name:
                raise _Bad("the row names no conversation")
            text, told = f"c\0{name}", name
        elif message_name:
            text, told = f"r\0{message_name}", message_name
        else:
            text, told = f"n\0{record.number}\0{said}", str(record.number)
        digest = blake2b(text.encode(), key=self._key, digest_size=16).hexdigest()
        # What ends in a number, as most systems count their conversations, is stored and listed in that order: an index
        # that grows at random writes several times as much. 12 digits stay below every id that begins with a time.
        counted = _COUNTED.search(told)
        place = f"{int(counted[0]):012x}" if counted is not None else ""
        where = place or "000000000000"
        conversation_id = f"{where[:8]}-{where[8:]}-8{digest[:3]}-{_VARIANT[digest[3]]}{digest[4:7]}-{digest[7:19]}"
        return f"{place or digest[:12]}{digest}", ConversationId(conversation_id)

    def _id(self, digest: str, name: str, number: int, part: int, side: str, text: str) -> str:
        """A message's id. It begins as its conversation's digest does: what is read together lies together."""
        told = f"m\0{digest}\0{name}\0{part}" if name else f"p\0{digest}\0{number}\0{part}\0{side}\0{text}"
        own = blake2b(told.encode(), key=self._key, digest_size=10).hexdigest()
        return f"{digest[:8]}-{digest[8:12]}-8{own[:3]}-{_VARIANT[own[3]]}{own[4:7]}-{own[7:19]}"


def empty_message_id(answer_id: str) -> str:
    """The id of the message without words that an agent's message hangs on when no visitor's precedes it."""
    own = blake2b(answer_id.encode(), digest_size=9).hexdigest()
    return f"{answer_id[:14]}9{own[:3]}-{_VARIANT[own[3]]}{own[4:7]}-{answer_id[24:32]}{own[7:11]}"


_VARIANT = {character: "89ab"[int(character, 16) & 3] for character in "0123456789abcdef"}


def _clean(value: object) -> str:
    """A cell as text that can be stored: no NUL, no half characters."""
    if value is None:
        return ""
    if not isinstance(value, str):
        if isinstance(value, bool | int | float):
            return str(value).lower() if isinstance(value, bool) else str(value)
        value = msgspec.json.encode(value).decode()
    if "\x00" in value:
        value = value.replace("\x00", "")
    return _SURROGATES.sub("\ufffd", value)


def _first(fields: Mapping[str, object], *names: str) -> str:
    for name in names:
        if (value := fields.get(name)) not in (None, ""):
            return _clean(value)
    return ""


def _unknown_role(word: str) -> str:
    return f"the role {word[:60]!r} is not known; say in roles whether it is visitor, agent or skip"
