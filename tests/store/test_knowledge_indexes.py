"""Indexes of large knowledge bases: searches find what an exact scan finds, for their own tenant alone; indexes come, go
and come back."""

import asyncio
import sys
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from typing import Any, cast

import asyncpg
import numpy as np
import pytest

from chatwright.adapters.postgres import Connection, Database, open_database
from chatwright.domain.ids import DocumentId, KnowledgeBaseId, TenantId, new_id
from chatwright.domain.scope import Scope
from chatwright.features import knowledge
from chatwright.features.knowledge import Chunk, Size, Vector
from chatwright.features.knowledge.indexes import list_indexes
from chatwright.features.knowledge.search import Retrieved, retrieve
from chatwright.pipeline.knowledge_indexes import Tended, drop_before_swap, is_due, tend_indexes
from chatwright.pipeline.services import PipelineSettings, Services
from chatwright.telemetry.metrics import Metrics

BOUND = 100
CHUNKS = 400
DIMENSION = 16
WORDS = [
    "invoice",
    "refund",
    "parcel",
    "warranty",
    "battery",
    "screen",
    "login",
    "password",
    "coupon",
    "holiday",
    "engine",
    "garden",
    "window",
    "ladder",
]


@pytest.fixture
async def db(database_url: str) -> AsyncGenerator[Database]:
    async with open_database(database_url, max_connections=4) as database:
        yield database


@dataclass(frozen=True, slots=True)
class OnlyWhatItTakes:
    """Of `Services`, what the upkeep of indexes uses."""

    db: Database
    metrics: Metrics
    settings: PipelineSettings


@pytest.fixture
def app(db: Database) -> Services:
    return cast("Services", OnlyWhatItTakes(db, Metrics(), PipelineSettings()))


@dataclass(frozen=True, slots=True)
class Base:
    scope: Scope
    id: KnowledgeBaseId
    document: DocumentId

    @property
    def index_name(self) -> str:
        return Size(id=self.id, dimension=DIMENSION, chunk_count=0).index_name


def vectors_of(count: int, seed: int) -> list[Vector]:
    values = np.random.default_rng(seed).normal(size=(count, DIMENSION)).astype(np.float32)
    return list(values / np.linalg.norm(values, axis=1, keepdims=True))


def chunk(ordinal: int, text: str) -> Chunk:
    template = knowledge.chunk_document(text, "text/plain", lambda text: len(text.split()))[0]
    return replace(template, ordinal=ordinal, text=text)


async def a_base(db: Database, *, chunks: int = CHUNKS, seed: int = 1) -> Base:
    """A tenant with one base of one document. Chunk n speaks of word n of WORDS, its number, and one word of all."""
    scope = Scope(tenant_id=TenantId(new_id()))
    async with db.operator() as connection:
        await connection.execute("INSERT INTO tenants (id, name) VALUES ($1, 'Acme')", scope.tenant_id)
    async with db.transaction(scope) as connection:
        made = await knowledge.create_knowledge_base(connection, scope, "kb", embedder="test", dimension=DIMENSION)
        page = await knowledge.create_document(connection, scope, made.id, title="", text="x")
        texts = [f"About {WORDS[at % len(WORDS)]} number{at} always." for at in range(chunks)]
        pieces = [chunk(at, text) for at, text in enumerate(texts)]
        assert await knowledge.replace_chunks(connection, scope, page.id, pieces, vectors_of(chunks, seed))
    return Base(scope, made.id, page.id)


async def ask(
    db: Database,
    base: Base,
    vector: Vector | None,
    *terms: str,
    large: bool,
    scope: Scope | None = None,
    top_k: int = 5,
) -> Retrieved:
    async with db.transaction(scope or base.scope) as connection:
        asked = dict.fromkeys(terms, 1.0)
        return await retrieve(connection, scope or base.scope, base.id, vector, terms=asked, top_k=top_k, large=large)


def ordinals(found: Retrieved) -> list[int]:
    return [hit.ordinal for hit in found.hits]


