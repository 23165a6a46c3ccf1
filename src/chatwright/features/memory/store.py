"""SQL of summaries: taking up a step, keeping it, drawing a boundary.

The conversation's own row says how far its summary reaches (`summarised_upto`) and what was forgotten
(`forgotten_upto`); a step is kept only if both still stand as it found them. So no message is summarised twice, and
nothing that was forgotten while a model wrote comes back.
"""

from dataclasses import dataclass
from typing import Any

from chatwright.adapters.postgres.pool import Connection, Row
from chatwright.domain.ids import ConversationId, JobId
from chatwright.domain.scope import Scope
from chatwright.features.memory.facts import Fact
from chatwright.features.memory.rules import Exchange, Summary

TAKE = """
-- One job at a time makes a conversation's next step. No row: another one is at it, or the conversation is gone.
INSERT INTO conversation_summaries AS s (tenant_id, conversation_id, maker, making_until)
SELECT c.tenant_id, c.id, $3, now() + make_interval(secs => $4) FROM conversations c WHERE c.tenant_id = $1 AND c.id = $2
ON CONFLICT (tenant_id, conversation_id) DO UPDATE SET maker = $3, making_until = now() + make_interval(secs => $4)
 WHERE s.maker = $3 OR s.making_until < now()
RETURNING s.facts, s.gist, s.made_by, s.covers_from, s.covers_upto
"""

BOUNDS = """
-- Not above the first message that is still open: it is to be answered from what is said, and not from a summary of it.
SELECT c.forgotten_upto, c.summarised_upto,
       (SELECT coalesce(min(m.ordinal), c.next_ordinal) - 1 FROM messages m
         WHERE m.tenant_id = $1 AND m.conversation_id = $2 AND m.state = 'accepted'
           AND m.ordinal > greatest(c.forgotten_upto, c.summarised_upto)) AS ended_upto
  FROM conversations c WHERE c.tenant_id = $1 AND c.id = $2
"""

EXCHANGES = """
-- What the guard refused is not remembered, nor what was part of such a burst.
SELECT m.ordinal, a.text AS answer,
       CASE WHEN m.state = 'refused' OR (m.merged_into IS NOT NULL AND EXISTS (
                SELECT FROM messages r WHERE r.tenant_id = $1 AND r.id = m.merged_into AND r.state = 'refused'))
            THEN '' ELSE m.text END AS text
  FROM messages m
  LEFT JOIN answers a ON a.tenant_id = m.tenant_id AND a.message_id = m.id
 WHERE m.tenant_id = $1 AND m.conversation_id = $2 AND m.ordinal > $3 AND m.ordinal <= $4 ORDER BY m.ordinal LIMIT $5
"""

ADVANCE = """
UPDATE conversations SET summarised_upto = $5
 WHERE tenant_id = $1 AND id = $2 AND forgotten_upto = $3 AND summarised_upto = $4
RETURNING id
"""

KEEP = """
UPDATE conversation_summaries
   SET covers_from = $3, covers_upto = $4, text = $5, facts = $6, gist = $7, made_by = $8, tokens = $9,
       steps = steps + 1, making_until = '-infinity', updated_at = now()
 WHERE tenant_id = $1 AND conversation_id = $2
"""

LET_GO = """
UPDATE conversation_summaries SET making_until = '-infinity'
 WHERE tenant_id = $1 AND conversation_id = $2 AND maker = $3
"""

LOAD = """
SELECT s.covers_upto, s.text, s.made_by, s.tokens, s.steps, s.facts, s.gist FROM conversation_summaries s
  JOIN conversations c ON c.tenant_id = s.tenant_id AND c.id = s.conversation_id
 WHERE s.tenant_id = $1 AND s.conversation_id = $2 AND s.covers_upto = c.summarised_upto
   AND s.covers_from = c.forgotten_upto AND s.covers_upto > 0
"""

FORGET = """
-- $3 null: the tenant itself asks.
UPDATE conversations SET forgotten_upto = next_ordinal - 1, summarised_upto = 0, updated_at = now()
 WHERE tenant_id = $1 AND id = $2 AND ($3::text IS NULL OR visitor_id = $3)
RETURNING forgotten_upto
"""

