"""Questions with reviewed answers -> classes of the semantic cache, before anybody has asked them.

They come from a file (`question`, `answer`, `phrasings`), or are the questions of the chatbot's knowledge base whose answers
stand in it. A seed teaches its questions for good; its answer holds, like any other, for the configuration and the
knowledge it was given under: after a change the class's next question is answered anew, or the seeds are given again.
Called by `entrypoints/admin_cache.py`.
"""

import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import structlog

from chatwright.adapters.postgres import Connection
from chatwright.domain.chatbot import Chatbot
from chatwright.domain.errors import Unprocessable
from chatwright.domain.ids import KnowledgeBaseId
from chatwright.domain.providers import Finish, Source, Usage
from chatwright.domain.scope import Scope
from chatwright.features import tenancy
from chatwright.features.cache import CachedAnswer, answer_store, normalise, personal, standalone, store, time_bound
from chatwright.features.cache.router_store import raise_version
from chatwright.features.cache.store import Question
from chatwright.features.knowledge.faq_store import FaqEntry, list_faq
from chatwright.pipeline.cache_checks import tell_changed
from chatwright.pipeline.caching import plan_cache
from chatwright.pipeline.guarding import under_tenant
from chatwright.pipeline.services import Services

_log = structlog.get_logger(__name__)
PROVIDER = "seed"
"""What an answer's `provider` says when no model wrote it."""
LIFETIME_S = 30 * 86_400
"""Somebody has read these answers: they need no daily look, as a model's do."""
AT_ONCE = 100
"""Seeds that one call takes."""
PHRASINGS_AT_MOST = 50
QUESTION_CHARS_AT_MOST = 600
ANSWER_CHARS_AT_MOST = 8_000
FAQ_CHARS_AT_MOST = 1_500
"""A longer passage is a chapter under a question rather than its answer."""
_SEPARATORS = re.compile(r"\s+[/|]\s+|(?<=[?？])\s+(?=\S)|(?<=？)(?=\S)")
_NUMBERED = re.compile(r"^\s*(?:(?:q|question|frage)\s*\d*\s*[:.)]|\d{1,3}(?:\.\d{1,3})*[.)]?\s)\s*", re.IGNORECASE)
_ASKED_WORDS = 3
_BATCH = 16
"""Questions embedded in one go: visitors' questions come in between."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seed:
    """A reviewed answer and the questions that it is the answer to; the first one is shown where one is. `sources` are those
    that the answer quotes."""

    questions: tuple[str, ...]
    answer: str
    sources: tuple[Source, ...] = ()
    chunk_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A question that was not taken, and why."""

    question: str
    why: str


@dataclass(slots=True, kw_only=True)
class Seeded:
    """What came of some seeds. `classes` that were new, `renewed` ones that have another answer now; `phrasings` that are
    known now. `after` goes into the next call for a knowledge base, None at its end."""

    classes: int = 0
    renewed: int = 0
    phrasings: int = 0
    left_out: list[LeftOut] = field(default_factory=list[LeftOut])
    after: str | None = None


async def sow(app: Services, chatbot: Chatbot, seeds: Sequence[Seed], *, actor: str) -> Seeded:
    """Teach up to `AT_ONCE` seeds. Raises Unprocessable where the chatbot has no semantic cache, ModelUnavailable,
    Unavailable; then nothing was taught."""
    scopes = _scopes(app, await under_tenant(app, chatbot))
    done = Seeded()
    fit = [fitting for seed in seeds[:AT_ONCE] if (fitting := _fitting(seed, done)) is not None]
    texts = [text for seed in fit for text in seed.questions]
    # Before the transaction: no connection is held while a model reads.
    vectors = iter(
        [
            vector
            for start in range(0, len(texts), _BATCH)
            for vector in await app.embedder.embed_queries(texts[start : start + _BATCH])
        ]
    )
    asked = [[Question.of(text, normalise(text), next(vectors)) for text in seed.questions] for seed in fit]
    scope = chatbot.scope
    async with app.db.transaction(scope) as db:
        await store.lock(db, scope)
        for seed, questions in zip(fit, asked, strict=True):
            await _plant(db, scope, seed, questions, scopes, done)
        if done.phrasings:
            await store.count_labels(db, scope, done.phrasings)
            await raise_version(db, scope)
            detail = {"classes": done.classes, "renewed": done.renewed, "phrasings": done.phrasings}
            await tenancy.record(
                db, chatbot.tenant_id, actor=actor, action="cache.seeded", target=chatbot.id, detail=detail
            )
    if done.phrasings:
        await tell_changed(app, scope)
    _log.info("cache.seeded", chatbot_id=chatbot.id, classes=done.classes, phrasings=done.phrasings)
    return done


async def sow_knowledge(
    app: Services, chatbot: Chatbot, *, after: str | None, actor: str, documents: int = 20
) -> Seeded:
    """Teach the questions of the chatbot's knowledge base, of up to `documents` documents behind the document `after`.
    Raises as `sow` does."""
    base = chatbot.knowledge_base_id
    if base is None or not chatbot.knowledge_enabled:
        raise Unprocessable("this chatbot has no knowledge base; give it one, or send questions with answers")
    _scopes(app, chatbot)
    async with app.db.transaction(chatbot.scope) as db:
        entries = await list_faq(db, chatbot.scope, KnowledgeBaseId(base), after=after, documents=documents)
    total = Seeded()
    seeds = [seed for entry in entries if (seed := _from_knowledge(entry, total)) is not None]
    for start in range(0, len(seeds), AT_ONCE):
        done = await sow(app, chatbot, seeds[start : start + AT_ONCE], actor=actor)
        total.classes += done.classes
        total.renewed += done.renewed
        total.phrasings += done.phrasings
        total.left_out += done.left_out
    of_documents = dict.fromkeys(entry.document_id for entry in entries)
    total.after = next(reversed(of_documents)) if len(of_documents) == documents else None
    return total


