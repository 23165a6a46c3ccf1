"""A chat job becomes an answer: turn, knowledge, prompt, provider, stream, books, ending. Read top to bottom.

Every write names the attempt that the worker holds. A worker that lost its lock changes no message, answer or stream
row; its own provider call is still closed in the books.
"""

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import structlog

from chatwright.domain.chatbot import Chatbot
from chatwright.domain.errors import (
    Cancelled,
    ChatwrightError,
    DeadlineExceeded,
    NotFound,
    Unavailable,
)
from chatwright.domain.events import StreamReset, StreamStart
from chatwright.domain.jobs import Job
from chatwright.domain.messages import MessageState, is_grounded
from chatwright.domain.providers import Prompt, Source
from chatwright.features import analysis, animation, conversations, prompting
from chatwright.features.cache import CachedAnswer
from chatwright.features.routing import ProviderRun
from chatwright.pipeline.apology import with_apology
from chatwright.pipeline.attempt import Attempt, answer_of, keep_answer, measure_first_text, measure_hit
from chatwright.pipeline.books import CallBooks, import_of, measure_route, model_label, provider_label
from chatwright.pipeline.caching import (
    CachePlan,
    CacheResult,
    asked_mode,
    find_exact,
    guarded,
    note_no_hit,
    pieces,
    plan_cache,
)
from chatwright.pipeline.ending import Ending, end_message, uncut
from chatwright.pipeline.grounding import abstains, window
from chatwright.pipeline.knowledge import find_sources
from chatwright.pipeline.limits import room_tokens
from chatwright.pipeline.meaning import ask_by_meaning
from chatwright.pipeline.memory import Memory, after, remember
from chatwright.pipeline.services import Services
from chatwright.pipeline.stream import relay
from chatwright.pipeline.targets import hedges, spare_for, targets_for
from chatwright.pipeline.turns import open_sink, was_cancelled

_log = structlog.get_logger(__name__)


class _Talk:
    """Gives each streamed piece the animation of its sentence: the talking ones in turn."""

    def __init__(self) -> None:
        self.animation_set: Mapping[str, Any] = {}
        self._sentence = 0

    def animate(self, text: str) -> str:
        name = animation.while_streaming(self._sentence, self.animation_set)
        self._sentence += sum(text.count(mark) for mark in (". ", "! ", "? ", "\n"))
        if text.endswith((".", "!", "?")):
            self._sentence += 1
        return name


async def answer(app: Services, job: Job, turn: conversations.LoadedTurn | None = None) -> None:
    """Answer the message of a claimed `chat_response` job and end it, well or badly. `turn` is loaded if not given.

    Raises LostLock having changed nothing; ProviderError or Unavailable with the message still open (nothing visible
    was said: the caller decides on another attempt); CancelledError when the worker itself is stopped.
    """
    talk = _Talk()
    attempt = Attempt(job=job, sink=open_sink(app, job, animate=talk.animate), began=time.time())
    try:
        await _answer_and_end(app, attempt, talk, turn)
    finally:
        if attempt.flight is not None:
            attempt.flight.fail()  # unless it landed: then nobody waits any more


async def _answer_and_end(
    app: Services, attempt: Attempt, talk: "_Talk", turn: conversations.LoadedTurn | None
) -> None:
    try:
        async with asyncio.timeout(_time_left_s(app, attempt.job)):
            ending = await _answer(app, attempt, talk, turn)
    except TimeoutError:
        error = DeadlineExceeded("the answer took longer than it may; its text so far was kept")
        ending = Ending(state=MessageState.FAILED, error=error, dead_letter=True, retriable=True)
    except asyncio.CancelledError:
        with suppress(ChatwrightError):  # then the next attempt sees that it was asked for
            await uncut(_end_if_cancelled(app, attempt), name="answer-cancelled")
        raise
    # Outside the deadline, and uncut: a finished answer is stored and told, whatever comes now.
    await uncut(_end(app, attempt, ending), name="answer-ending")
    if attempt.turn is not None and attempt.chatbot is not None:
        await after(app, attempt.job, attempt.turn, attempt.chatbot)


