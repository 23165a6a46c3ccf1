"""SQL that writes one unit of an import: its messages, answers and conversations, and that it was written.

Everything of a unit is one transaction that begins with the unit's own row, so whoever comes second, after a crash or beside
a worker that only stood still, finds it taken and changes nothing. Ids are made of the file's contents: what stands there
already, from whichever import, is left as it is.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from chatwright.adapters.postgres import Connection
from chatwright.domain.ids import ConversationId
from chatwright.domain.scope import Scope
from chatwright.features.imports.arranging import UNANSWERED, Arranged, Tail, arrange, by_conversation
from chatwright.features.imports.items import Item, Problem
from chatwright.features.imports.store import Import

PROVIDER = "imported"
"""What stands as the provider of an answer that came with a file."""

BY_INDEX = """
-- A plan that was made while the tables were new reads all of them for ever after, in foreign keys' own look-ups as well:
-- it costs 184 us of the server's time a row without this, and 46 with it (200,000 rows). Nor does a unit wait for the disk:
-- a crash of the server loses the last ones with their markers, and they are written again. The checkpoint does wait, and
-- with it everything before it in the log.
SELECT set_config('plan_cache_mode', 'force_custom_plan', true), set_config('enable_seqscan', 'off', true),
       set_config('synchronous_commit', 'off', true)
"""

CLAIM_UNIT = """
-- No row of ours: the unit was written before, or the import is another worker's by now.
WITH claimed AS (
    INSERT INTO import_units (tenant_id, import_id, unit)
    SELECT $1, i.id, $3 FROM imports i WHERE i.tenant_id = $1 AND i.id = $2 AND i.leg = $4 AND i.state = 'running'
    ON CONFLICT DO NOTHING RETURNING unit
)
SELECT (SELECT count(*) FROM claimed) AS claimed,
       (SELECT count(*) FROM imports i
         WHERE i.tenant_id = $1 AND i.id = $2 AND i.leg = $4 AND i.state = 'running') AS held,
       ARRAY(SELECT c.id FROM conversations c WHERE c.tenant_id = $1 AND c.id = ANY($5::uuid[])) AS known
"""

LOCK_KNOWN = """
SELECT id, next_ordinal FROM conversations WHERE tenant_id = $1 AND id = ANY($2::uuid[]) ORDER BY id FOR UPDATE
"""

KNOWN_IDS = """
SELECT id FROM messages WHERE tenant_id = $1 AND id = ANY($2::uuid[])
UNION ALL
SELECT id FROM answers WHERE tenant_id = $1 AND id = ANY($2::uuid[])
"""

TAILS = """
SELECT c.id, k.last_at, l.id AS last_id, l.state, l.is_bare
  FROM conversations c
  LEFT JOIN import_conversations k ON k.tenant_id = c.tenant_id AND k.conversation_id = c.id
  LEFT JOIN LATERAL (
       SELECT m.id, m.state, NOT EXISTS (SELECT FROM answers a WHERE a.tenant_id = $1 AND a.message_id = m.id) AS is_bare
         FROM messages m WHERE m.tenant_id = $1 AND m.conversation_id = c.id ORDER BY m.ordinal DESC LIMIT 1) l ON true
 WHERE c.tenant_id = $1 AND c.id = ANY($2::uuid[])
