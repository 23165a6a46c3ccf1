"""A search in a real database: both halves, their numbers, whose chunks are seen, and what happens without vectors."""

from collections.abc import AsyncGenerator, Sequence

import numpy as np
import pytest

from chatwright.adapters.postgres import Connection, Database, open_database
from chatwright.domain.ids import DocumentId, KnowledgeBaseId, TenantId, new_id
from chatwright.domain.language import detect_language, index_terms
from chatwright.domain.scope import Scope
from chatwright.domain.terms import question_terms
from chatwright.features import knowledge
from chatwright.features.knowledge import Retrieved, Vector
from chatwright.features.knowledge.keywords import chunk_weights, dimension_of, rarity_of

EMBEDDER = "test-embedder"
PASSAGES = [
    "Goods can be returned within 30 days. Returned goods are refunded.",
    "Der Versand kostet vier Euro. Die Rückgabefrist beträgt 30 Tage.",
    "送货需要三天。退货政策是三十天。",
    "تستغرق عملية التوصيل ثلاثة أيام، ويمكن إرجاع البضائع.",
    "Доставка занимает три дня. Товары можно вернуть.",
    "The shop opens at nine and closes at six. Order number AB-12/7 is a sample.",
]


@pytest.fixture
async def db(database_url: str) -> AsyncGenerator[Database]:
    async with open_database(database_url, max_connections=4) as database:
        yield database


async def a_tenant(db: Database) -> Scope:
    tenant_id = TenantId(new_id())
    async with db.operator() as connection:
        await connection.execute("INSERT INTO tenants (id, name) VALUES ($1, 'Acme')", tenant_id)
    return Scope(tenant_id=tenant_id)


def a_vector(seed: int) -> Vector:
    values = np.random.default_rng(seed).normal(size=384).astype(np.float32)
    return values / np.float32(np.linalg.norm(values))


async def a_base(db: Database, scope: Scope, passages: Sequence[str] = PASSAGES) -> KnowledgeBaseId:
    """One document for each passage; its vector is `a_vector` of its place."""
    async with db.transaction(scope) as connection:
        base = await knowledge.create_knowledge_base(connection, scope, "kb", embedder=EMBEDDER, dimension=384)
        for place, text in enumerate(passages):
            document = await knowledge.create_document(connection, scope, base.id, title=f"Page {place}", text=text)
            await _fill(connection, scope, document.id, text, a_vector(place))
    return base.id