DROP = """
DELETE FROM conversation_summaries WHERE tenant_id = $1 AND conversation_id = $2
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one step begins with. `since`: the last message that needs no summarising; `exchanges` follow it."""

    before: Summary
    forgotten_upto: int
    since: int
    exchanges: tuple[Exchange, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A conversation's summary. `text` is what prompts show of it, of so many `tokens`; it took `steps` to make."""

    summary: Summary
    text: str
    tokens: int
    steps: int


async def begin_step(
    db: Connection,
    scope: Scope,
    conversation_id: ConversationId,
    job_id: JobId,
    *,
    upto: int,
    at_most: int,
    lease_s: float,
) -> Step | None:
    """Take up the next step, of at most `at_most` messages up to `upto`; None: there is none, or another job is at it.

    The job has `lease_s` seconds before another one may take it from it. Hold no transaction while it works.
    """
    row = await db.fetchrow(TAKE, scope.tenant_id, conversation_id, job_id, lease_s)
    bounds = await db.fetchrow(BOUNDS, scope.tenant_id, conversation_id)
    if row is None or bounds is None:
        return None
    forgotten_upto = bounds["forgotten_upto"]
    since = max(forgotten_upto, bounds["summarised_upto"])
    upto = min(upto, bounds["ended_upto"])
    rows = await db.fetch(EXCHANGES, scope.tenant_id, conversation_id, since, upto, at_most)
    if not rows:
        await db.execute(LET_GO, scope.tenant_id, conversation_id, job_id)
        return None
    stands = row["covers_from"] == forgotten_upto and row["covers_upto"] == bounds["summarised_upto"]
    return Step(
        before=_summary(row) if stands else Summary(covers_upto=since),
        forgotten_upto=forgotten_upto,
        since=since,
        exchanges=_exchanges(rows),
    )


async def keep_step(
    db: Connection,
    scope: Scope,
    conversation_id: ConversationId,
    step: Step,
    summary: Summary,
    *,
    text: str,
    tokens: int,
) -> bool:
    """Keep the step's summary; `text` is what prompts show of it. False, having changed nothing: another job was
    quicker, or the conversation was forgotten meanwhile."""
    summarised_upto = step.since if step.since > step.forgotten_upto else 0
    advanced = await db.fetchval(
        ADVANCE, scope.tenant_id, conversation_id, step.forgotten_upto, summarised_upto, summary.covers_upto
    )
    if advanced is None:
        return False
    facts = [[fact.ordinal, fact.score, fact.said, fact.text] for fact in summary.facts]
    status = await db.execute(
        KEEP, scope.tenant_id, conversation_id, step.forgotten_upto, summary.covers_upto, text, facts, summary.gist,
        summary.made_by, tokens,
    )  # fmt: skip
    assert status.endswith(" 1")
    return True


async def load_kept(db: Connection, scope: Scope, conversation_id: ConversationId) -> Kept | None:
    """The conversation's summary; None while it has none."""
    row = await db.fetchrow(LOAD, scope.tenant_id, conversation_id)
    if row is None:
        return None
    return Kept(summary=_summary(row), text=row["text"], tokens=row["tokens"], steps=row["steps"])


async def load_rest(
    db: Connection, scope: Scope, conversation_id: ConversationId, *, at_most: int
) -> tuple[Exchange, ...]:
    """The messages that neither stand in the summary nor were forgotten, oldest first; the first `at_most` of them."""
    bounds = await db.fetchrow(BOUNDS, scope.tenant_id, conversation_id)
    if bounds is None:
        return ()
    since = max(bounds["forgotten_upto"], bounds["summarised_upto"])
    return _exchanges(await db.fetch(EXCHANGES, scope.tenant_id, conversation_id, since, 2**31 - 1, at_most))


async def draw_boundary(
    db: Connection, scope: Scope, conversation_id: ConversationId, *, visitor_id: str | None
) -> int | None:
    """Forget what was said so far: no later prompt holds it, and its summary is gone. Returns the last forgotten
    message's ordinal, None for a conversation that is unknown or another visitor's."""
    upto = await db.fetchval(FORGET, scope.tenant_id, conversation_id, visitor_id)
    if upto is None:
        return None
    await db.execute(DROP, scope.tenant_id, conversation_id)
    return int(upto)


def _exchanges(rows: list[Row]) -> tuple[Exchange, ...]:
    return tuple(Exchange(row["ordinal"], row["text"], row["answer"]) for row in rows)


def _summary(row: Row) -> Summary:
    facts: list[list[Any]] = row["facts"]
    return Summary(
        covers_upto=row["covers_upto"],
        facts=tuple(Fact(ordinal, score, said, text) for ordinal, score, said, text in facts),
        gist=row["gist"],
        made_by=row["made_by"],
    )
