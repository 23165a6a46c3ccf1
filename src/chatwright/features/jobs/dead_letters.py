"""SQL of dead letters: jobs that will not be tried again by themselves, kept until an operator decides."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from chatwright.adapters.postgres.pool import Connection
from chatwright.domain.ids import ChatbotId, DeadLetterId, JobId, MessageId, TenantId, new_id
from chatwright.domain.jobs import Job
from chatwright.domain.scope import Scope

ADD = """
INSERT INTO dead_letters (id, tenant_id, chatbot_id, job_id, generation, job_type, message_id, reason, error_class,
                          attempts, payload)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
ON CONFLICT (job_id, generation) DO NOTHING
"""

COLUMNS = """id, tenant_id, chatbot_id, job_id, generation, job_type, message_id, reason, error_class, attempts,
       payload, state, created_at, resolved_at"""

LIST = f"""
SELECT {COLUMNS} FROM dead_letters
 WHERE tenant_id = $1 AND ($2 = 'all' OR state = $2) AND id > $3 ORDER BY id LIMIT $4
"""

LIST_ALL = f"""
-- operators: over every tenant_id
SELECT {COLUMNS} FROM dead_letters WHERE ($1 = 'all' OR state = $1) AND id > $2 ORDER BY id LIMIT $3
"""

GET = f"""
SELECT {COLUMNS} FROM dead_letters WHERE tenant_id = $1 AND id = $2
"""

GET_ANY = f"""
-- operators: whatever tenant_id it has
SELECT {COLUMNS} FROM dead_letters WHERE id = $1
"""

RESOLVE = """
UPDATE dead_letters SET state = $3, resolved_at = now() WHERE tenant_id = $1 AND id = $2 AND state = 'open'
"""

COUNT_OPEN = """
-- operators: over every tenant_id
SELECT count(*) FROM dead_letters WHERE state = 'open'
"""

_FIRST = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    id: DeadLetterId
    tenant_id: TenantId
    chatbot_id: ChatbotId | None
    job_id: JobId
    generation: int
    job_type: str
    message_id: MessageId | None
    reason: str
    error_class: str
    attempts: int
    payload: dict[str, Any]
    state: str
    created_at: datetime
    resolved_at: datetime | None


async def add_dead_letter(db: Connection, job: Job, *, reason: str, error_class: str) -> None:
    """Keep a job that failed for good; once per generation, however often this is called."""
    await db.execute(
        ADD, new_id(), job.scope.tenant_id, job.scope.chatbot_id, job.id, job.generation, job.type, job.message_id,
        reason[:2000], error_class, job.attempt, job.payload,
    )  # fmt: skip


async def list_dead_letters(
    db: Connection, scope: Scope | None, *, state: str = "open", after: str | None = None, limit: int = 50
) -> list[DeadLetter]:
    """One page ascending by id. `scope` None lists every tenant's and needs the operators' role."""
    if scope is None:
        rows = await db.fetch(LIST_ALL, state, after or _FIRST, limit)
    else:
        rows = await db.fetch(LIST, scope.tenant_id, state, after or _FIRST, limit)
    return [DeadLetter(**row) for row in rows]


async def get_dead_letter(db: Connection, scope: Scope | None, dead_letter_id: DeadLetterId) -> DeadLetter | None:
    """`scope` None reads any tenant's and needs the operators' role."""
    if scope is None:
        row = await db.fetchrow(GET_ANY, dead_letter_id)
    else:
        row = await db.fetchrow(GET, scope.tenant_id, dead_letter_id)
    return None if row is None else DeadLetter(**row)


async def mark_replayed(db: Connection, scope: Scope, dead_letter_id: DeadLetterId) -> bool:
    """False when it was resolved before."""
    return (await db.execute(RESOLVE, scope.tenant_id, dead_letter_id, "replayed")).endswith(" 1")


async def discard(db: Connection, scope: Scope, dead_letter_id: DeadLetterId) -> bool:
    """False when it was resolved before."""
    return (await db.execute(RESOLVE, scope.tenant_id, dead_letter_id, "discarded")).endswith(" 1")


async def count_open(db: Connection) -> int:
    return int(await db.fetchval(COUNT_OPEN))
