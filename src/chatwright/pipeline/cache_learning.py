"""Lessons of the semantic cache, learned behind the visitors' backs: which class a question belongs to, by its answer.

`learning` is open in every process that answers; `semantic.learn` fills its line. A lesson that is lost (a line that is full, a
worker that dies) is learned when the question comes again. Every step is bounded; no connection is held while a model reads.
"""

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import structlog

from chatwright.domain.errors import ChatwrightError
from chatwright.domain.scope import Scope
from chatwright.features.cache import answer_store, normalise, store
from chatwright.features.cache.agreement import answer_digest
from chatwright.features.cache.guards import Guards
from chatwright.features.cache.memory import Key, Known, SemanticMemory, key_of
from chatwright.features.cache.personal import personal
from chatwright.features.cache.store import Candidate, Question, Vector
from chatwright.pipeline.cache_asking import ask_forever
from chatwright.pipeline.cache_checks import (
    WORTH_ASKING,
    Compared,
    compare,
    judge,
    measure,
    tell_changed,
)
from chatwright.pipeline.cache_writing import Pen
from chatwright.pipeline.semantic import Lesson, knowledge_of, look_again, watch
from chatwright.pipeline.services import Services

_log = structlog.get_logger(__name__)
NEAR = 8
"""Classes near by whose answers are compared with the new one, beside those that the router names."""
ROUTED = 4
COMPARED_BY_VECTOR = 3
LESSONS_AT_ONCE = 16
LOOKS_AT_ONCE = 4
JUDGES_AT_ONCE = 4
"""Lessons that wait for a model's verdict at once; more of them are decided without."""
FLUSH_S = 2.0
LESSON_S = 30.0
STOP_S = 3.0


@dataclass(slots=True)
class _Found:
    """What the first look at a lesson came to."""

    question: Question
    compared: list[Compared] = field(default_factory=list[Compared])
    answer_vector: Vector | None = None
    routed: int | None = None
    """The class that the router would have served, had it an answer under this scope that has not expired."""

    def of(self, label: int) -> Compared | None:
        return next((one for one in self.compared if one.candidate.label == label), None)


@asynccontextmanager
async def learning(app: Services) -> AsyncGenerator[None]:
    """Learn what is handed over while this is open. On leaving, the step under way is ended, what waits is lost."""
    task = asyncio.create_task(run(app), name="semantic.learn")
    try:
        yield
    finally:
        app.semantic.close()
        await asyncio.wait({task}, timeout=STOP_S)
        task.cancel()
        await asyncio.wait({task})


async def run(app: Services) -> None:
    """Learn what is handed over, until the memory is closed."""
    memory = app.semantic
    judging = asyncio.Semaphore(JUDGES_AT_ONCE)
    async with asyncio.TaskGroup() as group:
        helpers = [
            group.create_task(watch(app), name="semantic.watch"),
            group.create_task(_flush_forever(app), name="semantic.flush"),
            group.create_task(_refresh_forever(app), name="semantic.refresh"),
            group.create_task(ask_forever(app), name="semantic.check"),
        ]
        while not memory.closed:
            await memory.came.wait()
            memory.came.clear()
            while memory.lessons and not memory.closed:
                lessons = _take(memory)
                memory.under_way += 1
                try:
                    await _guarded(_learn(app, lessons, group, judging), "learn")
                finally:
                    memory.under_way -= 1
        for helper in helpers:
            helper.cancel()


def _take(memory: SemanticMemory) -> list[Lesson]:
    """The next lessons of one chatbot: they share their look-ups and one transaction."""
    taken: list[Lesson] = []
    others: list[object] = []
    while memory.lessons and len(taken) < LESSONS_AT_ONCE and len(others) < 4 * LESSONS_AT_ONCE:
        lesson = memory.lessons.popleft()
        assert isinstance(lesson, Lesson)
        if not taken or lesson.chatbot.id == taken[0].chatbot.id:
            taken.append(lesson)
        else:
            others.append(lesson)
    memory.lessons.extendleft(reversed(others))
    return taken


async def drain(app: Services, *, timeout_s: float = 10.0) -> bool:
    """Wait until everything handed over so far is checked and learned. Returns False if time ran out."""
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            while not app.semantic.is_idle:  # noqa: ASYNC110 - for tests and benches
                await asyncio.sleep(0.01)
            return True
    return False


async def _guarded(work: Coroutine[Any, Any, None], what: str) -> None:
    try:
        async with asyncio.timeout(LESSON_S):
            await work
    except (ChatwrightError, TimeoutError) as error:
        _log.info("cache.learning_failed", step=what, error=str(error) or type(error).__name__)
    except Exception:  # noqa: BLE001 - whatever it is, the next lesson is another one
        _log.exception("cache.learning_failed", step=what)


