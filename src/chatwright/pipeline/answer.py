"""A chat job becomes an answer: turn, knowledge, prompt, provider, stream, books, ending. Read top to bottom.

Every write names the attempt that the worker holds. A worker that lost its lock changes no message, answer or stream
row; its own provider call is still closed in the books.
"""

import asyncio
import functools
import time
from contextlib import suppress

import structlog

from chatwright.adapters.models.encoded import Encoded
from chatwright.domain.chatbot import Chatbot
from chatwright.domain.errors import Cancelled, ChatwrightError, DeadlineExceeded, NotFound, Unavailable
from chatwright.domain.events import StreamReset, StreamStart
from chatwright.domain.guard import Verdict
from chatwright.domain.jobs import Job
from chatwright.domain.messages import MessageState, is_grounded
from chatwright.domain.providers import Prompt
from chatwright.features import animation, conversations
from chatwright.features.analysis.by_model import by_of
from chatwright.features.cache import CachedAnswer
from chatwright.features.guard.policy import GuardPolicy
from chatwright.features.routing import ProviderRun
from chatwright.pipeline.apology import with_apology
from chatwright.pipeline.attempt import Attempt, answer_of, keep_answer, measure_first_text, measure_hit
from chatwright.pipeline.books import CallBooks, import_of, measure_route, model_label, provider_label
from chatwright.pipeline.cache_asking import ask_behind
from chatwright.pipeline.caching import (
    CachePlan,
    CacheResult,
    asked_mode,
    find_exact,
    guarded,
    note_no_hit,
    pieces,
    plan_cache,
    stands_alone,
)
from chatwright.pipeline.ending import Ending, end_message, uncut
from chatwright.pipeline.filtering import output_filter, replace_if_stopped
from chatwright.pipeline.framing import frame, judge
from chatwright.pipeline.grounding import abstains, window
from chatwright.pipeline.guarding import note_answer, policy_of, refusal, under_tenant
from chatwright.pipeline.knowledge import find_sources
from chatwright.pipeline.meaning import ask_by_meaning
from chatwright.pipeline.memory import Memory, after, remember
from chatwright.pipeline.reading import TurnReading, encode, start_reading
from chatwright.pipeline.services import Services
from chatwright.pipeline.stream import relay
from chatwright.pipeline.suggesting import Suggested, suggest, suggest_again
from chatwright.pipeline.targets import hedges, spare_for, targets_for
from chatwright.pipeline.turns import open_sink, was_cancelled

_log = structlog.get_logger(__name__)


async def answer(app: Services, job: Job, turn: conversations.LoadedTurn | None = None) -> None:
    """Answer the message of a claimed `chat_response` job and end it, well or badly. `turn` is loaded if not given.

    Raises LostLock having changed nothing; ProviderError or Unavailable with the message still open (nothing visible
    was said: the caller decides on another attempt); CancelledError when the worker itself is stopped.
    """
    cues = animation.Cues()
    sink = open_sink(app, job, animate=lambda text: cues.animate(text, time.monotonic()))
    attempt = Attempt(job=job, sink=sink, cues=cues, began=time.time())
    try:
        await _answer_and_end(app, attempt, turn)
    finally:
        if attempt.flight is not None:
            attempt.flight.fail()  # unless it landed: then nobody waits any more
        if attempt.reader is not None:
            await attempt.reader.drop()


