"""A chat job's own corner of the event log: its sink, and whether somebody asked to stop it."""

from collections.abc import Awaitable, Callable, Sequence

from chatwright.domain.errors import ChatwrightError, LostLock
from chatwright.domain.jobs import Job
from chatwright.features import conversations, jobs
from chatwright.pipeline.services import Services
from chatwright.pipeline.stream import ConversationSink


class _Sink(ConversationSink):
    """Keeps the first piece of text back until `before_text` has returned, and all text if that raises."""

    before_text: Callable[[], Awaitable[None]] | None = None

    async def chunk(self, text: str) -> None:
        if self.before_text is not None:
            await self.before_text()
            self.before_text = None
        await super().chunk(text)

    async def chunks(self, texts: Sequence[str]) -> None:
        if self.before_text is not None:
            await self.before_text()
            self.before_text = None
        await super().chunks(texts)


def open_sink(app: Services, job: Job, *, animate: Callable[[str], str | None] | None = None) -> ConversationSink:
    """A sink that writes under the attempt's fence; a lost log is begun anew only if PostgreSQL confirms the fence.

    `animate` chooses the animation that goes with a piece of text. Where a later message may take this one over
    (`bursts.py`), the first piece is kept back until PostgreSQL has noted that from now on none may.
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

    sink = _Sink(
        app.log,
        tenant_id=job.scope.tenant_id,
        conversation_id=conversation_id,
        message_id=job.message_id,
        stream_id=job.message_id,
        attempt=job.attempt,
        on_missing=prove,
        animate=animate,
    )
    sink.before_text = lambda: _note_visible(app, job)
    return sink


async def _note_visible(app: Services, job: Job) -> None:
    """Write down that the answer can be seen, where a later message could take its message over. Raises LostLock: one has."""
    if job.scope.chatbot_id is None:
        return
    try:
        chatbot = await app.chatbots.get(job.scope, job.scope.chatbot_id)
    except ChatwrightError:
        return  # PostgreSQL is away: nothing is accepted either, and an answer that is under way is shown
    if not chatbot.burst_window_ms:
        return
    async with app.db.transaction(job.scope) as db:
        if not await jobs.show(db, job):
            raise LostLock("a later message, or a later attempt, took this one over")


async def is_held(app: Services, job: Job) -> bool:
    """Whether this attempt still has its job: it has not ended, and no other attempt took over."""
    async with app.db.transaction(job.scope) as db:
        return await jobs.holds(db, job)


async def was_cancelled(app: Services, job: Job) -> bool:
    """Whether the visitor or an operator asked to stop this message's answer."""
    assert job.message_id is not None
    async with app.db.transaction(job.scope) as db:
        return await conversations.is_cancel_asked(db, job.scope, job.message_id)
