"""What a conversation brings into its prompts: its latest messages, a summary of those before, what its page says.

`remember` is asked before a prompt is built, `after` once a message has ended: it hands the messages that leave the
window to a job (`summary.py`), so no visitor waits for a summary and a crash loses none. `forget` draws a boundary.
"""

import asyncio
import uuid
from dataclasses import dataclass

import structlog

from chatwright.adapters.queue import route
from chatwright.adapters.valkey import translate
from chatwright.domain.chatbot import Chatbot
from chatwright.domain.errors import ChatwrightError, NotFound
from chatwright.domain.ids import ConversationId, JobId
from chatwright.domain.jobs import Job, JobType
from chatwright.domain.providers import Turn
from chatwright.domain.scope import Scope
from chatwright.features import jobs, memory, prompting
from chatwright.features.conversations import LoadedTurn
from chatwright.pipeline.enqueue import enqueue
from chatwright.pipeline.limits import room_tokens
from chatwright.pipeline.services import Services

_log = structlog.get_logger(__name__)
_SUMMARY_KEPT_S = 300
_PRIORITY = 2
"""Live messages go first: until the summary is there, what it is to cover stands in prompts as it was said."""
_HAND_OVER_S = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What a conversation adds to one prompt.

    `history`: the messages that do not stand in `summary`, oldest first; `history_whole`: none of them is missing.
    `metadata`: what the page says of itself, as lines. `digest`: 16 bytes over summary and metadata, b"" with neither.
    """

    summary: str = ""
    history: tuple[Turn, ...] = ()
    history_whole: bool = True
    metadata: str = ""
    digest: bytes = b""


async def remember(app: Services, chatbot: Chatbot, turn: LoadedTurn) -> Memory:
    """Everything that the conversation of `turn` adds to its prompt. A conversation without a summary costs no round
    trip. Raises Unavailable when a summary can be read nowhere."""
    metadata = memory.show_metadata(turn.metadata, chatbot.metadata_fields) if chatbot.metadata_fields else ""
    summary = ""
    history = turn.history if app.settings.context_messages else ()
    if turn.summarised_upto > turn.forgotten_upto and turn.conversation_id is not None and app.settings.summary_tokens:
        summary = await _read_summary(app, chatbot.scope, turn.conversation_id, turn.summarised_upto)
    return Memory(
        summary=summary,
        history=history,
        history_whole=turn.history_whole,
        metadata=metadata,
        digest=memory.digest(summary, metadata),
    )


async def after(app: Services, job: Job, turn: LoadedTurn, chatbot: Chatbot) -> None:
    """Have what has left the window summarised, once the message of `turn` has ended.

    Does nothing for most messages. Never raises: what is not handed over now is with the next message.
    """
    settings = app.settings
    if turn.conversation_id is None or not settings.context_messages or not settings.summary_tokens:
        return
    upto = memory.due(
        turn.ordinal, since=turn.since, keep=settings.context_messages, every=settings.summary_every
    ) or memory.due_for_room(
        (*turn.history, Turn("user", turn.text)),
        turn.ordinal + 1,
        _history_room(app, chatbot),
        prompting.estimate_tokens,
    )
    if upto <= turn.since:
        return
    try:
        async with asyncio.timeout(_HAND_OVER_S):
            await _hand_over(app, job.scope, turn.conversation_id, since=turn.since, upto=upto)
    except (ChatwrightError, TimeoutError) as error:
        _log.warning("summary.not_asked_for", error=str(error))


async def forget(app: Services, scope: Scope, conversation_id: ConversationId, *, visitor_id: str | None = None) -> int:
    """Draw a boundary: nothing said so far is in any later prompt. For a visitor's or an operator's reset, and for a
    handoff. The transcript stays. Returns the last forgotten message's ordinal.

    `visitor_id`: only this visitor's conversation. Raises NotFound, Unavailable.
    """
    async with app.db.transaction(scope) as db:
        upto = await memory.draw_boundary(db, scope, conversation_id, visitor_id=visitor_id)
    if upto is None:
        raise NotFound("no such conversation")
    return upto


async def _read_summary(app: Services, scope: Scope, conversation_id: ConversationId, upto: int) -> str:
    """A conversation's summary up to that message: from Valkey, where it is kept for 5 minutes, else from PostgreSQL.

    A summary never changes: the next one reaches further and has another name.
    """
    key = f"cw:summary:{scope.tenant_id}:{conversation_id}:{upto}"
    try:
        with translate():
            found = await app.valkey.get(key)
        if isinstance(found, bytes):
            return found.decode()
    except ChatwrightError:
        pass  # PostgreSQL has it
    async with app.db.transaction(scope) as db:
        kept = await memory.load_kept(db, scope, conversation_id)
    if kept is None or kept.summary.covers_upto != upto:
        # A newer one was kept, or all was forgotten, since this turn was loaded: what lies between is not at hand.
        return kept.text if kept is not None else ""
    try:
        with translate():
            await app.valkey.set(key, kept.text.encode(), ex=_SUMMARY_KEPT_S)
    except ChatwrightError:
        pass
    return kept.text


async def _hand_over(app: Services, scope: Scope, conversation_id: ConversationId, *, since: int, upto: int) -> None:
    """Commit and queue one job for these messages, however often it is asked for."""
    job_id = JobId(str(uuid.uuid5(uuid.UUID(conversation_id), f"summary {since} {upto}")))
    queue = route(JobType.CONVERSATION_SUMMARY, _PRIORITY)
    async with app.db.transaction(scope) as db:
        is_new = await jobs.insert_job_once(
            db,
            scope,
            job_id=job_id,
            job_type=JobType.CONVERSATION_SUMMARY,
            queue=queue,
            priority=_PRIORITY,
            payload={"conversation_id": conversation_id, "keep_upto": upto},
        )
    if is_new:
        await enqueue(
            app,
            scope,
            job_id=job_id,
            job_type=JobType.CONVERSATION_SUMMARY,
            queue=queue,
            priority=_PRIORITY,
            generation=1,
        )


def _history_room(app: Services, chatbot: Chatbot) -> int:
    """About what a prompt has left for its history: beside it stand persona, knowledge, summary and question. Estimated,
    because it is asked for with every message."""
    persona = prompting.estimate_tokens(chatbot.system_prompt) + prompting.estimate_tokens(chatbot.personality)
    return max(200, (room_tokens(app, chatbot) - persona - app.settings.summary_tokens) * 2 // 3)