async def _answer_and_end(app: Services, attempt: Attempt, turn: conversations.LoadedTurn | None) -> None:
    try:
        async with asyncio.timeout(_time_left_s(app, attempt.job)):
            ending = await _answer(app, attempt, turn)
        if attempt.offer is not None:
            # Outside the deadline, within its own patience: an answer that is whole does not fail for want of it.
            attempt.suggested = await attempt.offer()
    except TimeoutError:
        error = DeadlineExceeded("the answer took longer than it may; its text so far was kept")
        ending = Ending(state=MessageState.FAILED, error=error, dead_letter=True, retriable=True)
    except asyncio.CancelledError:
        with suppress(ChatwrightError):  # then the next attempt sees that it was asked for
            await uncut(_end_if_cancelled(app, attempt), name="answer-cancelled")
        raise
    # Outside the deadline, and uncut: a finished answer is stored and told, whatever comes now.
    await uncut(_end(app, attempt, ending), name="answer-ending")
    if attempt.framing is not None and ending.state is MessageState.ANSWERED:
        ask_behind(app, attempt.plan, attempt.meaning, attempt.framing)
    if attempt.turn is not None and attempt.chatbot is not None:
        await after(app, attempt.job, attempt.turn, attempt.chatbot)


async def _answer(app: Services, attempt: Attempt, loaded: conversations.LoadedTurn | None) -> Ending:
    job = attempt.job
    turn = loaded or await _load_turn(app, job)
    if turn.cancel_asked:  # of an attempt that did not live to end it
        error = Cancelled("the answer was cancelled before it began")
        return Ending(state=MessageState.CANCELLED, error=error)
    chatbot = await under_tenant(app, await _load_chatbot(app, job))
    attempt.turn, attempt.chatbot = turn, chatbot
    attempt.cues.use(chatbot.animation_set)

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
        return await _give_again(app, attempt, found, "exact")
    attempt.plan = guarded(attempt.plan, attempt.flight)
    # One pass of the local model serves the guard, the caches, the reading and the search.
    encoded = await encode(app, [turn.text]) if _is_looked_at(chatbot, attempt.plan) else None
    vector = None if encoded is None else encoded.vectors[0]
    verdict = await judge(app, job, chatbot, turn, encoded)
    if verdict.action in ("advise", "block"):
        attempt.plan = _unkept(attempt)
    attempt.meaning = await ask_by_meaning(app, attempt.plan, vector)
    is_over = verdict.action == "block" or attempt.meaning.served is not None
    attempt.reader = await _start_reading(app, attempt, chatbot, turn, encoded, local_only=is_over)
    if verdict.action == "block":
        return Ending(state=MessageState.REFUSED, error=refusal(await policy_of(app, chatbot)))
    framing = functools.partial(_framed, app, job, chatbot, turn, memory, verdict, encoded)
    if attempt.meaning.served is not None:
        attempt.framing = framing
        if attempt.flight is not None:
            attempt.flight.part()
        return await _give_again(app, attempt, attempt.meaning.served, "semantic")
    prompt = await framing()
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
    held = window(chatbot, prompt.sources, output_filter(chatbot, prompt, replaces=True))
    relayed = await relay(
        attempt.run.deltas(),
        attempt.sink,
        coalesce_s=app.settings.coalesce_s,
        hold_back=held,
        progress=attempt.progress,
    )
    if held is not None and held.hits:
        note_answer(
            app,
            job.scope,
            attempt.progress.text,
            held.hits,
            conversation_id=job.conversation_id,
            message_id=job.message_id,
        )
        if held.replacement is not None:
            attempt.sources = ()  # the sentence that stands there now comes from none
            await replace_if_stopped(held, attempt.sink, attempt.progress)
    measure_first_text(app, attempt)
    measure_route(app, attempt.run)
    attempt.cached = note_no_hit(app, attempt.plan)
    if relayed.error is None:
        if held is None or not held.stopped:
            attempt.offer = functools.partial(
                suggest,
                app,
                chatbot,
                question=turn.text,
                history=memory.history,
                sources=attempt.sources,
                text=attempt.progress.text,
                reading=attempt.reader and attempt.reader.local,
                abstained=knows_nothing,
            )
        return Ending(state=MessageState.ANSWERED)
    if attempt.progress.text:
        # Visible text was sent: it stays as a partial answer, and no second model is spliced on.
        return Ending(state=MessageState.FAILED, error=relayed.error, retriable=True)
    relayed.error.final = attempt.run.attempts + turn.calls_made >= app.settings.max_provider_calls
    raise relayed.error