def phrasings_of(question: str) -> tuple[str, ...]:
    """The questions that stand in one heading: "3. How do I return it? / Can I send it back?" has two."""
    parts = [_NUMBERED.sub("", part).strip() for part in _SEPARATORS.split(question)]
    asked = [part for part in parts if len(part.split()) >= _ASKED_WORDS or not part.isascii()]
    return tuple(dict.fromkeys(asked)) or ((whole,) if (whole := _NUMBERED.sub("", question).strip()) else ())


def _scopes(app: Services, chatbot: Chatbot) -> tuple[tuple[bytes, int, int], ...]:
    """What an answer given now holds for: (digest, revision, knowledge version), in conversations and behind `/v1`."""
    plans = [plan_cache(app, chatbot, question="?", surface=surface) for surface in ("chat", "v1")]
    found = [plan for plan in plans if plan is not None and plan.by_meaning and plan.keeps]
    if not found:
        raise Unprocessable(
            "this chatbot's semantic cache is off (cache_policy); set its mode to on and semantic to true",
            param="cache_policy",
        )
    return tuple((plan.scope.digest, plan.scope.revision, plan.scope.knowledge_version) for plan in found)


def _fitting(seed: Seed, done: Seeded) -> Seed | None:
    """The seed with those of its questions that the cache would ever look up."""
    answer = seed.answer.strip()
    questions = tuple(dict.fromkeys(text for each in seed.questions if (text := " ".join(each.split()))))
    why = ""
    if not answer:
        why = "it has no answer"
    elif len(answer) > ANSWER_CHARS_AT_MOST:
        why = f"its answer is longer than {ANSWER_CHARS_AT_MOST:,} characters"
    if why:
        done.left_out.append(LeftOut(question=questions[0] if questions else "", why=why))
        return None
    taken: list[str] = []
    for question in questions[:PHRASINGS_AT_MOST]:
        if (reason := _unfit(question)) is None:
            taken.append(question)
        else:
            done.left_out.append(LeftOut(question=question, why=reason))
    done.left_out += [
        LeftOut(question=question, why=f"an answer has at most {PHRASINGS_AT_MOST} phrasings")
        for question in questions[PHRASINGS_AT_MOST:]
    ]
    if not taken:
        return None
    return Seed(questions=tuple(taken), answer=answer, sources=seed.sources, chunk_ids=seed.chunk_ids)


def _unfit(question: str) -> str | None:
    if len(question) > QUESTION_CHARS_AT_MOST:
        return f"it is longer than {QUESTION_CHARS_AT_MOST} characters"
    if personal(question):
        return "it holds personal data"
    if time_bound(question):
        return "its answer is another one soon"
    if not standalone(question, first_turn=True):
        return "it cannot be understood alone"
    return None


async def _plant(
    db: Connection,
    scope: Scope,
    seed: Seed,
    questions: Sequence[Question],
    scopes: Iterable[tuple[bytes, int, int]],
    done: Seeded,
) -> None:
    """Put one seed where its questions stand already, or into a class of its own."""
    class_id: str | None = None
    for question in questions:
        settled = await store.find_settled(db, scope, question.digest)
        if settled is not None and settled.class_id is not None:
            class_id = settled.class_id
            break
    if class_id is None:
        class_id, _ = await store.add_class(db, scope)
        done.classes += 1
    else:
        done.renewed += 1
    for question in questions:
        await store.settle(db, scope, question, class_id, "seed")
    done.phrasings += len({question.digest for question in questions})
    for digest, revision, knowledge_version in scopes:
        entry = CachedAnswer(
            text=seed.answer,
            provider=PROVIDER,
            model=PROVIDER,
            finish=Finish.STOP,
            usage=Usage(),
            cost_nano=0,
            sources=seed.sources,
            question=seed.questions[0],
            document_ids=tuple(dict.fromkeys(source.document_id for source in seed.sources)),
            chunk_ids=seed.chunk_ids,
            revision=revision,
            knowledge_version=knowledge_version,
            created_at=time.time(),
        )
        await answer_store.put_answer(db, scope, class_id, digest, entry, lifetime_s=LIFETIME_S)


def _from_knowledge(entry: FaqEntry, done: Seeded) -> Seed | None:
    """A question of a document with its answer as it stands there, quoted as source 1."""
    text = "\n\n".join(passage.removeprefix(f"{entry.question}\n").strip() for passage in entry.texts).strip()
    if len(text) > FAQ_CHARS_AT_MOST:
        why = f"its answer is longer than {FAQ_CHARS_AT_MOST:,} characters"
        done.left_out.append(LeftOut(question=entry.question, why=why))
        return None
    if not text:
        return None
    source = Source(
        n=1, document_id=entry.document_id, title=entry.title, url=entry.url, score=1.0, quote=text[:300], text=text
    )
    return Seed(
        questions=phrasings_of(entry.question), answer=f"{text} [1]", sources=(source,), chunk_ids=entry.chunk_ids
    )
