"""Custom intents on a real PostgreSQL: versions, leases, tenants apart."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from chatwright.adapters.postgres import Database, open_database
from chatwright.domain.scope import Scope
from chatwright.features import tenancy
from chatwright.features.analysis import intent_store as store
from chatwright.features.analysis.intent_store import CustomIntent
from chatwright.features.credentials import new_widget_id


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    async with open_database(database_url, min_connections=1, max_connections=4) as database:
        yield database


async def a_chatbot(db: Database) -> Scope:
    async with db.operator() as connection:
        tenant = await tenancy.create_tenant(connection, name="A", plan="standard", time_zone="UTC", weight=1.0)
    async with db.transaction(Scope(tenant_id=tenant.id)) as connection:
        chatbot = await tenancy.create_chatbot(
            connection,
            Scope(tenant_id=tenant.id),
            tenancy.NewChatbot(name="Help", slug="help", widget_id=new_widget_id()),
        )
    return chatbot.scope


async def put(db: Database, scope: Scope, *names: str) -> None:
    async with db.transaction(scope) as connection:
        await store.raise_version(connection, scope)
        await store.put_intents(connection, scope, [CustomIntent(name=name, examples=("a", "b")) for name in names])


async def test_a_change_makes_the_model_due_until_it_is_trained(db: Database) -> None:
    scope = await a_chatbot(db)
    await put(db, scope, "x")
    async with db.operator() as connection:
        assert await store.list_due(connection, limit=5) == [scope]
    async with db.transaction(scope) as connection:
        version = await store.take(connection, scope, lease_s=60)
        assert version == 1
        assert await store.take(connection, scope, lease_s=60) is None, "two trained the same"
    await put(db, scope, "y")  # while it is trained
    async with db.transaction(scope) as connection:
        await store.keep_model(connection, scope, b"one", version=version, figures={"accuracy": 0.5})
    async with db.operator() as connection:
        assert await store.list_due(connection, limit=5) == [scope], "the change in between was forgotten"
    async with db.transaction(scope) as connection:
        assert await store.take(connection, scope, lease_s=60) == 2
        await store.keep_model(connection, scope, b"two", version=2, figures={})
        await store.keep_model(connection, scope, b"late", version=1, figures={})
        kept = await store.read_model(connection, scope)
    assert (kept.model, kept.trained_version, kept.version) == (b"two", 2, 2)
    async with db.operator() as connection:
        assert await store.list_due(connection, limit=5) == []


async def test_a_lease_that_ran_out_is_taken_by_another(db: Database) -> None:
    scope = await a_chatbot(db)
    await put(db, scope, "x")
    async with db.transaction(scope) as connection:
        assert await store.take(connection, scope, lease_s=0.05) == 1
    await asyncio.sleep(0.1)
    async with db.transaction(scope) as connection:
        assert await store.take(connection, scope, lease_s=60) == 1


async def test_intents_are_replaced_and_removed(db: Database) -> None:
    scope = await a_chatbot(db)
    await put(db, scope, "x", "y", "z")
    async with db.transaction(scope) as connection:
        await store.remove_others(connection, scope, ["x", "y"])
        assert await store.remove_intent(connection, scope, "y")
        assert not await store.remove_intent(connection, scope, "y")
        assert [one.name for one in await store.list_intents(connection, scope)] == ["x"]


async def test_tenants_do_not_see_one_anothers_intents(db: Database) -> None:
    mine, other = await a_chatbot(db), await a_chatbot(db)
    await put(db, mine, "x")
    async with db.transaction(other) as connection:
        foreign = Scope(tenant_id=mine.tenant_id, chatbot_id=mine.chatbot_id)
        assert await store.list_intents(connection, foreign) == []
        assert (await store.read_model(connection, foreign)).version == 0
