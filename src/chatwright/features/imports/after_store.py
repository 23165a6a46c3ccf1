"""SQL of what follows once an import's rows are stored: conversations put into the order of their times, and summed up."""

from collections.abc import Sequence
from typing import Any

import msgspec

from chatwright.adapters.postgres import Connection
from chatwright.domain.ids import ConversationId, ImportId
from chatwright.domain.scope import Scope
from chatwright.features.imports.arranging import Tail, arrange, in_order
from chatwright.features.imports.items import Item
from chatwright.features.imports.store import Import
from chatwright.features.imports.write_store import BY_INDEX

MESSAGES_AT_MOST = 20_000
"""Of a conversation that is put into order: it is in memory meanwhile."""

LIST_UNORDERED = """
SELECT conversation_id FROM import_conversations
 WHERE tenant_id = $1 AND import_id = $2 AND is_unordered ORDER BY conversation_id LIMIT $3
"""

LOCK_CONVERSATION = "SELECT id FROM conversations WHERE tenant_id = $1 AND id = $2 FOR UPDATE"

LOAD_WHOLE = """
SELECT m.id, m.ordinal, m.text, m.state, m.metadata, m.reading, m.created_at, a.id AS answer_id, a.text AS answer,
       a.provider, a.reading AS answer_reading, a.created_at AS answered_at
  FROM messages m LEFT JOIN answers a ON a.tenant_id = m.tenant_id AND a.message_id = m.id
 WHERE m.tenant_id = $1 AND m.conversation_id = $2 ORDER BY m.ordinal LIMIT $3
"""

DELETE_WHOLE = "DELETE FROM messages WHERE tenant_id = $1 AND conversation_id = $2"

INSERT_WHOLE = """
WITH said AS (
    INSERT INTO messages (id, tenant_id, chatbot_id, conversation_id, ordinal, text, state, metadata, reading, created_at,
                          finished_at)
    SELECT id, $1, $2, $3, ordinal, said, state, coalesce(metadata::jsonb, '{}'), reading::jsonb, at, at
      FROM unnest($4::uuid[], $5::integer[], $6::text[], $7::text[], $8::text[], $9::text[], $10::timestamptz[])
        AS given (id, ordinal, said, state, metadata, reading, at)
)
INSERT INTO answers (id, tenant_id, chatbot_id, conversation_id, message_id, attempt, text, provider, model, cached,
                     streamed, reading, created_at)
SELECT id, $1, $2, $3, message, 0, said, 'imported', 'agent', 'bypass', false, reading::jsonb, at
  FROM unnest($11::uuid[], $12::uuid[], $13::text[], $14::text[], $15::timestamptz[])
    AS given (id, message, said, reading, at)
"""

SET_ORDERED = """
UPDATE import_conversations SET is_unordered = false WHERE tenant_id = $1 AND conversation_id = $2
"""

SET_ORDINAL = "UPDATE conversations SET next_ordinal = $3 WHERE tenant_id = $1 AND id = $2"

LIST_TO_SUMMARISE = """
SELECT conversation_id FROM import_conversations
 WHERE tenant_id = $1 AND import_id = $2 AND summary = 'waiting' ORDER BY conversation_id LIMIT $3
"""

LOAD_EXCHANGES = """
SELECT x.conversation_id, x.ordinal, x.text, x.answer
  FROM unnest($2::uuid[]) AS wanted (id)
 CROSS JOIN LATERAL (
       SELECT m.conversation_id, m.ordinal, left(m.text, 4000) AS text, left(a.text, 4000) AS answer
         FROM messages m LEFT JOIN answers a ON a.tenant_id = m.tenant_id AND a.message_id = m.id
        WHERE m.tenant_id = $1 AND m.conversation_id = wanted.id ORDER BY m.ordinal LIMIT $3) x
 ORDER BY x.conversation_id, x.ordinal
"""

