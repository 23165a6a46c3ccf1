"""The index of a knowledge base kept right by its swaps: counts of terms, vectors, sources, embedders, deletion."""

import hashlib
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chatwright.adapters.postgres import Database, open_database
from chatwright.domain.errors import NotFound
from chatwright.domain.ids import DocumentId, KnowledgeBaseId, TenantId, new_id
from chatwright.domain.scope import Scope
from chatwright.features import knowledge
from chatwright.features.knowledge import Found, NewDocument, Swap, Vector, embedder_store, prepare_chunks

WORDS = ("returns", "opening hours", "delivery", "Rückgabe", "営業時間", "AB-12/7")
KEYS = ("a.md", "b.md", "c.md")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from(KEYS), st.lists(st.sampled_from(WORDS), min_size=1, max_size=4)),
        st.tuples(st.just("delete"), st.sampled_from(KEYS), st.just(())),
    ),
    max_size=12,
)


@pytest.fixture
async def db(database_url: str) -> AsyncGenerator[Database]:
    async with open_database(database_url, max_connections=4) as database:
        yield database


async def a_base(db: Database, dimension: int = 4) -> tuple[Scope, KnowledgeBaseId]:
    scope = Scope(tenant_id=TenantId(new_id()))
    async with db.operator() as connection:
        await connection.execute("INSERT INTO tenants (id, name) VALUES ($1, 'Acme')", scope.tenant_id)
    async with db.transaction(scope) as connection:
        base = await knowledge.create_knowledge_base(connection, scope, "kb", embedder="one", dimension=dimension)
    return scope, base.id


def vector_of(content_hash: bytes, embedder: str = "one", dimension: int = 4) -> Vector:
    seed = int.from_bytes(hashlib.sha256(embedder.encode() + content_hash).digest()[:8])
    values = np.random.default_rng(seed).normal(size=dimension).astype(np.float32)
    return values / np.float32(np.linalg.norm(values))


def text_of(sections: Sequence[str]) -> str:
    return "\n\n".join(f"# {word}\n\nAbout {word}, in words." for word in sections)


def chunks_of(base: KnowledgeBaseId, text: str) -> list[knowledge.IndexedChunk]:
    chunks = knowledge.chunk_document(text, "text/markdown", lambda part: len(part.split()), title="T")
    return prepare_chunks(base, "T", chunks)


async def put(db: Database, scope: Scope, base: KnowledgeBaseId, key: str | None, text: str) -> knowledge.Put:
    new = NewDocument(title="T", media_type="text/markdown", text=text, source="upload", source_key=key)
    async with db.transaction(scope) as connection:
        return await knowledge.put_document(connection, scope, base, new)


async def index(db: Database, scope: Scope, base: KnowledgeBaseId, document_id: DocumentId, text: str) -> Swap:
    """Embed by all embedders of the base what has no vector, then swap: what the flow does."""
    chunks = chunks_of(base, text)
    hashed = knowledge.content_hash(text)
    hashes = [each.chunk.content_hash for each in chunks]
    async with db.transaction(scope) as connection:
        stored = await knowledge.get_knowledge_base(connection, scope, base)
        assert stored is not None
        for name, dimension, is_next in (
            (stored.embedder, stored.dimension, False),
            (stored.next_embedder, stored.next_dimension, True),
        ):
            if name is None or dimension is None:
                continue
            unknown = sorted(
                await knowledge.list_unknown(
                    connection, scope, base, document_id, hashes, embedder=name, is_next=is_next
                )
            )
            if not await knowledge.note_progress(connection, scope, document_id, hashed, done=0, total=len(hashes)):
                return Swap.GONE
            await knowledge.stage_vectors(
                connection,
                scope,
                document_id,
                embedder=name,
                hashes=unknown,
                vectors=[vector_of(content, name, dimension) for content in unknown],
            )
        return await knowledge.swap_chunks(connection, scope, document_id, hashed, chunks, Found(title="T"))


async def rows(db: Database, scope: Scope, statement: str) -> list[Any]:
    async with db.transaction(scope) as connection:
        return [dict(row) for row in await connection.fetch(statement)]