"""

WRITE_UNIT = """
-- $1 tenant, $2 chatbot, $3 import, $4 unit; conversations $5-$12, messages $13-$20, answers $21-$27, problems $28-$30,
-- messages that have an answer now $31, what the unit brought $32-$39.
WITH new_conversations AS (
    INSERT INTO conversations (id, tenant_id, chatbot_id, visitor_id, metadata, next_ordinal, created_at, updated_at)
    SELECT id, $1, $2, visitor, coalesce(metadata::jsonb, '{}'), next_ordinal, first_at, last_at
      FROM unnest($5::uuid[], $6::text[], $7::text[], $8::integer[], $9::timestamptz[], $10::timestamptz[], $11::boolean[])
        AS given (id, visitor, metadata, next_ordinal, first_at, last_at, is_new)
     WHERE is_new
), longer AS (
    UPDATE conversations c SET next_ordinal = given.next_ordinal, updated_at = greatest(c.updated_at, given.last_at),
                               created_at = least(c.created_at, given.first_at)
      FROM unnest($5::uuid[], $8::integer[], $9::timestamptz[], $10::timestamptz[], $11::boolean[])
        AS given (id, next_ordinal, first_at, last_at, is_new)
     WHERE c.tenant_id = $1 AND c.id = given.id AND NOT given.is_new
), said AS (
    INSERT INTO messages (id, tenant_id, chatbot_id, conversation_id, ordinal, text, state, metadata, reading, created_at,
                          finished_at)
    SELECT id, $1, $2, conversation, ordinal, said, state, coalesce(metadata::jsonb, '{}'), reading::jsonb, at, at
      FROM unnest($13::uuid[], $14::uuid[], $15::integer[], $16::text[], $17::text[], $18::text[], $19::text[],
                  $20::timestamptz[])
        AS given (id, conversation, ordinal, said, state, metadata, reading, at)
), answered AS (
    INSERT INTO answers (id, tenant_id, chatbot_id, conversation_id, message_id, attempt, text, provider, model, cached,
                         streamed, reading, created_at)
    SELECT id, $1, $2, conversation, message, 0, said, 'imported', model, 'bypass', false, reading::jsonb, at
      FROM unnest($21::uuid[], $22::uuid[], $23::uuid[], $24::text[], $25::text[], $26::text[], $27::timestamptz[])
        AS given (id, conversation, message, said, model, reading, at)
), late AS (
    UPDATE messages SET state = 'answered' WHERE tenant_id = $1 AND id = ANY($31::uuid[])
), noted AS (
    INSERT INTO import_conversations AS k (tenant_id, conversation_id, import_id, first_at, last_at, is_unordered, summary)
    SELECT $1, id, $3, first_at, last_at, is_unordered, $39
      FROM unnest($5::uuid[], $9::timestamptz[], $10::timestamptz[], $12::boolean[])
        AS given (id, first_at, last_at, is_unordered)
    ON CONFLICT (tenant_id, conversation_id) DO UPDATE
       SET import_id = excluded.import_id, first_at = least(k.first_at, excluded.first_at),
           last_at = greatest(k.last_at, excluded.last_at), is_unordered = k.is_unordered OR excluded.is_unordered,
           summary = excluded.summary
), problems AS (
    INSERT INTO import_problems (tenant_id, import_id, number, reason, raw)
    SELECT $1, $3, number, reason, raw FROM unnest($28::bigint[], $29::text[], $30::text[]) AS given (number, reason, raw)
    ON CONFLICT DO NOTHING
)
UPDATE import_units SET rows_read = $32, rows_stored = $33, rows_failed = $34, rows_skipped = $35, messages = $36,
                        conversations = $37, problems = cardinality($28::bigint[]), counts = $38
 WHERE tenant_id = $1 AND import_id = $3 AND unit = $4
"""


class Unit(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be written at once. `items` are in order (`arranging.in_order`), and no other unit of their window has
    messages of their conversations. `readings`: JSON by text, for those that were read. `rows` were read for it;
    `problems` are all that failed among them, `skipped` counts others by reason, `twins` ids that came twice."""

    number: int
    items: Sequence[Item]
    rows: int
    problems: Sequence[Problem] = ()
    skipped: dict[str, int] = {}
    kept_problems: int = 0
    """How many of the problems are written down; all are counted."""


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """`is_new` False: the unit had been written before. `has_lost`: the import is another worker's, or paused."""

    is_new: bool
    has_lost: bool = False


async def write_unit(
    db: Connection,
    scope: Scope,
    one: Import,
    unit: Unit,
    *,
    visitor_texts: dict[str, str],
    agent_texts: dict[str, str],
    labels: dict[str, str],
    attacks: set[str],
    now: datetime,
) -> Written:
    """Write a unit in the caller's transaction. `visitor_texts` and `agent_texts`: readings as JSON by text; `labels`:
    `sentiment|intent` by the same JSON, for the counts; `attacks`: visitors' texts that read like one.

    Raises asyncpg's UniqueViolationError when another import writes the same conversations this very moment: try again.
    """
    groups = by_conversation(unit.items)
    ids = [group[0].conversation_id for group in groups]
    await db.execute(BY_INDEX)
    row = await db.fetchrow(CLAIM_UNIT, scope.tenant_id, one.id, unit.number, one.leg, ids)
    assert row is not None
    if not row["held"]:
        return Written(is_new=False, has_lost=True)
    if not row["claimed"]:
        return Written(is_new=False)
    known: set[ConversationId] = set(row["known"])
    tails: dict[ConversationId, Tail] = {}
    there: set[str] = set()
    if known:
        tails, there = await _look_up(db, scope, [group for group in groups if group[0].conversation_id in known])
    arranged: list[Arranged] = []
    stored: set[int] = set()
    for group in groups:
        fresh = [item for item in group if item.id not in there] if there else group
        if fresh:
            arranged.append(arrange(fresh, tails.get(fresh[0].conversation_id, Tail()), now))
            stored.update(item.number for item in fresh)
    skipped = dict(unit.skipped)
    doubles = len({item.number for item in unit.items} - stored)
    if doubles:
        skipped["duplicate"] = skipped.get("duplicate", 0) + doubles
    columns = _Columns(one, arranged, known)
    columns.fill(visitor_texts, agent_texts)
    await db.execute(
        WRITE_UNIT, scope.tenant_id, one.chatbot_id, one.id, unit.number, *columns.arguments(),
        *_problem_columns(unit.problems[: unit.kept_problems]), columns.answered, unit.rows, len(stored),
        len(unit.problems), sum(skipped.values()), columns.count(), len(arranged) - columns.known,
        _counts(arranged, skipped, visitor_texts, agent_texts, labels, attacks), "none" if one.options.summary == "none" else "waiting",
    )  # fmt: skip
    return Written(is_new=True)


