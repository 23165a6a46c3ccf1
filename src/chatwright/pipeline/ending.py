"""How a message ends: stored once under its attempt's fence, then told to whoever follows, then the next one is let go.

PostgreSQL first: a crash after the commit leaves a stream without its last event, which the next look at the job
(`announce_again`) makes good. `uncut` keeps a cancellation from falling between the two.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog

from chatwright.domain.errors import (
    BudgetExceeded,
    ChatwrightError,
    ContentFilterError,
    ContextLengthError,
    LostLock,
    ProviderError,
    RateLimitError,
    Unavailable,
)
from chatwright.domain.events import StreamComplete, StreamError, complete_event, encode
from chatwright.domain.ids import JobId, MessageId
from chatwright.domain.jobs import Job
from chatwright.domain.messages import Answer, MessageState
from chatwright.domain.reading import Reading
from chatwright.domain.scope import Scope
from chatwright.features import conversations, jobs
from chatwright.pipeline.enqueue import enqueue_row
from chatwright.pipeline.limits import settle_message
from chatwright.pipeline.services import Services

_log = structlog.get_logger(__name__)
_JOB_STATES = {MessageState.ANSWERED: "done", MessageState.CANCELLED: "cancelled"}
_PATIENCE_S = 30.0
"""How long an ending waits for PostgreSQL, then for Valkey, to come back before it is left to the next look."""
_LAST_WORDS_S = 4.0
"""What an ending still gets once its task is cancelled: less than a consumer waits for a handler that it stops."""
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """What becomes of a message: its state, its answer (whole or partial) if there is one, the error if that is why."""

    state: MessageState
    answer: Answer | None = None
    reading: Reading | None = None
    error: ChatwrightError | None = None
    dead_letter: bool = False
    retriable: bool = False
    merged_into: MessageId | None = None


async def end_message(app: Services, job: Job, ending: Ending, *, last_seq: int) -> None:
    """Store and tell the ending of a chat job's message. Raises LostLock, having changed nothing, if another attempt
    took over, and Unavailable if PostgreSQL stayed away, or Valkey did: then the ending stands but was not told, and
    the job must be looked at again."""
    following = await _patiently(lambda: _store(app, job, ending, last_seq))
    try:
        await _patiently(lambda: tell_ending(app, job, ending))
    finally:
        if following is not None:
            await enqueue_row(app, job.scope, following)


async def uncut(work: Coroutine[Any, Any, _Result], *, name: str) -> _Result:
    """Run `work` to its end although the caller is cancelled meanwhile; then the cancellation goes on.

    From the first cancellation on it has `_LAST_WORDS_S` seconds left. What it raised after one is only logged.
    """
    task = asyncio.create_task(work, name=name)
    clock = asyncio.get_running_loop().time
    cancelled: asyncio.CancelledError | None = None
    until_s = 0.0
    while not task.done():
        try:
            await asyncio.wait({task}, timeout=None if cancelled is None else max(0.0, until_s - clock()))
            if cancelled is not None and clock() >= until_s:
                task.cancel()
        except asyncio.CancelledError as error:
            until_s = until_s or clock() + _LAST_WORDS_S
            cancelled = error
    if cancelled is None:
        return task.result()
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.warning("ending.failed_while_stopping", work=name, error=str(error))
    raise cancelled


async def tell_ending(app: Services, job: Job, ending: Ending, *, begin_anew: bool = True) -> None:
    """Append the terminal event, once. A lost log is begun anew for it if `begin_anew`. Raises Unavailable; whoever
    lost the right to tell it only logs that: PostgreSQL has the ending, resuming readers get it."""
    assert job.message_id is not None
    assert job.conversation_id is not None
    message_id, conversation_id, scope = job.message_id, job.conversation_id, job.scope
    await settle_message(app, job, ending.answer)  # before anybody hears of the ending and sends the next one

    async def prove() -> int:
        async with app.db.transaction(scope) as db:
            if not await jobs.ended_by(db, job):
                raise LostLock("somebody else tells this ending")
            base = await conversations.raise_seq_base(db, scope, conversation_id)
        if base is None:
            raise LostLock("the conversation is gone")
        return base

    event = encode(
        _terminal_event(ending),
        conversation_id=conversation_id,
        message_id=message_id,
        stream_id=message_id,
        ts=time.time(),
    )
    try:
        await app.log.append(
            scope.tenant_id,
            conversation_id,
            message_id=message_id,
            attempt=max(1, job.attempt),
            events=[event],
            terminal=True,
            on_missing=prove if begin_anew else None,
        )
    except Unavailable:
        raise
    except ChatwrightError as error:
        _log.warning("ending.not_told", message_id=message_id, error=str(error))


async def announce_again(app: Services, scope: Scope, job_id: JobId) -> None:
    """Repair a stream whose message ended in PostgreSQL while its last event was never told. Cheap when all is well."""
    async with app.db.transaction(scope) as db:
        job = await jobs.get_row(db, scope, job_id)
        if job is None or job.message_id is None:
            return
        terminal = await conversations.load_terminal(db, scope, job.message_id)
    if terminal is None or terminal.state is MessageState.ACCEPTED:
        return
    if await app.log.is_open(scope.tenant_id, terminal.conversation_id, terminal.message_id):
        async with app.db.transaction(scope) as db:
            teller = await jobs.take_telling(db, job)
        if teller is not None:
            await tell_ending(app, teller, ending_of(terminal), begin_anew=False)


def ending_of(terminal: conversations.Terminal) -> Ending:
    """The ending as PostgreSQL tells it."""
    error = None
    if terminal.error_code is not None:
        error = StoredError(terminal.error_code, terminal.error_message or "")
    reading = Reading(**terminal.reading) if terminal.reading else None
    return Ending(
        state=terminal.state,
        answer=terminal.answer,
        reading=reading,
        error=error,
        merged_into=terminal.merged_into,
    )


class StoredError(ChatwrightError):
    """An error read back from PostgreSQL: only its code and words are left."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.stored_code = code