async def _learn(
    app: Services, lessons: Sequence[Lesson], group: asyncio.TaskGroup, judging: asyncio.Semaphore
) -> None:
    """Learn some lessons of one chatbot."""
    lessons = [lesson for lesson in lessons if not personal(lesson.question)]
    if not lessons:
        return
    scope, memory = lessons[0].chatbot.scope, app.semantic
    questions = await _questions(app, lessons)
    async with app.db.transaction(scope) as db:
        wanted = [(lesson.scope_digest, lesson.entry.text) for lesson in lessons]
        known = await answer_store.count_equal(db, scope, wanted)
    looking = asyncio.Semaphore(LOOKS_AT_ONCE)
    found = await asyncio.gather(
        *(
            _look(app, scope, lesson, question, looking, equal=equal)
            for lesson, question, equal in zip(lessons, questions, known, strict=True)
        )
    )
    window = memory.window(key_of(scope))
    clear: list[tuple[Lesson, _Found]] = []
    for lesson, one in zip(lessons, found, strict=True):
        doubt = _doubt(lesson, one)
        if doubt is None or judging.locked() or not window.has_room(lesson.check_share):
            clear.append((lesson, one))
            continue
        window.spend()
        await judging.acquire()
        memory.under_way += 1
        # A model takes seconds: the next lesson does not wait for it.
        task = group.create_task(
            _guarded(_judge_then_write(app, scope, lesson, one, doubt), "judge"), name="semantic.judge"
        )
        task.add_done_callback(lambda _: _judged(app, judging))
    await _write(app, scope, clear)


async def _questions(app: Services, lessons: Sequence[Lesson]) -> list[Question]:
    lacking = [lesson.question for lesson in lessons if lesson.vector is None]
    made = iter(await app.embedder.embed_queries(lacking) if lacking else ())
    return [
        Question.of(
            lesson.question,
            normalise(lesson.question),
            next(made) if lesson.vector is None else lesson.vector,
        )
        for lesson in lessons
    ]


def _judged(app: Services, judging: asyncio.Semaphore) -> None:
    judging.release()
    app.semantic.under_way -= 1


async def _judge_then_write(app: Services, scope: Scope, lesson: Lesson, found: _Found, doubt: Compared) -> None:
    assert doubt.candidate.entry is not None
    verdict = await judge(
        app,
        lesson.chatbot,
        question_a=lesson.question,
        answer_a=lesson.entry.text,
        question_b=doubt.candidate.entry.question,
        answer_b=doubt.candidate.entry.text,
    )
    found.compared = [
        Compared(candidate=one.candidate, verdict=verdict, judge="model") if one is doubt else one
        for one in found.compared
    ]
    await _write(app, scope, [(lesson, found)])


def _doubt(lesson: Lesson, found: _Found) -> Compared | None:
    """The one comparison that a model's verdict is worth paying for."""
    if lesson.hit is not None:
        own = found.of(lesson.hit.label)
        return own if own is not None and own.verdict == "unknown" else None
    if any(one.verdict == "same" for one in found.compared):
        return None
    unknown = [one for one in found.compared if one.verdict == "unknown" and one.candidate.cosine >= WORTH_ASKING]
    return max(unknown, key=lambda one: one.candidate.cosine, default=None)


async def _look(
    app: Services, scope: Scope, lesson: Lesson, question: Question, looking: asyncio.Semaphore, *, equal: int
) -> _Found:
    """Find the classes that the question may belong to, and compare their answers with the new one.

    `equal`: how many classes have this very answer already. One is the question's, and nothing need be searched.
    """
    found = _Found(question=question)
    if equal == 1 and (lesson.hit is None or answer_digest(lesson.hit.entry.text) == answer_digest(lesson.entry.text)):
        return found
    known = await knowledge_of(app, scope)
    routed: int | None = None
    labels: list[int] = [] if lesson.hit is None else [lesson.hit.label]
    route = app.semantic.route(key_of(scope), known, question.digest, question.text, question.vector)
    if route is not None:
        labels += route.candidates[:ROUTED]
        if route.label is not None and route.serve and _may_refresh(app, known, question, route.label):
            routed = route.label
    async with looking, app.db.transaction(scope) as db:
        candidates = await store.find_candidates(
            db,
            scope,
            question,
            scope_digest=lesson.scope_digest,
            labels=labels,
            answer_text=lesson.entry.text,
            near=NEAR,
            # A minute earlier: a transaction that was open then may have brought something that it had not seen.
            since_s=known.trained_at_s - 60.0 if known.router is not None else 0.0,
        )
    if any(one.label == routed and not one.fresh for one in candidates):
        found.routed = routed
    await _compare(app, lesson, found, [one for one in candidates if one.entry is not None])
    return found


