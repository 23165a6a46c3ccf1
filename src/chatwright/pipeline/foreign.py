"""Adopts jobs that other services put straight into BullMQ: the payload becomes a row of ours, then runs as one."""

from typing import Any

from chatwright.adapters.queue import QueuedJob, route
from chatwright.domain.errors import NotFound, Unprocessable
from chatwright.domain.ids import ChatbotId, ConversationId, JobId, TenantId, is_id, new_id
from chatwright.domain.jobs import Job, JobType
from chatwright.domain.messages import Draft
from chatwright.domain.scope import Scope
from chatwright.features import conversations, jobs
from chatwright.pipeline.accept import accept
from chatwright.pipeline.services import Services


async def adopt(app: Services, queued: QueuedJob) -> Job | None:
    """Make a foreign job ours and claim it; None when it was adopted before or goes on as a job of its own.

    Expects `{"tenant_id", "chatbot"?, "payload": {...}}`; a `chat_response` payload is `{"text", "conversation_id"?}`.
    Raises Unprocessable or NotFound for what cannot be run: the queue keeps the job as failed.
    """
    try:
        job_type = JobType(queued.type)
    except ValueError:
        raise Unprocessable(f"no job type {queued.type!r}") from None
    tenant_id, payload = queued.data.get("tenant_id"), queued.data.get("payload")
    if not isinstance(tenant_id, str) or not is_id(tenant_id):
        raise Unprocessable("the job's data names no tenant_id")
    if not isinstance(payload, dict):
        raise Unprocessable("the job's data has no payload object")
    scope = Scope(tenant_id=TenantId(tenant_id))
    chatbot_id = await _chatbot(app, scope, queued.data.get("chatbot"))
    if job_type is JobType.CHAT_RESPONSE:
        await _accept(app, scope, queued, chatbot_id, payload)
        return None
    job_id = JobId(new_id())
    async with app.db.transaction(scope) as db:
        # One adoption per BullMQ job, however often it is delivered.
        earlier = await conversations.remember_key(
            db, scope, f"bullmq:{queued.queue}:{queued.id}", queued.id.encode(), {"id": job_id}
        )
        if earlier is None:
            await jobs.insert_job(
                db,
                Scope(tenant_id=scope.tenant_id, chatbot_id=chatbot_id),
                job_id=job_id,
                job_type=job_type,
                queue=route(job_type, queued.priority),
                priority=queued.priority,
                payload=payload,
            )
        else:
            job_id = JobId((earlier.response or {})["id"])
        return await jobs.claim(db, scope, job_id, generation=1, lease_s=app.settings.lease_s)


async def _accept(
    app: Services, scope: Scope, queued: QueuedJob, chatbot_id: ChatbotId | None, payload: dict[str, Any]
) -> None:
    text, conversation_id = payload.get("text"), payload.get("conversation_id")
    if not isinstance(text, str):
        raise Unprocessable("a chat_response payload needs `text`")
    await accept(
        app,
        scope,
        Draft(
            text=text,
            conversation_id=ConversationId(conversation_id) if isinstance(conversation_id, str) else None,
            chatbot_id=chatbot_id,
            client_message_id=f"bullmq:{queued.queue}:{queued.id}",
            priority=queued.priority,
        ),
    )


async def _chatbot(app: Services, scope: Scope, name: object) -> ChatbotId | None:
    if name is None:
        return None
    if not isinstance(name, str):
        raise NotFound("`chatbot` must be an id or a slug")
    return (await app.chatbots.get(scope, name)).id
