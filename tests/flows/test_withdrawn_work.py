"""A document or a base that is deleted takes along what is under way for it: nobody finds a dead letter of it."""

import asyncio
from typing import Any

import pytest

from chatwright.domain.errors import NotFound, Unavailable
from chatwright.domain.ids import DocumentId, JobId, KnowledgeBaseId, new_id
from chatwright.domain.jobs import JobType
from chatwright.features import jobs, knowledge
from chatwright.pipeline.documents import delete_base, delete_document, submit_text
from chatwright.pipeline.perform import settle_failure
from chatwright.pipeline.services import Services
from tests.flows.conftest import Shop, open_shop, running_worker


async def a_base(app: Services, shop: Shop) -> KnowledgeBaseId:
    async with app.db.transaction(shop.scope) as db:
        return (
            await knowledge.create_knowledge_base(db, shop.scope, "Guide", embedder="minilm-l6-v2-int8", dimension=384)
        ).id


async def submit(app: Services, shop: Shop, base: KnowledgeBaseId, title: str) -> tuple[DocumentId, JobId]:
    done = await submit_text(
        app, shop.scope, base, title=title, text=f"# {title}\n\nWe open at nine.", media_type="text/markdown"
    )
    assert done.job_id is not None
    return done.document.id, done.job_id


async def states(app: Services, shop: Shop) -> dict[str, str]:
    async with app.db.transaction(shop.scope) as db:
        return {row["id"]: row["state"] for row in await db.fetch("SELECT id::text, state FROM jobs")}


async def rows(app: Services, shop: Shop, statement: str) -> list[Any]:
    async with app.db.transaction(shop.scope) as db:
        return [dict(row) for row in await db.fetch(statement)]


async def test_a_deleted_document_takes_its_queued_work_along(app: Services, shop: Shop, valkey_url: str) -> None:
    base, gone = await a_base(app, shop), await a_base(app, shop)
    first, first_job = await submit(app, shop, base, "First")
    _, of_base = await submit(app, shop, gone, "Second")
    reembed = JobId(new_id())
    async with app.db.transaction(shop.scope) as db:
        await jobs.insert_job(
            db, shop.scope, job_id=reembed, job_type=JobType.KNOWLEDGE_REEMBED, queue="ai-batch", priority=5,
            payload={"knowledge_base_id": gone},
        )  # fmt: skip
    kept, kept_job = await submit(app, shop, base, "Kept")
    other = await open_shop(app, name="Other")
    _, theirs = await submit(app, other, await a_base(app, other), "Theirs")

    await delete_document(app, shop.scope, first)
    await delete_base(app, shop.scope, gone)
    cancelled = dict.fromkeys((first_job, of_base, reembed), "cancelled")
    assert await states(app, shop) == {**cancelled, kept_job: "queued"}
    assert await states(app, other) == {theirs: "queued"}

    async with running_worker(app, valkey_url), asyncio.timeout(20):
        for whose in (shop, other):
            while {"queued", "running"} & set((await states(app, whose)).values()):
                await asyncio.sleep(0.05)
    assert await states(app, shop) == {**cancelled, kept_job: "done"}
    assert await rows(app, shop, "SELECT reason FROM dead_letters") == []
    assert [row["id"] for row in await rows(app, shop, "SELECT id FROM documents WHERE state = 'indexed'")] == [kept]


async def test_work_that_a_worker_has_is_taken_from_it(app: Services, shop: Shop) -> None:
    """It may be waiting for another attempt, or have read nothing yet: neither leaves a dead letter."""
    base = await a_base(app, shop)
    document, job_id = await submit(app, shop, base, "First")
    async with app.db.transaction(shop.scope) as db:
        job = await jobs.claim(db, shop.scope, job_id, generation=1, lease_s=30)
    assert job is not None
    await delete_document(app, shop.scope, document)
    assert await settle_failure(app, job, NotFound("no such document")) is None
    await settle_failure(app, job, Unavailable("the store is away"))
    assert await states(app, shop) == {job_id: "cancelled"}
    assert await rows(app, shop, "SELECT reason FROM dead_letters") == []


async def test_what_is_unknown_stops_nobodys_work(app: Services, shop: Shop) -> None:
    """Another tenant that names a document or a base changes nothing of it."""
    base = await a_base(app, shop)
    document, job_id = await submit(app, shop, base, "First")
    other = await open_shop(app, name="Other")
    for attempt in (delete_document(app, other.scope, document), delete_base(app, other.scope, base)):
        with pytest.raises(NotFound):
            await attempt
    assert await states(app, shop) == {job_id: "queued"}
