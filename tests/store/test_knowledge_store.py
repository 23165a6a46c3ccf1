"""Knowledge in a real database: bases, documents, the swap of chunks, and what one tenant sees of another's."""

from collections.abc import AsyncGenerator
from dataclasses import replace

import numpy as np
import pytest

from chatwright.adapters.postgres import Database, open_database
from chatwright.domain.errors import Conflict, NotFound
from chatwright.domain.ids import DocumentId, KnowledgeBaseId, TenantId, new_id
from chatwright.domain.scope import Scope
from chatwright.features import knowledge
from chatwright.features.knowledge import Chunk, Vector
from chatwright.features.knowledge.chunk_store import encode_vector

GUIDE = """# Guide

## Returns

Goods can be returned within 30 days. Keep the receipt.

## Opening hours

The shop opens at nine and closes at six.
"""


@pytest.fixture
async def db(database_url: str) -> AsyncGenerator[Database]:
    async with open_database(database_url, max_connections=4) as database:
        yield database


async def a_tenant(db: Database) -> Scope:
    tenant_id = TenantId(new_id())
    async with db.operator() as connection:
        await connection.execute("INSERT INTO tenants (id, name) VALUES ($1, 'Acme')", tenant_id)
    return Scope(tenant_id=tenant_id)


async def a_base(db: Database, scope: Scope) -> KnowledgeBaseId:
    async with db.transaction(scope) as connection:
        return (await knowledge.create_knowledge_base(connection, scope, "kb", embedder="test", dimension=384)).id


async def a_document(db: Database, scope: Scope, base: KnowledgeBaseId, text: str = GUIDE, **fields: str) -> DocumentId:
    values = {"title": "Guide", "url": "https://example.org/guide", "media_type": "text/markdown"} | fields
    async with db.transaction(scope) as connection:
        document = await knowledge.create_document(connection, scope, base, text=text, **values)
    assert document.state == "queued"
    return document.id


async def version(db: Database, scope: Scope, base: KnowledgeBaseId) -> int:
    async with db.transaction(scope) as connection:
        found = await knowledge.get_knowledge_base(connection, scope, base)
    assert found is not None
    return found.version


def a_vector(seed: int) -> Vector:
    values = np.random.default_rng(seed).normal(size=384).astype(np.float32)
    return values / np.float32(np.linalg.norm(values))


def chunks_of(*texts: str) -> list[Chunk]:
    return knowledge.chunk_document(
        "\n\n".join(f"# {text.split()[0]}\n\n{text}" for text in texts), "text/markdown", lambda text: len(text.split())
    )


async def test_documents_are_made_listed_and_deleted(db: Database) -> None:
    scope = await a_tenant(db)
    base = await a_base(db, scope)
    first, second = await a_document(db, scope, base), await a_document(db, scope, base, "other text", title="B")
    before = await version(db, scope, base)
    async with db.transaction(scope) as connection:
        assert [page.id for page in await knowledge.list_documents(connection, scope, base)] == [first, second]
        assert [page.id for page in await knowledge.list_documents(connection, scope, base, after=first)] == [second]
        document = await knowledge.get_document(connection, scope, first)
        assert document is not None
        assert (document.title, document.chunk_count, document.error) == ("Guide", 0, None)
        assert document.content_hash == knowledge.content_hash(GUIDE)
        loaded = await knowledge.get_document_text(connection, scope, first)
        assert loaded is not None
        assert (loaded.document, loaded.text, loaded.index_hash) == (document, GUIDE, None)
        assert await knowledge.delete_document(connection, scope, first)
        assert not await knowledge.delete_document(connection, scope, first)
    assert await version(db, scope, base) == before + 1


async def test_unknown_ids_are_none_never_an_error(db: Database) -> None:
    scope = await a_tenant(db)
    for odd in ("", "x", new_id()):
        async with db.transaction(scope) as connection:
            base, page = KnowledgeBaseId(odd), DocumentId(odd)
            assert await knowledge.get_knowledge_base(connection, scope, base) is None
            assert await knowledge.get_document(connection, scope, page) is None
            assert await knowledge.list_documents(connection, scope, base) == []
            assert await knowledge.search(connection, scope, base, a_vector(0), top_k=5) == []
            assert not await knowledge.delete_document(connection, scope, page)
            assert not await knowledge.delete_knowledge_base(connection, scope, base)
        with pytest.raises(NotFound):
            async with db.transaction(scope) as connection:
                await knowledge.create_document(connection, scope, base, title="t", text="x")


async def test_another_tenant_sees_and_changes_nothing(db: Database) -> None:
    ours, theirs = await a_tenant(db), await a_tenant(db)
    base = await a_base(db, ours)
    page = await a_document(db, ours, base)
    chunks = chunks_of("alpha one")
    async with db.transaction(ours) as connection:
        assert await knowledge.replace_chunks(connection, ours, page, chunks, [a_vector(1)])
    before = await version(db, ours, base)
    async with db.transaction(theirs) as connection:
        assert await knowledge.get_knowledge_base(connection, theirs, base) is None
        assert await knowledge.get_document(connection, theirs, page) is None
        assert await knowledge.list_documents(connection, theirs, base) == []
        assert await knowledge.chunk_hashes(connection, theirs, page) == []
        assert await knowledge.search(connection, theirs, base, a_vector(1), top_k=5) == []
        assert not await knowledge.delete_document(connection, theirs, page)
        assert not await knowledge.delete_knowledge_base(connection, theirs, base)
        assert not await knowledge.replace_chunks(connection, theirs, page, chunks, [a_vector(2)])
    with pytest.raises(NotFound):
        async with db.transaction(theirs) as connection:
            await knowledge.create_document(connection, theirs, base, title="t", text="x")
    assert await version(db, ours, base) == before


