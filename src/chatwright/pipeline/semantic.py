"""The semantic tier's look-up: a question -> the class that asks the same -> that class's answer under the question's scope.

`answer.py` and `inline.py` call `find` once a question stands alone and the exact tier has nothing, and `learn` with every
answer that a provider gave to such a question. Both cost a visitor no round trip unless an answer is served; what is
learned is learned later (`cache_learning.py`), by a router that some worker trains (`cache_training.py`).
"""

import asyncio
import random
from dataclasses import dataclass

import structlog

from chatwright.domain.chatbot import Chatbot
from chatwright.domain.errors import ChatwrightError
from chatwright.domain.scope import Scope
from chatwright.features.cache import CachedAnswer, normalise
from chatwright.features.cache.answer_store import ReadyAnswer, read_answer
from chatwright.features.cache.checks import OFF, Drawn, draw
from chatwright.features.cache.guards import Guards
from chatwright.features.cache.memory import LOOK_AGAIN_S, Known, key_of
from chatwright.features.cache.router import Router
from chatwright.features.cache.router_store import read_learned, read_version
from chatwright.features.cache.store import Vector, phrasing_digest
from chatwright.pipeline.caching import CachePlan
from chatwright.pipeline.services import Services

_log = structlog.get_logger(__name__)
READ_AT_MOST_S = 1.0
"""A database that takes longer is not waited for: the question goes to its provider."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SemanticHit:
    """An answer that was given to another wording of the question.

    `serve`: give it to the visitor; else the tier is shut, and the provider answers. `check`: the provider is asked as well, and
    the hit is handed to `learn` with what it says. `share`: how probable that was.
    """

    entry: CachedAnswer
    class_id: str
    label: int
    confidence: float
    serve: bool
    check: bool
    drawn: Drawn
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """A question that a provider just answered; `hit` is what the tier says to it, if that was to be checked."""

    chatbot: Chatbot
    question: str
    vector: Vector | None
    scope_digest: bytes
    lifetime_s: float
    max_error: float
    entry: CachedAnswer
    hit: SemanticHit | None
    check_share: float
    asked_at_s: float
    begins: bool
    """The question began its conversation: its answer leans on nothing else, so others may be given it."""


async def find(app: Services, plan: CachePlan, question: str, vector: Vector | None = None) -> SemanticHit | None:
    """The answer of the class that `question` belongs to, or None. Never raises but CancelledError.

    `vector`: the question's, by `app.embedder`, where the caller has it; it is made here when it is needed. The caller has
    made sure that the question stands alone (`caching.stands_alone`) and tells nothing private.
    """
    if not (plan.by_meaning and plan.reads):
        return None
    scope = plan.chatbot.scope
    app.semantic.window(key_of(scope)).asked()
    try:
        async with asyncio.timeout(READ_AT_MOST_S):
            return await _find(app, plan, scope, question, vector)
    except (ChatwrightError, TimeoutError) as error:
        _log.info("cache.semantic_passed_over", reason=str(error) or type(error).__name__)
        return None


async def learn(
    app: Services,
    plan: CachePlan,
    question: str,
    vector: Vector | None,
    entry: CachedAnswer,
    *,
    hit: SemanticHit | None = None,
) -> None:
    """Hand over a provider's answer to be learned from; `hit`: what `find` had given, if it was to be checked.

    Returns at once and never raises. Only answers that `caching.keep` found fit are handed over, and only to questions
    that stand alone.
    """
    if not (plan.by_meaning and plan.keeps):
        return
    app.semantic.offer(
        Lesson(
            chatbot=plan.chatbot,
            question=question,
            vector=vector,
            scope_digest=plan.scope.digest,
            lifetime_s=plan.policy.semantic_ttl_s,
            max_error=plan.policy.max_error,
            entry=entry,
            hit=hit,
            check_share=plan.policy.check_share,
            asked_at_s=plan.asked_at_s,
            begins=plan.first_turn,
        )
    )


async def knowledge_of(app: Services, scope: Scope) -> Known:
    """What this process knows of a chatbot's classes, read when that is out of date. Raises Unavailable."""
    memory, key = app.semantic, key_of(scope)
    known = memory.get(key)
    if known is not None and key not in memory.stale:
        return known
    lock = memory.loading.setdefault(key, asyncio.Lock())
    try:
        async with lock:
            known = memory.get(key)
            if known is not None and key not in memory.stale:
                return known
            memory.stale.discard(key)  # before the reading: what changes during it makes it stale again
            try:
                async with app.db.transaction(scope) as db:
                    learned = await read_learned(db, scope)
                # Some megabytes: unpacked off the event loop.
                router = None if learned.router is None else await asyncio.to_thread(_decode, learned.router)
            except BaseException:
                memory.stale.add(key)
                raise
            older, known = known, Known.of(learned, router, memory.clock())
            if older is not None:
                known.inherit(older)
            memory.put(key, known)
            return known
    finally:
        if not lock.locked():
            memory.loading.pop(key, None)