async def _look_up(
    db: Connection, scope: Scope, groups: Sequence[Sequence[Item]]
) -> tuple[dict[ConversationId, Tail], set[str]]:
    """How conversations that are there end, and which of the items are."""
    ids = [group[0].conversation_id for group in groups]
    ordinals = {row["id"]: row["next_ordinal"] for row in await db.fetch(LOCK_KNOWN, scope.tenant_id, ids)}
    # On either side: with another mapping of roles a message that is there would else be stored as the other side's.
    known = [item.id for group in groups for item in group]
    there = {row["id"] for row in await db.fetch(KNOWN_IDS, scope.tenant_id, known)}
    tails: dict[ConversationId, Tail] = {}
    for row in await db.fetch(TAILS, scope.tenant_id, ids):
        is_open = row["last_id"] is not None and row["state"] == UNANSWERED and row["is_bare"]
        tails[row["id"]] = Tail(
            next_ordinal=ordinals[row["id"]],
            open_message_id=row["last_id"] if is_open else None,
            last_at=row["last_at"],
        )
    return tails, there


class _Columns:
    """Rows turned into one array for each column, as unnest takes them."""

    def __init__(self, one: Import, arranged: Sequence[Arranged], known: set[ConversationId]) -> None:
        self._one = one
        self._arranged = arranged
        self.known = sum(each.conversation_id in known for each in arranged)
        self.answered = [each.answered for each in arranged if each.answered is not None]
        self._is_new = [each.conversation_id not in known for each in arranged]
        self._messages: tuple[list[Any], ...] = tuple([] for _ in range(8))
        self._answers: tuple[list[Any], ...] = tuple([] for _ in range(7))
        self._visitors: list[str] = []
        self._metadata: list[str | None] = []

    def fill(self, visitor_texts: dict[str, str], agent_texts: dict[str, str]) -> None:
        ids, conversations, ordinals, texts, states, metadata, readings, times = self._messages
        for each in self._arranged:
            said = [row.item for row in each.messages if row.item] + [answer.item for answer in each.answers]
            whole = next((item.metadata for item in said if item.metadata), None)  # the visitor's before the agent's
            self._visitors.append(each.visitor or f"import-{each.conversation_id[15:18]}{each.conversation_id[20:]}")
            self._metadata.append(_json({**(whole or {}), "import_source": self._one.source}))
            for row in each.messages:
                item = row.item
                ids.append(row.id)
                conversations.append(row.conversation_id)
                ordinals.append(row.ordinal)
                texts.append(item.text if item is not None else "")
                states.append(row.state)
                metadata.append(
                    _json(item.metadata) if item is not None and item.metadata not in (None, whole) else None
                )
                readings.append(visitor_texts.get(item.text) if item is not None else None)
                times.append(row.at)
            for answer in each.answers:
                item = answer.item
                values = (item.id, each.conversation_id, answer.message_id, item.text, "agent",
                          agent_texts.get(item.text), answer.at)  # fmt: skip
                for column, value in zip(self._answers, values, strict=True):
                    column.append(value)

    def arguments(self) -> list[object]:
        arranged = self._arranged
        return [
            [each.conversation_id for each in arranged],
            self._visitors,
            self._metadata,
            [each.next_ordinal for each in arranged],
            [each.first_at for each in arranged],
            [each.last_at for each in arranged],
            self._is_new,
            [each.is_unordered for each in arranged],
            *self._messages,
            *self._answers,
        ]

    def count(self) -> int:
        return sum(row.item is not None for each in self._arranged for row in each.messages) + len(self._answers[0])


def _counts(
    arranged: Sequence[Arranged],
    skipped: dict[str, int],
    visitor_texts: dict[str, str],
    agent_texts: dict[str, str],
    labels: dict[str, str],
    attacks: set[str],
) -> dict[str, dict[str, int]]:
    """What the report counts, by kind and name."""
    counts: dict[str, dict[str, int]] = {"skipped": skipped} if skipped else {}

    def add(kind: str, name: str) -> None:
        named = counts.setdefault(kind, {})
        named[name] = named.get(name, 0) + 1

    for each in arranged:
        for row in each.messages:
            if row.item is None:
                continue
            day = row.at.date().isoformat()
            add("visitor", day)
            if row.item.text in attacks:
                add("attack", day)
            if (reading := visitor_texts.get(row.item.text)) is not None:
                sentiment, _, intent = labels[reading].partition("|")
                add(sentiment, day)
                add("intent", intent)
        for answer in each.answers:
            day = answer.at.date().isoformat()
            add("agent", day)
            if (reading := agent_texts.get(answer.item.text)) is not None:
                add("agent_sentiment", labels[reading].partition("|")[0])
    return counts


def _problem_columns(problems: Sequence[Problem]) -> tuple[list[int], list[str], list[str]]:
    return ([one.number for one in problems], [one.reason for one in problems], [one.raw for one in problems])


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
