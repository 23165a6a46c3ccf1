"""Waits for a message's ending, for callers that want the answer in one piece: the same event log, read to its end."""

import asyncio
from dataclasses import dataclass

from chatwright.adapters.valkey import Lost
from chatwright.domain.errors import ChatwrightError, Unavailable
from chatwright.domain.ids import MessageId
from chatwright.domain.messages import Accepted, Answer, MessageState
from chatwright.domain.reading import Reading
from chatwright.domain.scope import Scope
from chatwright.features import conversations
from chatwright.pipeline.services import Services

_TERMINAL = (b'"type":"stream_complete"', b'"type":"stream_error"')
_LOOK_S = 2.0
"""How often PostgreSQL is asked although no event came: the log is a hint, and may be away."""
_PAUSE_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """`state` is `accepted` when time ran out first. `answer` is None unless there is text. With `merged_into` the message
    is answered together with that later one: state, answer and reading are the later one's."""

    state: MessageState
    answer: Answer | None
    reading: Reading | None
    error_code: str | None = None
    error_message: str | None = None
    merged_into: MessageId | None = None


async def wait_for_answer(app: Services, scope: Scope, accepted: Accepted, *, timeout_s: float) -> Outcome:
    """Wait until the message is terminal, at most `timeout_s` seconds. Raises NotFound-free: the receipt proves it."""
    deadline = asyncio.get_running_loop().time() + timeout_s
    after_seq = None if accepted.seq is None else accepted.seq
    outcome = await _look(app, scope, accepted) if accepted.replayed or after_seq is None else None
    if outcome is not None and outcome.state is not MessageState.ACCEPTED:
        return outcome
    needle = _needle((outcome and outcome.merged_into) or accepted.message_id)
    async with app.channel.follow(scope.tenant_id, accepted.conversation_id, after_seq=after_seq) as events:
        pending = aiter(events)
        while True:
            left_s = deadline - asyncio.get_running_loop().time()
            try:
                async with asyncio.timeout(max(0.0, min(_LOOK_S, left_s))):
                    event = await anext(pending)
            except TimeoutError:
                event = None
            except (StopAsyncIteration, ChatwrightError):  # at once, and again: this process stops, or Valkey is away
                event = None
                await asyncio.sleep(max(0.0, min(_PAUSE_S, left_s)))
            told = (
                event is None
                or isinstance(event, Lost)
                or (needle in event[1] and any(mark in event[1] for mark in _TERMINAL))
            )
            if told:
                outcome = await _look(app, scope, accepted)
                if outcome.state is not MessageState.ACCEPTED or left_s <= 0:
                    return outcome
                needle = _needle(outcome.merged_into or accepted.message_id)


def _needle(message_id: MessageId) -> bytes:
    return f'"message_id":"{message_id}"'.encode()


async def _look(app: Services, scope: Scope, accepted: Accepted) -> Outcome:
    merged_into: MessageId | None = None
    try:
        async with app.db.transaction(scope) as db:
            terminal = await conversations.load_terminal(db, scope, accepted.message_id)
            if terminal is not None and terminal.merged_into is not None:
                merged_into = terminal.merged_into
                terminal = await conversations.load_terminal(db, scope, merged_into)
    except (Unavailable, TimeoutError):  # it was accepted: a database that is away now makes nobody send it again
        return Outcome(state=MessageState.ACCEPTED, answer=None, reading=None, merged_into=merged_into)
    if terminal is None:
        return Outcome(state=MessageState.FAILED, answer=None, reading=None, error_code="not_found")
    return Outcome(
        state=terminal.state,
        answer=terminal.answer,
        reading=Reading(**terminal.reading) if terminal.reading else None,
        error_code=terminal.error_code,
        error_message=terminal.error_message,
        merged_into=merged_into,
    )
