"""Messages of a conversation as rows: who answers whom, in which order. Pure.

The tables know visitors' messages and one answer to each. An agent's message answers the visitor's before it; a second
one, or one that opens a conversation, hangs on a message without words, which transcripts leave out. So each message of the
file is one line of the transcript.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import groupby
from operator import attrgetter

import msgspec

from chatwright.domain.ids import ConversationId
from chatwright.features.imports.items import Item, empty_message_id

ANSWERED, UNANSWERED = "answered", "handed_off"
"""States of imported messages. Nobody here is to answer them, so none is open."""


class Tail(msgspec.Struct, frozen=True, kw_only=True):
    """How a conversation that was there before ends. `open_message_id`: its last message, if that has no answer."""

    next_ordinal: int = 1
    open_message_id: str | None = None
    last_at: datetime | None = None


class MessageRow(msgspec.Struct, kw_only=True):
    """A row of `messages`. `item` is None for one without words."""

    id: str
    conversation_id: ConversationId
    ordinal: int
    at: datetime
    state: str = UNANSWERED
    item: Item | None = None


class AnswerRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `answers`."""

    message_id: str
    at: datetime
    item: Item


class Arranged(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be written of one conversation. `answered`: an earlier message that has its answer now. `is_unordered`:
    something of it is older than what was there before."""

    conversation_id: ConversationId
    messages: list[MessageRow]
    answers: list[AnswerRow]
    next_ordinal: int
    visitor: str
    first_at: datetime
    last_at: datetime
    answered: str | None
    is_unordered: bool


def in_order(items: Iterable[Item]) -> list[Item]:
    """Conversation by conversation; within one by time, and as the file has them where times are equal or missing."""
    grouped: dict[ConversationId, list[Item]] = {}
    for item in items:
        grouped.setdefault(item.conversation_id, []).append(item)
    ordered: list[Item] = []
    for group in grouped.values():
        if all(item.at is not None for item in group):
            group.sort(key=attrgetter("at"))
        ordered += group
    return ordered


def without_twins(items: Iterable[Item]) -> list[Item]:
    """The items without those whose id came before."""
    return list({item.id: item for item in reversed(list(items))}.values())[::-1]


def arrange(items: Sequence[Item], tail: Tail, now: datetime) -> Arranged:
    """Rows of one conversation's items, after what is there. A message without a time has that of the one before it, or
    `now`. `items` must not be empty."""
    messages: list[MessageRow] = []
    answers: list[AnswerRow] = []
    conversation_id = items[0].conversation_id
    ordinal, last = tail.next_ordinal, tail.last_at or items[0].at or now
    first, newest, answered = items[0].at or last, last, None
    is_unordered = tail.last_at is not None and any(item.at is not None and item.at < tail.last_at for item in items)
    open_id, open_row = tail.open_message_id, None
    visitor = next((item.visitor for item in items if item.side == "visitor" and item.visitor), "")
    for item in items:
        last = item.at or last
        first, newest = min(first, last), max(newest, last)
        if item.side == "visitor":
            open_row = MessageRow(id=item.id, conversation_id=conversation_id, ordinal=ordinal, at=last, item=item)
            open_id = item.id
            messages.append(open_row)
            ordinal += 1
            continue
        if open_id is None:
            empty = empty_message_id(item.id)
            messages.append(
                MessageRow(id=empty, conversation_id=conversation_id, ordinal=ordinal, at=last, state=ANSWERED)
            )
            ordinal += 1
            answers.append(AnswerRow(message_id=empty, at=last, item=item))
            continue
        answers.append(AnswerRow(message_id=open_id, at=last, item=item))
        if open_row is not None:
            open_row.state = ANSWERED
        else:
            answered = open_id
        open_id = open_row = None
    return Arranged(
        conversation_id=conversation_id,
        messages=messages,
        answers=answers,
        next_ordinal=ordinal,
        visitor=visitor or next((item.visitor for item in items if item.visitor), ""),
        first_at=first,
        last_at=newest,
        answered=answered,
        is_unordered=is_unordered,
    )


def by_conversation(items: Sequence[Item]) -> list[list[Item]]:
    """Runs of items of the same conversation, of items as `in_order` leaves them."""
    return [list(group) for _, group in groupby(items, key=attrgetter("conversation_id"))]


def into_units(items: Sequence[Item], unit_rows: int) -> list[list[Item]]:
    """Items as `in_order` leaves them, cut into units of about so many, none of which shares a conversation with another."""
    units: list[list[Item]] = []
    present: list[Item] = []
    for group in by_conversation(items):
        if present and len(present) + len(group) > unit_rows:
            units.append(present)
            present = []
        present = present + group
    if present:
        units.append(present)
    return units