KEEP_SUMMARIES = """
-- $2 import. A summary covers what was said up to its message; what was forgotten stays so.
WITH given AS (
    SELECT * FROM unnest($3::uuid[], $4::integer[], $5::text[], $6::text[], $7::text[], $8::text[], $9::integer[])
        AS given (id, upto, said, facts, gist, made_by, tokens)
), reached AS (
    UPDATE conversations c SET summarised_upto = greatest(c.summarised_upto, given.upto)
      FROM given WHERE c.tenant_id = $1 AND c.id = given.id
    RETURNING c.id, c.forgotten_upto
), kept AS (
    INSERT INTO conversation_summaries AS s (tenant_id, conversation_id, covers_from, covers_upto, text, facts, gist,
                                             made_by, tokens, steps)
    SELECT $1, given.id, reached.forgotten_upto, given.upto, given.said, given.facts::jsonb, given.gist, given.made_by,
           given.tokens, 1
      FROM given JOIN reached ON reached.id = given.id
    ON CONFLICT (tenant_id, conversation_id) DO UPDATE
       SET covers_from = excluded.covers_from, covers_upto = excluded.covers_upto, text = excluded.text,
           facts = excluded.facts, gist = excluded.gist, made_by = excluded.made_by, tokens = excluded.tokens,
           steps = s.steps + 1, updated_at = now()
     WHERE s.covers_upto <= excluded.covers_upto
)
UPDATE import_conversations SET summary = 'done'
 WHERE tenant_id = $1 AND import_id = $2 AND conversation_id = ANY($3::uuid[]) AND summary = 'waiting'
RETURNING conversation_id
"""

COUNT_SUMMARIES = """
UPDATE imports SET summaries = summaries + $3, summarised_s = summarised_s + $4 WHERE tenant_id = $1 AND id = $2
"""


LIST_ANSWERED = """
SELECT m.id, m.conversation_id, m.ordinal, left(m.text, 4000) AS text, left(a.text, 4000) AS answer
  FROM import_conversations k
  JOIN messages m ON m.tenant_id = k.tenant_id AND m.conversation_id = k.conversation_id
  JOIN answers a ON a.tenant_id = m.tenant_id AND a.message_id = m.id
 WHERE k.tenant_id = $1 AND k.import_id = $2 AND m.text <> ''
   AND ($3::uuid IS NULL OR (k.conversation_id, m.ordinal) > ($3, $4::integer))
 ORDER BY k.conversation_id, m.ordinal LIMIT $5
"""


class Exchanged(msgspec.Struct, frozen=True, kw_only=True):
    """A message with its answer."""

    conversation_id: ConversationId
    ordinal: int
    said: str
    answered: str | None
    message_id: str = ""


class SummaryRow(msgspec.Struct, frozen=True, kw_only=True):
    """A summary as its table has it. `text` is what prompts show; `facts` as the room of memory writes them."""

    conversation_id: ConversationId
    upto: int
    text: str
    facts: list[list[Any]]
    gist: str
    made_by: str
    tokens: int


async def list_unordered(db: Connection, scope: Scope, import_id: ImportId, *, limit: int) -> list[ConversationId]:
    rows = await db.fetch(LIST_UNORDERED, scope.tenant_id, import_id, limit)
    return [row["conversation_id"] for row in rows]


