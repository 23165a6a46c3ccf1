"""Tenants beside one another on the same providers: what one of them does must not change another's answers, keys, books
or metrics."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import asyncpg
import pytest

from bench.simulator import Simulator, run_simulator
from bench.simulator.replay import Replay, run_replay
from chatwright.adapters.providers.anthropic import Anthropic
from chatwright.adapters.providers.base import WireFormat
from chatwright.adapters.providers.gemini import Gemini
from chatwright.adapters.providers.http import HttpClients, open_http
from chatwright.adapters.providers.openai_chat import OpenAiChat
from chatwright.app.addresses import Addresses
from chatwright.app.options import Settings
from chatwright.app.services import open_services
from chatwright.domain.chatbot import ProviderLink
from chatwright.domain.errors import ChatwrightError, NotFound, ProviderError, Unavailable, Unprocessable
from chatwright.domain.messages import Draft
from chatwright.domain.providers import Prompt, Route, Turn
from chatwright.domain.scope import Scope
from chatwright.features import budgets
from chatwright.features.credentials import new_widget_id
from chatwright.features.provider_keys.store import ROTATIONS_KNOWN
from chatwright.features.tenancy import NewChatbot
from chatwright.pipeline import inline, manage, provider_keys, providers
from chatwright.pipeline.accept import accept
from chatwright.pipeline.services import Services
from chatwright.pipeline.wait import wait_for_answer
from chatwright.telemetry.metrics import Metrics
from tests.flows.conftest import Shop, running_worker
from tests.flows.recorded import streamed as read_stream

MODEL, OTHER = "gpt-4.1-mini", "claude-haiku-4-5"


@pytest.fixture
async def second() -> AsyncIterator[Simulator]:
    async with run_simulator() as running:
        yield running


@pytest.fixture
async def app(
    database_url: str, valkey_url: str, simulator: Simulator, second: Simulator, tmp_path: Any
) -> AsyncIterator[Services]:
    """`openai` is the first simulator, `anthropic` the second."""
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


async def make(app: Services, *links: ProviderLink, name: str = "Shop") -> Shop:
    tenant, _ = await manage.create_tenant(app, actor="test", name=name)
    scope = Scope(tenant_id=tenant.id)
    new = NewChatbot(name=name, slug=name.lower(), widget_id=new_widget_id(), providers=links, knowledge_enabled=False)
    return Shop(scope, await manage.create_chatbot(app, scope, new, actor="test"))


def request(shop: Shop, text: str = "hello", **more: Any) -> inline.InlineRequest:
    return inline.InlineRequest(chatbot=shop.chatbot, turns=(Turn("user", text),), **more)


async def calls_of(app: Services, shop: Shop) -> list[budgets.LedgerCall]:
    await app.ledger.flush()
    async with app.db.transaction(shop.scope) as db:
        return list(reversed(await budgets.list_calls(db, shop.scope)))


# Keys


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_key_that_is_revoked_while_an_answer_waits_makes_no_further_call(
    app: Services, simulator: Simulator, second: Simulator, streamed: bool
) -> None:
    shop = await make(
        app, ProviderLink(provider="openai", model=MODEL), ProviderLink(provider="anthropic", model=OTHER)
    )
    key = await provider_keys.add_key(app, shop.scope, actor="test", provider="anthropic", secret="sk-ant-tenant-1")
    simulator.set(status=400, latency=700)
    answering = asyncio.create_task(_answer(app, shop, streamed=streamed), name="answer")
    async with asyncio.timeout(10):
        while not simulator.calls() and not simulator.log.open_now:
            await asyncio.sleep(0.01)
    await provider_keys.revoke_key(app, shop.scope, key.id, actor="test")
    with pytest.raises(ProviderError):
        await answering
    assert second.calls() == []
    assert [(call.provider, call.state, call.error_class, call.cost_nano) for call in await calls_of(app, shop)] == [
        ("openai", "failed", "refused", 0),
        ("anthropic", "failed", "key_revoked", 0),
    ]
    # What is not called is not judged.
    assert {gate.state for gate in app.gates.states()} == {"closed"}


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_key_that_nobody_touched_is_called_whether_or_not_it_is_in_memory(
    app: Services, second: Simulator, streamed: bool
) -> None:
    shop = await make(app, ProviderLink(provider="anthropic", model=OTHER))
    await provider_keys.add_key(app, shop.scope, actor="test", provider="anthropic", secret="sk-ant-tenant-2")
    second.set(latency=100)
    await _answer(app, shop, streamed=streamed)
    answering = asyncio.create_task(_answer(app, shop, streamed=streamed), name="answer")
    while not answering.done():
        app.provider_keys.drop_all()
        await asyncio.sleep(0.001)
    await answering
    assert [call.key for call in second.calls()] == ["nt-2", "nt-2"]


async def test_an_outage_of_the_database_is_no_fault_of_a_link(app: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = await make(app, ProviderLink(provider="openai", model=MODEL))

    async def away(*_: Any) -> Any:
        raise Unavailable("PostgreSQL is away")

    monkeypatch.setattr(app.provider_keys, "_load", away)
    app.provider_keys.drop_all()
    # Not a ProviderError: a message would be given up for it.
    for failing in (_answer(app, shop), providers.try_providers(app, shop.scope, chatbot=shop.chatbot)):
        with pytest.raises(Unavailable):
            await failing


async def test_endless_rotation_fills_no_memory_and_hides_no_key(app: Services, superuser_url: str) -> None:
    shop = await make(app, ProviderLink(provider="openai", model=MODEL))
    old = await provider_keys.add_key(app, shop.scope, actor="test", provider="openai", secret="sk-tenant-old")
    connection = await asyncpg.connect(superuser_url)
    ended = await connection.fetch(
        """
        INSERT INTO provider_keys (id, tenant_id, provider, sealed, sealed_by, ends_at, successor_id)
        SELECT ('0fffffff-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid, $1, 'openai', '', '', now(), $2
          FROM generate_series(1, $3) AS n RETURNING id::text
        """,
        shop.scope.tenant_id, old.id, ROTATIONS_KNOWN + 10,
    )  # fmt: skip
    await connection.close()
    app.provider_keys.drop_all()
    assert (await app.provider_keys.get(shop.scope, ended[-1]["id"])).id == old.id
    assert [key.id for key in await app.provider_keys.keys_for(shop.scope, "openai")] == [old.id]
    with pytest.raises(NotFound):
        await app.provider_keys.get(shop.scope, ended[0]["id"])


# Metrics and books


async def test_the_names_that_tenants_and_their_servers_make_up_are_no_labels(
    app: Services, second: Simulator, valkey_url: str
) -> None:
    link = ProviderLink(provider="local", model="made-up-0", base_url=second.base_url)
    shop = await make(app, link)
    async with running_worker(app, valkey_url):
        for number in range(3):
            links = (ProviderLink(provider=("local", "acme")[number % 2], model=MODEL, base_url=second.base_url),)
            if number < 2:
                links = (ProviderLink(provider="local", model=f"made-up-{number}", base_url=second.base_url),)
            await manage.patch_chatbot(app, shop.scope, shop.chatbot.slug, {"providers": links}, actor="test")
            accepted = await accept(app, shop.scope, Draft(text="hello", chatbot_id=shop.chatbot.id))
            await wait_for_answer(app, shop.scope, accepted, timeout_s=20)
            chatbot = await app.chatbots.get(shop.scope, shop.chatbot.id)
            await _answer(app, Shop(shop.scope, chatbot), streamed=True)
    assert len(second.calls()) == 6
    labels = {
        value
        for metric in app.metrics.registry.collect()
        for sample in metric.samples
        for name, value in sample.labels.items()
        if name in ("model", "provider")
    }
    assert labels == {"local", "other", "queued", "inline"}


def test_models_beyond_the_room_for_labels_fold_into_other() -> None:
    metrics = Metrics()
    names = {metrics.model(f"m{number}") for number in range(1000)}
    assert "other" in names
    assert len(names) <= 201
    assert metrics.model("m0") == "m0"


async def test_a_call_that_was_cancelled_before_its_first_word_is_not_free(app: Services, simulator: Simulator) -> None:
    simulator.set(latency=5000)
    shop = await make(app, ProviderLink(provider="openai", model=MODEL))
    answering = asyncio.create_task(_answer(app, shop, "word " * 200, streamed=True), name="answer")
    await asyncio.sleep(0.3)
    answering.cancel()
    await asyncio.wait({answering})
    [call] = await calls_of(app, shop)
    assert (call.state, call.estimated) == ("cancelled", True)
    assert call.input_tokens > 100
    assert (call.cost_nano or 0) > 0


async def test_a_test_of_the_providers_calls_each_of_them_once(app: Services, simulator: Simulator) -> None:
    shop = await make(app)
    assert len(await providers.try_providers(app, shop.scope, providers=["openai"] * 32)) == 1
    assert len(simulator.calls()) == 1


async def test_what_a_caller_may_not_hand_on_is_refused_before_any_call(app: Services, simulator: Simulator) -> None:
    shop = await make(app, ProviderLink(provider="openai", model=MODEL))
    image = {"type": "image_url", "image_url": {"url": "http://169.254.169.254/"}}
    for asked in (
        request(shop, options={"tools": [{"type": "web_search"}]}),
        inline.InlineRequest(chatbot=shop.chatbot, turns=(Turn("user", "", {"content": [image]}),)),
    ):
        with pytest.raises(Unprocessable):
            await inline.complete(app, asked)
    assert simulator.calls() == []
    assert await calls_of(app, shop) == []


async def _answer(app: Services, shop: Shop, text: str = "hello", *, streamed: bool = False) -> None:
    if not streamed:
        await inline.complete(app, request(shop, text))
        return
    async with aclosing(inline.stream(app, request(shop, text)).deltas()) as deltas:
        async for _ in deltas:
            pass


# What a wire format remembers of a model holds for everybody

TOOLS = {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]}
Made = Callable[[HttpClients], WireFormat]
OPENAI_ANSWER = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}]}
CLAUDE_ANSWER = {
    "type": "message", "id": "m", "model": "m", "content": [{"type": "text", "text": "hi"}], "stop_reason": "end_turn",
    "usage": {"input_tokens": 1, "output_tokens": 1},
}  # fmt: skip
GEMINI_ANSWER = {"candidates": [{"content": {"parts": [{"text": "hi"}]}, "finishReason": "STOP"}]}
ANSWERS: list[tuple[Made, Any]] = [(OpenAiChat, OPENAI_ANSWER), (Anthropic, CLAUDE_ANSWER), (Gemini, GEMINI_ANSWER)]


class Refusing(list[tuple[bytes, bytes]]):
    """Requests of a replay that refuses, in the given words, those in which `is_refused` holds."""

    def __init__(self, server: Replay, answer: Any, error: Any, is_refused: Callable[[Any], bool]) -> None:
        super().__init__()
        self._server, self._answer, self._error, self._is_refused = server, answer, error, is_refused
        server.requests = self

    def append(self, item: tuple[bytes, bytes], /) -> None:
        super().append(item)
        refused = self._is_refused(json.loads(item[1]))
        self._server.status = 400 if refused else 200
        self._server.pieces = [json.dumps({"error": self._error} if refused else self._answer).encode()]

    @property
    def last(self) -> Any:
        return json.loads(self[-1][1])


async def converse(
    made: Made, answer: Any, error: Any, is_refused: Callable[[Any], bool], *prompts: Prompt
) -> tuple[list[bool], Any]:
    """Ask the prompts one after another. Returns which were answered, and the last request as it was sent."""
    answered: list[bool] = []
    async with open_http() as clients, run_replay(headers={"content-type": "application/json"}) as server:
        requests = Refusing(server, answer, error, is_refused)
        wire, route = made(clients), Route(provider="p", model="m", base_url=server.base_url, api_key="sk-1")
        for prompt in prompts:
            try:
                await wire.complete(route, prompt)
                answered.append(True)
            except ChatwrightError:
                answered.append(False)
        return answered, requests.last


def ask(**more: Any) -> Prompt:
    return Prompt(turns=(Turn("system", "Be brief."), Turn("user", "hi")), max_tokens=900, **more)


async def test_a_tools_name_that_reads_like_a_limit_cuts_nobodys_answers() -> None:
    name = "max_tokens: 900 > 1"
    bad = ask(options={**TOOLS, "tool_choice": {"type": "function", "function": {"name": name}}})
    error = {"type": "invalid_request_error", "message": f"Tool '{name}' not found in provided tools"}
    answered, sent = await converse(Anthropic, CLAUDE_ANSWER, error, lambda body: "tool_choice" in body, bad, ask())
    assert answered == [False, True]
    assert sent["max_tokens"] == 900


async def test_a_kind_of_data_that_reads_like_a_trait_of_the_model_moves_nobodys_system_prompt() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:system instruction;base64,AAAA"}}
    bad = Prompt(turns=(Turn("system", "Be brief."), Turn("user", "hi", {"content": [image]})))
    error = {"code": 400, "message": "Unsupported MIME type: system instruction", "status": "INVALID_ARGUMENT"}
    answered, sent = await converse(Gemini, GEMINI_ANSWER, error, lambda body: "AAAA" in str(body), bad, ask())
    assert answered == [False, True]
    assert sent["systemInstruction"] == {"parts": [{"text": "Be brief."}]}


@pytest.mark.parametrize(
    ("made", "answer", "error", "is_refused", "kept"),
    [
        (
            OpenAiChat, OPENAI_ANSWER,
            {"message": "Unsupported value: 'none' is not supported with this model.", "param": "reasoning_effort",
             "code": "unsupported_value"},
            lambda body: body.get("reasoning_effort") == "none",
            lambda body: body["reasoning_effort"] == "high",
        ),
        (
            Gemini, GEMINI_ANSWER,
            {"code": 400, "message": "Budget 0 is invalid. This model only works in thinking mode."},
            lambda body: body["generationConfig"].get("thinkingConfig") == {"thinkingBudget": 0},
            lambda body: body["generationConfig"]["thinkingConfig"]["thinkingBudget"] > 0,
        ),
        (
            Anthropic, CLAUDE_ANSWER,
            {"type": "invalid_request_error", "message": "This model does not support effort level 'low'."},
            lambda body: body.get("output_config") == {"effort": "low"},
            lambda body: body["output_config"] == {"effort": "high"},
        ),
    ],
)  # fmt: skip
async def test_a_value_that_one_caller_chose_badly_stays_open_to_the_others(
    made: Made, answer: Any, error: Any, is_refused: Callable[[Any], bool], kept: Callable[[Any], bool]
) -> None:
    effort = "low" if made is Anthropic else "none"
    prompts = [ask(options={"reasoning_effort": effort}), ask(options={"reasoning_effort": "high"})]
    answered, sent = await converse(made, answer, error, is_refused, *prompts)
    assert answered == [True, True]
    assert kept(sent)


async def test_what_a_model_takes_from_nobody_is_remembered_for_all() -> None:
    error = {"type": "invalid_request_error", "message": "max_tokens: 900 > 500, which is the maximum"}
    answered, sent = await converse(
        Anthropic, CLAUDE_ANSWER, error, lambda body: body["max_tokens"] > 500, ask(), ask()
    )
    assert (answered, sent["max_tokens"]) == ([True, True], 500)


async def test_words_about_a_part_of_the_prompt_send_nobody_to_the_other_api() -> None:
    part = {"type": "v1/responses", "text": "x"}
    bad = Prompt(turns=(Turn("user", "hi", {"content": [part]}),))
    error = {"message": "Invalid value: 'v1/responses'.", "param": "messages[0].content[0].type"}
    answered, sent = await converse(OpenAiChat, OPENAI_ANSWER, error, lambda body: "messages" in body and
                                    "v1/responses" in str(body), bad, ask())  # fmt: skip
    assert answered == [False, True]
    assert "messages" in sent


# Answers that are no answers


@pytest.mark.parametrize(("made", "answer"), ANSWERS)
@pytest.mark.parametrize("status", [200, 500])
async def test_an_answer_that_is_nested_without_end_is_a_fault_like_any_other(
    made: Made, answer: Any, status: int
) -> None:
    deep = b'{"a":' * 20_000
    key = {OpenAiChat: b'{"choices":', Anthropic: b'{"content":', Gemini: b'{"candidates":'}[made]  # type: ignore[index]
    for body in (deep, key + deep, b"data: " + deep + b"\n\n", b"[" * 20_000):
        async with open_http() as clients, run_replay(body, status=status) as server:
            wire, route = made(clients), Route(provider="p", model="m", base_url=server.base_url)
            with pytest.raises(ProviderError):
                await wire.complete(route, ask())
            with pytest.raises(ProviderError):
                await read_stream(wire, route, ask())


async def test_what_was_embedded_before_a_failure_is_charged() -> None:
    async with open_http() as clients, run_replay(headers={"content-type": "application/json"}) as server:
        answer = {"embeddings": [{"values": [0.1]}] * 100, "usageMetadata": {"promptTokenCount": 100}}
        Refusing(server, answer, {"message": "no"}, lambda body: "the last" in str(body))
        wire = Gemini(clients)
        route = Route(provider="gemini", model="gemini-embedding-001", base_url=server.base_url, api_key="k")
        with pytest.raises(ProviderError) as failed:
            await wire.embed(route, [*["a"] * 400, "the last"])
        assert failed.value.usage is not None
        assert failed.value.usage.input_tokens == 400
