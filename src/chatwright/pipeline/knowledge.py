"""Question -> sources: both halves of a search under the tenant's scope, ranked, judged and explained.

Called by the flows that answer (`find_sources`), and by REST, CLI and search jobs (`explain_search`).
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import structlog

from chatwright.adapters.models import Embedder, ModelUnavailable
from chatwright.domain.chatbot import Chatbot
from chatwright.domain.detection import likely_languages
from chatwright.domain.errors import BudgetExceeded, NotFound, ProviderError, RateLimited
from chatwright.domain.ids import KnowledgeBaseId, is_id
from chatwright.domain.language import detect_language
from chatwright.domain.providers import Source, Turn
from chatwright.domain.scope import Scope
from chatwright.features import knowledge
from chatwright.features.knowledge import Hit, Retrieved, Vector
from chatwright.pipeline.embedding import embedder_for
from chatwright.pipeline.guarding import policy_of
from chatwright.pipeline.services import Services

Rerank = Callable[[str, Sequence[Hit]], Awaitable[Sequence[float]]]
"""The slot for a model that reads question and passage together: question and hits to their relevances, each 0..1."""

_FALLBACK_LANGUAGE = "en"
_TRIES = 2
"""A base may change its embedder between reading it and searching it."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainedHit:
    """A passage with its relevance, how it came about, and why it is no source (None: it is one)."""

    hit: Hit
    why_not: str | None
    explain: dict[str, Any] = field(default_factory=dict[str, Any])


async def find_sources(
    app: Services,
    chatbot: Chatbot,
    question: str,
    history: Sequence[Turn] = (),
    *,
    rerank: Rerank | None = None,
    vector: Vector | None = None,
) -> tuple[Source, ...]:
    """The passages that probably answer the question, best first; empty when nothing does, or no knowledge is set.

    `history`: the turns before it, for a question that leans on them; where nothing is found with them, the question is
    asked alone. `vector`: the question's by the local default
    embedder, if the caller has it already. A provider's embedder that fails leaves the
    keywords. Raises Unavailable when the database cannot be reached.
    """
    if chatbot.knowledge_base_id is None or not chatbot.has_knowledge or not question.strip():
        return ()
    language = detect_language(question) or _FALLBACK_LANGUAGE
    leans = bool(history) and bool(knowledge.earlier_question(question, history, language))
    for before in (history, ()) if leans else (history,):
        try:
            hits = await _search(
                app, chatbot.scope, chatbot.knowledge_base_id, question, before, rerank=rerank, made=vector
            )
        except NotFound:  # deleted a moment ago
            return ()
        if any(hit.suspicion is not None for hit in hits):
            hits = await _trusted(app, chatbot, hits)
        found = knowledge.choose_sources(
            question, hits, threshold=threshold_of(app, chatbot), at_most=app.settings.knowledge_top_k
        )
        if found:
            return tuple(found)
    return ()


async def _trusted(app: Services, chatbot: Chatbot, hits: list[Hit]) -> list[Hit]:
    """The hits that may stand in the chatbot's prompts: where it blocks, no suspicious ones; where nobody scans, all of
    them without their mark; else they stay marked, and the model is warned of them."""
    policy = await policy_of(app, chatbot)
    if policy.input in ("off", "flag") or not policy.scan_documents:
        return [replace(hit, suspicion=None) for hit in hits]
    if policy.input == "block":
        return [hit for hit in hits if hit.suspicion is None]
    return hits


def threshold_of(app: Services, chatbot: Chatbot) -> float:
    """The relevance below which a passage is no source of this chatbot's."""
    own = chatbot.relevance_threshold
    return app.settings.relevance_threshold if own is None else own