async def order_conversation(db: Connection, scope: Scope, one: Import, conversation_id: ConversationId) -> bool:
    """Write a conversation anew in the order of its times. False: it goes on here, or is too long, and stays as it is."""
    await db.execute(BY_INDEX)
    await db.fetchval(LOCK_CONVERSATION, scope.tenant_id, conversation_id)
    rows = await db.fetch(LOAD_WHOLE, scope.tenant_id, conversation_id, MESSAGES_AT_MOST + 1)
    await db.execute(SET_ORDERED, scope.tenant_id, conversation_id)
    ours = all(
        row["state"] in ("answered", "handed_off") and (row["answer_id"] is None or row["provider"] == "imported")
        for row in rows
    )
    if not rows or not ours or len(rows) > MESSAGES_AT_MOST:
        return False
    items: list[Item] = []
    details: dict[str, tuple[Any, Any]] = {}
    for row in rows:
        if row["text"]:
            items.append(_item(conversation_id, row["id"], "visitor", row["text"], row["created_at"]))
            details[row["id"]] = (row["metadata"], row["reading"])
        if row["answer_id"] is not None:
            items.append(_item(conversation_id, row["answer_id"], "agent", row["answer"], row["answered_at"]))
            details[row["answer_id"]] = ({}, row["answer_reading"])
    arranged = arrange(in_order(items), Tail(), one.created_at)
    await db.execute(DELETE_WHOLE, scope.tenant_id, conversation_id)
    messages, answers = arranged.messages, arranged.answers
    await db.execute(
        INSERT_WHOLE, scope.tenant_id, one.chatbot_id, conversation_id,
        [row.id for row in messages], [row.ordinal for row in messages],
        [row.item.text if row.item else "" for row in messages], [row.state for row in messages],
        [_json(details[row.id][0]) if row.item else None for row in messages],
        [_json(details[row.id][1]) if row.item else None for row in messages], [row.at for row in messages],
        [answer.item.id for answer in answers], [answer.message_id for answer in answers],
        [answer.item.text for answer in answers], [_json(details[answer.item.id][1]) for answer in answers],
        [answer.at for answer in answers],
    )  # fmt: skip
    await db.execute(SET_ORDINAL, scope.tenant_id, conversation_id, arranged.next_ordinal)
    return True


async def list_to_summarise(db: Connection, scope: Scope, import_id: ImportId, *, limit: int) -> list[ConversationId]:
    rows = await db.fetch(LIST_TO_SUMMARISE, scope.tenant_id, import_id, limit)
    return [row["conversation_id"] for row in rows]


async def load_exchanges(
    db: Connection, scope: Scope, conversation_ids: Sequence[ConversationId], *, at_most: int
) -> dict[ConversationId, list[Exchanged]]:
    """The first `at_most` messages of each conversation, oldest first."""
    found: dict[ConversationId, list[Exchanged]] = {one: [] for one in conversation_ids}
    await db.execute(BY_INDEX)
    for row in await db.fetch(LOAD_EXCHANGES, scope.tenant_id, list(conversation_ids), at_most):
        found[row["conversation_id"]].append(
            Exchanged(
                conversation_id=row["conversation_id"], ordinal=row["ordinal"], said=row["text"], answered=row["answer"]
            )
        )
    return found


async def keep_summaries(
    db: Connection, scope: Scope, import_id: ImportId, rows: Sequence[SummaryRow], *, took_s: float
) -> int:
    """Store summaries of conversations that still wait for one; returns how many did."""
    await db.execute(BY_INDEX)
    kept = await db.fetch(
        KEEP_SUMMARIES, scope.tenant_id, import_id, [row.conversation_id for row in rows], [row.upto for row in rows],
        [row.text for row in rows], [_json(row.facts) for row in rows], [row.gist for row in rows],
        [row.made_by for row in rows], [row.tokens for row in rows],
    )  # fmt: skip
    await db.execute(COUNT_SUMMARIES, scope.tenant_id, import_id, len(kept), took_s)
    return len(kept)


async def list_answered(
    db: Connection, scope: Scope, import_id: ImportId, *, after: tuple[str, int] | None, limit: int
) -> list[Exchanged]:
    """Visitors' messages that have an answer, by conversation; `after` is (conversation, ordinal) of the last one seen."""
    conversation_id, ordinal = after or (None, None)
    rows = await db.fetch(LIST_ANSWERED, scope.tenant_id, import_id, conversation_id, ordinal, limit)
    return [
        Exchanged(
            conversation_id=row["conversation_id"],
            ordinal=row["ordinal"],
            said=row["text"],
            answered=row["answer"],
            message_id=row["id"],
        )
        for row in rows
    ]


def _item(conversation_id: ConversationId, item_id: str, side: Any, text: str, at: Any) -> Item:
    return Item(conversation_id=conversation_id, id=item_id, side=side, text=text, number=0, at=at)


def _json(value: object) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()