async def counted(db: Database, scope: Scope) -> tuple[dict[int, int], tuple[int, int]]:
    terms = await rows(db, scope, "SELECT term_key, documents FROM knowledge_terms")
    (base,) = await rows(db, scope, "SELECT chunk_count, total_terms FROM knowledge_bases")
    return {row["term_key"]: row["documents"] for row in terms}, (base["chunk_count"], base["total_terms"])


async def recounted(db: Database, scope: Scope) -> tuple[dict[int, int], tuple[int, int]]:
    chunks = await rows(db, scope, "SELECT term_keys, term_count FROM chunks")
    terms = Counter(key for chunk in chunks for key in chunk["term_keys"])
    return dict(terms), (len(chunks), sum(chunk["term_count"] for chunk in chunks))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
async def test_after_any_sequence_the_counts_are_those_of_a_recount(
    db: Database, steps: list[tuple[str, str, Sequence[str]]]
) -> None:
    scope, base = await a_base(db)
    expected: dict[str, str] = {}
    ids: dict[str, DocumentId] = {}
    for kind, key, sections in steps:
        if kind == "put":
            text = text_of(sections)
            done = await put(db, scope, base, key, text)
            assert done.outcome == (
                "created" if key not in expected else "unchanged" if expected[key] == text else "replaced"
            )
            expected[key], ids[key] = text, done.document.id
            if done.outcome != "unchanged":
                assert await index(db, scope, base, done.document.id, text) is Swap.DONE
        elif key in ids:
            async with db.transaction(scope) as connection:
                assert await knowledge.delete_document(connection, scope, ids.pop(key)) is not None
            del expected[key]
    assert await counted(db, scope) == await recounted(db, scope)
    stored = await rows(
        db, scope, "SELECT document_id, text, content_hash, embedding::text FROM chunks ORDER BY ordinal"
    )
    for key, text in expected.items():
        assert [row["text"] for row in stored if row["document_id"] == ids[key]] == [
            each.chunk.text for each in chunks_of(base, text)
        ]
    assert {row["document_id"] for row in stored} == set(ids.values())
    for row in stored:
        read = np.array([float(value) for value in row["embedding"].strip("[]").split(",")])
        np.testing.assert_allclose(read, vector_of(row["content_hash"]), atol=2e-3)
    assert await rows(db, scope, "SELECT 1 FROM staged_vectors") == []


async def test_the_same_key_replaces_and_the_old_answers_until_the_swap(db: Database) -> None:
    scope, base = await a_base(db)
    first = await put(db, scope, base, "a.md", "# One\n\nOld words.")
    await index(db, scope, base, first.document.id, "# One\n\nOld words.")
    again = await put(db, scope, base, "a.md", "# One\n\nOld words.")
    assert (again.outcome, again.document.state) == ("unchanged", "indexed")
    second = await put(db, scope, base, "a.md", "# One\n\nNew words.")
    assert (second.outcome, second.document.id, second.document.state) == ("replaced", first.document.id, "queued")
    assert [row["text"] for row in await rows(db, scope, "SELECT text FROM chunks")] == ["Old words."]
    # A job of the old content comes too late and changes nothing.
    assert await index(db, scope, base, first.document.id, "# One\n\nOld words.") is Swap.GONE
    assert await index(db, scope, base, first.document.id, "# One\n\nNew words.") is Swap.DONE
    assert [row["text"] for row in await rows(db, scope, "SELECT text FROM chunks")] == ["New words."]


async def test_a_replaced_or_needless_original_is_named_for_deletion(db: Database) -> None:
    scope, base = await a_base(db)

    async def put_original(content: bytes) -> knowledge.Put:
        new = NewDocument(
            title="", media_type="application/pdf", content_hash=hashlib.sha256(content).digest(),
            size_bytes=len(content), original_key=knowledge.original_key(scope, base), source="upload",
            source_key="x.pdf",
        )  # fmt: skip
        async with db.transaction(scope) as connection:
            return await knowledge.put_document(connection, scope, base, new)

    first = await put_original(b"one")
    assert (first.outcome, first.unused_original) == ("created", None)
    same = await put_original(b"one")
    assert same.outcome == "unchanged"
    assert same.unused_original not in (None, first.document.original_key)
    other = await put_original(b"two")
    assert (other.outcome, other.unused_original) == ("replaced", first.document.original_key)
    async with db.transaction(scope) as connection:
        gone = await knowledge.delete_document(connection, scope, other.document.id)
    assert gone is not None
    assert gone.original_key == other.document.original_key