async def _fill(connection: Connection, scope: Scope, document_id: DocumentId, text: str, vector: Vector) -> None:
    chunks = knowledge.chunk_document(text, "text/plain", lambda text: len(text) // 4)
    assert len(chunks) == 1
    await knowledge.replace_chunks(connection, scope, document_id, chunks, [vector])


async def ask(
    db: Database,
    scope: Scope,
    base: KnowledgeBaseId,
    question: str,
    query: Vector | None = None,
    top_k: int = 5,
    **more: str,
) -> Retrieved:
    async with db.transaction(scope) as connection:
        return await knowledge.retrieve(
            connection,
            scope,
            base,
            query,
            terms=question_terms(question, detect_language(question)),
            top_k=top_k,
            embedder=more.get("embedder"),
        )


async def test_the_keyword_half_is_bm25(db: Database) -> None:
    scope = await a_tenant(db)
    base = await a_base(db, scope)
    question = "How many days until returned goods are refunded?"
    found = await ask(db, scope, base, question)
    terms = question_terms(question, "en")
    known = [index_terms(text, detect_language(text)) for text in PASSAGES]
    rarity = {term: rarity_of(sum(term in one for one in known), len(known)) for term in terms}
    total = sum(weight * rarity[term] for term, weight in terms.items())
    for hit in found.hits:
        weights = chunk_weights(index_terms(hit.text, detect_language(hit.text)))
        score = sum(weight * rarity[term] * weights.get(dimension_of(term), 0.0) for term, weight in terms.items())
        assert hit.keyword_score == pytest.approx(score / total, rel=1e-3)
        assert hit.cosine == 0.0
    best = max(found.hits, key=lambda hit: hit.keyword_score)
    assert best.text == PASSAGES[0]
    assert best.words > 0.5
    assert found.hits
    assert all(hit.keyword_score > 0 for hit in found.hits)


@pytest.mark.parametrize(
    ("question", "place"),
    [
        ("Can I return goods?", 0),
        ("Wie lang ist die Rückgabe möglich und was ist die Frist?", 1),
        ("退货要多少天？", 2),
        ("هل يمكن ارجاع بضاعة؟", 3),
        ("Сколько дней идёт доставка товара?", 4),
        ("What about order AB-12/7?", 5),
        ("ab127", 5),
    ],
)
async def test_words_are_found_in_any_language(db: Database, question: str, place: int) -> None:
    scope = await a_tenant(db)
    base = await a_base(db, scope)
    found = await ask(db, scope, base, question)
    assert max(found.hits, key=lambda hit: hit.keyword_score).text == PASSAGES[place]


async def test_each_half_brings_its_own_and_both_have_both_scores(db: Database) -> None:
    scope = await a_tenant(db)
    base = await a_base(db, scope)
    found = await ask(db, scope, base, "Can goods be returned?", a_vector(4), top_k=1)
    assert [hit.text for hit in found.hits] == [PASSAGES[4], PASSAGES[0]]
    near, worded = found.hits
    assert near.cosine == pytest.approx(1.0, abs=2e-3)
    assert near.keyword_score == 0.0
    assert worded.cosine == pytest.approx(float(a_vector(4) @ a_vector(0)), abs=2e-3)
    assert worded.keyword_score > 0


async def test_a_hit_knows_its_place(db: Database) -> None:
    scope = await a_tenant(db)
    base = await a_base(db, scope)
    hit = (await ask(db, scope, base, "x", a_vector(1), top_k=1)).hits[0]
    assert (hit.title, hit.language, hit.page, hit.question) == ("Page 1", "de", None, None)


async def test_other_tenants_and_bases_are_out_of_sight(db: Database) -> None:
    mine, theirs = await a_tenant(db), await a_tenant(db)
    base = await a_base(db, mine)
    await a_base(db, theirs)
    other = await a_base(db, mine, ["The other base knows of returned goods too."])
    assert (await ask(db, theirs, base, "Can goods be returned?", a_vector(0))).hits == []
    assert (await ask(db, mine, KnowledgeBaseId("no id"), "goods", a_vector(0))).hits == []
    texts = {hit.text for hit in (await ask(db, mine, other, "Can goods be returned?", a_vector(0))).hits}
    assert texts == {"The other base knows of returned goods too."}


async def test_vectors_of_another_embedder_are_never_compared(db: Database) -> None:
    scope = await a_tenant(db)
    base = await a_base(db, scope)
    assert (await ask(db, scope, base, "goods", a_vector(0), embedder=EMBEDDER)).hits
    assert (await ask(db, scope, base, "goods", a_vector(0), embedder="older-embedder")).hits == []


async def test_a_chunk_without_keywords_is_found_by_its_vector(db: Database) -> None:
    scope = await a_tenant(db)
    base = await a_base(db, scope)
    async with db.transaction(scope) as connection:
        await connection.execute(
            "UPDATE chunks SET keywords = NULL, term_keys = NULL WHERE tenant_id = $1 AND knowledge_base_id = $2",
            scope.tenant_id,
            base,
        )
    found = await ask(db, scope, base, "Can goods be returned?", a_vector(0), top_k=1)
    assert [(hit.text, hit.keyword_score, hit.words) for hit in found.hits] == [(PASSAGES[0], 0.0, 0.0)]


async def test_a_question_without_words_or_vector_finds_nothing(db: Database) -> None:
    scope = await a_tenant(db)
    base = await a_base(db, scope)
    assert (await ask(db, scope, base, "?!")).hits == []


async def test_what_is_usual_is_told_once_there_are_enough_chunks(db: Database) -> None:
    scope = await a_tenant(db)
    few = await a_base(db, scope)
    many = await a_base(db, scope, [f"Passage number {number} of many." for number in range(40)])
    assert (await ask(db, scope, few, "number", a_vector(0))).cosines is None
    cosines = (await ask(db, scope, many, "number", a_vector(0))).cosines
    assert cosines is not None
    expected = [float(a_vector(0) @ a_vector(place)) for place in range(40)]
    assert cosines.mean == pytest.approx(float(np.mean(expected)), abs=2e-3)
    assert cosines.spread == pytest.approx(float(np.std(expected)), abs=2e-3)
    assert (await ask(db, scope, many, "number")).cosines is None


async def test_a_base_tells_its_main_language(db: Database) -> None:
    scope = await a_tenant(db)
    base = await a_base(db, scope)
    async with db.transaction(scope) as connection:
        assert await knowledge.main_language(connection, scope, base) is None
        await connection.execute(
            "UPDATE documents SET language = CASE WHEN title = 'Page 0' THEN 'en' ELSE 'de' END WHERE tenant_id = $1",
            scope.tenant_id,
        )
        assert await knowledge.main_language(connection, scope, base) == "de"
