"""A hit that is checked: the visitor has the cached answer at once, and the provider's word behind it is compared, learned from
and booked, never shown."""

import asyncio
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest

from bench.simulator import Simulator
from chatwright.domain import events
from chatwright.domain.chatbot import ProviderLink
from chatwright.domain.messages import Draft, MessageState
from chatwright.domain.providers import Turn
from chatwright.domain.scope import Scope
from chatwright.features import budgets
from chatwright.features.cache.checks import OFF
from chatwright.features.cache.memory import key_of
from chatwright.features.cache.router_store import list_checks
from chatwright.features.credentials import new_widget_id
from chatwright.features.tenancy import NewChatbot
from chatwright.pipeline import inline, manage
from chatwright.pipeline.accept import accept
from chatwright.pipeline.budgeting import set_budget
from chatwright.pipeline.cache_learning import drain
from chatwright.pipeline.services import Services
from chatwright.pipeline.wait import Outcome, wait_for_answer
from tests.e2e.conftest import clean_environment
from tests.flows.conftest import OpenApp, Shop, running_worker

QUESTION = "what is your return policy"
FIRST = "Within 14 days, with the receipt A1."
OTHER = "Within 30 days since June, code B2."
NEVER_MS = 600_000
"""A provider that does not answer while a test runs."""
FORGOTTEN_S = 1.2


@pytest.fixture
async def shop(app: Services) -> Shop:
    """A chatbot whose exact tier forgets within a second, so that a question asked again is one for the semantic tier."""
    tenant, _ = await manage.create_tenant(app, actor="test", name="Shop")
    scope = Scope(tenant_id=tenant.id)
    new = NewChatbot(
        name="Shop",
        slug="shop",
        widget_id=new_widget_id(),
        providers=(ProviderLink(provider="openai", model="gpt-4.1"),),
        system_prompt="You answer for a shop.",
        knowledge_enabled=False,
        cache_policy={"ttl_s": 1, "check_share": 1.0},
    )
    return Shop(scope, await manage.create_chatbot(app, scope, new, actor="test"))


@pytest.fixture
def always_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lot falls on every hit."""
    monkeypatch.setattr("chatwright.pipeline.semantic.random", SimpleNamespace(random=lambda: 0.0))


async def rows(superuser_url: str, query: str, *args: object) -> list[Any]:
    connection = await asyncpg.connect(superuser_url)
    try:
        return await connection.fetch(query, *args)
    finally:
        await connection.close()


async def say(app: Services, shop: Shop, text: str = QUESTION) -> Outcome:
    """A visitor's message, answered by a running worker."""
    accepted = await accept(app, shop.scope, Draft(text=text, chatbot_id=shop.chatbot.id))
    return await wait_for_answer(app, shop.scope, accepted, timeout_s=20)


def told(outcome: Outcome) -> tuple[str, str]:
    assert outcome.state is MessageState.ANSWERED
    assert outcome.answer is not None
    return outcome.answer.text, outcome.answer.cached


async def complete(app: Services, shop: Shop, text: str = QUESTION) -> tuple[str, str]:
    answer = await inline.complete(app, inline.InlineRequest(chatbot=shop.chatbot, turns=(Turn("user", text),)))
    return answer.text, answer.cached


async def learn_first(app: Services, shop: Shop, simulator: Simulator) -> None:
    """Behind `/v1`: the question is answered and learned, and the exact tier has forgotten it."""
    simulator.set(reply=FIRST)
    assert await complete(app, shop) == (FIRST, "miss")
    assert await drain(app)
    await asyncio.sleep(FORGOTTEN_S)


def lost(app: Services) -> dict[str, float]:
    return {
        sample.labels["reason"]: sample.value
        for metric in app.metrics.cache_checks_lost.collect()
        for sample in metric.samples
        if sample.name.endswith("_total")
    }


async def checks(app: Services, shop: Shop) -> list[str]:
    async with app.db.transaction(shop.scope) as db:
        return [check.outcome for check in await list_checks(db, shop.chatbot.scope)]


async def until_asked(simulator: Simulator, calls: int) -> None:
    async with asyncio.timeout(10):
        while len(simulator.calls()) < calls:
            await asyncio.sleep(0.02)