def error_code(error: ChatwrightError) -> str:
    return error.stored_code if isinstance(error, StoredError) else error.code


def words_of(error: ChatwrightError) -> str:
    """An error's message as it can be stored and told: a provider may put anything into it."""
    return storable(error.message)[:2000]


def words_for_visitors(error: ChatwrightError) -> str:
    """What a visitor is told. Keys, prices, models and addresses are the operator's matter: they are named in the dead
    letter, the job, the calls and the log."""
    match error:
        case BudgetExceeded():
            return "The assistant is taking a break; please come back later."
        case ContextLengthError():
            return "This conversation has become too long for the language model; start a new one or ask more briefly."
        case ContentFilterError():
            return "The language model refused to answer this."
        case RateLimitError():
            return "There are too many questions just now; try again in a moment."
        case ProviderError():
            return "No language model could answer just now; try again in a moment."
        case _:
            return words_of(error)


def storable(text: str) -> str:
    """`text` without what PostgreSQL and JSON cannot hold: NUL and half characters."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode()


async def _patiently(step: Callable[[], Awaitable[_Result]]) -> _Result:
    pause_s = 0.05
    deadline = asyncio.get_running_loop().time() + _PATIENCE_S
    while True:
        try:
            return await step()
        except (Unavailable, TimeoutError):
            if asyncio.get_running_loop().time() > deadline:
                raise
            await asyncio.sleep(pause_s)
            pause_s = min(1.0, pause_s * 2)


async def _store(app: Services, job: Job, ending: Ending, last_seq: int) -> dict[str, Any] | None:
    """One transaction; returns the job of the conversation's next waiting message, if there is one."""
    assert job.message_id is not None
    assert job.conversation_id is not None
    scope = job.scope
    async with app.db.transaction(scope) as db:
        await conversations.lock_conversation(db, scope, job.conversation_id, last_seq=last_seq)
        held, following = await conversations.end_chat(
            db,
            job,
            conversations.Finished(
                message_id=job.message_id,
                conversation_id=job.conversation_id,
                state=ending.state,
                error_code=error_code(ending.error) if ending.error else None,
                error_message=words_for_visitors(ending.error) if ending.error else None,
                job_error=words_of(ending.error) if ending.error else None,
                reading=None if ending.reading is None else _reading_fields(ending.reading),
            ),
            ending.answer,
            job_state=_JOB_STATES.get(ending.state, "failed"),
        )
        if not held and await jobs.ended_by(db, job):
            return None  # we did, and only the reply of that commit was lost; the sweeper queues what follows
        if not held:
            raise LostLock("a later attempt owns this message")
        if ending.dead_letter and ending.error is not None:
            error_class = getattr(ending.error, "error_class", error_code(ending.error))
            await jobs.add_dead_letter(db, job, reason=words_of(ending.error), error_class=error_class)
        return following


def _terminal_event(ending: Ending) -> StreamComplete | StreamError:
    if ending.state is MessageState.ANSWERED and ending.answer is not None:
        return complete_event(ending.answer, ending.reading)
    if ending.state is MessageState.MERGED_INTO and ending.merged_into is not None:
        return StreamComplete(state=ending.state.value, merged_into=ending.merged_into, text="", cached="bypass")
    error = ending.error
    return StreamError(
        code=error_code(error) if error else ending.state.value,
        message=words_for_visitors(error) if error else f"the message ended as {ending.state.value}",
        retriable=ending.retriable,
        partial=ending.answer is not None,
        state=ending.state.value,
    )


def _reading_fields(reading: Reading) -> dict[str, Any]:
    return {
        "sentiment": reading.sentiment,
        "sentiment_score": reading.sentiment_score,
        "intent": reading.intent,
        "intent_confidence": reading.intent_confidence,
    }
