"""SQL of the jobs table. `attempt` is the fencing token: every write of a worker names the attempt it holds."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from chatwright.adapters.postgres.pool import Connection, Database, Row
from chatwright.domain.ids import (
    ChatbotId,
    ConversationId,
    DocumentId,
    JobId,
    KnowledgeBaseId,
    MessageId,
    TenantId,
)
from chatwright.domain.jobs import Job, JobType
from chatwright.domain.scope import Scope

INSERT = """
INSERT INTO jobs (id, tenant_id, chatbot_id, type, queue, priority, state, message_id, conversation_id, payload,
                  deadline_at, cost_estimate_nano)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
"""

INSERT_ONCE = f"""{INSERT}
-- By id, and by tenant and id: two who write it at once may meet at either.
ON CONFLICT DO NOTHING
RETURNING id
"""

CLAIM = """
-- A worker takes the job up: a new attempt begins, older ones are fenced off. No row: it is not to be run (any more).
UPDATE jobs SET state = 'running', attempt = attempt + 1, started_at = coalesce(started_at, now()),
                lease_until = now() + make_interval(secs => $4)
 WHERE tenant_id = $1 AND id = $2 AND generation = $3 AND state IN ('queued', 'running')
RETURNING id, tenant_id, chatbot_id, type, queue, priority, attempt, failures, generation, message_id,
          conversation_id, payload, extract(epoch FROM created_at)::float8 AS created_at_s,
          extract(epoch FROM started_at)::float8 AS started_at_s,
          extract(epoch FROM deadline_at)::float8 AS deadline_at_s
"""

CLAIM_WITH_TURN = """
-- migrations/0003_hot_paths.sql. $1 tenant_id = the job's
SELECT * FROM claim_job($1, $2, $3, $4, $5)
"""

FINISH = """
UPDATE jobs SET state = 'done', result = $4, error = NULL, error_code = NULL, lease_until = NULL, finished_at = now()
 WHERE tenant_id = $1 AND id = $2 AND attempt = $3 AND state = 'running'
"""

FAIL = """
UPDATE jobs SET state = $4, error_code = $5, error = $6, lease_until = NULL, finished_at = now()
 WHERE tenant_id = $1 AND id = $2 AND attempt = $3 AND state = 'running'
"""

RETRY = """
-- Back to the queue after an error of ours. $4 1 if the attempt counts as a failure, $5 delay in seconds.
UPDATE jobs SET state = 'queued', failures = failures + $4, lease_until = NULL,
                run_after = now() + make_interval(secs => $5), error_code = $6, error = $7
 WHERE tenant_id = $1 AND id = $2 AND attempt = $3 AND state = 'running'
"""

REPLAY = """
-- A replay is a new generation with fresh failure counts; running it twice at once changes nothing the second time.
-- Where its conversation has a message under way it waits; call it under the conversation's lock.
UPDATE jobs SET state = CASE WHEN EXISTS (SELECT FROM jobs o WHERE o.tenant_id = $1
                                             AND o.conversation_id = jobs.conversation_id AND o.type = jobs.type
                                             AND o.id <> $2 AND o.state IN ('queued', 'running'))
                             THEN 'waiting' ELSE 'queued' END,
                generation = generation + 1, failures = 0, payload = coalesce($4, payload),
                run_after = now(), deadline_at = NULL, started_at = NULL, finished_at = NULL, error = NULL,
                error_code = NULL
 WHERE tenant_id = $1 AND id = $2 AND generation = $3 AND state IN ('failed', 'cancelled')
RETURNING id, chatbot_id, type, queue, priority, generation, message_id, conversation_id, state
"""

CANCEL_UNSTARTED = """
UPDATE jobs SET state = 'cancelled', finished_at = now()
 WHERE tenant_id = $1 AND message_id = $2 AND type = 'chat_response' AND state IN ('waiting', 'queued')
RETURNING id, type, queue, generation, attempt
"""

WITHDRAW_INDEXING = """
-- Of a document that goes. A worker that runs one finds that the row is not its own any more.
UPDATE jobs SET state = 'cancelled', lease_until = NULL, finished_at = now()
 WHERE tenant_id = $1 AND type = 'document_index' AND state IN ('queued', 'running') AND payload->>'document_id' = $2
