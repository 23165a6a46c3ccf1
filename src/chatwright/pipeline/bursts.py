"""Bursts: messages that a visitor writes in quick succession are answered once, by the answer to the last of them.

Where a chatbot has a `burst_window_ms`, a message waits that long before anybody works on it (`gather`, called by
`perform.py`), and a message that comes while nothing of the earlier one's answer can be seen takes that one over: in the
transaction that accepts it (`take_over_burst` of migrations/0020_bursts.sql), so that it is decided once, whatever
crashes. `supersede`, called by `accept.py`, only stops the work and tells: both are made good if they are lost.
"""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress

import structlog

from chatwright.domain.errors import Cancelled, ChatwrightError
from chatwright.domain.jobs import Job
from chatwright.domain.messages import MessageState
from chatwright.domain.scope import Scope
from chatwright.features import conversations, jobs
from chatwright.features.conversations import LoadedTurn, TakenOver
from chatwright.pipeline.ending import Ending, announce_again, end_message, uncut
from chatwright.pipeline.services import Services
from chatwright.pipeline.turns import was_cancelled

_log = structlog.get_logger(__name__)


async def supersede(app: Services, scope: Scope, taken_over: Sequence[TakenOver]) -> None:
    """Stop whoever works on these messages, and tell their followers how they ended. Never raises but CancelledError.

    A worker that does not hear of it loses its fence: it opens no call and shows no text any more. Endings that are not
    told here are told by whoever answers the message that took them over.
    """
    for one in taken_over:
        try:
            if one.running:
                await app.channel.publish_cancel(one.message_id)
            await announce_again(app, scope, one.job_id)
        except (ChatwrightError, TimeoutError) as error:
            _log.warning("burst.not_told", message_id=one.message_id, error=str(error))


async def gather(app: Services, job: Job, turn: LoadedTurn | None) -> LoadedTurn | None:
    """Wait out what is left of the burst window, then return the turn with all texts of its burst in it.

    `turn` is what the claim loaded, and comes back as it is where bursts are off or the message stands alone. Raises
    NotFound for a chatbot that is gone; CancelledError when a later message took this one over, when it was cancelled
    (its ending is stored then), or when the worker stops.
    """
    if job.scope.chatbot_id is None or job.message_id is None or (turn is not None and turn.cancel_asked):
        return turn
    chatbot = await app.chatbots.get(job.scope, job.scope.chatbot_id)
    wait_s = left_s(chatbot.burst_window_ms, age_s=time.time() - job.created_at_s)
    if wait_s > 0:
        try:
            await asyncio.sleep(wait_s)
        except asyncio.CancelledError:
            with suppress(ChatwrightError):  # then the next attempt sees that it was asked for
                await uncut(_end_if_cancelled(app, job), name="burst-cancelled")
            raise
    if not job.payload.get("burst"):
        return turn
    async with app.db.transaction(job.scope) as db:
        earlier = await jobs.list_burst(db, job.scope, job.message_id)
        whole = await conversations.load_turn(db, job.scope, job.message_id, history=app.settings.history_messages)
    for job_id in earlier:
        with suppress(ChatwrightError, TimeoutError):
            await announce_again(app, job.scope, job_id)
    return whole


def left_s(window_ms: int, *, age_s: float) -> float:
    """Seconds that a message of `age_s` still waits for a next one: never more than the window, whatever the clocks say."""
    return min(window_ms / 1000, max(0.0, window_ms / 1000 - age_s))


async def _end_if_cancelled(app: Services, job: Job) -> None:
    if await was_cancelled(app, job):
        error = Cancelled("the answer was cancelled before it began")
        await end_message(app, job, Ending(state=MessageState.CANCELLED, error=error), last_seq=0)