async def test_search_finds_the_nearest_of_its_base_only(db: Database) -> None:
    scope = await a_tenant(db)
    base, other = await a_base(db, scope), await a_base(db, scope)
    page = await a_document(db, scope, base)
    elsewhere = await a_document(db, scope, other)
    chunks = chunks_of("alpha one", "bravo two", "charlie three")
    async with db.transaction(scope) as connection:
        await knowledge.replace_chunks(connection, scope, page, chunks, [a_vector(1), a_vector(2), a_vector(3)])
        await knowledge.replace_chunks(connection, scope, elsewhere, chunks[:1], [a_vector(2)])
        hits = await knowledge.search(connection, scope, base, a_vector(2), top_k=2)
    assert hits[0].text == "bravo two"
    assert len(hits) == 2
    assert hits[0].cosine == pytest.approx(1, abs=1e-3)
    assert (
        hits[0].cosine
        > hits[1].cosine
        == pytest.approx(float(max(a_vector(2) @ a_vector(1), a_vector(2) @ a_vector(3))), abs=1e-3)
    )
    assert (hits[0].title, hits[0].url, hits[0].heading, hits[0].anchor) == (
        "Guide",
        "https://example.org/guide",
        "bravo",
        "bravo",
    )
    assert hits[0].document_id == page


async def test_a_swap_keeps_known_vectors_and_readers_never_see_a_mixture(db: Database) -> None:
    scope = await a_tenant(db)
    base = await a_base(db, scope)
    page = await a_document(db, scope, base)
    old, new = chunks_of("alpha one", "bravo two"), chunks_of("alpha one", "delta four", "echo five")
    async with db.transaction(scope) as connection:
        await knowledge.replace_chunks(connection, scope, page, old, [a_vector(1), a_vector(2)])
    before = await version(db, scope, base)
    async with db.transaction(scope) as connection:
        assert await knowledge.replace_chunks(connection, scope, page, new, [None, a_vector(4), a_vector(5)])
        async with db.transaction(scope) as reader:
            seen = await knowledge.search(reader, scope, base, a_vector(1), top_k=9)
        assert {hit.text for hit in seen} == {"alpha one", "bravo two"}
    async with db.transaction(scope) as connection:
        hits = await knowledge.search(connection, scope, base, a_vector(1), top_k=9)
        document = await knowledge.get_document(connection, scope, page)
        assert await knowledge.chunk_hashes(connection, scope, page) == [chunk.content_hash for chunk in new]
    assert {hit.text for hit in hits} == {"alpha one", "delta four", "echo five"}
    assert hits[0].text == "alpha one"
    assert hits[0].cosine == pytest.approx(1, abs=1e-3)
    assert document is not None
    assert (document.state, document.chunk_count) == ("indexed", 3)
    assert await version(db, scope, base) == before + 1


async def test_a_vector_that_is_gone_is_a_conflict_and_changes_nothing(db: Database) -> None:
    scope = await a_tenant(db)
    base = await a_base(db, scope)
    page = await a_document(db, scope, base)
    async with db.transaction(scope) as connection:
        await knowledge.replace_chunks(connection, scope, page, chunks_of("alpha one"), [a_vector(1)])
    with pytest.raises(Conflict):
        async with db.transaction(scope) as connection:
            await knowledge.replace_chunks(connection, scope, page, chunks_of("bravo two"), [None])
    async with db.transaction(scope) as connection:
        assert [hit.text for hit in await knowledge.search(connection, scope, base, a_vector(1), top_k=5)] == [
            "alpha one"
        ]


async def test_many_chunks_go_in_by_batches(db: Database) -> None:
    scope = await a_tenant(db)
    base = await a_base(db, scope)
    page = await a_document(db, scope, base)
    (template,) = chunks_of("alpha one")
    chunks = [
        replace(template, ordinal=number, text=f"text {number}", content_hash=number.to_bytes(32))
        for number in range(450)
    ]
    async with db.transaction(scope) as connection:
        await knowledge.replace_chunks(connection, scope, page, chunks, [a_vector(number) for number in range(450)])
    async with db.transaction(scope) as connection:
        await knowledge.replace_chunks(connection, scope, page, chunks, [None] * 450)
    async with db.transaction(scope) as connection:
        hits = await knowledge.search(connection, scope, base, a_vector(417), top_k=500)
    assert len(hits) == 450
    assert hits[0].text == "text 417"


def test_vectors_survive_their_text_form() -> None:
    vector = a_vector(3)
    read = np.array([float(part) for part in encode_vector(vector).strip("[]").split(",")], np.float32)
    np.testing.assert_allclose(read, vector, rtol=1e-4)  # half precision keeps three digits