"""

WITHDRAW_BASE = """
-- The same of a base that goes, with all its documents.
UPDATE jobs SET state = 'cancelled', lease_until = NULL, finished_at = now()
 WHERE tenant_id = $1 AND type IN ('document_index', 'knowledge_reembed') AND state IN ('queued', 'running')
   AND (payload->>'knowledge_base_id' = $2::text
        OR payload->>'document_id' IN (SELECT d.id::text FROM documents d
                                        WHERE d.tenant_id = $1 AND d.knowledge_base_id = $2::text::uuid))
"""

GET_ROW = """
SELECT id, tenant_id, chatbot_id, type, queue, priority, attempt, failures, generation, message_id,
       conversation_id, payload, extract(epoch FROM created_at)::float8 AS created_at_s,
       coalesce(extract(epoch FROM started_at), 0)::float8 AS started_at_s,
       extract(epoch FROM deadline_at)::float8 AS deadline_at_s
  FROM jobs WHERE tenant_id = $1 AND id = $2
"""

ENDED_BY = """
SELECT count(*) FROM jobs WHERE tenant_id = $1 AND id = $2 AND attempt = $3 AND state IN ('done', 'failed', 'cancelled')
"""

TAKE_TELLING = """
-- Whoever tells an ending in another's place fences that one off first: it may only have stood still.
UPDATE jobs SET attempt = attempt + 1
 WHERE tenant_id = $1 AND id = $2 AND attempt = $3 AND state IN ('done', 'failed', 'cancelled')
"""

HOLDS = """
SELECT count(*) FROM jobs WHERE tenant_id = $1 AND id = $2 AND attempt = $3 AND state = 'running'
"""

SHOW = """
-- The first text of an answer goes out: from here on no later message takes this one over. No row: one has.
UPDATE jobs SET visible_at = coalesce(visible_at, now())
 WHERE tenant_id = $1 AND id = $2 AND attempt = $3 AND state = 'running'
"""

OF_BURST = """
SELECT j.id FROM messages m JOIN jobs j ON j.tenant_id = m.tenant_id AND j.message_id = m.id
 WHERE m.tenant_id = $1 AND m.merged_into = $2
"""

GET = """
SELECT id, type, state, result, attempt, error_code, error, priority, queue, created_at, started_at, finished_at
  FROM jobs WHERE tenant_id = $1 AND id = $2
"""

RENEW = """
-- operators: one statement per worker process keeps all its running jobs' leases. tenant_id is in the id's row.
UPDATE jobs SET lease_until = now() + make_interval(secs => $2)
 WHERE id = ANY($1::uuid[]) AND state = 'running'
RETURNING id, EXISTS (SELECT 1 FROM messages m WHERE m.tenant_id = jobs.tenant_id AND m.id = jobs.message_id
                         AND m.cancel_asked_at IS NOT NULL) AS cancel_asked
"""

LOST = """
-- operators: work that should be in BullMQ: queued and due, or running with a lease that ran out. Over all tenant_id.
-- $4 only rows that became due within so many seconds; null for all.
SELECT id, tenant_id, chatbot_id, type, queue, priority, generation, conversation_id, message_id, state
  FROM jobs
 WHERE (id > $1) AND ((state = 'queued' AND run_after < now() - make_interval(secs => $2)
                        AND ($4::float8 IS NULL OR run_after > now() - make_interval(secs => $4)))
    OR (state = 'running' AND lease_until < now()))
 ORDER BY id LIMIT $3
"""

STRANDED = """
-- operators: waiting messages whose conversation has nothing under way (a safety net; endings let them go). Over all
-- tenant_id.
SELECT DISTINCT w.tenant_id, w.conversation_id FROM jobs w
 WHERE w.state = 'waiting' AND w.created_at < now() - make_interval(secs => $1)
   AND NOT EXISTS (SELECT FROM jobs o WHERE o.tenant_id = w.tenant_id AND o.conversation_id = w.conversation_id
                      AND o.type = w.type AND o.state IN ('queued', 'running'))
 LIMIT 500
