"""SQL over feedback. Functions never commit.

A row is one visitor's word on one answer: its latest rating and comment. A rating that was taken back leaves the row with
none, and no list or count shows it.
"""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal

from chatwright.adapters.postgres import Connection
from chatwright.domain.ids import ChatbotId, ConversationId, MessageId, new_id
from chatwright.domain.scope import Scope

Rating = Literal["up", "down"]
COMMENT_AT_MOST = 2_000
"""Characters."""

# Whose conversation it is says whose word it is: a tenant that rates does so for its visitor.
SAVE = """
WITH answer AS (
    SELECT c.chatbot_id, c.visitor_id, a.id
      FROM messages m JOIN conversations c ON c.tenant_id = m.tenant_id AND c.id = m.conversation_id
      JOIN answers a ON a.tenant_id = m.tenant_id AND a.message_id = m.id
     WHERE m.tenant_id = $2 AND m.id = $4 AND c.id = $3
       AND ($5::text IS NULL OR c.visitor_id = $5) AND ($6::uuid IS NULL OR c.chatbot_id = $6)
), before AS (
    SELECT f.rating FROM feedback f JOIN answer ON f.visitor_id = answer.visitor_id WHERE f.tenant_id = $2 AND f.message_id = $4
)
INSERT INTO feedback (id, tenant_id, chatbot_id, conversation_id, message_id, answer_id, visitor_id, rating, comment)
SELECT $1, $2, chatbot_id, $3, $4, id, visitor_id, $7, $8 FROM answer
ON CONFLICT (tenant_id, message_id, visitor_id)
DO UPDATE SET rating = excluded.rating, comment = excluded.comment, updated_at = now()
RETURNING id, chatbot_id, answer_id, rating, comment, noted, (SELECT rating FROM before) AS before
"""

CLAIM_TELLING = """
UPDATE feedback SET telling_until = now() + make_interval(secs => $3)
 WHERE tenant_id = $1 AND id = $2 AND NOT noted AND (telling_until IS NULL OR telling_until < now())
RETURNING id
"""

# Whoever took longer than the lease, and failed, takes nothing back of what another has told since.
END_TELLING = "UPDATE feedback SET noted = noted OR $3, telling_until = NULL WHERE tenant_id = $1 AND id = $2"

# Each filter counts unless it is null. A burst's question is all that was answered together.
LIST = """
SELECT f.id, f.chatbot_id, f.conversation_id, f.message_id, f.answer_id, f.visitor_id, f.rating, f.comment,
       (SELECT string_agg(m.text, E'\n' ORDER BY m.ordinal) FROM messages m
         WHERE m.tenant_id = $1 AND (m.id = f.message_id OR m.merged_into = f.message_id)) AS question,
       a.text AS answer, a.sources, a.cached, a.provider, a.model, f.created_at, f.updated_at
  FROM feedback f JOIN answers a ON a.tenant_id = f.tenant_id AND a.message_id = f.message_id
 WHERE f.tenant_id = $1 AND f.rating IS NOT NULL AND ($2::uuid IS NULL OR f.chatbot_id = $2)
   AND ($3::text IS NULL OR f.rating = $3) AND ($4::timestamptz IS NULL OR f.created_at >= $4)
   AND ($5::timestamptz IS NULL OR f.created_at < $5) AND ($6::uuid IS NULL OR f.id < $6)
 ORDER BY f.id DESC LIMIT $7
"""

COUNT_DAYS = """
SELECT (created_at AT TIME ZONE $5)::date AS day, count(*) FILTER (WHERE rating = 'up') AS up,
       count(*) FILTER (WHERE rating = 'down') AS down, count(*) FILTER (WHERE comment <> '') AS comments
  FROM feedback
 WHERE tenant_id = $1 AND rating IS NOT NULL AND ($2::uuid IS NULL OR chatbot_id = $2)
   AND created_at >= $3 AND created_at < $4
 GROUP BY 1 ORDER BY 1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """A rating as it is stored now. `before`: the one it takes the place of, None if there was none. `noted`: the caches have
    heard of a thumb down."""

    id: str
    chatbot_id: ChatbotId
    answer_id: str
    rating: Rating | None
    comment: str
    noted: bool
    before: Rating | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Of which chatbot, which rating, and first given in [since, until). None: any."""

    chatbot_id: ChatbotId | None = None
    rating: Rating | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One rating with the question and the answer it is about."""

    id: str
    chatbot_id: ChatbotId
    conversation_id: ConversationId
    message_id: MessageId
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
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """`comments`: of the ratings, those that came with one."""

    day: date
    up: int
    down: int
    comments: int


async def save_rating(
    db: Connection,
    scope: Scope,
    conversation_id: ConversationId,
    message_id: MessageId,
    *,
    visitor_id: str | None,
    rating: Rating | None,
    comment: str,
) -> Saved | None:
    """Store the latest word on the answer to a message. `visitor_id` None: the tenant speaks for its visitor. None if there
    is no such answer, or it is another visitor's."""
    row = await db.fetchrow(
        SAVE, new_id(), scope.tenant_id, conversation_id, message_id, visitor_id, scope.chatbot_id, rating, comment
    )
    return None if row is None else Saved(**row)


async def claim_telling(db: Connection, scope: Scope, feedback_id: str, *, lease_s: float) -> bool:
    """Take it upon oneself to tell the caches, for so long; False if they know, or somebody else is at it."""
    return await db.fetchval(CLAIM_TELLING, scope.tenant_id, feedback_id, lease_s) is not None


async def end_telling(db: Connection, scope: Scope, feedback_id: str, *, noted: bool) -> None:
    """They have heard of it; or they have not, and the next thumb down tells them."""
    await db.execute(END_TELLING, scope.tenant_id, feedback_id, noted)


async def list_said(db: Connection, scope: Scope, of: Filter, *, after: str | None, limit: int) -> list[Said]:
    """Ratings newest first, those first given before the rating `after`."""
    rows = await db.fetch(LIST, scope.tenant_id, of.chatbot_id, of.rating, of.since, of.until, after, limit)
    return [Said(**row) for row in rows]


async def count_days(
    db: Connection, scope: Scope, *, chatbot_id: ChatbotId | None, since: datetime, until: datetime, time_zone: str
) -> list[Day]:
    """Ratings by the day of `time_zone` on which they were first given; days without any are left out."""
    return [Day(**row) for row in await db.fetch(COUNT_DAYS, scope.tenant_id, chatbot_id, since, until, time_zone)]
