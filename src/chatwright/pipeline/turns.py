"""A chat job's own corner of the event log: its sink, and whether somebody asked to stop it."""

from collections.abc import Callable

from chatwright.domain.errors import LostLock
from chatwright.domain.jobs import Job
from chatwright.features import conversations, jobs
from chatwright.pipeline.services import Services
from chatwright.pipeline.stream import ConversationSink


def open_sink(app: Services, job: Job, *, animate: Callable[[str], str | None] | None = None) -> ConversationSink:
    """A sink that writes under the attempt's fence; a lost log is begun anew only if PostgreSQL confirms the fence.

    `animate` chooses the animation that goes with a piece of text.
    """
    assert job.message_id is not None
    assert job.conversation_id is not None
    conversation_id = job.conversation_id

    async def prove() -> int:
        async with app.db.transaction(job.scope) as db:
            if not await jobs.holds(db, job):
                raise LostLock("a later attempt owns this message")
            base = await conversations.raise_seq_base(db, job.scope, conversation_id)
        if base is None:
            raise LostLock("the conversation is gone")
        return base

    return ConversationSink(
        app.log,
        tenant_id=job.scope.tenant_id,
        conversation_id=conversation_id,
        message_id=job.message_id,
        stream_id=job.message_id,
        attempt=job.attempt,
        on_missing=prove,
        animate=animate,
    )


async def is_held(app: Services, job: Job) -> bool:
    """Whether this attempt still has its job: it has not ended, and no other attempt took over."""
    async with app.db.transaction(job.scope) as db:
        return await jobs.holds(db, job)


async def was_cancelled(app: Services, job: Job) -> bool:
    """Whether the visitor or an operator asked to stop this message's answer."""
    assert job.message_id is not None
    async with app.db.transaction(job.scope) as db:
        return await conversations.is_cancel_asked(db, job.scope, job.message_id)