async def _answer(app: Services, attempt: Attempt, talk: "_Talk", loaded: conversations.LoadedTurn | None) -> Ending:
    job = attempt.job
    turn = loaded or await _load_turn(app, job)
    if turn.cancel_asked:  # of an attempt that did not live to end it
        error = Cancelled("the answer was cancelled before it began")
        return Ending(state=MessageState.CANCELLED, error=error)
    chatbot = await _load_chatbot(app, job)
    attempt.turn, attempt.chatbot = turn, chatbot
    talk.animation_set = chatbot.animation_set
    attempt.reading = analysis.read(turn.text)

    memory = await remember(app, chatbot, turn)
    attempt.plan = _plan(app, chatbot, job, turn, memory)
    # The fence goes up in the event log while the cache is asked: both travel together, and neither needs the other.
    started, found = await asyncio.gather(
        _start_stream(attempt, chatbot), _ask_cache(app, attempt), return_exceptions=True
    )
    for failed in (started, found):
        if isinstance(failed, BaseException):
            raise failed
    if isinstance(found, CachedAnswer):
        return await _give_again(attempt, found, "exact")
    attempt.plan = guarded(attempt.plan, attempt.flight)
    attempt.meaning = await ask_by_meaning(app, attempt.plan)
    if attempt.meaning.served is not None:
        if attempt.flight is not None:
            attempt.flight.part()
        return await _give_again(attempt, attempt.meaning.served, "semantic")
    attempt.sources = await find_sources(app, chatbot, turn.text, memory.history, vector=attempt.meaning.vector)
    prompt = _build_prompt(app, chatbot, turn, memory, attempt.sources)
    prompt_tokens = await app.tokens.prompt(prompt)
    attempt.sources = tuple(prompt.sources)  # those that found room
    knows_nothing = abstains(chatbot, turn.text, prompt.sources)
    chain = await targets_for(app, chatbot, prompt.sources, prompt_tokens=prompt_tokens, local=knows_nothing)
    attempt.books = CallBooks(
        app,
        job.scope,
        prompt_tokens=prompt_tokens,
        max_output_tokens=chatbot.max_tokens,
        conversation_id=job.conversation_id,
        message_id=job.message_id,
        attempt=job.attempt,
        visitor_id=turn.visitor_id,
        import_id=import_of(job),
    )
    attempt.run = ProviderRun(
        chain.targets,
        prompt,
        attempt.books,
        gates=app.gates,
        max_calls=app.settings.max_provider_calls - turn.calls_made,
        deadline=asyncio.get_running_loop().time() + _time_left_s(app, job),
        prompt_tokens=prompt_tokens.tokens,
        hedging=hedges(app, chatbot),
        skipped=chain.skipped,
        patience_s=app.settings.provider_patience_s,
        spare=spare_for(app, chatbot, attempt.books, prompt_tokens=prompt_tokens),
    )
    relayed = await relay(
        attempt.run.deltas(),
        attempt.sink,
        coalesce_s=app.settings.coalesce_s,
        hold_back=window(chatbot, prompt.sources),
        progress=attempt.progress,
    )
    measure_first_text(app, attempt)
    measure_route(app, attempt.run)
    attempt.cached = note_no_hit(app, attempt.plan)
    if relayed.error is None:
        return Ending(state=MessageState.ANSWERED)
    if attempt.progress.text:
        # Visible text was sent: it stays as a partial answer, and no second model is spliced on.
        return Ending(state=MessageState.FAILED, error=relayed.error, retriable=True)
    relayed.error.final = attempt.run.attempts + turn.calls_made >= app.settings.max_provider_calls
    raise relayed.error


async def _end(app: Services, attempt: Attempt, ending: Ending) -> None:
    """Complete the ending with what the attempt has, store and tell it."""
    answer = answer_of(attempt, partial=ending.state is not MessageState.ANSWERED)
    ending = Ending(
        state=ending.state,
        answer=answer,
        reading=attempt.reading,
        error=ending.error,
        dead_letter=ending.dead_letter,
        retriable=ending.retriable,
    )
    ending = await with_apology(app, attempt.job, ending)
    await end_message(app, attempt.job, ending, last_seq=attempt.sink.last_seq)
    if answer is None:
        return
    if attempt.again is not None:
        measure_hit(app, attempt, answer)
        return
    if ending.state is MessageState.ANSWERED and attempt.plan is not None:
        await keep_answer(app, attempt.plan, attempt, answer)
    assert attempt.run is not None
    assert attempt.run.route is not None
    tenant, route = app.metrics.tenant(attempt.job.scope.tenant_id), attempt.run.route
    # Not the name that the answer states: a tenant's own server may state another one each time.
    model = model_label(app, route, priced=answer.cost_nano is not None)
    app.metrics.processing_seconds.labels(tenant, provider_label(app, route.provider), model, attempt.job.type).observe(
        time.time() - attempt.began
    )
    if is_grounded(answer.grounding) is False:
        app.metrics.answers_ungrounded.labels(tenant).inc()
    _log.info(
        "answer.finished",
        state=ending.state.value,
        provider=answer.provider,
        model=answer.model,
        attempts=attempt.run.attempts if attempt.run else 0,
        input_tokens=answer.usage.input_tokens,
        output_tokens=answer.usage.output_tokens,
        cost_nano=answer.cost_nano,
        took_ms=answer.processing_ms,
    )