async def test_a_visitor_has_the_cached_answer_and_the_provider_is_asked_behind_it(
    app: Services, shop: Shop, simulator: Simulator, valkey_url: str, superuser_url: str, always_checked: None
) -> None:
    simulator.set(reply=FIRST)
    async with running_worker(app, valkey_url):
        assert told(await say(app, shop)) == (FIRST, "miss")
        assert await drain(app)
        await asyncio.sleep(FORGOTTEN_S)
        again = await say(app, shop)
        assert await drain(app)
    assert told(again) == (FIRST, "semantic")
    assert len(simulator.calls()) == 2
    assert await checks(app, shop) == ["same"]

    await app.ledger.flush()
    books = await rows(superuser_url, "SELECT * FROM calls ORDER BY opened_at, id")
    call = next(row for row in books if row["purpose"] == "chat" and row["kind"] == "call")
    hit = next(row for row in books if row["kind"] == "cache_hit")
    check = next(row for row in books if row["purpose"] == "cache_check")
    assert len(books) == 3
    assert hit["saved_nano"] == call["cost_nano"] > 0
    assert (check["state"], check["cost_nano"]) == ("ok", call["cost_nano"])
    # It is the chatbot's cost, no message's: attempts of a message are counted by its calls.
    assert (str(check["chatbot_id"]), check["message_id"], check["visitor_id"]) == (shop.chatbot.id, None, None)

    assert again.answer is not None
    page = await app.log.read(shop.scope.tenant_id, again.answer.conversation_id, after_seq=0)
    seen = [events.decode(payload) for _, payload in page.events]
    assert sum(isinstance(event, events.StreamComplete) for event in seen) == 1
    assert "".join(event.text for event in seen if isinstance(event, events.StreamChunk)) == FIRST
    (count,) = await rows(superuser_url, "SELECT count(*) FROM answers")
    assert count[0] == 2
    assert lost(app) == {}


async def test_a_check_that_fails_corrects_what_was_learned(
    app: Services, shop: Shop, simulator: Simulator, always_checked: None
) -> None:
    await learn_first(app, shop, simulator)
    simulator.set(reply=OTHER)
    assert await complete(app, shop) == (FIRST, "semantic")  # nobody knows better yet
    assert await drain(app)
    assert await checks(app, shop) == ["different"]
    assert await complete(app, shop) == (OTHER, "semantic")


async def test_a_streamed_hit_is_checked_too(
    app: Services, shop: Shop, simulator: Simulator, always_checked: None
) -> None:
    await learn_first(app, shop, simulator)
    run = inline.stream(app, inline.InlineRequest(chatbot=shop.chatbot, turns=(Turn("user", QUESTION),)))
    heard = "".join([delta.text async for delta in run.deltas()])
    assert (heard, run.cached) == (FIRST, "semantic")
    assert await drain(app)
    assert await checks(app, shop) == ["same"]


async def test_a_provider_that_hangs_delays_no_visitor(
    app: Services, shop: Shop, simulator: Simulator, always_checked: None
) -> None:
    await learn_first(app, shop, simulator)
    simulator.set(latency=NEVER_MS)
    for number in range(6):  # more than are made at once
        assert await complete(app, shop) == (FIRST, "semantic"), number
    await until_asked(simulator, 5)
    assert await complete(app, shop) == (FIRST, "semantic")
    assert await checks(app, shop) == []