async def indexes(db: Database) -> dict[str, bool]:
    async with db.operator() as connection:
        return {index.name: index.valid for index in await list_indexes(connection)}


async def test_a_large_base_is_indexed_and_finds_what_a_scan_finds(db: Database, app: Services) -> None:
    base, other, small = await a_base(db), await a_base(db, seed=2), await a_base(db, chunks=20)
    assert await is_due(app, bound=BOUND)
    assert await tend_indexes(app, bound=BOUND) == Tended(made=2)
    assert await indexes(db) == {base.index_name: True, other.index_name: True}
    assert not await is_due(app, bound=BOUND)
    assert app.metrics.registry.get_sample_value("chatwright_knowledge_indexes", {"state": "ready"}) == 2
    assert app.metrics.registry.get_sample_value("chatwright_knowledge_indexes", {"state": "missing"}) == 0
    found = wanted = 0
    for vector in vectors_of(20, 3):
        for asked in (base, other, small):
            exact = await ask(db, asked, vector, "refund", "number7", large=False)
            quick = await ask(db, asked, vector, "refund", "number7", large=True)
            scores = {hit.chunk_id: (hit.cosine, hit.keyword_score, hit.words) for hit in exact.hits}
            for hit in quick.hits:
                assert scores.get(hit.chunk_id) in (None, (hit.cosine, hit.keyword_score, hit.words))
            found += len({hit.chunk_id for hit in exact.hits} & {hit.chunk_id for hit in quick.hits})
            wanted += len(exact.hits)
            assert (quick.cosines is None) == (exact.cosines is None) == (asked is small)
            if quick.cosines is not None and exact.cosines is not None:
                assert abs(quick.cosines.mean - exact.cosines.mean) < 0.1
                assert abs(quick.cosines.spread - exact.cosines.spread) < 0.1
    assert found >= 0.95 * wanted


async def test_the_index_is_walked_by_plans_that_are_kept_too(db: Database, app: Services) -> None:
    """PostgreSQL plans a statement five times for its values, then perhaps once for all."""
    base = await a_base(db)
    await tend_indexes(app, bound=BOUND)
    async with db.transaction(base.scope) as connection:
        for vector in vectors_of(8, 3):
            await retrieve(connection, base.scope, base.id, vector, terms={}, top_k=5, large=True)
        walked = "SELECT pg_stat_get_xact_numscans(to_regclass($1))"
        assert await connection.fetchval(walked, base.index_name) == 8


async def test_each_half_finds_alone(db: Database, app: Services) -> None:
    base = await a_base(db)
    await tend_indexes(app, bound=BOUND)
    vector = vectors_of(CHUNKS, 1)[123]
    assert (await ask(db, base, vector, large=True)).hits[0].ordinal == 123
    assert ordinals(await ask(db, base, None, "number77", large=True)) == [77]
    assert (await ask(db, base, vector, "number77", large=True)).hits[0].ordinal == 123
    assert 77 in ordinals(await ask(db, base, vector, "number77", large=True))
    assert (await ask(db, base, None, "nowhere", large=True)).hits == []
    assert (await ask(db, base, None, large=True)).hits == []