"""

WEIGHTS = """
-- operators: fair shares of the tenants named. tenant_id = any of $1.
SELECT id, weight FROM tenants WHERE id = ANY($1::uuid[])
"""

TRIM = """
-- operators: finished jobs that carried no message are kept a while for look-ups. Over all tenant_id.
DELETE FROM jobs WHERE state IN ('done', 'cancelled') AND message_id IS NULL
   AND finished_at < now() - make_interval(hours => $1)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobView:
    """A job as its tenant sees it."""

    id: JobId
    type: str
    state: str
    result: Any
    attempts: int
    error_code: str | None
    error: str | None
    priority: int
    queue: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LostJob:
    """A row that should be in the queue; the sweeper looks whether it is."""

    id: JobId
    tenant_id: TenantId
    chatbot_id: ChatbotId | None
    type: str
    queue: str
    priority: int
    generation: int
    conversation_id: ConversationId | None
    message_id: MessageId | None
    state: str


async def insert_job(
    db: Connection,
    scope: Scope,
    *,
    job_id: JobId,
    job_type: JobType,
    queue: str,
    priority: int,
    payload: dict[str, Any],
    state: str = "queued",
    message_id: MessageId | None = None,
    conversation_id: ConversationId | None = None,
    deadline_at: datetime | None = None,
    cost_estimate_nano: int | None = None,
) -> None:
    """Write the job; the caller enqueues it after the commit."""
    await db.execute(
        INSERT, job_id, scope.tenant_id, scope.chatbot_id, job_type, queue, priority, state, message_id,
        conversation_id, payload, deadline_at, cost_estimate_nano,
    )  # fmt: skip


async def insert_job_once(
    db: Connection,
    scope: Scope,
    *,
    job_id: JobId,
    job_type: JobType,
    queue: str,
    priority: int,
    payload: dict[str, Any],
) -> bool:
    """Like `insert_job`, for a job whose id says what it is to do. False: it was written before, nothing was changed."""
    args = (job_id, scope.tenant_id, scope.chatbot_id, job_type, queue, priority, "queued", None, None, payload, None)
    return await db.fetchval(INSERT_ONCE, *args, None) is not None


async def claim(db: Connection, scope: Scope, job_id: JobId, *, generation: int, lease_s: float) -> Job | None:
    """Begin an attempt, or return None when the job is finished, cancelled, waiting or of another generation."""
    row = await db.fetchrow(CLAIM, scope.tenant_id, job_id, generation, lease_s)
    return None if row is None else _job(row)


async def claim_with_turn(
    db: Database, scope: Scope, job_id: JobId, *, generation: int, lease_s: float, history: int
) -> tuple[Job, Row | None] | None:
    """Like `claim`, in a transaction of its own and one round trip, with a chat job's turn (columns as the room of
    conversations reads them) or None."""
    row = await db.call(scope, CLAIM_WITH_TURN, job_id, generation, lease_s, history)
    if row is None:
        return None
    job = _job({name: row[name] for name in _JOB_COLUMNS})
    return job, row if row["text"] is not None else None


async def finish(db: Connection, job: Job, result: Any) -> bool:
    """Mark the job done. False: another attempt took over, nothing was changed."""
    return await _changed(db, FINISH, job, result)


async def fail(db: Connection, job: Job, *, state: str, code: str, message: str) -> bool:
    """End the job as `failed` or `cancelled`. False: another attempt took over, nothing was changed."""
    return await _changed(db, FAIL, job, state, code, message)


async def retry(db: Connection, job: Job, *, delay_s: float, counts: bool, code: str, message: str) -> bool:
    """Put the job back to run after `delay_s`. False: another attempt took over, nothing was changed."""
    return await _changed(db, RETRY, job, int(counts), delay_s, code, message)


async def cancel_unstarted(db: Connection, scope: Scope, message_id: MessageId) -> Row | None:
    """Cancel a message's job that no worker has. None: it is running or finished."""
    return await db.fetchrow(CANCEL_UNSTARTED, scope.tenant_id, message_id)


async def withdraw_indexing(db: Connection, scope: Scope, document_id: DocumentId) -> None:
    """Cancel what is under way for a document that is about to be deleted; else it would fail for want of it. Called before
    the document's row is written, as a worker does: the other way round the two could wait for each other."""
    await db.execute(WITHDRAW_INDEXING, scope.tenant_id, document_id)


