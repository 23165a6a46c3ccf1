"""Who works, whether we are ready, and the demo that is made once and kept fresh."""

import asyncio
from dataclasses import replace

import pytest

from chatwright.adapters.queue import Consumer
from chatwright.domain.chatbot import ProviderLink
from chatwright.domain.scope import Scope
from chatwright.entrypoints.worker import Worker
from chatwright.features import knowledge
from chatwright.pipeline import demo, manage, presence
from chatwright.pipeline.demo import DemoDocument
from chatwright.pipeline.documents import submit_text
from chatwright.pipeline.services import Services

PAGES = (
    DemoDocument(title="Bread", text="# Bread\n\nThe bread is baked at four in the morning.", url="/guide/bread"),
    DemoDocument(title="Cake", text="# Cake\n\nA wedding cake must be ordered three weeks ahead.", url="/guide/cake"),
)


async def until(check: object, *, within_s: float = 10.0) -> None:
    async with asyncio.timeout(within_s):
        while not await check():  # type: ignore[operator]
            await asyncio.sleep(0.05)


async def test_ready_only_while_a_worker_consumes(app: Services) -> None:
    ready, parts = await presence.readiness(app)
    assert (ready, parts["workers"]) == (False, 0)
    consumes = True
    task = asyncio.create_task(
        presence.show_presence(app, "w1", consuming=lambda: consumes, in_flight=lambda: 3), name="test.presence"
    )
    try:

        async def is_ready() -> bool:
            return (await presence.readiness(app))[0]

        async def is_not_ready() -> bool:
            return not await is_ready()

        await until(is_ready)
        assert [(worker.name, worker.in_flight) for worker in await presence.workers_present(app)] == [("w1", 3)]
        app.metrics.cache_hits.labels("t").inc()
        page = (await presence.metrics_page(app)).decode()
        assert 'process="api"' in page
        assert 'process="w1"' in page
        consumes = False  # it hangs, or lost Valkey: the sign goes out by itself
        await until(is_not_ready, within_s=presence.LIFETIME_S + 2)
        consumes = True
        await until(is_ready)
        await presence.leave(app, "w1")
        assert await presence.workers_present(app) == []
    finally:
        task.cancel()
        await asyncio.wait({task})


@pytest.fixture
async def worker(app: Services, valkey_url: str):
    consumer = Consumer(url=valkey_url, concurrency=4, high_priority_reserve=1, tenant_in_flight_cap=0)
    running = Worker(app, consumer)
    task = asyncio.create_task(running.run(), name="test.worker")
    yield running
    await running.stop(grace_s=2)
    await asyncio.wait({task}, timeout=5)


async def seed(app: Services, key: str = "", pages: tuple[DemoDocument, ...] = PAGES, url: str = "http://127.0.0.1:1"):
    former = "http://127.0.0.1:1"
    return await demo.seed(
        app, tenant_key=key, base_url=url, former_url=former, documents=pages, tell=lambda _line: None
    )


async def stored(app: Services) -> dict[str, knowledge.Document]:
    scope = Scope(tenant_id=demo.TENANT_ID)
    chatbot = await app.chatbots.get(scope, demo.SLUG)
    assert chatbot.knowledge_base_id is not None
    async with app.db.transaction(scope) as db:
        return {page.title: page for page in await knowledge.list_documents(db, scope, chatbot.knowledge_base_id)}


async def urls(app: Services) -> list[str]:
    scope = Scope(tenant_id=demo.TENANT_ID)
    chatbot = await app.chatbots.get(scope, demo.SLUG)
    assert chatbot.knowledge_base_id is not None
    async with app.db.transaction(scope) as db:
        pages = await knowledge.list_documents(db, scope, chatbot.knowledge_base_id)
    return [page.url or "" for page in pages]


@pytest.mark.usefixtures("worker")
async def test_seeding_again_changes_nothing_but_what_changed(app: Services) -> None:
    first = await seed(app)
    assert first.made_key
    before = await stored(app)
    assert {page.state for page in before.values()} == {"indexed"}
    assert before["Bread"].url == "/guide/bread"

    again = await seed(app, first.tenant_key)
    assert (again.made_key, again.tenant_key, again.widget_id) == (False, first.tenant_key, first.widget_id)
    assert await stored(app) == before

    changed = (PAGES[0], replace(PAGES[1], text="# Cake\n\nCakes are sold out."))
    await seed(app, first.tenant_key, changed)
    after = await stored(app)
    assert after["Bread"].id == before["Bread"].id
    assert after["Cake"].id != before["Cake"].id

    scope = Scope(tenant_id=demo.TENANT_ID)
    chatbot = await app.chatbots.get(scope, demo.SLUG)
    assert chatbot.knowledge_base_id is not None
    base = chatbot.knowledge_base_id
    await submit_text(app, scope, base, title="Bread", text="Mine.", url=None, media_type="text/plain")
    await seed(app, first.tenant_key, PAGES[:1])
    assert sorted(await urls(app)) == ["", "/guide/bread"], "the owner's page stays, ours that is gone goes"


@pytest.mark.usefixtures("worker")
async def test_a_lost_key_is_replaced_and_the_owners_changes_stay(app: Services) -> None:
    first = await seed(app)
    scope = Scope(tenant_id=demo.TENANT_ID)
    mine = (ProviderLink(provider="openai", model="mine"),)
    changes = {"providers": mine, "greeting": "Moin", "allowed_origins": ("https://mine.test", "http://127.0.0.1:1")}
    await manage.patch_chatbot(app, scope, demo.SLUG, changes, actor="test")
    second = await seed(app, "", url="http://127.0.0.1:2")
    assert second.made_key
    assert second.tenant_key != first.tenant_key
    app.chatbots.invalidate(demo.TENANT_ID)
    chatbot = await app.chatbots.get(scope, demo.SLUG)
    assert (chatbot.providers, chatbot.greeting) == (mine, "Moin")
    assert set(chatbot.allowed_origins) == {"https://mine.test", "http://127.0.0.1:2", "http://localhost:2"}


async def test_a_slow_start_goes_on_without_the_documents_read_and_has_kept_its_keys(app: Services) -> None:
    told: list[str] = []
    kept: list[demo.DemoAccess] = []
    access = await demo.seed(  # no worker: nothing is indexed
        app,
        tenant_key="",
        base_url="http://127.0.0.1:1",
        documents=PAGES,
        tell=told.append,
        keep=kept.append,
        index_within_s=0,
    )
    assert kept == [access]
    assert told == ["reading the documentation goes on: 0 of 2 pages so far"]
    assert {page.state for page in (await stored(app)).values()} == {"queued"}


async def test_an_admin_key_is_kept_while_it_works(app: Services) -> None:
    key = await demo.ensure_admin_key(app, "")
    assert await demo.ensure_admin_key(app, key) == key
    _, tenants = await manage.create_tenant(app, actor="test", name="Other")
    assert (await demo.ensure_admin_key(app, tenants.secret)).startswith("cw_admin_")


def test_the_documentation_is_found_with_titles_of_its_own() -> None:
    pages = demo.load_documentation()
    titles = [page.title for page in pages]
    assert len(titles) == len(set(titles)) > 10
    assert len({page.url for page in pages}) == len(pages)