async def test_source_keys_of_any_length_are_kept_apart_and_texts_without_one_never_replace(db: Database) -> None:
    scope, base = await a_base(db)
    long = "https://example.org/" + "x" * 9000
    assert (await put(db, scope, base, long + "1", "a")).outcome == "created"
    assert (await put(db, scope, base, long + "2", "a")).outcome == "created"
    assert (await put(db, scope, base, long + "1", "a")).outcome == "unchanged"
    assert [(await put(db, scope, base, None, "a")).outcome for _ in range(2)] == ["created", "created"]
    async with db.transaction(scope) as connection:
        found = await knowledge.list_by_source(connection, scope, base, [long + "1", "nothing"])
        assert list(found) == [long + "1"]
        assert await knowledge.count_documents(connection, scope, base) == {"queued": 4}
        assert len(await knowledge.list_documents(connection, scope, base, state="queued")) == 4
        assert await knowledge.list_documents(connection, scope, base, state="failed") == []


async def test_a_failed_document_is_tried_again_when_it_is_added_again(db: Database) -> None:
    scope, base = await a_base(db)
    done = await put(db, scope, base, "a.md", "text")
    async with db.transaction(scope) as connection:
        await knowledge.set_document_state(connection, scope, done.document.id, "failed", error="why")
    again = await put(db, scope, base, "a.md", "text")
    assert (again.outcome, again.document.state, again.document.error) == ("replaced", "queued", None)


async def test_a_passage_that_stands_in_another_document_needs_no_vector(db: Database) -> None:
    scope, base = await a_base(db)
    one, two = (
        await put(db, scope, base, "a.md", text_of(WORDS[:3])),
        await put(db, scope, base, "b.md", text_of(WORDS)),
    )
    await index(db, scope, base, one.document.id, text_of(WORDS[:3]))
    hashes = [each.chunk.content_hash for each in chunks_of(base, text_of(WORDS))]
    async with db.transaction(scope) as connection:
        unknown = await knowledge.list_unknown(
            connection, scope, base, two.document.id, hashes, embedder="one", is_next=False
        )
    assert unknown == set(hashes[3:])
    assert await index(db, scope, base, two.document.id, text_of(WORDS)) is Swap.DONE


async def test_a_swap_without_its_vectors_changes_nothing(db: Database) -> None:
    scope, base = await a_base(db)
    done = await put(db, scope, base, "a.md", text_of(WORDS))
    async with db.transaction(scope) as connection:
        swap = await knowledge.swap_chunks(
            connection, scope, done.document.id, done.document.content_hash, chunks_of(base, text_of(WORDS)),
            Found(title="T"),
        )  # fmt: skip
    assert swap is Swap.INCOMPLETE
    assert await rows(db, scope, "SELECT 1 FROM chunks") == []


# --- embedders ------------------------------------------------------------------------------------------------------


async def choose(
    db: Database, scope: Scope, base: KnowledgeBaseId, name: str, dimension: int
) -> knowledge.KnowledgeBase:
    async with db.transaction(scope) as connection:
        return await knowledge.choose_embedder(connection, scope, base, embedder=name, dimension=dimension)


async def fill(db: Database, scope: Scope, base: KnowledgeBaseId, name: str, dimension: int, *, limit: int = 3) -> int:
    """Fill in next vectors, some at a time. Returns how many chunks were given one."""
    after, count = None, 0
    while True:
        async with db.transaction(scope) as connection:
            page, after = await knowledge.list_to_embed(connection, scope, base, after=after, limit=limit)
            if page:
                hashes = [chunk.content_hash for chunk in page]
                vectors = np.stack([vector_of(content, name, dimension) for content in hashes])
                assert await knowledge.store_next(
                    connection, scope, base, embedder=name, hashes=hashes, vectors=vectors
                )
                count += len(page)
        if after is None:
            return count


