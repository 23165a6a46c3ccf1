"""What a visitor and a caller get when a budget holds calls back: 402, the cheap model, or what costs nothing."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from bench.simulator import Simulator
from chatwright.domain.chatbot import Chatbot, ProviderLink
from chatwright.domain.errors import BudgetExceeded, Conflict
from chatwright.domain.jobs import JobType
from chatwright.domain.messages import Draft, MessageState
from chatwright.domain.providers import Turn
from chatwright.features import budgets, jobs
from chatwright.features.budgets import Action
from chatwright.features.credentials import new_widget_id
from chatwright.features.routing import State
from chatwright.features.tenancy import NewChatbot
from chatwright.pipeline import inline, manage, sweep
from chatwright.pipeline.accept import accept
from chatwright.pipeline.embedding import embed_texts
from chatwright.pipeline.services import Services
from chatwright.pipeline.submit import submit_job
from chatwright.pipeline.wait import wait_for_answer
from tests.flows.conftest import OpenApp, Shop, open_shop, running_worker

ALWAYS: dict[str, Any] = {"since": datetime(2000, 1, 1, tzinfo=UTC), "until": datetime(2100, 1, 1, tzinfo=UTC)}
EMBEDDER = "openai/text-embedding-3-small"
DEAR, CHEAP = "gpt-4.1", "gpt-4.1-nano"


@pytest.fixture
async def priced(app: Services) -> Shop:
    return await open_shop(app, name="Priced", model=DEAR)


async def put(app: Services, shop: Shop, limit_nano: int, action: Action, **more: Any) -> budgets.Budget:
    fields: dict[str, Any] = {"scope_kind": "tenant", "scope_id": "", "period": "month"} | more
    async with app.db.transaction(shop.scope) as db:
        return await budgets.put_budget(db, shop.scope, limit_nano=limit_nano, action=action, **fields)


async def standing(app: Services, shop: Shop) -> tuple[int, int]:
    """Spent and reserved of the first budget, everything written."""
    assert await app.ledger.flush()
    async with app.db.transaction(shop.scope) as db:
        assert await budgets.reconcile(db, shop.scope) == []
        one = (await budgets.list_budgets(db, shop.scope))[0]
    return one.spent_nano, one.reserved_nano


async def rows(superuser_url: str, query: str, *args: object) -> list[Any]:
    connection = await asyncpg.connect(superuser_url)
    try:
        return await connection.fetch(query, *args)
    finally:
        await connection.close()


def ask(chatbot: Chatbot, text: str = "Hello?") -> inline.InlineRequest:
    return inline.InlineRequest(chatbot=chatbot, turns=(Turn("user", text),))


async def test_a_blocked_call_is_a_402_and_reaches_nobody(app: Services, priced: Shop, simulator: Simulator) -> None:
    budget = await put(app, priced, 1_000, "block")
    with pytest.raises(BudgetExceeded) as refused:
        await inline.complete(app, ask(priced.chatbot))
    assert (refused.value.status, refused.value.budget_id, refused.value.scope) == (402, budget.id, "tenant")
    stream = inline.stream(app, ask(priced.chatbot))
    with pytest.raises(BudgetExceeded):
        await anext(stream.deltas())
    assert simulator.calls() == []
    assert await standing(app, priced) == (0, 0)


async def test_what_a_call_costs_is_settled(app: Services, priced: Shop, superuser_url: str) -> None:
    await put(app, priced, 10**10, "block")
    answer = await inline.complete(app, ask(priced.chatbot))
    assert answer.cost_nano
    assert await standing(app, priced) == (answer.cost_nano, 0)
    reserved = (await rows(superuser_url, "SELECT reserved_nano FROM calls"))[0][0]
    assert reserved > answer.cost_nano


async def test_a_refusal_is_no_failure_of_the_provider(app: Services, priced: Shop) -> None:
    await put(app, priced, 0, "block")
    for _ in range(12):
        with pytest.raises(BudgetExceeded):
            await inline.complete(app, ask(priced.chatbot))
    await put(app, priced, 10**10, "block")
    assert (await inline.complete(app, ask(priced.chatbot))).provider == "openai"
    assert all(gate.state is State.CLOSED for gate in app.gates.states())


async def test_downgrade_goes_on_with_the_cheap_model(app: Services, priced: Shop, simulator: Simulator) -> None:
    await put(app, priced, 1_000, "downgrade")
    answer = await inline.complete(app, ask(priced.chatbot))
    assert (answer.provider, answer.model, answer.attempts) == ("openai", CHEAP, 1)
    text = [delta.text async for delta in inline.stream(app, ask(priced.chatbot)).deltas()]
    assert "".join(text)
    assert [call.model for call in simulator.calls()] == [CHEAP, CHEAP]
    spent, reserved = await standing(app, priced)
    assert spent > 0, "the cheap model's calls count"
    assert reserved == 0


async def test_a_blocking_budget_beside_it_stops_the_cheap_model_too(
    app: Services, priced: Shop, simulator: Simulator
) -> None:
    await put(app, priced, 10_000, "block")
    await put(app, priced, 1_000, "downgrade", scope_kind="chatbot", scope_id=priced.chatbot.slug)
    with pytest.raises(BudgetExceeded) as refused:
        await inline.complete(app, ask(priced.chatbot))
    assert refused.value.action == "block"
    assert simulator.calls() == []


async def test_extractive_answers_without_a_provider(app: Services, priced: Shop, simulator: Simulator) -> None:
    await put(app, priced, 0, "extractive")
    answer = await inline.complete(app, ask(priced.chatbot))
    assert (answer.provider, answer.cost_nano, answer.attempts) == ("extractive", 0, 0)
    assert simulator.calls() == []


async def test_alert_holds_nothing_back(app: Services, priced: Shop) -> None:
    await put(app, priced, 1, "alert")
    assert (await inline.complete(app, ask(priced.chatbot))).model.startswith(DEAR)
    assert (await standing(app, priced))[0] > 1


async def test_free_models_are_never_refused(app: Services, simulator: Simulator) -> None:
    shop = await open_shop(app, name="Free")
    chatbot = await manage.create_chatbot(
        app,
        shop.scope,
        NewChatbot(
            name="Local",
            slug="local",
            widget_id=new_widget_id(),
            providers=(ProviderLink(provider="extractive", model="extractive"),),
        ),
        actor="test",
    )
    await put(app, shop, 0, "block")
    assert (await inline.complete(app, ask(chatbot))).provider == "extractive"
    assert simulator.calls() == []


async def test_a_visitor_is_told_of_a_break_and_the_operator_of_the_budget(
    app: Services, priced: Shop, valkey_url: str, superuser_url: str, simulator: Simulator
) -> None:
    # Too little for a call, but not spent: the message is taken, its call is not made.
    budget = await put(app, priced, 1_000, "block")
    async with running_worker(app, valkey_url):
        accepted = await accept(app, priced.scope, Draft(text="Hello?", chatbot_id=priced.chatbot.id))
        outcome = await wait_for_answer(app, priced.scope, accepted, timeout_s=10)
    assert outcome.state is MessageState.FAILED
    assert (outcome.error_code, outcome.error_message) == (
        "budget_exceeded",
        "The assistant is taking a break; please come back later.",
    )
    (dead,) = await rows(superuser_url, "SELECT reason, error_class, attempts FROM dead_letters")
    assert budget.id in dead["reason"]
    assert (dead["error_class"], simulator.calls()) == ("budget_exceeded", [])


async def test_a_visitors_own_budget_holds_back_that_visitor(
    app: Services, priced: Shop, valkey_url: str, superuser_url: str
) -> None:
    # Too little for a call, but not spent.
    await put(app, priced, 1_000, "block", scope_kind="visitor", scope_id="ada")
    async with running_worker(app, valkey_url):
        states: list[MessageState] = []
        for visitor_id in ("ada", "bob"):
            draft = Draft(text="Hello?", chatbot_id=priced.chatbot.id, visitor_id=visitor_id)
            accepted = await accept(app, priced.scope, draft)
            states.append((await wait_for_answer(app, priced.scope, accepted, timeout_s=10)).state)
        await app.ledger.flush()
    assert states == [MessageState.FAILED, MessageState.ANSWERED]
    assert [row[0] for row in await rows(superuser_url, "SELECT visitor_id FROM calls")] == ["bob"]


async def test_a_visitor_with_nothing_left_is_told_nothing_of_budgets(app: Services, priced: Shop) -> None:
    budget = await put(app, priced, 0, "block", scope_kind="visitor", scope_id="ada")
    with pytest.raises(BudgetExceeded) as refused:
        await accept(app, priced.scope, Draft(text="Hello?", chatbot_id=priced.chatbot.id, visitor_id="ada"))
    assert refused.value.message == "The assistant is taking a break; please come back later."
    assert refused.value.budget_id == budget.id
    await accept(app, priced.scope, Draft(text="Hello?", chatbot_id=priced.chatbot.id, visitor_id="bob"))


async def test_a_caller_of_v1_names_its_visitor(
    app: Services, priced: Shop, superuser_url: str, simulator: Simulator
) -> None:
    await put(app, priced, 1_000, "block", scope_kind="visitor", scope_id="ada")
    named = inline.InlineRequest(chatbot=priced.chatbot, turns=(Turn("user", "Hello?"),), visitor_id="ada")
    with pytest.raises(BudgetExceeded):
        await inline.complete(app, named)
    with pytest.raises(BudgetExceeded):
        await embed_texts(app, priced.scope, ["some text " * 100], EMBEDDER, visitor_id="ada")
    assert simulator.calls() == []
    await inline.complete(app, replace(named, visitor_id="bob"))
    await embed_texts(app, priced.scope, ["a text"], EMBEDDER, visitor_id="bob")
    await app.ledger.flush()
    found = await rows(superuser_url, "SELECT visitor_id, purpose FROM calls ORDER BY opened_at")
    assert [tuple(row) for row in found] == [("bob", "chat"), ("bob", "embedding")]


async def test_a_refusal_says_which_budget_until_when_and_what_to_do(app: Services, priced: Shop) -> None:
    budget = await put(app, priced, 1_000, "block", period="day")
    with pytest.raises(BudgetExceeded) as refused:
        await inline.complete(app, ask(priced.chatbot))
    message = refused.value.message
    assert f"the tenant's daily budget of 0.000001 USD ({budget.id}): raise its limit, or wait" in message
    assert message.startswith("the call may cost up to 0.")
    async with app.db.transaction(priced.scope) as db:
        (status,) = await budgets.list_budgets(db, priced.scope)
    assert f"from {status.ends_at} on" in message
    assert refused.value.retry_after_s is not None
    assert 0 < refused.value.retry_after_s <= 25 * 3600
    await put(app, priced, 500, "block", period="total", set_by="operator", scope_kind="chatbot", scope_id="priced")
    async with app.db.transaction(priced.scope) as db:
        await budgets.delete_budget(db, priced.scope, budget.id)
    with pytest.raises(
        BudgetExceeded, match=r"the chatbot's total budget .* ask an operator to raise its limit, or allow"
    ) as no:
        await inline.complete(app, ask(priced.chatbot))
    assert no.value.retry_after_s is None


async def test_a_message_sent_again_gets_its_receipt_although_nothing_is_left(app: Services, priced: Shop) -> None:
    draft = Draft(text="Hello?", chatbot_id=priced.chatbot.id, client_message_id="one")
    first = await accept(app, priced.scope, draft)
    await put(app, priced, 0, "block", scope_kind="chatbot", scope_id=priced.chatbot.slug)
    await asyncio.sleep(1.05)  # what is left is looked at once a second
    again = await accept(app, priced.scope, draft)
    assert (again.message_id, again.replayed) == (first.message_id, True)
    with pytest.raises(Conflict):
        await accept(app, priced.scope, replace(draft, text="Something else"))
    with pytest.raises(BudgetExceeded):
        await accept(app, priced.scope, replace(draft, client_message_id="two"))


async def test_a_budgets_cheap_model_is_no_fallback(app: Services, priced: Shop) -> None:
    await put(app, priced, 1_000, "downgrade")
    await inline.complete(app, ask(priced.chatbot))
    assert app.metrics.registry.get_sample_value("chatwright_provider_fallbacks_total", {"provider": "openai"}) is None
    held_back = {"scope": "tenant", "kind": "budget"}
    assert app.metrics.registry.get_sample_value("chatwright_refusals_total", held_back) == 1


async def test_an_imports_calls_count_in_its_budget(app: Services, priced: Shop, valkey_url: str) -> None:
    """A summary made for an import: its payload names it."""
    budget = await put(app, priced, 10**9, "block", scope_kind="import", scope_id="spring", period="total")
    async with running_worker(app, valkey_url):
        accepted = await accept(app, priced.scope, Draft(text="Hello?", chatbot_id=priced.chatbot.id))
        await wait_for_answer(app, priced.scope, accepted, timeout_s=10)
        job_id = await submit_job(
            app,
            priced.scope,
            job_type=JobType.CONVERSATION_SUMMARY,
            chatbot=priced.chatbot,
            payload={"conversation_id": accepted.conversation_id, "import_id": "spring"},
        )
        async with asyncio.timeout(15):
            while True:
                async with app.db.transaction(priced.scope) as db:
                    view = await jobs.get_job(db, priced.scope, job_id)
                assert view is not None
                if view.state == "done":
                    break
                await asyncio.sleep(0.05)
    assert await app.ledger.flush()
    async with app.db.transaction(priced.scope) as db:
        found = {one.budget.id: one for one in await budgets.list_budgets(db, priced.scope)}
        total = (await budgets.usage_rows(db, priced.scope, group_by=["purpose"], **ALWAYS))[1]
    assert total["purpose"] == "summary"
    assert 0 < found[budget.id].spent_nano == total["cost_nano"]


async def test_with_nothing_left_no_message_is_taken(app: Services, priced: Shop, superuser_url: str) -> None:
    await put(app, priced, 0, "block", scope_kind="chatbot", scope_id=priced.chatbot.slug)
    with pytest.raises(BudgetExceeded):
        await accept(app, priced.scope, Draft(text="Hello?", chatbot_id=priced.chatbot.id))
    assert (await rows(superuser_url, "SELECT count(*) FROM messages"))[0][0] == 0


async def test_a_killed_processs_reservation_comes_back(
    open_app: OpenApp, app: Services, priced: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(app, priced, 10**10, "block")
    async with open_app() as dying:
        request = ask(priced.chatbot, "[[sim:latency=5000]] Hello?")
        task = asyncio.create_task(inline.complete(dying, request), name="dying")
        async with asyncio.timeout(5):
            while (await standing(app, priced))[1] == 0:
                await asyncio.sleep(0.02)
        # As after a kill: whatever it wanted to write is not written.
        monkeypatch.setattr(dying.ledger, "close", lambda end: None)  # pyright: ignore[reportUnknownLambdaType]
        task.cancel()
        await asyncio.wait({task})
    held = (await standing(app, priced))[1]
    assert held > 0
    assert await sweep.settle_abandoned(app) == 0, "not before its time"
    monkeypatch.setattr(sweep, "ABANDON_S", 0.0)
    assert await sweep.settle_abandoned(app) == 1
    assert await standing(app, priced) == (held, 0)
