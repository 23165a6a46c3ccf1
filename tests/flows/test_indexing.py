"""Indexing end to end on real servers and the real local model: resumed, replaced, re-embedded, cleared away."""

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import numpy as np
import pytest

from chatwright.adapters.models import Embedder, Vectors
from chatwright.adapters.queue import QUEUES, QueueName
from chatwright.domain.errors import NotFound, RateLimited
from chatwright.domain.ids import DocumentId, JobId, KnowledgeBaseId, new_id
from chatwright.domain.jobs import Job, JobType
from chatwright.features import jobs, knowledge
from chatwright.features.knowledge import NewDocument
from chatwright.pipeline import embedding_batches, index, reembed
from chatwright.pipeline.documents import submit_text
from chatwright.pipeline.embedding import EmbedderChoice
from chatwright.pipeline.embedding_batches import Unfinished, in_batches
from chatwright.pipeline.index import Indexed, index_document
from chatwright.pipeline.knowledge_upkeep import renew_outdated, take_deleted_bases_apart
from chatwright.pipeline.lost_files import remove_lost_files
from chatwright.pipeline.perform import perform, settle_failure
from chatwright.pipeline.reembed import change_embedder
from chatwright.pipeline.services import Services
from tests.flows.conftest import Shop, running_worker

GUIDE = """# Guide

## Returns

Goods can be returned within 30 days. Keep the receipt.

## Opening hours

The shop opens at nine and closes at six.
"""


class CountingEmbedder:
    """Vectors of words, counted. Fails after `fails_after` texts, if that is set; `pause_s` is the time of one call."""

    languages = None
    max_tokens = 256

    def __init__(self, name: str = "one", dimension: int = 8) -> None:
        self.name = name
        self.dimension = dimension
        self.texts: list[str] = []
        self.fails_after: int | None = None
        self.error: Exception = RateLimited("wait", retry_after_s=7)
        self.pause_s = 0.0

    async def embed(self, texts: Sequence[str], *, bulk: bool = False) -> Vectors:
        if self.fails_after is not None and len(self.texts) + len(texts) > self.fails_after:
            raise self.error
        await asyncio.sleep(self.pause_s)
        self.texts += texts
        return np.stack([self._vector(text) for text in texts])

    async def embed_queries(self, texts: Sequence[str]) -> Vectors:
        return np.stack([self._vector(text) for text in texts])

    def count_tokens(self, text: str) -> int:
        return len(text.split())

    def _vector(self, text: str) -> Any:
        values = np.random.default_rng(sum(f"{self.name}{text}".encode())).normal(size=self.dimension)
        return (values / np.linalg.norm(values)).astype(np.float32)


@pytest.fixture
def embedders(monkeypatch: pytest.MonkeyPatch) -> dict[str, CountingEmbedder]:
    """Stand-ins by name, so that what is embedded can be counted; everything else is real."""
    known = {"one": CountingEmbedder(), "two": CountingEmbedder("two", 6)}

    async def embedder_for(app: Services, base: Any, scope: Any) -> Embedder:
        return known[base.embedder]

    async def choose(app: Services, scope: Any, name: str, *, dimension: int | None = None) -> EmbedderChoice:
        return EmbedderChoice(name=name, dimension=known[name].dimension)

    monkeypatch.setattr(index, "embedder_for", embedder_for)
    monkeypatch.setattr(reembed, "embedder_for", embedder_for)
    monkeypatch.setattr(reembed, "choose_embedder", choose)
    return known


async def a_base(app: Services, shop: Shop, embedder: str = "one", dimension: int = 8) -> KnowledgeBaseId:
    async with app.db.transaction(shop.scope) as db:
        return (await knowledge.create_knowledge_base(db, shop.scope, "kb", embedder=embedder, dimension=dimension)).id


async def put(app: Services, shop: Shop, base: KnowledgeBaseId, text: str, key: str | None = None) -> DocumentId:
    new = NewDocument(title="Guide", media_type="text/markdown", text=text, source_key=key)
    async with app.db.transaction(shop.scope) as db:
        return (await knowledge.put_document(db, shop.scope, base, new)).document.id


async def document_of(app: Services, shop: Shop, document_id: DocumentId) -> knowledge.Document:
    async with app.db.transaction(shop.scope) as db:
        found = await knowledge.get_document(db, shop.scope, document_id)
    assert found is not None
    return found