async def test_an_empty_base_has_another_embedder_at_once(db: Database) -> None:
    scope, base = await a_base(db)
    changed = await choose(db, scope, base, "two", 8)
    assert (changed.embedder, changed.dimension, changed.next_embedder, changed.version) == ("two", 8, None, 2)


@pytest.mark.parametrize("per_statement", [2, 7, 1000])
async def test_a_base_is_embedded_anew_while_it_answers(
    db: Database, monkeypatch: pytest.MonkeyPatch, per_statement: int
) -> None:
    monkeypatch.setattr(embedder_store, "_CHUNKS_PER_STATEMENT", per_statement)
    scope, base = await a_base(db)
    first = await put(db, scope, base, "a.md", text_of(WORDS))
    await index(db, scope, base, first.document.id, text_of(WORDS))
    before = await choose(db, scope, base, "two", 8)
    assert (before.embedder, before.next_embedder, before.next_dimension) == ("one", "two", 8)
    assert await choose(db, scope, base, "two", 8) == before, "asking twice is asking once"
    async with db.transaction(scope) as connection:
        assert await knowledge.finish_reembedding(connection, scope, base, embedder="two") == len(WORDS)
    assert await fill(db, scope, base, "two", 8) == len(WORDS)
    # A document that comes meanwhile is embedded by both.
    later = await put(db, scope, base, "b.md", "# Later\n\nMore words.")
    assert await index(db, scope, base, later.document.id, "# Later\n\nMore words.") is Swap.DONE
    assert {row["d"] for row in await rows(db, scope, "SELECT vector_dims(embedding) AS d FROM chunks")} == {4}
    async with db.transaction(scope) as connection:
        done = await knowledge.finish_reembedding(connection, scope, base, embedder="two")
    assert isinstance(done, knowledge.KnowledgeBase)
    assert (done.embedder, done.dimension, done.next_embedder) == ("two", 8, None)
    assert done.version > before.version
    stored = await rows(db, scope, "SELECT content_hash, embedding::text, embedding_next FROM chunks")
    assert len(stored) == len(WORDS) + 1
    for row in stored:
        read = np.array([float(value) for value in row["embedding"].strip("[]").split(",")])
        np.testing.assert_allclose(read, vector_of(row["content_hash"], "two", 8), atol=2e-3)
        assert row["embedding_next"] is None


async def test_an_index_job_that_began_before_the_change_waits_for_both_vectors(db: Database) -> None:
    scope, base = await a_base(db)
    text = text_of(WORDS)
    first = await put(db, scope, base, "a.md", "# One\n\nText.")
    await index(db, scope, base, first.document.id, "# One\n\nText.")
    done = await put(db, scope, base, "b.md", text)
    hashes = sorted({each.chunk.content_hash for each in chunks_of(base, text)})
    async with db.transaction(scope) as connection:
        await knowledge.stage_vectors(
            connection, scope, done.document.id, embedder="one", hashes=hashes,
            vectors=[vector_of(content) for content in hashes],
        )  # fmt: skip
    await choose(db, scope, base, "two", 8)
    async with db.transaction(scope) as connection:
        swap = await knowledge.swap_chunks(
            connection, scope, done.document.id, done.document.content_hash, chunks_of(base, text), Found(title="T")
        )
    assert swap is Swap.INCOMPLETE
    assert await index(db, scope, base, done.document.id, text) is Swap.DONE


