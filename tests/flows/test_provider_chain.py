"""A chatbot's chain through the whole pipeline: fallback, keys, prices, apology, and what the books say of each attempt."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from bench.simulator import Simulator, run_simulator
from chatwright.app.addresses import Addresses
from chatwright.app.options import Settings
from chatwright.app.services import open_services
from chatwright.domain.chatbot import ProviderLink
from chatwright.domain.errors import ProviderError
from chatwright.domain.ids import JobId, new_id
from chatwright.domain.jobs import Job, JobType
from chatwright.domain.messages import Accepted, Draft, MessageState
from chatwright.domain.providers import Turn
from chatwright.domain.scope import Scope
from chatwright.features import budgets, conversations
from chatwright.features.credentials import new_widget_id
from chatwright.features.tenancy import NewChatbot
from chatwright.pipeline import inline, manage, provider_keys, providers
from chatwright.pipeline.accept import accept
from chatwright.pipeline.services import Services
from chatwright.pipeline.submit import replay_dead_letter
from chatwright.pipeline.summary import summarise
from chatwright.pipeline.wait import Outcome, wait_for_answer
from tests.flows.conftest import Shop, running_worker

BROKEN, HEALTHY = "gpt-4.1-mini", "claude-haiku-4-5"


@pytest.fixture
async def second() -> AsyncIterator[Simulator]:
    async with run_simulator() as running:
        yield running


@pytest.fixture
async def app(
    database_url: str, valkey_url: str, simulator: Simulator, second: Simulator, tmp_path: Any
) -> AsyncIterator[Services]:
    """`openai` is the first simulator, `anthropic` the second; unknown prices are refused, as they are by default."""
    settings = Settings(
        data_dir=tmp_path,
        openai_base_url=simulator.base_url,
        openai_api_key="sk-openai-platform",
        anthropic_base_url=second.base_url.removesuffix("/v1"),
        anthropic_api_key="sk-ant-platform",
        allowed_addresses=("127.0.0.1",),
        key_encryption_keys="k1:" + "A" * 43 + "=",
        cache_memory_mib=0,  # the same question twice is two calls
    )
    async with open_services(settings, Addresses(database_url=database_url, redis_url=valkey_url)) as services:
        yield services


async def make(app: Services, *links: ProviderLink, name: str = "Shop", **more: Any) -> Shop:
    tenant, _ = await manage.create_tenant(app, actor="test", name=name)
    scope = Scope(tenant_id=tenant.id)
    new = NewChatbot(
        name=name, slug=name.lower(), widget_id=new_widget_id(), providers=links, knowledge_enabled=False, **more
    )
    return Shop(scope, await manage.create_chatbot(app, scope, new, actor="test"))


def chain() -> tuple[ProviderLink, ...]:
    return (ProviderLink(provider="openai", model=BROKEN), ProviderLink(provider="anthropic", model=HEALTHY))


async def say(app: Services, shop: Shop, text: str, valkey_url: str) -> tuple[Accepted, Outcome]:
    async with running_worker(app, valkey_url):
        accepted = await accept(app, shop.scope, Draft(text=text, chatbot_id=shop.chatbot.id))
        outcome = await wait_for_answer(app, shop.scope, accepted, timeout_s=25)
        await app.ledger.flush()
    return accepted, outcome


async def calls_of(app: Services, shop: Shop, accepted: Accepted | None = None) -> list[budgets.LedgerCall]:
    async with app.db.transaction(shop.scope) as db:
        wanted = accepted.message_id if accepted else None
        return list(reversed(await budgets.list_calls(db, shop.scope, message_id=wanted)))


async def ask(app: Services, shop: Shop, text: str) -> inline.InlineAnswer:
    return await inline.complete(app, inline.InlineRequest(chatbot=shop.chatbot, turns=(Turn("user", text),)))


async def test_the_next_provider_answers_and_every_attempt_is_booked(
    app: Services, simulator: Simulator, second: Simulator, valkey_url: str
) -> None:
    simulator.set(status=500)
    second.set(reply="From the second.")
    shop = await make(app, *chain())
    accepted, outcome = await say(app, shop, "Are you there?", valkey_url)
    assert outcome.state is MessageState.ANSWERED
    assert outcome.answer is not None
    assert (outcome.answer.text, outcome.answer.provider) == ("From the second.", "anthropic")
    calls = await calls_of(app, shop, accepted)
    assert [(call.provider, call.state, call.error_class, call.upstream_status) for call in calls] == [
        ("openai", "failed", "server_error", 500),
        ("anthropic", "ok", None, None),
    ]
    assert [call.key_id for call in calls] == ["env", "env"]
    assert calls[0].cost_nano == 0
    assert calls[1].cost_nano == outcome.answer.cost_nano
    assert (outcome.answer.cost_nano or 0) > 0
    # Our id of each call stands in the provider's own log.
    assert [call.call_id for call in (*simulator.calls(), *second.calls())] == [call.id for call in calls]


async def test_after_visible_text_the_answer_is_a_marked_partial_and_nobody_else_is_asked(
    app: Services, simulator: Simulator, second: Simulator, valkey_url: str
) -> None:
    simulator.set(cut=3, chunks=10)
    shop = await make(app, *chain(), apology_text="Sorry!")
    _, outcome = await say(app, shop, "Tell me", valkey_url)
    assert outcome.state is MessageState.FAILED
    assert outcome.answer is not None
    assert outcome.answer.partial
    assert outcome.answer.text.startswith("token1 ")
    assert "Sorry!" not in outcome.answer.text
    assert second.calls() == []


async def test_a_model_without_a_price_is_not_called_unless_the_operator_says_so(
    app: Services, simulator: Simulator
) -> None:
    shop = await make(app, ProviderLink(provider="openai", model="nobody-sells-this"))
    with pytest.raises(ProviderError, match="no price is known") as refused:
        await ask(app, shop, "hello")
    assert refused.value.error_class == "price_unknown"
    assert simulator.calls() == []
    shop = Shop(shop.scope, await manage.patch_chatbot(
        app, shop.scope, shop.chatbot.slug, {"providers": (*shop.chatbot.providers, *chain())}, actor="test"
    ))  # fmt: skip
    assert (await ask(app, shop, "hello")).provider == "openai"

    flagged = replace(app, settings=replace(app.settings, call_unpriced=True))
    answer = await ask(flagged, await make(app, ProviderLink(provider="openai", model="own-brew"), name="Brew"), "hi")
    assert answer.cost_nano is None


async def test_a_prompt_that_no_model_of_a_link_can_hold_goes_to_the_next_link(
    app: Services, simulator: Simulator, second: Simulator
) -> None:
    shop = await make(
        app, ProviderLink(provider="openai", model="gpt-4"), ProviderLink(provider="anthropic", model=HEALTHY)
    )
    answer = await ask(app, shop, "word " * 20_000)  # gpt-4 holds 8,192 tokens
    assert answer.provider == "anthropic"
    assert simulator.calls() == []
    assert len(second.calls()) == 1


async def test_the_last_link_is_the_chatbots_own_apology_and_a_replay_takes_it_back(
    app: Services, simulator: Simulator, valkey_url: str, superuser_url: str
) -> None:
    simulator.set(status=400)
    shop = await make(app, ProviderLink(provider="openai", model=BROKEN), apology_text="Back in a minute, sorry.")
    accepted, outcome = await say(app, shop, "hello", valkey_url)
    assert outcome.state is MessageState.FAILED
    assert outcome.answer is not None
    assert (outcome.answer.text, outcome.answer.provider) == ("Back in a minute, sorry.", "apology")
    page = await app.log.read(shop.scope.tenant_id, accepted.conversation_id, after_seq=0)
    told = b"".join(payload for _, payload in page.events)
    assert b'"chunk":"Back in a minute, sorry."' in told
    assert b'"type":"stream_error"' in told

    simulator.set(status=200, reply="Here I am.")
    connection = await asyncpg.connect(superuser_url)
    letter = await connection.fetchval("SELECT id::text FROM dead_letters")
    await connection.close()
    async with running_worker(app, valkey_url):
        await replay_dead_letter(app, shop.scope, letter, payload=None)
        async with asyncio.timeout(20):
            while True:
                async with app.db.transaction(shop.scope) as db:
                    terminal = await conversations.load_terminal(db, shop.scope, accepted.message_id)
                if terminal and terminal.state is MessageState.ANSWERED:
                    break
                await asyncio.sleep(0.05)
    assert terminal.answer is not None
    assert terminal.answer.text == "Here I am."


async def test_a_tenants_own_key_is_used_before_the_platforms(app: Services, simulator: Simulator) -> None:
    own, other = await make(app, *chain(), name="Own"), await make(app, *chain(), name="Other")
    key = await provider_keys.add_key(app, own.scope, actor="test", provider="openai", secret="sk-tenant-0001")
    await ask(app, own, "mine")
    await ask(app, other, "theirs")
    assert [call.key for call in simulator.calls()] == ["0001", "form"]
    await app.ledger.flush()
    assert [call.key_id for call in await calls_of(app, own)] == [key.id]


async def test_a_bad_key_of_one_tenant_shuts_nobody_elses_way(app: Services, simulator: Simulator) -> None:
    bad, good = await make(app, *chain(), name="Bad"), await make(app, *chain(), name="Good")
    await provider_keys.add_key(app, bad.scope, actor="test", provider="openai", secret="sk-tenant-bad1")
    simulator.set(require_key="sk-openai-platform")
    for _ in range(20):
        assert (await ask(app, bad, "hello")).provider == "anthropic"
        assert (await ask(app, good, "hello")).provider == "openai"
    by_key = [call.key for call in simulator.calls()]
    assert by_key.count("bad1") == 1  # refused once, it is out of use
    assert by_key.count("form") == 20


async def test_a_key_that_is_revoked_is_not_used_again(app: Services, simulator: Simulator) -> None:
    shop = await make(app, *chain())
    key = await provider_keys.add_key(app, shop.scope, actor="test", provider="openai", secret="sk-tenant-0002")
    await ask(app, shop, "one")
    await provider_keys.revoke_key(app, shop.scope, key.id, actor="test")
    await ask(app, shop, "two")
    assert [call.key for call in simulator.calls()] == ["0002", "form"]


async def test_a_platform_key_never_goes_to_an_address_that_a_tenant_chose(
    app: Services, simulator: Simulator, second: Simulator
) -> None:
    link = ProviderLink(provider="openai", model=BROKEN, base_url=second.base_url)
    shop = await make(app, link)
    await ask(app, shop, "hello")
    assert [call.key for call in second.calls()] == [""]
    assert simulator.calls() == []


async def test_trying_the_providers_says_what_works_and_books_it(
    app: Services, simulator: Simulator, second: Simulator
) -> None:
    second.set(require_key="another")
    shop = await make(app, *chain())
    tried = {one.provider: one for one in await providers.try_providers(app, shop.scope)}
    assert tried["openai"].ok
    assert tried["openai"].text
    assert not tried["anthropic"].ok
    assert tried["anthropic"].error_class == "authentication"
    assert "key" in tried["anthropic"].mend
    await app.ledger.flush()
    assert {(call.provider, call.purpose) for call in await calls_of(app, shop)} == {
        ("openai", "test"), ("anthropic", "test"),
    }  # fmt: skip
    assert {view.provider for view in await providers.list_providers(app, shop.scope)} == {"openai", "anthropic"}


async def test_health_shows_an_open_breaker_of_the_platform_and_no_tenants(app: Services, simulator: Simulator) -> None:
    simulator.set(status=503)
    shop = await make(app, *chain())
    for _ in range(12):
        await ask(app, shop, "hello")
    seen = await providers.health(app)
    assert seen["status"] == "degraded"
    assert {row["provider"]: row["state"] for row in seen["providers"]} == {"openai": "open", "anthropic": "closed"}
    providers.measure_states(app)
    gauge = {name: app.metrics.provider_state.labels(name)._value.get() for name in ("openai", "anthropic")}  # pyright: ignore[reportPrivateUsage]
    assert gauge == {"openai": 0.0, "anthropic": 1.0}


async def test_a_summary_is_written_by_the_cheap_model_and_by_rules_when_it_fails(
    app: Services, simulator: Simulator, second: Simulator, valkey_url: str
) -> None:
    shop = await make(
        app, ProviderLink(provider="openai", model="gpt-4.1"), ProviderLink(provider="anthropic", model=HEALTHY)
    )
    accepted, _ = await say(app, shop, "Where is my parcel?", valkey_url)
    simulator.set(reply="The visitor looks for a parcel.")
    scope = shop.chatbot.scope
    job = Job(
        id=JobId(new_id()), scope=scope, type=JobType.CONVERSATION_SUMMARY, queue="ai-standard", priority=5, attempt=1
    )  # fmt: skip
    found = await summarise(app, job, accepted.conversation_id)
    cheap = app.catalogue.cheap_model("openai")
    assert found == {"summary": "The visitor looks for a parcel.", "provider": "openai", "model": cheap}
    assert cheap != "gpt-4.1"
    assert simulator.calls()[-1].head.startswith("<conversation>\nVisitor: Where is my parcel?")
    simulator.set(status=400)
    by_rules = await summarise(app, job, accepted.conversation_id)
    assert by_rules["provider"] == "rules"
    assert "parcel" in by_rules["summary"]
    await app.ledger.flush()
    assert [(call.purpose, call.model, call.state) for call in await calls_of(app, shop)][-2:] == [
        ("summary", cheap, "ok"), ("summary", cheap, "failed"),
    ]  # fmt: skip
