"""With PostgreSQL away nothing new is taken and nothing is called; with Valkey away limits hold in each process."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from bench.simulator import Simulator
from chatwright.domain.errors import RateLimited, Unavailable
from chatwright.domain.messages import Draft
from chatwright.domain.providers import Turn
from chatwright.features import budgets
from chatwright.pipeline import inline, manage
from chatwright.pipeline.accept import accept
from chatwright.pipeline.services import Services
from tests.flows.conftest import OpenApp, Shop, open_shop


async def run_sql(superuser_url: str, *statements: str) -> list[Any]:
    connection: Any = await asyncpg.connect(superuser_url)
    try:
        found: list[Any] = []
        for statement in statements:
            found = await connection.fetch(statement)
        return found
    finally:
        await connection.close()


@asynccontextmanager
async def postgres_away(database_url: str, superuser_url: str) -> AsyncGenerator[None]:
    name = urlsplit(database_url).path[1:]
    await run_sql(
        superuser_url,
        f"ALTER DATABASE {name} CONNECTION LIMIT 0",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name LIKE 'chatw%' AND datname = current_database()",
    )
    try:
        yield
    finally:
        await run_sql(superuser_url, f"ALTER DATABASE {name} CONNECTION LIMIT -1")


async def test_without_postgres_nothing_new_is_taken_and_nobody_is_called(
    app: Services, simulator: Simulator, database_url: str, superuser_url: str
) -> None:
    shop = await open_shop(app, name="Priced", model="gpt-4.1")
    async with app.db.transaction(shop.scope) as db:
        await budgets.put_budget(
            db, shop.scope, scope_kind="tenant", scope_id="", period="month", limit_nano=10**12, action="block"
        )
    request = inline.InlineRequest(chatbot=shop.chatbot, turns=(Turn("user", "Hello?"),))
    await inline.complete(app, request)
    assert await app.ledger.flush()
    before = len(simulator.calls())
    async with postgres_away(database_url, superuser_url):
        for _ in range(3):
            with pytest.raises(Unavailable) as refused:
                await inline.complete(app, request)
            assert refused.value.status == 503
            with pytest.raises(Unavailable):
                await accept(app, shop.scope, Draft(text="Hello?", chatbot_id=shop.chatbot.id))
        assert len(simulator.calls()) == before, "no row, no call"
    (row,) = await run_sql(superuser_url, "SELECT count(*) AS messages FROM messages")
    assert row["messages"] == 0
    await inline.complete(app, request)
    assert await app.ledger.flush()
    async with app.db.transaction(shop.scope) as db:
        assert await budgets.reconcile(db, shop.scope) == []
        (status,) = await budgets.list_budgets(db, shop.scope)
    assert status.reserved_nano == 0


async def test_without_valkey_budgets_hold_and_each_process_keeps_the_limits(
    open_app: OpenApp, app: Services, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    chatbot = await manage.patch_chatbot(
        app, shop.scope, shop.chatbot.id, {"limits": {"requests_per_minute": 5}}, actor="test"
    )
    request = inline.InlineRequest(chatbot=chatbot, turns=(Turn("user", "Hello?"),))
    async with open_app() as other:
        for one in (app, other):  # what the link says when its connection is gone
            monkeypatch.setattr(type(one.limiter._link), "connected", property(lambda _: False))  # pyright: ignore[reportPrivateUsage, reportUnknownLambdaType]
        let_in = 0
        for one in (app, other):
            for _ in range(8):
                try:
                    await inline.complete(one, request)
                except RateLimited:
                    continue
                let_in += 1
        assert let_in == 2 * 5
        assert app.metrics.registry.get_sample_value("chatwright_limits_local") == 1
    monkeypatch.undo()
    assert (await inline.complete(app, request)).standing is not None
    assert app.metrics.registry.get_sample_value("chatwright_limits_local") == 0