async def test_a_change_given_up_leaves_nothing_of_it(db: Database) -> None:
    scope, base = await a_base(db)
    done = await put(db, scope, base, "a.md", text_of(WORDS))
    await index(db, scope, base, done.document.id, text_of(WORDS))
    await choose(db, scope, base, "two", 8)
    await fill(db, scope, base, "two", 8)
    third = await choose(db, scope, base, "three", 8)
    assert (third.embedder, third.next_embedder) == ("one", "three")
    assert await rows(db, scope, "SELECT 1 FROM chunks WHERE embedding_next IS NOT NULL") == []
    async with db.transaction(scope) as connection:
        chunk = (await knowledge.list_to_embed(connection, scope, base, after=None, limit=1))[0][0]
        late = np.stack([vector_of(chunk.content_hash, "two", 8)])
        assert not await knowledge.store_next(
            connection, scope, base, embedder="two", hashes=[chunk.content_hash], vectors=late
        ), "a batch of the embedder given up came too late"
        with pytest.raises(NotFound):
            await knowledge.finish_reembedding(connection, scope, base, embedder="two")
    back = await choose(db, scope, base, "one", 4)
    assert (back.embedder, back.next_embedder) == ("one", None)


async def test_the_text_to_embed_again_is_the_one_that_was_embedded(db: Database) -> None:
    scope, base = await a_base(db)
    text = "# Opening **hours**\n\nWe open at [nine](https://example.org) and `close` at _six_."
    done = await put(db, scope, base, "a.md", text)
    await index(db, scope, base, done.document.id, text)
    async with db.transaction(scope) as connection:
        (chunk,), _ = await knowledge.list_to_embed(connection, scope, base, after=None, limit=5)
    again = knowledge.embedding_text(title=chunk.title, heading=chunk.heading, text=chunk.text, question=chunk.question)
    assert hashlib.sha256(again.encode()).digest() == chunk.content_hash


# --- deletion -------------------------------------------------------------------------------------------------------


async def test_a_deleted_base_is_gone_at_once_and_taken_apart_in_steps(db: Database) -> None:
    scope, base = await a_base(db)
    for key in KEYS:
        done = await put(db, scope, base, key, text_of(WORDS))
        await index(db, scope, base, done.document.id, text_of(WORDS))
    async with db.transaction(scope) as connection:
        assert await knowledge.delete_knowledge_base(connection, scope, base)
        assert not await knowledge.delete_knowledge_base(connection, scope, base)
        assert await knowledge.get_knowledge_base(connection, scope, base) is None
        assert await knowledge.list_knowledge_bases(connection, scope) == []
    with pytest.raises(NotFound):
        await put(db, scope, base, "new.md", "text")
    async with db.operator() as connection:
        assert await knowledge.list_deleted_bases(connection, limit=5) == [(scope.tenant_id, base)]
    counts: list[int] = []
    async with db.transaction(scope) as connection:
        while count := await knowledge.delete_some_documents(connection, scope, base, limit=2):
            counts.append(count)
        while await knowledge.delete_some_terms(connection, scope, base, limit=3):
            pass
        await knowledge.delete_emptied_base(connection, scope, base)
    assert counts == [2, 1]
    for table in ("knowledge_bases", "documents", "chunks", "knowledge_terms", "staged_vectors"):
        assert await rows(db, scope, f"SELECT 1 FROM {table}") == [], table


async def test_a_living_base_cannot_be_taken_apart(db: Database) -> None:
    scope, base = await a_base(db)
    done = await put(db, scope, base, "a.md", text_of(WORDS))
    await index(db, scope, base, done.document.id, text_of(WORDS))
    async with db.transaction(scope) as connection:
        assert await knowledge.delete_some_documents(connection, scope, base, limit=9) == 0
        await knowledge.delete_emptied_base(connection, scope, base)
    assert await counted(db, scope) == await recounted(db, scope)


async def test_documents_of_an_older_form_are_found_once(db: Database) -> None:
    scope, base = await a_base(db)
    done = await put(db, scope, base, "a.md", text_of(WORDS))
    await index(db, scope, base, done.document.id, text_of(WORDS))
    async with db.operator() as connection:
        assert await knowledge.list_outdated(connection, limit=5) == []
    async with db.transaction(scope) as connection:
        await connection.execute("UPDATE documents SET index_form = 0")
    async with db.operator() as connection:
        assert await knowledge.list_outdated(connection, limit=5) == [(scope.tenant_id, done.document.id)]
    async with db.transaction(scope) as connection:
        assert await knowledge.take_outdated(connection, scope, done.document.id)
        assert not await knowledge.take_outdated(connection, scope, done.document.id)