async def withdraw_base(db: Connection, scope: Scope, knowledge_base_id: KnowledgeBaseId) -> None:
    """Cancel what is under way for a knowledge base that is about to be deleted, and for its documents."""
    await db.execute(WITHDRAW_BASE, scope.tenant_id, knowledge_base_id)


async def get_row(db: Connection, scope: Scope, job_id: JobId) -> Job | None:
    """The job as it stands, without taking it up."""
    row = await db.fetchrow(GET_ROW, scope.tenant_id, job_id)
    return None if row is None else _job(row)


async def holds(db: Connection, job: Job) -> bool:
    """Whether this attempt still owns the job."""
    return bool(await db.fetchval(HOLDS, job.scope.tenant_id, job.id, job.attempt))


async def show(db: Connection, job: Job) -> bool:
    """Note that the first text of the job's answer goes out. False: another attempt, or a later message, took over."""
    return await _changed(db, SHOW, job)


async def list_burst(db: Connection, scope: Scope, message_id: MessageId) -> list[JobId]:
    """The jobs of the messages that were merged into this one."""
    return [row["id"] for row in await db.fetch(OF_BURST, scope.tenant_id, message_id)]


async def ended_by(db: Connection, job: Job) -> bool:
    """Whether this very attempt brought the job to its end, and nobody took over the telling since."""
    return bool(await db.fetchval(ENDED_BY, job.scope.tenant_id, job.id, job.attempt))


async def take_telling(db: Connection, job: Job) -> Job | None:
    """Take over the telling of an ended job's ending. None: somebody else did, or the job goes on."""
    if not await _changed(db, TAKE_TELLING, job):
        return None
    return replace(job, attempt=job.attempt + 1)


async def requeue(
    db: Connection, scope: Scope, job_id: JobId, *, generation: int, payload: dict[str, Any] | None
) -> Row | None:
    """Begin the next generation of a failed job; None when it is not failed or `generation` is not its current one."""
    return await db.fetchrow(REPLAY, scope.tenant_id, job_id, generation, payload)


async def get_job(db: Connection, scope: Scope, job_id: JobId) -> JobView | None:
    row = await db.fetchrow(GET, scope.tenant_id, job_id)
    if row is None:
        return None
    fields = dict(row)
    return JobView(attempts=fields.pop("attempt"), **fields)


async def renew_leases(db: Connection, job_ids: list[str], *, lease_s: float) -> set[JobId]:
    """Keep these running jobs for another `lease_s` seconds. Returns those whose message someone asked to cancel."""
    return {JobId(str(row["id"])) for row in await db.fetch(RENEW, job_ids, lease_s) if row["cancel_asked"]}


async def list_lost(
    db: Connection, *, after_id: str, older_than_s: float, limit: int, within_s: float | None = None
) -> list[LostJob]:
    """Rows that are due in the queue, ascending by id; pages by `after_id`. `within_s` leaves out longer due ones."""
    return [LostJob(**row) for row in await db.fetch(LOST, after_id, older_than_s, limit, within_s)]


async def list_stranded(db: Connection, *, older_than_s: float) -> list[tuple[TenantId, ConversationId]]:
    """Conversations with a waiting message and nothing under way."""
    return [(row["tenant_id"], row["conversation_id"]) for row in await db.fetch(STRANDED, older_than_s)]


async def load_weights(db: Connection, tenant_ids: list[str]) -> dict[str, float]:
    """Fair shares by tenant id."""
    return {row["id"]: float(row["weight"]) for row in await db.fetch(WEIGHTS, tenant_ids)}


async def trim_finished(db: Connection, *, hours: int) -> None:
    await db.execute(TRIM, hours)


async def _changed(db: Connection, statement: str, job: Job, *args: object) -> bool:
    status = await db.execute(statement, job.scope.tenant_id, job.id, job.attempt, *args)
    return status.endswith(" 1")


_JOB_COLUMNS = (
    "id", "tenant_id", "chatbot_id", "type", "queue", "priority", "attempt", "failures", "generation", "message_id",
    "conversation_id", "payload", "created_at_s", "started_at_s", "deadline_at_s",
)  # fmt: skip


def _job(row: Row) -> Job:
    fields = dict(row)
    fields["scope"] = Scope(tenant_id=fields.pop("tenant_id"), chatbot_id=fields.pop("chatbot_id"))
    fields["type"] = JobType(fields["type"])
    return Job(**fields)