async def test_words_are_looked_up_rarest_first_within_bounds(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    base = await a_base(db)
    # "always" stands everywhere: worth no look-up. "refund" is in every 14th chunk.
    assert (await ask(db, base, None, "alway", large=True)).hits == []
    monkeypatch.setattr(sys.modules[retrieve.__module__], "WORDED_CANDIDATES", 10)
    assert ordinals(await ask(db, base, None, "refund", "number7", large=True)) == [7], "only the rarer one fits"
    # Nothing fits: chunks that hold two of the three rarest.
    monkeypatch.setattr(sys.modules[retrieve.__module__], "COMMON", 2.0)
    both = await ask(db, base, None, "refund", "alway", large=True, top_k=50)
    assert len(both.hits) == 10
    assert {hit.ordinal % len(WORDS) for hit in both.hits} == {1}
    three = await ask(db, base, None, "refund", "about", "alway", large=True, top_k=50)
    assert len(three.hits) == 10
    assert len((await ask(db, base, None, "refund", large=True, top_k=50)).hits) == 10, (
        "a part of them, if it stands alone"
    )


async def test_another_tenant_finds_nothing_by_either_half(db: Database, app: Services) -> None:
    ours, theirs = await a_base(db), await a_base(db, seed=2)
    await tend_indexes(app, bound=BOUND)
    vector = vectors_of(CHUNKS, 1)[0]
    assert (await ask(db, ours, vector, "refund", "number7", large=True)).hits
    assert (await ask(db, ours, vector, "refund", "number7", large=True, scope=theirs.scope)).hits == []


async def test_the_look_up_of_words_obeys_the_transactions_tenant(database_url: str, db: Database) -> None:
    """The function that reads past the policy, called with everything that another tenant could know."""
    ours, theirs = await a_base(db), await a_base(db, seed=2)
    call = """SELECT count(*) FROM worded_chunks($1, (SELECT $2::integer[]), $3, '{1:1}/1000000000'::sparsevec, 1000, 1000)"""
    async with db.transaction(ours.scope) as connection:
        keys = await connection.fetchval("SELECT array_agg(DISTINCT key) FROM chunks, unnest(term_keys) AS key")
        assert await connection.fetchval(call, ours.id, keys, False) == CHUNKS
    async with db.transaction(theirs.scope) as connection:
        for pairs in (False, True):
            assert await connection.fetchval(call, ours.id, keys, pairs) == 0
    for role in ("chatwright_ops", "chatwright_search", "chatwright"):
        connection: Any = await asyncpg.connect(database_url, server_settings={"role": role})
        try:
            if role == "chatwright_search":
                assert await connection.fetchval(call, ours.id, keys, False) == 0, "no tenant is set"
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.fetchval("SELECT text FROM chunks LIMIT 1")
            else:
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.fetchval(call, ours.id, keys, False)
        finally:
            await connection.close()


async def test_an_index_goes_with_its_base_and_when_the_base_shrinks(db: Database, app: Services) -> None:
    gone, shrunk = await a_base(db), await a_base(db, seed=2)
    await tend_indexes(app, bound=BOUND)
    async with db.transaction(gone.scope) as connection:
        assert await knowledge.delete_knowledge_base(connection, gone.scope, gone.id)
    assert await tend_indexes(app, bound=BOUND) == Tended(dropped=1)
    assert await indexes(db) == {shrunk.index_name: True}
    async with db.transaction(shrunk.scope) as connection:
        assert await knowledge.delete_document(connection, shrunk.scope, shrunk.document)
    assert await tend_indexes(app, bound=BOUND) == Tended(dropped=1)
    assert await indexes(db) == {}


async def test_what_a_crash_left_half_made_is_made_again(db: Database, app: Services, superuser_url: str) -> None:
    base = await a_base(db)
    await tend_indexes(app, bound=BOUND)
    connection: Any = await asyncpg.connect(superuser_url)
    try:
        # What CREATE INDEX CONCURRENTLY leaves when its connection is cut.
        await connection.execute(
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = to_regclass($1)", base.index_name
        )
    finally:
        await connection.close()
    assert await indexes(db) == {base.index_name: False}
    vector = vectors_of(1, 5)[0]
    assert (await ask(db, base, vector, large=True)).hits == (await ask(db, base, vector, large=False)).hits
    assert await is_due(app, bound=BOUND)
    assert await tend_indexes(app, bound=BOUND) == Tended(made=1, dropped=1)
    assert await indexes(db) == {base.index_name: True}


async def test_cancelling_leaves_nothing_that_the_next_pass_cannot_mend(db: Database, app: Services) -> None:
    base = await a_base(db)
    async with db.transaction(base.scope) as writing:
        # A transaction that has written makes CREATE INDEX CONCURRENTLY wait.
        await writing.execute("UPDATE chunks SET tokens = 1 WHERE tenant_id = $1", base.scope.tenant_id)
        making = asyncio.create_task(tend_indexes(app, bound=BOUND), name="making")
        while not await _is_waiting(db, base):
            await asyncio.sleep(0.02)
        assert await tend_indexes(app, bound=BOUND) == Tended(busy=True)
        making.cancel()
        with pytest.raises(asyncio.CancelledError):
            await making
    while (tended := await tend_indexes(app, bound=BOUND)).busy:  # the server notices the cut connection soon
        await asyncio.sleep(0.02)
    assert tended.made == 1
    assert await indexes(db) == {base.index_name: True}


async def _is_waiting(db: Database, base: Base) -> bool:
    return base.index_name in await indexes(db)


async def test_a_user_that_does_not_own_the_tables_is_told(db: Database, app: Services, superuser_url: str) -> None:
    await a_base(db)
    connection: Any = await asyncpg.connect(superuser_url)
    try:
        await connection.execute("ALTER TABLE chunks OWNER TO postgres")
    finally:
        await connection.close()
    assert await tend_indexes(app, bound=BOUND) == Tended(refused=True)


async def test_vectors_of_another_dimension_are_stored_beside_an_index(db: Database, app: Services) -> None:
    """A re-embedding swaps vectors under the index: it must neither fail nor keep the old index in use."""
    base = await a_base(db)
    await tend_indexes(app, bound=BOUND)
    vector = np.ones(8, np.float32) / np.sqrt(8).astype(np.float32)
    async with db.transaction(base.scope) as connection:
        await connection.execute(
            "UPDATE chunks SET embedding = $2::real[]::halfvec WHERE tenant_id = $1",
            base.scope.tenant_id,
            vector.tolist(),
        )
        await connection.execute("UPDATE knowledge_bases SET dimension = 8 WHERE tenant_id = $1", base.scope.tenant_id)
    assert len((await ask(db, base, vector, large=True)).hits) == 5
    assert await tend_indexes(app, bound=BOUND) == Tended(made=1, dropped=1)
    assert len((await ask(db, base, vector, large=True)).hits) == 5


async def test_an_index_is_dropped_before_all_vectors_are_exchanged(db: Database, app: Services) -> None:
    base, other = await a_base(db), await a_base(db, seed=2)
    await tend_indexes(app, bound=BOUND)
    async with db.transaction(base.scope) as connection:
        await connection.execute(
            "UPDATE knowledge_bases SET next_embedder = 'n', next_dimension = 16 WHERE tenant_id = $1",
            base.scope.tenant_id,
        )
    assert not await is_due(app, bound=BOUND), "it serves until then"
    await drop_before_swap(app, base.id)
    assert await indexes(db) == {other.index_name: True}
    assert not await is_due(app, bound=BOUND), "and is not made again before the exchange"
    await drop_before_swap(app, base.id)
    assert len((await ask(db, base, vectors_of(1, 5)[0], large=True)).hits) == 5


async def test_how_a_base_is_searched_can_be_seen(db: Database, app: Services) -> None:
    base = await a_base(db, chunks=20)

    async def state(connection: Connection, chunks: int) -> str:
        found = await knowledge.get_knowledge_base(connection, base.scope, base.id)
        assert found is not None
        return await knowledge.search_state(connection, replace(found, chunk_count=chunks))

    async with db.transaction(base.scope) as connection:
        assert await state(connection, knowledge.LARGE_FROM - 1) == "scanned"
        assert await state(connection, knowledge.LARGE_FROM) == "scanned"
    assert await tend_indexes(app, bound=10) == Tended(made=1)
    async with db.transaction(base.scope) as connection:
        assert await state(connection, knowledge.LARGE_FROM - 1) == "scanned"
        assert await state(connection, knowledge.LARGE_FROM) == "indexed"