async def rows(app: Services, shop: Shop, statement: str, *args: object) -> list[Any]:
    async with app.db.transaction(shop.scope) as db:
        return [dict(row) for row in await db.fetch(statement, *args)]


def long_text(sections: int, *, start: int = 0) -> str:
    return "\n\n".join(f"# Section {n}\n\nThe number of this section is {n}." for n in range(start, start + sections))


# --- the real model -------------------------------------------------------------------------------------------------


async def test_a_document_is_indexed_with_everything_a_search_needs(app: Services, shop: Shop) -> None:
    base = await a_base(app, shop, "minilm-l6-v2-int8", 384)
    page = await put(app, shop, base, GUIDE)
    assert await index_document(app, shop.scope, page) == Indexed(chunks=2, embedded=2, changed=True)
    document = await document_of(app, shop, page)
    assert (document.state, document.chunk_count, document.chunks_done, document.chunks_total) == ("indexed", 2, 2, 2)
    stored = await rows(app, shop, "SELECT *, vector_dims(embedding) AS dims FROM chunks ORDER BY ordinal")
    assert [(row["heading"], row["text"], row["dims"]) for row in stored] == [
        ("Returns", "Goods can be returned within 30 days. Keep the receipt.", 384),
        ("Opening hours", "The shop opens at nine and closes at six.", 384),
    ]
    assert all(row["term_keys"] and row["keywords"] and row["term_count"] >= len(row["term_keys"]) for row in stored)
    # Again: nothing is embedded, nothing is written but the state.
    assert await index_document(app, shop.scope, page) == Indexed(chunks=2, embedded=0, changed=False)
    assert [row["id"] for row in await rows(app, shop, "SELECT id FROM chunks ORDER BY ordinal")] == [
        row["id"] for row in stored
    ]


async def test_two_workers_on_one_document_leave_one_set_of_chunks(app: Services, shop: Shop) -> None:
    base = await a_base(app, shop, "minilm-l6-v2-int8", 384)
    page = await put(app, shop, base, GUIDE)
    await asyncio.gather(*(index_document(app, shop.scope, page) for _ in range(2)))
    assert len(await rows(app, shop, "SELECT 1 FROM chunks")) == 2


# --- what is embedded -----------------------------------------------------------------------------------------------


async def test_only_new_passages_are_embedded(
    app: Services, shop: Shop, embedders: dict[str, CountingEmbedder]
) -> None:
    base = await a_base(app, shop)
    await index_document(app, shop.scope, await put(app, shop, base, long_text(5), "a"))
    assert len(embedders["one"].texts) == 5
    changed = await put(app, shop, base, long_text(6), "a")
    assert await index_document(app, shop.scope, changed) == Indexed(chunks=6, embedded=1, changed=True)
    # The same passages in another document of the base: none.
    other = await put(app, shop, base, long_text(3), "b")
    assert await index_document(app, shop.scope, other) == Indexed(chunks=3, embedded=0, changed=True)
    # In another base they are new.
    elsewhere = await put(app, shop, await a_base(app, shop), long_text(3), "b")
    assert await index_document(app, shop.scope, elsewhere) == Indexed(chunks=3, embedded=3, changed=True)
    assert await rows(app, shop, "SELECT 1 FROM staged_vectors") == []


async def test_marks_that_change_no_word_change_the_text_without_embedding_it(
    app: Services, shop: Shop, embedders: dict[str, CountingEmbedder]
) -> None:
    base = await a_base(app, shop)
    page = await put(app, shop, base, "We open at nine.", "a")
    await index_document(app, shop.scope, page)
    await put(app, shop, base, "We open at **nine**.", "a")
    assert await index_document(app, shop.scope, page) == Indexed(chunks=1, embedded=0, changed=True)
    assert [row["text"] for row in await rows(app, shop, "SELECT text FROM chunks")] == ["We open at **nine**."]


async def test_a_run_that_fails_is_gone_on_with(
    app: Services, shop: Shop, embedders: dict[str, CountingEmbedder]
) -> None:
    base = await a_base(app, shop)
    page = await put(app, shop, base, long_text(100))
    embedders["one"].fails_after = 60
    with pytest.raises(RateLimited):
        await index_document(app, shop.scope, page)
    document = await document_of(app, shop, page)
    staged = len(await rows(app, shop, "SELECT 1 FROM staged_vectors"))
    assert 0 < staged <= 60
    assert (document.state, document.error, document.chunks_done, document.chunks_total) == (
        "queued",
        "wait",
        staged,
        100,
    )
    embedders["one"].fails_after = None
    done = await index_document(app, shop.scope, page)
    assert done == Indexed(chunks=100, embedded=100 - staged, changed=True)
    assert (await document_of(app, shop, page)).error is None
    assert await rows(app, shop, "SELECT 1 FROM staged_vectors") == []