async def _end(app: Services, attempt: Attempt, ending: Ending) -> None:
    """Complete the ending with what the attempt has, store and tell it."""
    if attempt.reader is not None:
        # Whoever stopped the answer does not wait for what a model makes of the question.
        stopped = ending.state is MessageState.CANCELLED
        attempt.reading = attempt.reader.latest if stopped else await attempt.reader.settled()
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


async def _framed(
    app: Services,
    job: Job,
    chatbot: Chatbot,
    turn: conversations.LoadedTurn,
    memory: Memory,
    verdict: Verdict,
    encoded: Encoded | None,
) -> Prompt:
    vector = None if encoded is None else encoded.vectors[0]
    sources = await find_sources(app, chatbot, turn.text, memory.history, vector=vector)
    return await frame(app, job, chatbot, turn, memory, sources, verdict)


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


async def _give_again(app: Services, attempt: Attempt, entry: CachedAnswer, result: CacheResult) -> Ending:
    """Stream a kept answer as if it were new, in one round trip."""
    turn, chatbot = attempt.turn, attempt.chatbot
    assert turn is not None
    assert chatbot is not None
    attempt.again, attempt.cached = entry, result
    if attempt.reader is None and entry.reading is not None:
        attempt.reader = TurnReading(entry.reading, None)
    elif attempt.reader is None:
        attempt.reader = await _start_reading(app, attempt, chatbot, turn, None, local_only=True)
    attempt.suggested = Suggested(
        actions=suggest_again(
            chatbot,
            question=turn.text,
            history=turn.history,
            text=entry.text,
            reading=attempt.reader and attempt.reader.local,
            kept=entry.suggestions,
        )
    )
    parts = pieces(entry.text)
    attempt.progress.parts.extend(parts)
    await attempt.sink.chunks(parts)
    attempt.progress.first_text_at_s = time.monotonic()
    return Ending(state=MessageState.ANSWERED)


async def _start_stream(attempt: Attempt, chatbot: Chatbot) -> None:
    """Raise the attempt's fence in the event log. A Valkey that is away stops nothing: followers are told later."""
    start = StreamStart(chatbot_id=chatbot.id, animation=attempt.cues.begin())
    with suppress(Unavailable):
        await (attempt.sink.send(start) if attempt.job.attempt == 1 else attempt.sink.send(StreamReset(), start))


def _is_looked_at(chatbot: Chatbot, plan: CachePlan | None) -> bool:
    """Whether anybody before the search wants the question's encoding."""
    guards = GuardPolicy.of(chatbot.guard_policy).input != "off"
    return guards or by_of(chatbot.reading_policy) != "off" or (plan is not None and stands_alone(plan))


async def _start_reading(
    app: Services,
    attempt: Attempt,
    chatbot: Chatbot,
    turn: conversations.LoadedTurn,
    encoded: Encoded | None,
    *,
    local_only: bool,
) -> TurnReading | None:
    if by_of(chatbot.reading_policy) == "off":
        return None
    return await start_reading(
        app,
        chatbot,
        turn.text,
        encoded,
        conversation_id=attempt.job.conversation_id,
        visitor_id=turn.visitor_id,
        import_id=import_of(attempt.job),
        local_only=local_only,
    )


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


def _unkept(attempt: Attempt) -> None:
    """The caches have no part in a turn that looks like an attack: what it is told is for nobody else."""
    if attempt.flight is not None:
        attempt.flight.part()


def _time_left_s(app: Services, job: Job) -> float:
    """Seconds until this answer's deadline: counted from its first attempt, over all of them."""
    deadline = job.started_at_s + app.settings.answer_deadline_s
    if job.deadline_at_s is not None:
        deadline = min(deadline, job.deadline_at_s)
    return max(0.0, deadline - time.time())