async def watch(app: Services) -> None:
    """Note what other processes changed, until cancelled."""
    async for chatbot_id in app.channel.learned():
        app.semantic.changed(chatbot_id)


async def look_again(app: Services, scope: Scope) -> None:
    """Compare what is remembered of a chatbot with the database's version: a notice may have been lost."""
    known = app.semantic.get(key_of(scope))
    if known is None:
        return
    async with app.db.transaction(scope) as db:
        version = await read_version(db, scope)
    if version != known.version:
        app.semantic.changed(scope.chatbot_id)
    known.looked_at_s = app.semantic.clock()


def is_old(app: Services, known: Known) -> bool:
    return app.semantic.clock() - known.looked_at_s > LOOK_AGAIN_S


def _decode(data: bytes) -> Router | None:
    """A router of another release is none: the next training makes a new one."""
    try:
        return Router.from_bytes(data)
    except ValueError as error:
        _log.info("cache.router_not_read", error=str(error))
        return None


async def _find(
    app: Services, plan: CachePlan, scope: Scope, question: str, vector: Vector | None
) -> SemanticHit | None:
    memory, key = app.semantic, key_of(scope)
    known = await _known_for(app, scope)
    if known.is_empty:
        return None
    digest = phrasing_digest(normalise(question))
    label, confidence, doubt = known.labels.get(digest), 1.0, 0.0
    if label is None:
        if known.router is None:
            return None
        asked: Vector = (await app.embedder.embed_queries([question]))[0] if vector is None else vector
        route = memory.route(key, known, digest, question, asked)
        if route is None or route.label is None or not route.serve or (digest, route.label) in known.rejected:
            return None
        label, confidence = route.label, route.confidence
        doubt = (1.0 - confidence) / max(0.01, 1.0 - known.router.threshold)
        if memory.guards_of(known, label).conflict(Guards.of(question)) is not None:
            return None
    ready = await _answer(app, scope, label, plan.scope.digest)
    if ready is None:
        return None
    if known.strictness >= OFF:
        # Nothing is served, so every answer that a provider gives instead is a check for nothing more.
        drawn, check, share = "uniform", True, 1.0
    elif not plan.keeps:
        drawn, check, share = "uniform", False, 1.0
    else:
        window = memory.window(key)
        chosen = draw(
            chance=random.random(),  # noqa: S311 - a sample, no secret
            share=plan.policy.check_share,
            has_room=window.has_room(plan.policy.check_share),
            doubt=doubt,
            agreed=ready.class_agreed,
            disagreed=ready.class_disagreed,
            confirmed=ready.agreed > 0,
        )
        drawn, check, share = chosen.drawn, chosen.check, chosen.share
        if check:
            window.spend()
    if known.strictness < OFF:
        memory.used(key, label)
    return SemanticHit(
        entry=ready.entry,
        class_id=ready.class_id,
        label=label,
        confidence=confidence,
        serve=known.strictness < OFF,
        check=check,
        drawn=drawn,
        share=share,
    )


async def _known_for(app: Services, scope: Scope) -> Known:
    """What is known, without waiting for what is only newer: that is read by the learner while this is used."""
    memory, key = app.semantic, key_of(scope)
    known = memory.get(key)
    if known is None:
        return await knowledge_of(app, scope)
    if key in memory.stale or is_old(app, known):
        memory.wanted.add(key)
        memory.asked.set()
    return known


async def _answer(app: Services, scope: Scope, label: int, scope_digest: bytes) -> ReadyAnswer | None:
    memory, key = app.semantic, key_of(scope)
    ready = memory.answer(key, label, scope_digest)
    if ready is None:
        since_s = memory.clock()
        ready = await read_answer(app.db, scope, label, scope_digest)
        if ready is not None:
            memory.keep_answer(key, label, scope_digest, ready, since_s=since_s)
    return ready
