"""What one attempt at an answer has come to: its answer row (whole, partial or given again), and what is measured of it.

The record that `answer.py` fills as it goes; an early ending reads it.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog

from chatwright.domain.chatbot import Chatbot
from chatwright.domain.ids import AnswerId, new_id
from chatwright.domain.jobs import Job
from chatwright.domain.messages import Answer
from chatwright.domain.providers import Source
from chatwright.domain.reading import Reading
from chatwright.features.animation import Cues
from chatwright.features.cache import CachedAnswer, Flight
from chatwright.features.conversations import LoadedTurn
from chatwright.features.routing import ProviderRun
from chatwright.pipeline.animating import react
from chatwright.pipeline.books import CallBooks, provider_label
from chatwright.pipeline.cache_asking import Framing
from chatwright.pipeline.caching import CachePlan, CacheResult, Made, keep, note_hit
from chatwright.pipeline.ending import storable
from chatwright.pipeline.grounding import measure, shown
from chatwright.pipeline.meaning import NOT_ASKED, Meaning, teach
from chatwright.pipeline.reading import TurnReading
from chatwright.pipeline.services import Services
from chatwright.pipeline.stream import ConversationSink, Progress
from chatwright.pipeline.suggesting import NOTHING, Suggested
from chatwright.pipeline.targets import EXTRACTIVE

_log = structlog.get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class Attempt:
    """What this attempt has come to; an early ending reads it."""

    job: Job
    sink: ConversationSink
    cues: Cues
    began: float
    progress: Progress = field(default_factory=Progress)
    turn: LoadedTurn | None = None
    chatbot: Chatbot | None = None
    reading: Reading | None = None
    """As settled at its end."""
    reader: TurnReading | None = None
    sources: tuple[Source, ...] = ()
    run: ProviderRun | None = None
    books: CallBooks | None = None
    cached: CacheResult = "bypass"
    plan: CachePlan | None = None
    flight: Flight | None = None
    meaning: Meaning = NOT_ASKED
    again: CachedAnswer | None = None
    """The answer that a cache gave."""
    framing: Framing | None = None
    """Makes the prompt that a provider would have had in its place, for a check."""
    offer: Callable[[], Awaitable[Suggested]] | None = None
    """What finds what goes with an answer that is whole."""
    suggested: Suggested = NOTHING


def answer_of(attempt: Attempt, *, partial: bool) -> Answer | None:
    """The answer row, or None when a bad ending has no text to keep."""
    job, progress, run = attempt.job, attempt.progress, attempt.run
    if attempt.again is not None and progress.text:
        return _answer_again(attempt, attempt.again, partial=partial)
    if (partial and not progress.text) or run is None or run.route is None or attempt.books is None:
        return None
    assert job.message_id is not None
    assert job.conversation_id is not None
    support, confidence = measure(progress.text, attempt.sources, run.route.provider)
    return Answer(
        id=AnswerId(new_id()),
        message_id=job.message_id,
        conversation_id=job.conversation_id,
        text=progress.text,
        provider=run.route.provider,
        model=storable(progress.model or run.route.model),
        sources=_cited(attempt, progress.text, run.route.provider),
        animation=_animation(attempt),
        suggested_actions=attempt.suggested.actions,
        confidence=confidence,
        grounding=support,
        usage=attempt.books.usage,
        cost_nano=attempt.books.cost_nano,
        cached=attempt.cached,
        partial=partial,
        chunk_count=progress.chunks,
        processing_ms=round((time.time() - attempt.began) * 1000),
    )


def _animation(attempt: Attempt) -> str:
    assert attempt.job.message_id is not None
    previous = attempt.turn.last_animation if attempt.turn else None
    return react(attempt.job.message_id, attempt.reading, attempt.chatbot, previous=previous)


def _cited(attempt: Attempt, text: str, provider: str) -> tuple[Source, ...]:
    """The sources that the text cites. A model that cites none was still given them: then all are shown; the
    extractive provider that quotes none said that it doesn't know."""
    cited = tuple(source for source in attempt.sources if f"[{source.n}]" in text)
    found = cited or (() if provider == EXTRACTIVE else attempt.sources)
    return shown(attempt.chatbot, found) if attempt.chatbot is not None else found


def _answer_again(attempt: Attempt, entry: CachedAnswer, *, partial: bool) -> Answer:
    """A kept answer's content under new ids. It used no tokens and cost nothing."""
    job = attempt.job
    assert job.message_id is not None
    assert job.conversation_id is not None
    return Answer(
        id=AnswerId(new_id()),
        message_id=job.message_id,
        conversation_id=job.conversation_id,
        text=attempt.progress.text,
        provider=entry.provider,
        model=entry.model,
        sources=entry.sources,
        animation=_animation(attempt),
        suggested_actions=attempt.suggested.actions,
        confidence=entry.confidence,
        grounding=entry.grounding,
        cost_nano=0,
        cached=attempt.cached,
        partial=partial,
        chunk_count=attempt.progress.chunks,
        processing_ms=round((time.time() - attempt.began) * 1000),
    )


def measure_hit(app: Services, attempt: Attempt, answer: Answer) -> None:
    if attempt.plan is None or attempt.again is None or answer.partial:
        return
    note_hit(app, attempt.plan, attempt.again, attempt.cached)
    tenant = app.metrics.tenant(attempt.job.scope.tenant_id)
    app.metrics.processing_seconds.labels(tenant, "cache", attempt.cached, attempt.job.type).observe(
        time.time() - attempt.began
    )
    if attempt.progress.first_text_at_s is not None:
        told_at = time.time() - (time.monotonic() - attempt.progress.first_text_at_s)
        app.metrics.first_token_seconds.labels(tenant, "cache", "queued").observe(
            max(0.0, told_at - attempt.job.created_at_s)
        )
    _log.info(
        "answer.given_again", cached=attempt.cached, saved_nano=attempt.again.cost_nano, took_ms=answer.processing_ms
    )


def measure_first_text(app: Services, attempt: Attempt) -> None:
    route = attempt.run.route if attempt.run else None
    if route is not None and attempt.progress.first_text_at_s is not None:
        tenant = app.metrics.tenant(attempt.job.scope.tenant_id)
        app.metrics.first_token_seconds.labels(tenant, provider_label(app, route.provider), "queued").observe(
            max(0.0, time.time() - (time.monotonic() - attempt.progress.first_text_at_s) - attempt.job.created_at_s)
        )


async def keep_answer(app: Services, plan: CachePlan, attempt: Attempt, answer: Answer) -> None:
    """Hand a good answer to the caches. Waits for nothing."""
    run, books = attempt.run, attempt.books
    assert run is not None
    assert books is not None
    entry = keep(
        plan,
        attempt.flight,
        Made(
            answer_id=answer.id,
            text=answer.text,
            finish=attempt.progress.finish,
            provider=answer.provider,
            model=answer.model,
            usage=answer.usage,
            cost_nano=answer.cost_nano,
            sources=answer.sources,
            given=attempt.sources,
            confidence=answer.confidence,
            grounding=answer.grounding,
            degraded=run.fallbacks > 0 or books.cheap,
            abstained=answer.provider == EXTRACTIVE and not answer.sources,
            reading=attempt.reading,
            suggestions=attempt.suggested.kept,
        ),
    )
    await teach(app, plan, attempt.meaning, entry)