async def test_a_long_document_gives_its_slot_back_and_loses_no_attempt(
    app: Services, shop: Shop, embedders: dict[str, CountingEmbedder], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty minutes of embedding are many runs: here each is over at once, with one batch done."""
    monkeypatch.setattr(index, "RUN_S", 0.0)
    base = await a_base(app, shop)
    page = await put(app, shop, base, long_text(100))
    job_id = JobId(new_id())
    async with app.db.transaction(shop.scope) as db:
        await jobs.insert_job(
            db,
            shop.scope,
            job_id=job_id,
            job_type=JobType.DOCUMENT_INDEX,
            queue="ai-batch",
            priority=5,
            payload={"document_id": page},
        )
    runs, seen = 0, [0]
    while True:
        async with app.db.transaction(shop.scope) as db:
            job: Job | None = await jobs.claim(db, shop.scope, job_id, generation=1, lease_s=30)
        assert job is not None
        runs += 1
        try:
            result = await perform(app, job)
            break
        except Unfinished as error:
            delay_s = await settle_failure(app, job, error)
        assert delay_s == 0
        done = await document_of(app, shop, page)
        assert done.state == "indexing"
        seen.append(done.chunks_done)
    assert seen == sorted(set(seen)), "every run brings the document on"
    assert runs > 3, "more runs than the queue has attempts"
    assert (await rows(app, shop, "SELECT state, failures FROM jobs WHERE id = $1", job_id)) == [
        {"state": "done", "failures": 0}
    ]
    assert result["chunks"] == 100
    assert len(embedders["one"].texts) == 100


async def test_a_worker_brings_a_long_document_to_its_end_in_many_runs(
    app: Services,
    shop: Shop,
    valkey_url: str,
    embedders: dict[str, CountingEmbedder],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(index, "RUN_S", 0.0)
    base = await a_base(app, shop)
    done = await submit_text(app, shop.scope, base, title="Long", text=long_text(150), media_type="text/markdown")
    async with running_worker(app, valkey_url), asyncio.timeout(18):
        while (await document_of(app, shop, done.document.id)).state != "indexed":
            await asyncio.sleep(0.05)
        while (job := (await rows(app, shop, "SELECT state, attempt, failures FROM jobs"))[0])["state"] != "done":
            await asyncio.sleep(0.05)
    assert job["failures"] == 0
    assert job["attempt"] > 3
    assert await rows(app, shop, "SELECT 1 FROM dead_letters") == []
    assert len(embedders["one"].texts) == 150


async def test_a_document_deleted_or_replaced_while_it_is_embedded_is_let_go(
    app: Services, shop: Shop, embedders: dict[str, CountingEmbedder]
) -> None:
    base = await a_base(app, shop)
    embedders["one"].pause_s = 0.05
    for change in ("replace", "delete", "delete base"):
        page = await put(app, shop, base, long_text(200, start=1000 * len(change)), change)
        task = asyncio.create_task(index_document(app, shop.scope, page))
        while not await rows(app, shop, "SELECT 1 FROM staged_vectors WHERE document_id = $1", page):
            await asyncio.sleep(0.01)
        async with app.db.transaction(shop.scope) as db:
            if change == "delete":
                assert await knowledge.delete_document(db, shop.scope, page)
            elif change == "delete base":
                assert await knowledge.delete_knowledge_base(db, shop.scope, base)
            else:
                new = NewDocument(title="Guide", media_type="text/markdown", text="Other words.", source_key=change)
                assert (await knowledge.put_document(db, shop.scope, base, new)).outcome == "replaced"
        assert await task is None
        assert await rows(app, shop, "SELECT 1 FROM chunks WHERE document_id = $1", page) == []
        if change == "replace":
            assert (await document_of(app, shop, page)).state == "queued"
            assert await index_document(app, shop.scope, page) == Indexed(chunks=1, embedded=1, changed=True)


# --- reading --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "media_type", "reason"),
    [
        ("x", "application/pdf", "application/pdf"),
        ("<div>" * 3000, "text/html", "elements deep"),
        ("<!-- menu -->", "text/html", "no text"),
    ],
)
async def test_an_unreadable_text_ends_as_failed_with_its_reason(
    app: Services, shop: Shop, text: str, media_type: str, reason: str
) -> None:
    base = await a_base(app, shop, "minilm-l6-v2-int8", 384)
    async with app.db.transaction(shop.scope) as db:
        page = (await knowledge.create_document(db, shop.scope, base, title="T", text=text, media_type=media_type)).id
    assert await index_document(app, shop.scope, page) is None
    document = await document_of(app, shop, page)
    assert document.state == "failed"
    assert reason in (document.error or "")


async def put_original(app: Services, shop: Shop, base: KnowledgeBaseId, name: str, content: bytes) -> DocumentId:
    async def stream() -> AsyncGenerator[bytes]:
        yield content

    key = knowledge.original_key(shop.scope, base)
    size = await app.files.put(key, stream(), limit_bytes=10**8)
    new = NewDocument(
        title="", media_type="text/markdown", content_hash=os.urandom(32), size_bytes=size, original_key=key,
        source="upload", source_key=name,
    )  # fmt: skip
    async with app.db.transaction(shop.scope) as db:
        return (await knowledge.put_document(db, shop.scope, base, new)).document.id


async def test_an_original_is_read_from_the_object_store(
    app: Services, shop: Shop, embedders: dict[str, CountingEmbedder]
) -> None:
    base = await a_base(app, shop)
    page = await put_original(app, shop, base, "guide.md", GUIDE.encode())
    assert await index_document(app, shop.scope, page) == Indexed(chunks=2, embedded=2, changed=True)
    document = await document_of(app, shop, page)
    assert (document.title, document.language, document.state) == ("Guide", "en", "indexed")


async def test_a_documents_own_title_follows_its_content_and_a_given_one_stays(
    app: Services, shop: Shop, embedders: dict[str, CountingEmbedder]
) -> None:
    base = await a_base(app, shop)
    for given in ("", "Given"):
        for text, own in (("# One\n\nWords.", "One"), ("# Two\n\nOther words.", "Two")):
            new = NewDocument(title=given, media_type="text/markdown", text=text, source_key=f"key {given}")
            async with app.db.transaction(shop.scope) as db:
                stored = await knowledge.put_document(db, shop.scope, base, new)
            before = stored.document.title
            assert before == (given or ("One" if own == "Two" else "")), "the old one shows until the swap"
            await index_document(app, shop.scope, stored.document.id)
            assert (await document_of(app, shop, stored.document.id)).title == (given or own)


async def test_an_original_that_is_gone_is_said_on_the_document(
    app: Services, shop: Shop, embedders: dict[str, CountingEmbedder]
) -> None:
    base = await a_base(app, shop)
    page = await put_original(app, shop, base, "guide.md", GUIDE.encode())
    await app.files.delete((await document_of(app, shop, page)).original_key or "")
    assert await index_document(app, shop.scope, page) is None
    document = await document_of(app, shop, page)
    assert document.state == "failed"
    assert "add the document again" in (document.error or "")


async def test_indexing_an_unknown_document_says_so(app: Services, shop: Shop) -> None:
    with pytest.raises(NotFound):
        await index_document(app, shop.scope, DocumentId(new_id()))


# --- embedders ------------------------------------------------------------------------------------------------------


async def test_a_base_changes_its_embedder_while_documents_come_in(
    app: Services, shop: Shop, embedders: dict[str, CountingEmbedder], monkeypatch: pytest.MonkeyPatch
) -> None:
    base = await a_base(app, shop)
    await index_document(app, shop.scope, await put(app, shop, base, long_text(60), "a"))
    changing = await change_embedder(app, shop.scope, base, "two")
    assert (changing.embedder, changing.next_embedder, changing.next_dimension) == ("one", "two", 6)
    (job,) = await rows(app, shop, "SELECT type, payload FROM jobs")
    assert job == {"type": "knowledge_reembed", "payload": {"knowledge_base_id": base}}

    monkeypatch.setattr(reembed, "RUN_S", 0.0)
    with pytest.raises(Unfinished):
        await reembed.reembed(app, shop.scope, base)
    half = len(embedders["two"].texts)
    assert 0 < half < 60
    assert {row["d"] for row in await rows(app, shop, "SELECT vector_dims(embedding) AS d FROM chunks")} == {8}
    await index_document(app, shop.scope, await put(app, shop, base, "# New\n\nNew words.", "b"))
    monkeypatch.undo()
    monkeypatch.setattr(reembed, "embedder_for", _embedder_for(embedders))
    assert await reembed.reembed(app, shop.scope, base) == 60 - half
    async with app.db.transaction(shop.scope) as db:
        done = await knowledge.get_knowledge_base(db, shop.scope, base)
    assert done is not None
    assert (done.embedder, done.dimension, done.next_embedder) == ("two", 6, None)
    assert len(embedders["two"].texts) == 61
    stored = await rows(
        app, shop, "SELECT DISTINCT vector_dims(embedding) AS d, embedding_next IS NULL AS free FROM chunks"
    )
    assert stored == [{"d": 6, "free": True}]
    assert await reembed.reembed(app, shop.scope, base) == 0, "a job delivered twice"


def _embedder_for(known: dict[str, CountingEmbedder]) -> Any:
    async def embedder_for(app: Services, base: Any, scope: Any) -> Embedder:
        return known[base.embedder]

    return embedder_for


async def test_a_large_base_is_swapped_by_a_task_that_has_the_time(
    app: Services, shop: Shop, embedders: dict[str, CountingEmbedder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reembed, "MOST_IN_A_RUN", 0)
    base = await a_base(app, shop)
    page = await put(app, shop, base, long_text(5), "a")
    await index_document(app, shop.scope, page)
    assert await reembed.finish_large_bases(app) == 0
    await change_embedder(app, shop.scope, base, "two")
    assert await reembed.reembed(app, shop.scope, base) == 5
    assert await embedder_of(app, shop, base) == ("one", "two")
    async with app.db.transaction(shop.scope) as db:  # as if one had come in between
        await db.execute("UPDATE chunks SET embedding_next = NULL WHERE ordinal = 0")
    assert await reembed.finish_large_bases(app) == 1
    assert await embedder_of(app, shop, base) == ("one", "two")
    assert len(await rows(app, shop, "SELECT 1 FROM jobs WHERE type = 'knowledge_reembed'")) == 2, "asked to go on"
    assert await reembed.finish_large_bases(app) == 0, "not before that job is done"
    assert await reembed.reembed(app, shop.scope, base) == 1
    assert await reembed.finish_large_bases(app) == 1
    assert await embedder_of(app, shop, base) == ("two", None)
    assert await reembed.finish_large_bases(app) == 0


async def embedder_of(app: Services, shop: Shop, base: KnowledgeBaseId) -> tuple[str, str | None]:
    async with app.db.transaction(shop.scope) as db:
        found = await knowledge.get_knowledge_base(db, shop.scope, base)
    assert found is not None
    return found.embedder, found.next_embedder


async def test_naming_the_present_embedder_gives_a_change_up(
    app: Services, shop: Shop, embedders: dict[str, CountingEmbedder]
) -> None:
    base = await a_base(app, shop)
    await index_document(app, shop.scope, await put(app, shop, base, long_text(5), "a"))
    await change_embedder(app, shop.scope, base, "two")
    back = await change_embedder(app, shop.scope, base, "one")
    assert (back.embedder, back.next_embedder) == ("one", None)
    assert await reembed.reembed(app, shop.scope, base) == 0
    assert embedders["two"].texts == []


# --- upkeep ---------------------------------------------------------------------------------------------------------


async def test_documents_of_an_older_form_are_indexed_anew_without_embedding(
    app: Services, shop: Shop, embedders: dict[str, CountingEmbedder]
) -> None:
    """As after an update from a version whose chunks have no keywords."""
    base = await a_base(app, shop)
    page = await put(app, shop, base, long_text(5), "a")
    await index_document(app, shop.scope, page)
    async with app.db.transaction(shop.scope) as db:
        await db.execute("UPDATE documents SET index_form = 0, index_hash = NULL")
        await db.execute("UPDATE chunks SET keywords = NULL, term_keys = NULL, term_count = 0")
        await db.execute("DELETE FROM knowledge_terms")
        await db.execute("UPDATE knowledge_bases SET total_terms = 0")
    assert await renew_outdated(app) == 1
    assert await renew_outdated(app) == 0, "it is queued already"
    (job,) = await rows(app, shop, "SELECT type, payload FROM jobs")
    assert job == {"type": "document_index", "payload": {"document_id": page}}
    assert await index_document(app, shop.scope, page) == Indexed(chunks=5, embedded=0, changed=True)
    assert await rows(app, shop, "SELECT 1 FROM chunks WHERE keywords IS NULL OR term_keys IS NULL") == []
    (sums,) = await rows(
        app,
        shop,
        """SELECT (SELECT sum(documents) FROM knowledge_terms) = (SELECT sum(cardinality(term_keys)) FROM chunks) AS terms,
                  (SELECT total_terms FROM knowledge_bases WHERE id = $1) = (SELECT sum(term_count) FROM chunks) AS total""",
        base,
    )
    assert sums == {"terms": True, "total": True}
    assert await renew_outdated(app) == 0


async def test_a_deleted_base_leaves_no_row_and_no_file(
    app: Services, shop: Shop, embedders: dict[str, CountingEmbedder]
) -> None:
    base, kept = await a_base(app, shop), await a_base(app, shop)
    for owner in (base, kept):
        await index_document(app, shop.scope, await put_original(app, shop, owner, "guide.md", GUIDE.encode()))
        await index_document(app, shop.scope, await put(app, shop, owner, long_text(20), "a"))
    async with app.db.transaction(shop.scope) as db:
        assert await knowledge.delete_knowledge_base(db, shop.scope, base)
    assert await take_deleted_bases_apart(app) == 1
    assert await take_deleted_bases_apart(app) == 0
    for table in ("documents", "chunks", "knowledge_terms"):
        (found,) = await rows(app, shop, f"SELECT array_agg(DISTINCT knowledge_base_id) AS bases FROM {table}")
        assert found["bases"] == [kept], table
    files = [file.key async for page in app.files.list() for file in page]
    assert [key.startswith(knowledge.originals_of(shop.scope, kept)) for key in files] == [True]


async def test_files_that_no_document_names_are_removed_when_they_are_old(app: Services, shop: Shop) -> None:
    base = await a_base(app, shop)
    page = await put_original(app, shop, base, "guide.md", GUIDE.encode())
    lost = await put_original(app, shop, base, "lost.md", GUIDE.encode())
    async with app.db.transaction(shop.scope) as db:
        await knowledge.delete_document(db, shop.scope, lost)  # and the worker died before it deleted the file
    assert await remove_lost_files(app) == 0, "it may be an upload under way"
    assert await remove_lost_files(app, older_than_s=-5) == 1
    files = [file.key async for part in app.files.list() for file in part]
    assert files == [(await document_of(app, shop, page)).original_key]


# --- batches --------------------------------------------------------------------------------------------------------


async def test_batches_follow_the_embedders_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fast one is asked for more and more, a slow one for less."""
    monkeypatch.setattr(embedding_batches, "BATCH_S", 0.1)
    for per_text_s, ends_with in ((0.0, embedding_batches.LARGEST_BATCH), (0.05, 4)):
        sizes: list[int] = []
        stored: list[int] = []

        async def embed(batch: Sequence[int], per_text_s: float = per_text_s, sizes: list[int] = sizes) -> Vectors:
            sizes.append(len(batch))
            await asyncio.sleep(per_text_s * len(batch))
            return np.zeros((len(batch), 2), np.float32)

        async def store(batch: Sequence[int], vectors: Vectors, stored: list[int] = stored) -> bool:
            assert vectors.shape == (len(batch), 2)
            stored += batch
            return True

        items = list(range(2000 if per_text_s == 0 else 60))
        assert await in_batches(items, embed, store, until_s=time.monotonic() + 60)
        assert sorted(stored) == items
        assert (max(sizes) == ends_with) if per_text_s == 0 else (min(sizes[:-1]) == ends_with)


async def test_batches_end_when_nobody_wants_them_any_more_and_when_one_fails() -> None:
    calls = 0

    async def embed(batch: Sequence[int]) -> Vectors:
        nonlocal calls
        calls += 1
        return np.zeros((len(batch), 2), np.float32)

    async def refuse(batch: Sequence[int], vectors: Vectors) -> bool:
        return False

    async def fail(batch: Sequence[int], vectors: Vectors) -> bool:
        raise RateLimited("later", retry_after_s=1)

    items = list(range(10_000))
    assert not await in_batches(items, embed, refuse, until_s=time.monotonic() + 60)
    assert calls <= embedding_batches.BATCHES_AT_ONCE
    with pytest.raises(RateLimited):
        await in_batches(items, embed, fail, until_s=time.monotonic() + 60)


def test_the_run_ends_well_before_its_queue_ends_it() -> None:
    # After the last batch began: the slowest batch, the swap of 20,000 chunks.
    assert 0.95 * QUEUES[QueueName.BATCH].timeout_s > index.RUN_S + 60
