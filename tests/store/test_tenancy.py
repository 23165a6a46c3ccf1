"""Tenants and chatbots on a real PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest

from chatwright.adapters.postgres import Database, open_database
from chatwright.domain.chatbot import ProviderLink
from chatwright.domain.errors import Conflict, NotFound, Unprocessable
from chatwright.domain.ids import new_id
from chatwright.domain.scope import Scope
from chatwright.features import tenancy
from chatwright.features.tenancy import ChatbotDirectory, NewChatbot, Tenant


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    async with open_database(database_url, min_connections=1, max_connections=4) as database:
        yield database


async def a_tenant(db: Database, name: str = "Acme") -> Tenant:
    async with db.operator() as connection:
        return await tenancy.create_tenant(connection, name=name, plan="standard", time_zone="UTC", weight=1.0)


def bot(slug: str = "help", **fields: object) -> NewChatbot:
    values: dict[str, object] = {"name": "Help", "slug": slug, "widget_id": f"cw_pub_{new_id()}"} | fields
    return NewChatbot(**values)  # type: ignore[arg-type]


async def test_a_chatbot_comes_back_as_it_was_made(db: Database) -> None:
    scope = Scope(tenant_id=(await a_tenant(db)).id)
    new = bot(
        providers=(ProviderLink(provider="openai", model="gpt-x", base_url="https://llm.example/v1", key_id="k1"),),
        temperature=0.25,
        cache_policy={"ttl_s": 300},
        allowed_origins=("https://Shop.example:443/", "http://localhost:3000", "https://shop.example"),
        suggested_questions=("What is it?", "Ça va?"),
        languages=("en", "de"),
    )
    async with db.transaction(scope) as connection:
        made = await tenancy.create_chatbot(connection, scope, new)
    async with db.transaction(scope) as connection:
        by_slug = await tenancy.get_chatbot(connection, scope, "help")
        by_id = await tenancy.get_chatbot(connection, scope, made.id)
    assert made == by_slug == by_id
    assert made.providers == new.providers
    assert made.allowed_origins == ("https://shop.example", "http://localhost:3000")
    assert made.suggested_questions == ("What is it?", "Ça va?")
    assert made.knowledge_base_id is not None
    assert made.created_at.endswith("Z")
    async with db.transaction(scope) as connection:
        row = await connection.fetchrow("SELECT * FROM knowledge_bases WHERE id = $1", made.knowledge_base_id)
    assert row is not None
    assert (row["embedder"], row["dimension"]) == ("minilm-l6-v2-int8", 384)


async def test_a_slug_is_taken_once_per_tenant(db: Database) -> None:
    first, second = Scope(tenant_id=(await a_tenant(db)).id), Scope(tenant_id=(await a_tenant(db, "Other")).id)
    for scope in (first, second):
        async with db.transaction(scope) as connection:
            await tenancy.create_chatbot(connection, scope, bot())
    with pytest.raises(Conflict) as refused:
        async with db.transaction(first) as connection:
            await tenancy.create_chatbot(connection, first, bot())
    assert refused.value.param == "slug"


async def test_another_tenants_chatbot_does_not_exist(db: Database) -> None:
    mine, other = Scope(tenant_id=(await a_tenant(db)).id), Scope(tenant_id=(await a_tenant(db, "Other")).id)
    async with db.transaction(other) as connection:
        theirs = await tenancy.create_chatbot(connection, other, bot("theirs"))
    async with db.transaction(mine) as connection:
        assert await tenancy.get_chatbot(connection, mine, theirs.id) is None
        assert await tenancy.get_chatbot(connection, mine, "theirs") is None
        assert await tenancy.patch_chatbot(connection, mine, theirs.id, {"name": "Mine now"}) is None
        assert not await tenancy.delete_chatbot(connection, mine, theirs.id)
        assert await tenancy.list_chatbots(connection, mine, after=None, limit=10) == []
        with pytest.raises(Unprocessable):
            await tenancy.create_chatbot(connection, mine, bot(knowledge_base_id=theirs.knowledge_base_id))
    # Row-level security holds even for a statement that forgot its tenant.
    async with db.transaction(mine) as connection:
        assert await connection.fetchval("SELECT count(*) FROM chatbots") == 0


async def test_a_scope_of_one_chatbot_sees_no_other(db: Database) -> None:
    scope = Scope(tenant_id=(await a_tenant(db)).id)
    async with db.transaction(scope) as connection:
        one = await tenancy.create_chatbot(connection, scope, bot("one"))
        two = await tenancy.create_chatbot(connection, scope, bot("two"))
        assert await tenancy.get_chatbot(connection, one.scope, "two") is None
        assert await tenancy.get_chatbot(connection, one.scope, one.id) == one
    directory = ChatbotDirectory(db)
    assert await directory.get(two.scope, "two") == two
    with pytest.raises(NotFound):
        await directory.get(one.scope, "two")


async def test_patching_changes_the_given_fields_only(db: Database) -> None:
    scope = Scope(tenant_id=(await a_tenant(db)).id)
    async with db.transaction(scope) as connection:
        before = await tenancy.create_chatbot(connection, scope, bot(temperature=0.5, greeting="Hi"))
        after = await tenancy.patch_chatbot(connection, scope, "help", {"temperature": None, "name": "Desk"})
        assert after is not None
        assert (after.temperature, after.name, after.greeting) == (None, "Desk", "Hi")
        assert after.revision == before.revision + 1
        unchanged = await tenancy.patch_chatbot(connection, scope, "help", {})
        assert unchanged == after
        with pytest.raises(ValueError, match="widget_id"):
            await tenancy.patch_chatbot(connection, scope, "help", {"widget_id": "cw_pub_mine"})


@pytest.mark.parametrize(
    "slug", ["", "Help", "a b", "-a", "a" * 64, "ä", "a\x00", "0190c0de-0000-7000-8000-000000000003", "a_b", "x;--"]
)
async def test_what_is_no_slug_is_refused(db: Database, slug: str) -> None:
    scope = Scope(tenant_id=(await a_tenant(db)).id)
    async with db.transaction(scope) as connection:
        with pytest.raises(Unprocessable) as refused:
            await tenancy.create_chatbot(connection, scope, bot(slug))
        assert await tenancy.get_chatbot(connection, scope, slug) is None
    assert refused.value.param == "slug"


@pytest.mark.parametrize(
    "origin", ["*", "https://*.example", "shop.example", "https://a.example/path", "null", "https://", "file://x"]
)
async def test_what_is_no_origin_is_refused(db: Database, origin: str) -> None:
    scope = Scope(tenant_id=(await a_tenant(db)).id)
    async with db.transaction(scope) as connection:
        with pytest.raises(Unprocessable) as refused:
            await tenancy.create_chatbot(connection, scope, bot(allowed_origins=(origin,)))
    assert refused.value.param == "allowed_origins"


async def test_pages_hold_every_chatbot_once(db: Database) -> None:
    scope = Scope(tenant_id=(await a_tenant(db)).id)
    async with db.transaction(scope) as connection:
        made = [(await tenancy.create_chatbot(connection, scope, bot(f"b{n}"))).id for n in range(7)]
        seen: list[str] = []
        after = None
        while page := await tenancy.list_chatbots(connection, scope, after=after, limit=3):
            seen += [chatbot.id for chatbot in page]
            after = page[-1].id
    assert seen == sorted(made)


async def test_a_widget_id_finds_its_chatbot_until_the_tenant_is_shut_out(db: Database) -> None:
    tenant = await a_tenant(db)
    scope = Scope(tenant_id=tenant.id)
    async with db.transaction(scope) as connection:
        made = await tenancy.create_chatbot(connection, scope, bot(allowed_origins=("https://shop.example",)))
    async with db.operator() as connection:
        for found in (
            await tenancy.find_widget(connection, made.widget_id),
            await tenancy.find_by_slug(connection, "help", tenant_id=tenant.id),
        ):
            assert found is not None
            # Operators see neither whether there are chunks nor which version they have.
            assert replace(found, has_knowledge=False, knowledge_version=made.knowledge_version) == made
        assert await tenancy.find_widget(connection, "cw_pub_unknown") is None
        assert await tenancy.origin_known(connection, "https://shop.example")
        assert not await tenancy.origin_known(connection, "https://evil.example")
        assert await tenancy.disable_tenant(connection, tenant.id)
        assert await tenancy.find_widget(connection, made.widget_id) is None
        assert await tenancy.find_by_slug(connection, "help", tenant_id=tenant.id) is None


async def test_tenants_are_listed_changed_and_shut_out(db: Database) -> None:
    first, second = await a_tenant(db, "One"), await a_tenant(db, "Two")
    async with db.operator() as connection:
        assert await tenancy.list_tenants(connection, after=None, limit=1) == [first]
        assert await tenancy.list_tenants(connection, after=first.id, limit=5) == [second]
        changed = await tenancy.update_tenant(connection, first.id, name="Uno", weight=2.0)
        assert changed is not None
        assert (changed.name, changed.weight, changed.plan) == ("Uno", 2.0, "standard")
        assert await tenancy.update_tenant(connection, new_id(), name="Nobody") is None
        assert await tenancy.update_tenant(connection, "no id", name="Nobody") is None
        assert await tenancy.disable_tenant(connection, first.id)
        shut = await tenancy.get_tenant(connection, first.id)
        assert shut is not None
        assert shut.disabled_at is not None
        assert await tenancy.disable_tenant(connection, first.id, disabled=False)
        open_again = await tenancy.get_tenant(connection, first.id)
        assert open_again is not None
        assert open_again.disabled_at is None
    with pytest.raises(Conflict):
        async with db.operator() as connection:
            await tenancy.create_tenant(
                connection, name="Twice", plan="standard", time_zone="UTC", weight=1.0, tenant_id=first.id
            )


async def test_the_directory_is_stale_for_its_lifetime_at_most(db: Database) -> None:
    scope = Scope(tenant_id=(await a_tenant(db)).id)
    now = 100.0
    clock: Callable[[], float] = lambda: now  # noqa: E731
    directory = ChatbotDirectory(db, ttl_s=1.0, clock=clock)
    with pytest.raises(NotFound):
        await directory.get(scope, "help")
    async with db.transaction(scope) as connection:
        await tenancy.create_chatbot(connection, scope, bot())
    with pytest.raises(NotFound):
        await directory.get(scope, "help")  # remembered for a second that it does not exist
    now += 1.001
    assert (await directory.get(scope, "help")).revision == 1
    async with db.transaction(scope) as connection:
        await tenancy.patch_chatbot(connection, scope, "help", {"name": "New"})
    assert (await directory.get(scope, "help")).revision == 1
    now += 1.001
    assert (await directory.get(scope, "help")).revision == 2
    async with db.transaction(scope) as connection:
        await tenancy.patch_chatbot(connection, scope, "help", {"name": "Newer"})
    directory.invalidate(scope.tenant_id)
    assert (await directory.get(scope, "help")).revision == 3


async def test_a_change_during_a_look_up_is_not_remembered_away(db: Database) -> None:
    scope = Scope(tenant_id=(await a_tenant(db)).id)
    async with db.transaction(scope) as connection:
        await tenancy.create_chatbot(connection, scope, bot())
    directory = ChatbotDirectory(db, ttl_s=1000.0)
    slow = asyncio.create_task(directory.get(scope, "help"))
    await asyncio.sleep(0)  # the look-up is under way
    directory.invalidate(scope.tenant_id)
    async with db.transaction(scope) as connection:
        await tenancy.patch_chatbot(connection, scope, "help", {"name": "New"})
    await slow
    assert (await directory.get(scope, "help")).name == "New"


async def test_many_at_once_read_once(db: Database) -> None:
    scope = Scope(tenant_id=(await a_tenant(db)).id)
    async with db.transaction(scope) as connection:
        await tenancy.create_chatbot(connection, scope, bot())
    directory = ChatbotDirectory(db)
    found = await asyncio.gather(*(directory.get(scope, "help") for _ in range(50)))
    assert len({id(chatbot) for chatbot in found}) == 1


async def test_the_audit_log_is_the_tenants_own_and_append_only(db: Database) -> None:
    mine, other = Scope(tenant_id=(await a_tenant(db)).id), Scope(tenant_id=(await a_tenant(db, "Other")).id)
    for scope in (mine, other):
        async with db.transaction(scope) as connection:
            for action in ("a", "b"):
                await tenancy.record(connection, scope.tenant_id, actor="test", action=action, detail={"n": 1})
    async with db.transaction(mine) as connection:
        entries = await tenancy.list_audit(connection, mine, after=None, limit=10)
        assert [entry.action for entry in entries] == ["b", "a"]
        assert entries[0].detail == {"n": 1}
        assert [entry.action for entry in await tenancy.list_audit(connection, mine, after=entries[0].id, limit=9)] == [
            "a"
        ]
    async with db.operator() as connection:
        assert len(await tenancy.list_audit(connection, None, after=None, limit=10)) == 4
    for statement in ("DELETE FROM audit_log", "UPDATE audit_log SET actor = 'nobody'"):
        with pytest.raises(Exception, match="permission denied"):
            async with db.transaction(mine) as connection:
                await connection.execute(statement)