async def _end_if_cancelled(app: Services, attempt: Attempt) -> None:
    """End the message if its cancellation was asked for; if only this worker stops, leave it to the next attempt."""
    if await was_cancelled(app, attempt.job):
        error = Cancelled("the answer was cancelled; its text so far was kept")
        await _end(app, attempt, Ending(state=MessageState.CANCELLED, error=error))


def _plan(
    app: Services, chatbot: Chatbot, job: Job, turn: conversations.LoadedTurn, memory: Memory
) -> CachePlan | None:
    return plan_cache(
        app,
        chatbot,
        question=turn.text,
        history=memory.history,
        more_context=memory.digest,
        also_said=(memory.summary, memory.metadata),
        asked=asked_mode(turn.metadata),
        visitor_id=turn.visitor_id,
        conversation_id=job.conversation_id,
        message_id=job.message_id,
        import_id=import_of(job),
    )


async def _ask_cache(app: Services, attempt: Attempt) -> CachedAnswer | None:
    """The answer kept for this very question. A flight is noted here, not returned: whatever happens to the caller, it
    is ended."""
    found = await find_exact(app, attempt.plan, left_s=_time_left_s(app, attempt.job))
    if isinstance(found, CachedAnswer):
        return found
    attempt.flight = found
    return None


async def _give_again(attempt: Attempt, entry: CachedAnswer, result: CacheResult) -> Ending:
    """Stream a kept answer as if it were new, in one round trip."""
    attempt.again, attempt.cached = entry, result
    parts = pieces(entry.text)
    attempt.progress.parts.extend(parts)
    await attempt.sink.chunks(parts)
    attempt.progress.first_text_at_s = time.monotonic()
    return Ending(state=MessageState.ANSWERED)


async def _start_stream(attempt: Attempt, chatbot: Chatbot) -> None:
    """Raise the attempt's fence in the event log. A Valkey that is away stops nothing: followers are told later."""
    start = StreamStart(chatbot_id=chatbot.id, animation=animation.while_streaming(0, chatbot.animation_set))
    with suppress(Unavailable):
        await (attempt.sink.send(start) if attempt.job.attempt == 1 else attempt.sink.send(StreamReset(), start))


async def _load_chatbot(app: Services, job: Job) -> Chatbot:
    if job.scope.chatbot_id is None:
        raise NotFound("the job names no chatbot")
    return await app.chatbots.get(job.scope, job.scope.chatbot_id)


async def _load_turn(app: Services, job: Job) -> conversations.LoadedTurn:
    assert job.message_id is not None
    async with app.db.transaction(job.scope) as db:
        turn = await conversations.load_turn(db, job.scope, job.message_id, history=app.settings.history_messages)
    if turn is None:
        raise NotFound("the message is gone")
    return turn


def _build_prompt(
    app: Services, chatbot: Chatbot, turn: conversations.LoadedTurn, memory: Memory, sources: tuple[Source, ...]
) -> Prompt:
    return prompting.build(
        question=turn.text,
        history=memory.history,
        sources=sources,
        name=chatbot.name,
        system_prompt=chatbot.system_prompt,
        personality=chatbot.personality,
        policy=chatbot.policy,
        temperature=chatbot.temperature,
        max_tokens=chatbot.max_tokens,
        room_tokens=room_tokens(app, chatbot),
        no_answer_text=chatbot.no_answer_text,
        history_whole=memory.history_whole,
        summary=memory.summary,
        metadata=memory.metadata,
        cache_key=chatbot.id,
        count=app.tokens.count,
    )


def _time_left_s(app: Services, job: Job) -> float:
    """Seconds until this answer's deadline: counted from its first attempt, over all of them."""
    deadline = job.started_at_s + app.settings.answer_deadline_s
    if job.deadline_at_s is not None:
        deadline = min(deadline, job.deadline_at_s)
    return max(0.0, deadline - time.time())