def _may_refresh(app: Services, known: Known, question: Question, label: int) -> bool:
    if (question.digest, label) in known.rejected:
        return False
    return app.semantic.guards_of(known, label).conflict(Guards.of(question.text)) is None


async def _compare(app: Services, lesson: Lesson, found: _Found, candidates: Sequence[Candidate]) -> None:
    """By text first; vectors of the answers are made only where texts leave it open."""
    text = lesson.entry.text
    found.compared = [compare(candidate, text, None) for candidate in candidates]
    hit = None if lesson.hit is None else found.of(lesson.hit.label)
    if any(one.verdict == "same" for one in found.compared) and (hit is None or hit.verdict != "unknown"):
        return
    order = sorted(found.compared, key=lambda one: (one is not hit, -one.candidate.cosine))
    closer = [one for one in order if one.verdict == "unknown" and (one is hit or one.candidate.cosine >= WORTH_ASKING)]
    closer = closer[:COMPARED_BY_VECTOR]
    if not closer:
        return
    lacking = [one.candidate for one in closer if one.candidate.answer_vector is None]
    texts = [text, *(one.entry.text for one in lacking if one.entry is not None)]
    vectors = await app.embedder.embed(texts, bulk=True)
    found.answer_vector = vectors[0]
    known = {one.class_id: vector for one, vector in zip(lacking, vectors[1:], strict=True)}
    again = {
        one.candidate.class_id: compare(
            replace(one.candidate, answer_vector=known.get(one.candidate.class_id, one.candidate.answer_vector)),
            text,
            vectors[0],
        )
        for one in closer
    }
    found.compared = [again.get(one.candidate.class_id, one) for one in found.compared]


async def _write(app: Services, scope: Scope, lessons: Sequence[tuple[Lesson, _Found]]) -> None:
    """Write down what was found, and tell this process's memory. What cannot be written together is written alone."""
    if not lessons:
        return
    try:
        pens = await _write_together(app, scope, lessons)
    except ChatwrightError:
        raise
    except Exception:
        if len(lessons) == 1:
            raise
        _log.info("cache.lessons_apart", exc_info=True)
        for one in lessons:
            await _guarded(_write(app, scope, [one]), "write")
        return
    known = app.semantic.get(key_of(scope))
    for pen in pens:
        if known is not None:
            pen.tell(known)
        if pen.outcome is not None and pen.figures is not None:
            measure(app, scope, pen.outcome, pen.figures)
        if pen.outcome == "different" and pen.lesson.hit is not None:
            app.semantic.drop_answers(key_of(scope), pen.lesson.hit.label)
    if any(pen.changed for pen in pens):
        await tell_changed(app, scope)


async def _write_together(app: Services, scope: Scope, lessons: Sequence[tuple[Lesson, _Found]]) -> list[Pen]:
    pens: list[Pen] = []
    async with app.db.transaction(scope) as db:
        await store.lock(db, scope)
        for lesson, found in lessons:
            pen = Pen(scope=scope, lesson=lesson, question=found.question, answer_vector=found.answer_vector)
            await pen.write(db, found.compared, found.routed)
            pens.append(pen)
    return pens


async def _refresh_forever(app: Services) -> None:
    """Bring up to date what flows found to be old, before any lesson: questions are asked of it."""
    memory = app.semantic
    while not memory.closed:
        await memory.asked.wait()
        memory.asked.clear()
        while memory.wanted and not memory.closed:
            memory.under_way += 1
            try:
                await _guarded(_refresh(app, memory.wanted.pop()), "refresh")
            finally:
                memory.under_way -= 1


async def _refresh(app: Services, key: Key) -> None:
    """Bring what is remembered of a chatbot up to date, while questions are still answered by what was."""
    scope = Scope(tenant_id=key[0], chatbot_id=key[1])
    if key not in app.semantic.stale:
        await look_again(app, scope)
    known = await knowledge_of(app, scope)
    for label in list(known.texts):
        if label not in known.guards:
            app.semantic.guards_of(known, label)
            await asyncio.sleep(0)  # a class may take milliseconds


async def _flush_forever(app: Services) -> None:
    """Note which classes were used, now and then."""
    memory = app.semantic
    while True:
        await asyncio.sleep(FLUSH_S)
        while memory.uses and not memory.closed:
            key, uses = memory.uses.popitem()
            await _guarded(_flush(app, key, uses), "flush")


async def _flush(app: Services, key: Key, uses: dict[int, int]) -> None:
    scope = Scope(tenant_id=key[0], chatbot_id=key[1])
    async with app.db.transaction(scope) as db:
        await store.use_classes(db, scope, uses)