async def explain_search(
    app: Services,
    scope: Scope,
    knowledge_base_id: KnowledgeBaseId,
    question: str,
    *,
    k: int,
    threshold: float | None = None,
) -> list[ExplainedHit]:
    """The `k` best passages, those that would be no source too, each with its reasons. Raises NotFound.

    `threshold`: a chatbot's own; None: the platform's.
    """
    hits = await _search(app, scope, knowledge_base_id, question, (), top_k=max(k, knowledge.CANDIDATES))
    choices = knowledge.choose(
        hits,
        threshold=app.settings.relevance_threshold if threshold is None else threshold,
        at_most=app.settings.knowledge_top_k,
    )
    return [
        ExplainedHit(hit=choice.hit, why_not=choice.why_not, explain=_explained(choice.hit)) for choice in choices[:k]
    ]


def _explained(hit: Hit) -> dict[str, Any]:
    found: dict[str, Any] = {
        "cosine": round(hit.cosine, 4),
        "keywords": round(hit.keyword_score, 4),
        "words": round(hit.words, 4),
        "told": round(hit.told, 4),
        "alike": round(hit.alike, 4),
        "heading": hit.heading,
        "page": hit.page,
        "language": hit.language,
        "suspicion": hit.suspicion,
    }
    if hit.evidence is not None:
        found |= {
            "vector_weight": hit.evidence.vector_weight,
            "score": round(hit.evidence.score, 4),
        }
    return found


async def _search(
    app: Services,
    scope: Scope,
    knowledge_base_id: KnowledgeBaseId,
    question: str,
    history: Sequence[Turn],
    *,
    top_k: int = knowledge.CANDIDATES,
    rerank: Rerank | None = None,
    made: Vector | None = None,
) -> list[Hit]:
    """Ranked hits. Raises NotFound for a base that this tenant does not have."""
    if not is_id(knowledge_base_id):
        raise NotFound("no such knowledge base")
    likely = likely_languages(question)
    language = likely[0] if len(likely) == 1 else None
    embedder: Embedder | None = None
    found = Retrieved(hits=[])
    for _ in range(_TRIES):
        async with app.db.transaction(scope) as db:
            base = await knowledge.get_knowledge_base(db, scope, knowledge_base_id)
            if base is not None and language is None:
                main = await knowledge.main_language(db, scope, knowledge_base_id)
                language = knowledge.language_of(likely, main) or _FALLBACK_LANGUAGE
        if base is None:
            raise NotFound("no such knowledge base")
        earlier = knowledge.earlier_question(question, history, language)
        if earlier or base.embedder != app.embedder.name:
            made = None
        embedder, vector = await _embed(app, scope, base, f"{earlier}\n{question}" if earlier else question, made)
        async with app.db.transaction(scope) as db:
            found = await knowledge.retrieve(
                db,
                scope,
                knowledge_base_id,
                vector,
                terms=knowledge.weighed_terms(question, earlier, language),
                top_k=top_k,
                large=knowledge.is_large(base.chunk_count),
                embedder=None if vector is None else base.embedder,
            )
        if found.hits:
            break
    ranked = knowledge.rank(
        question,
        found.hits,
        language=language,
        embedder=embedder.name if embedder is not None else "",
        embedder_languages=embedder.languages if embedder is not None else frozenset(),
        cosines=found.cosines,
        terms=found.terms,
    )
    if rerank is not None and ranked:
        relevances = await rerank(question, ranked)
        ranked = [replace(hit, relevance=value) for hit, value in zip(ranked, relevances, strict=True)]
        ranked.sort(key=lambda hit: -hit.relevance)
    return ranked


async def _embed(
    app: Services, scope: Scope, base: knowledge.KnowledgeBase, text: str, made: Vector | None
) -> tuple[Embedder | None, Vector | None]:
    """The question's vector by the base's embedder; (None, None) while that cannot be had: keywords find a lot alone."""
    try:
        embedder = await embedder_for(app, base, scope)
        if made is not None:
            return embedder, made
        return embedder, (await embedder.embed_queries([text]))[0]
    except (ProviderError, RateLimited, BudgetExceeded, ModelUnavailable) as error:
        log.warning("search.without_vectors", embedder=base.embedder, error=error.code)
        return None, None
