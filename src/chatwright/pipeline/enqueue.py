"""Tells BullMQ of a job that PostgreSQL already holds. A failure here loses nothing: the sweeper looks again."""

from collections.abc import Mapping
from typing import Any

import structlog

from chatwright.adapters.queue import JobKey, JobSpec, QueueName
from chatwright.domain.errors import Unavailable
from chatwright.domain.jobs import JobType
from chatwright.domain.scope import Scope
from chatwright.pipeline.services import Services

_log = structlog.get_logger(__name__)


def queue_id(job_type: str, job_id: str, generation: int) -> str:
    """The id under which BullMQ knows one generation of a job."""
    return str(JobKey(type=JobType(job_type), row_id=job_id, generation=generation))


def job_spec(
    *,
    tenant_id: str,
    job_id: str,
    job_type: str,
    queue: str,
    priority: int,
    generation: int,
    weight: float = 1.0,
    chatbot_id: str | None = None,
) -> JobSpec:
    """What the queue needs to know of a row: ids only, so that no payload leaks and the worker loads things as they
    are now. `chatbot_id` is a hint that lets it look the chatbot up while it claims the row."""
    data: dict[str, Any] = {"job_id": job_id, "generation": generation}
    if chatbot_id is not None:
        data["chatbot_id"] = chatbot_id
    return JobSpec(
        job_id=queue_id(job_type, job_id, generation),
        type=job_type,
        queue=QueueName(queue),
        priority=priority,
        tenant_id=tenant_id,
        data=data,
        weight=weight,
    )


async def enqueue(
    app: Services,
    scope: Scope,
    *,
    job_id: str,
    job_type: str,
    queue: str,
    priority: int,
    generation: int,
    weight: float = 1.0,
    chatbot_id: str | None = None,
) -> bool:
    """Add one job after its commit; adding it twice is adding it once. False: Valkey is away, the sweeper will do it."""
    spec = job_spec(
        tenant_id=scope.tenant_id,
        job_id=job_id,
        job_type=job_type,
        queue=queue,
        priority=priority,
        generation=generation,
        weight=weight,
        chatbot_id=chatbot_id,
    )
    try:
        await app.producer.add([spec])
    except Unavailable as error:
        _log.warning("job.not_queued", job_id=job_id, error=error.message)
        return False
    return True


async def enqueue_row(app: Services, scope: Scope, row: Mapping[str, Any]) -> None:
    """Queue a job that a statement returned (id, type, queue, priority, generation)."""
    await enqueue(
        app,
        scope,
        job_id=row["id"],
        job_type=row["type"],
        queue=row["queue"],
        priority=row["priority"],
        generation=row["generation"],
    )