async def test_the_line_of_checks_is_bounded(
    app: Services, shop: Shop, simulator: Simulator, always_checked: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    await learn_first(app, shop, simulator)
    monkeypatch.setattr("chatwright.features.cache.memory.CHECKS_AT_MOST", 0)
    assert await complete(app, shop) == (FIRST, "semantic")
    assert await drain(app)
    assert len(simulator.calls()) == 1
    assert lost(app) == {"full": 1}


async def test_a_budget_that_is_used_up_pays_for_no_check(
    app: Services, shop: Shop, simulator: Simulator, always_checked: None
) -> None:
    await learn_first(app, shop, simulator)
    await set_budget(
        app, shop.scope, scope_kind="chatbot", scope_id=shop.chatbot.id, period="day", limit_nano=0, action="downgrade",
        actor="test",
    )  # fmt: skip
    assert await complete(app, shop) == (FIRST, "semantic")
    assert await drain(app)
    assert len(simulator.calls()) == 1
    assert lost(app) == {"budget": 1}


async def test_a_chatbot_that_changed_meanwhile_is_not_judged_by_its_new_answers(
    app: Services, shop: Shop, simulator: Simulator, always_checked: None
) -> None:
    await learn_first(app, shop, simulator)
    simulator.set(reply=OTHER, latency=400)
    assert await complete(app, shop) == (FIRST, "semantic")
    await until_asked(simulator, 2)
    await manage.patch_chatbot(
        app, shop.scope, shop.chatbot.id, {"system_prompt": "You answer for another shop."}, actor="test"
    )
    assert await drain(app)
    assert await checks(app, shop) == []
    assert lost(app) == {"unusable": 1}


async def test_a_provider_that_fails_teaches_nothing(
    app: Services, shop: Shop, simulator: Simulator, always_checked: None
) -> None:
    await learn_first(app, shop, simulator)
    simulator.set(status=500)
    assert await complete(app, shop) == (FIRST, "semantic")
    assert await drain(app)
    assert lost(app) == {"failed": 1}
    assert len(simulator.calls()) == 2
    assert await complete(app, shop) == (FIRST, "semantic")


async def test_a_tier_that_is_shut_serves_nothing(
    app: Services, shop: Shop, simulator: Simulator, always_checked: None
) -> None:
    await learn_first(app, shop, simulator)
    known = app.semantic.get(key_of(shop.chatbot.scope))
    assert known is not None
    known.strictness = OFF
    simulator.set(reply=OTHER)
    assert await complete(app, shop) == (OTHER, "miss")
    assert await drain(app)
    assert len(simulator.calls()) == 2
    assert await checks(app, shop) == ["different"]


async def test_checks_under_way_end_with_the_process_and_are_booked(
    open_app: OpenApp, simulator: Simulator, shop: Shop, superuser_url: str, always_checked: None
) -> None:
    async with open_app() as other:
        await other.log.link.execute("PING")
        await learn_first(other, shop, simulator)
        simulator.set(latency=NEVER_MS)
        assert await complete(other, shop) == (FIRST, "semantic")
        await until_asked(simulator, 2)
    assert lost(other) == {"stopped": 1}
    found = await rows(superuser_url, "SELECT state FROM calls WHERE purpose = 'cache_check'")
    assert [row["state"] for row in found] == ["cancelled"]


@pytest.mark.timeout(90)
async def test_a_killed_process_leaves_no_reservation_open(
    app: Services,
    shop: Shop,
    simulator: Simulator,
    database_url: str,
    valkey_url: str,
    superuser_url: str,
    tmp_path: Path,
) -> None:
    await set_budget(
        app, shop.scope, scope_kind="chatbot", scope_id=shop.chatbot.id, period="day", limit_nano=10**12, action="block",
        actor="test",
    )  # fmt: skip
    simulator.set(reply=FIRST)
    async with running_worker(app, valkey_url):
        assert told(await say(app, shop)) == (FIRST, "miss")
        assert await drain(app)
    await asyncio.sleep(FORGOTTEN_S)
    await app.ledger.flush()
    simulator.set(latency=NEVER_MS)
    environment = clean_environment(
        DATABASE_URL=database_url,
        REDIS_URL=valkey_url,
        CHATWRIGHT_DATA_DIR=str(tmp_path),
        OPENAI_BASE_URL=simulator.base_url,
        OPENAI_API_KEY="sk-test",
        CHATWRIGHT_RELEVANCE_THRESHOLD="0.5",  # part of what an answer hangs on: as in `app`
        CHATWRIGHT_LOG_FORMAT="json",
    )
    open_checks = "SELECT reserved_nano FROM calls WHERE purpose = 'cache_check' AND state = 'open'"
    with (tmp_path / "worker.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "chatwright", "worker", env=environment, stdout=log, stderr=log
        )
    try:
        for _ in range(100):  # about one hit in six is drawn
            assert told(await say(app, shop)) == (FIRST, "semantic")
            await asyncio.sleep(0.1)
            if open_rows := await rows(superuser_url, open_checks):
                break
        else:
            pytest.fail("no hit was checked")
        await until_asked(simulator, 2)
    finally:
        process.kill()
        await process.wait()
    assert open_rows[0]["reserved_nano"] > 0
    reserved = "SELECT sum(reserved_nano) AS held FROM budget_periods"
    assert (await rows(superuser_url, reserved))[0]["held"] == sum(row["reserved_nano"] for row in open_rows)
    async with app.db.operator() as db:  # as the sweeper does, later
        assert await budgets.abandon_open_calls(db, older_than_s=0.0) == len(open_rows)
    assert (await rows(superuser_url, reserved))[0]["held"] == 0
    assert await rows(superuser_url, open_checks) == []
