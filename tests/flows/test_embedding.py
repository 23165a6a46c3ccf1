"""Embedders of knowledge bases over real services: local ones by name, a provider's through keys, books, budgets, faults."""

import asyncio
import json
from array import array
from base64 import b64encode
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
import numpy as np
import pytest
from aiohttp import web

from bench.simulator import Simulator
from chatwright.adapters.models import ModelUnavailable, multilingual
from chatwright.app.addresses import Addresses
from chatwright.app.options import Settings
from chatwright.app.services import open_services
from chatwright.domain.errors import (
    BadRequest,
    BudgetExceeded,
    NotFound,
    ProviderError,
    RateLimited,
    Unprocessable,
)
from chatwright.features.routing import State
from chatwright.pipeline import embedding
from chatwright.pipeline.budgeting import set_budget
from chatwright.pipeline.embedding import choose_embedder, embed_texts, embedder_for, list_embedders
from chatwright.pipeline.services import Services
from tests.flows.conftest import Shop, open_shop

SMALL = "openai/text-embedding-3-small"


@dataclass(frozen=True)
class Base:
    """As much of a knowledge base as an embedder is chosen by."""

    embedder: str
    dimension: int


@pytest.fixture
async def app(database_url: str, valkey_url: str, simulator: Simulator, tmp_path: Any) -> AsyncIterator[Services]:
    settings = Settings(
        data_dir=tmp_path,
        openai_base_url=simulator.base_url,
        openai_api_key="sk-test",
        gemini_base_url=simulator.gemini_url,
        gemini_api_key="AIza-test",
        local_base_url=simulator.base_url,
        unknown_prices="flag",
        allowed_addresses=("127.0.0.1",),
        provider_patience_s=0.5,
    )
    async with open_services(settings, Addresses(database_url=database_url, redis_url=valkey_url)) as services:
        yield services


async def booked(app: Services, superuser_url: str) -> list[asyncpg.Record]:
    await app.ledger.flush()
    connection = await asyncpg.connect(superuser_url)
    try:
        return await connection.fetch(
            "SELECT purpose, provider, model, state, input_tokens, cost_nano, reserved_nano, error_class, estimated "
            "FROM calls ORDER BY id"
        )
    finally:
        await connection.close()


async def openai_base(app: Services, shop: Shop, dimension: int = 256) -> Any:
    return await embedder_for(app, Base(SMALL, dimension), shop.scope)


async def test_a_base_gets_the_local_model_that_it_names(app: Services, shop: Shop) -> None:
    english = await embedder_for(app, Base("minilm-l6-v2-int8", 384), shop.scope)
    many = await embedder_for(app, Base("multilingual-e5-small-q4", 384), shop.scope)
    assert (english.languages, english.max_tokens) == (frozenset({"en"}), 256)
    assert (many.languages, many.max_tokens) == (None, 505)
    assert many is await embedder_for(app, Base("multilingual-e5-small-q4", 384), shop.scope), "loaded once a process"
    (row,) = await many.embed_queries(["Guten Tag"])
    assert row.shape == (384,)
    with pytest.raises(ModelUnavailable, match="choose another"):
        await embedder_for(app, Base("bert-1850", 384), shop.scope)


async def test_a_providers_vectors_come_in_batches_in_order_and_are_booked(
    app: Services, shop: Shop, simulator: Simulator, superuser_url: str
) -> None:
    embedder = await openai_base(app, shop)
    texts = [f"passage number {n} " + "word " * (n % 50) for n in range(300)]
    rows = await embedder.embed(texts, bulk=True)
    assert rows.shape == (300, 256)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    for n in (0, 63, 64, 299):
        np.testing.assert_allclose((await embedder.embed([texts[n]]))[0], rows[n], atol=1e-6)
    found = await booked(app, superuser_url)
    assert len(found) == 5 + 4, "at most 64 texts a request"
    assert {(row["purpose"], row["provider"], row["state"], row["estimated"]) for row in found} == {
        ("embedding", "openai", "ok", False)
    }
    assert sum(row["input_tokens"] for row in found) == sum(call.input_tokens for call in simulator.calls())
    assert all(0 < row["cost_nano"] <= row["reserved_nano"] for row in found)
    assert None not in {call.call_id for call in simulator.calls()}


async def test_questions_and_passages_are_told_apart_where_the_model_does(app: Services, shop: Shop) -> None:
    for name in ("local/multilingual-e5-small", "gemini/gemini-embedding-2"):
        embedder = await embedder_for(app, Base(name, 256), shop.scope)
        (passage,), (question,) = await embedder.embed(["a text"]), await embedder.embed_queries(["a text"])
        assert not np.allclose(passage, question), name
    same = await embedder_for(app, Base("local/bge-m3", 256), shop.scope)
    (passage,), (question,) = await same.embed(["a text"]), await same.embed_queries(["a text"])
    np.testing.assert_array_equal(passage, question)


async def test_a_base_is_given_what_can_be_had_only(app: Services, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await choose_embedder(app, shop.scope) == embedding.EmbedderChoice(name="minilm-l6-v2-int8", dimension=384)
    found = await choose_embedder(app, shop.scope, SMALL)
    assert found.dimension == 256, "what the server sends, whatever the model should"
    assert (await choose_embedder(app, shop.scope, SMALL, dimension=512)).dimension == 512
    assert (await choose_embedder(app, shop.scope, "local/anything")).dimension == 256
    for name, dimension in (
        ("minilm", None),
        ("", None),
        ("openai/", None),
        ("minilm-l6-v2-int8", 256),
        ("local/anything", 512),
        (SMALL, 5000),
        (SMALL, 0),
        ("openai/text-embedding-ada-002", 512),
    ):
        with pytest.raises(BadRequest):
            await choose_embedder(app, shop.scope, name or " ", dimension=dimension)
    with pytest.raises(Unprocessable, match="mistral is not called"):
        await choose_embedder(app, shop.scope, "mistral/mistral-embed")
    monkeypatch.setattr(multilingual, "PACKAGE", "not_there_at_all")
    with pytest.raises(Unprocessable, match="pip install"):
        await choose_embedder(app, shop.scope, "multilingual-e5-small-q4")
    listed = {view.name: view for view in await list_embedders(app, shop.scope)}
    assert "pip install" in listed["multilingual-e5-small-q4"].why_not
    assert listed["minilm-l6-v2-int8"].default


async def test_what_can_be_chosen_is_listed_with_the_mend(app: Services, shop: Shop) -> None:
    views = {view.name: view for view in await list_embedders(app, shop.scope)}
    assert views[SMALL].usable
    assert views["gemini/gemini-embedding-001"].usable
    assert (views["mistral/mistral-embed"].usable, views["mistral/mistral-embed"].dimension) == (False, 1024)
    assert "provider-key add" in views["mistral/mistral-embed"].why_not
    assert [name for name, view in views.items() if view.default] == ["minilm-l6-v2-int8"]
    assert {view.name for view in await list_embedders(app)} == set(views)


async def test_other_vectors_than_the_bases_are_refused(app: Services, shop: Shop, superuser_url: str) -> None:
    embedder = await embedder_for(app, Base("local/swapped", 768), shop.scope)
    with pytest.raises(ProviderError, match="256 dimensions where 768") as refused:
        await embedder.embed(["a passage"], bulk=True)
    assert not refused.value.retriable
    with pytest.raises(ProviderError):
        await embedder.embed_queries(["a question"])
    assert {row["state"] for row in await booked(app, superuser_url)} <= {"ok", "failed"}


Vectors = Callable[[int], list[Any]]


def packed(*numbers: float) -> str:
    return b64encode(array("f", numbers).tobytes()).decode()


@asynccontextmanager
async def pretender(vectors: Vectors) -> AsyncGenerator[str]:
    """A server whose embeddings are what `vectors` makes of the number of texts."""

    async def answer(request: web.Request) -> web.Response:
        texts = (await request.json())["input"]
        data = [{"object": "embedding", "index": n, "embedding": v} for n, v in enumerate(vectors(len(texts)))]
        text = json.dumps({"object": "list", "data": data, "usage": {"prompt_tokens": 7}})
        return web.Response(text=text, content_type="application/json")

    server = web.Application()
    server.router.add_post("/v1/embeddings", answer)
    runner = web.AppRunner(server)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("vectors", "says"),
    [
        (lambda count: [[float("nan"), 1.0]] * count, "cannot be read"),
        (lambda count: [[1e400, 1.0]] * count, "cannot be read"),
        (lambda count: [[0.0, 0.0]] * count, "all zeros"),
        (lambda count: [packed(1.0, float("nan"))] * count, "8 dimensions where 2"),
        (lambda count: [[1.0, 0.0]] * (count - 1), "vectors for"),
        (lambda count: [[1.0, 0.0]] * (count - 1) + [[1.0]], "vectors for"),
        (lambda count: [[1.0, 0.0, 0.0]] * count, "3 dimensions where 2"),
        (lambda count: [None] * count, "cannot be read"),
    ],
)
async def test_vectors_that_are_none_are_refused(
    database_url: str, valkey_url: str, superuser_url: str, vectors: Vectors, says: str
) -> None:
    addresses = Addresses(database_url=database_url, redis_url=valkey_url)
    async with pretender(vectors) as url, open_services(Settings(local_base_url=url), addresses) as app:
        shop = await open_shop(app)
        embedder = await embedder_for(app, Base("local/odd", 2), shop.scope)
        with pytest.raises(ProviderError, match=says):
            await embedder.embed(["one", "two"])
        rows = await booked(app, superuser_url)
        assert rows
        if says == "all zeros":
            assert {(row["state"], row["input_tokens"]) for row in rows} == {("failed", 7)}


async def test_huge_numbers_still_give_directions(database_url: str, valkey_url: str) -> None:
    addresses = Addresses(database_url=database_url, redis_url=valkey_url)
    async with (
        pretender(lambda count: [[3e300, -4e300]] * count) as url,
        open_services(Settings(local_base_url=url), addresses) as app,
    ):
        shop = await open_shop(app)
        embedder = await embedder_for(app, Base("local/huge", 2), shop.scope)
        np.testing.assert_allclose(await embedder.embed(["one"]), [[0.6, -0.8]], atol=1e-6)


@pytest.mark.parametrize(
    "verbs", [{"status": 500}, {"refuse": True}, {"reset": 0}, {"cut": 0}, {"garble": 0}, {"html_error": True}]
)
async def test_a_fault_is_tried_again_and_then_a_job_waits(
    app: Services, shop: Shop, simulator: Simulator, verbs: dict[str, Any]
) -> None:
    embedder = await openai_base(app, shop)
    simulator.set(**verbs)
    with pytest.raises(RateLimited, match="not embedded yet") as held:
        await embedder.embed(["a passage"], bulk=True)
    assert 1 <= held.value.retry_after_s <= 900
    assert 1 < len(simulator.calls()) <= 3, "one budget of attempts"
    with pytest.raises(ProviderError):
        await embedder.embed_queries(["a question"])


async def test_a_fault_in_passing_is_not_noticed(app: Services, shop: Shop, simulator: Simulator) -> None:
    embedder = await openai_base(app, shop)
    simulator.set(status=500)
    work = asyncio.create_task(embedder.embed(["a passage"], bulk=True), name="document")
    while not simulator.calls():
        await asyncio.sleep(0.001)
    simulator.set(status=200)
    assert (await work).shape == (1, 256)
    assert [call.status for call in simulator.calls()] == [500, 200]


async def test_a_silent_provider_is_given_up_and_then_left_alone(
    app: Services, shop: Shop, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    from chatwright.pipeline import provider_embedder

    hasty = provider_embedder.Patience(silent_s=0.1, deadline_s=0.5, pauses_s=0.1, calls=2)
    monkeypatch.setattr(provider_embedder, "QUESTION", hasty)
    embedder = await openai_base(app, shop)
    simulator.set(stall=0)
    errors: set[str] = set()
    for _ in range(12):
        with pytest.raises(ProviderError) as silent:
            await embedder.embed_queries(["a question"])
        errors.add(silent.value.error_class)
    assert errors == {"timeout", "breaker_open"}
    assert any(gate.state is not State.CLOSED for gate in app.gates.states())
    assert len(simulator.calls()) < 24, "once its breaker is open nobody waits for it"


async def test_a_used_up_budget_delays_documents_and_questions_go_without(
    app: Services, shop: Shop, simulator: Simulator, superuser_url: str
) -> None:
    await set_budget(
        app, shop.scope, scope_kind="tenant", scope_id=None, period="day", limit_nano=0, action="block", actor="test"
    )
    embedder = await openai_base(app, shop)
    with pytest.raises(RateLimited, match="budget") as held:
        await embedder.embed(["a passage"], bulk=True)
    assert held.value.retry_after_s == 900
    with pytest.raises(ProviderError) as refused:
        await embedder.embed_queries(["a question"])
    assert refused.value.error_class == "budget_exceeded"
    with pytest.raises(BudgetExceeded):
        await embed_texts(app, shop.scope, ["a text"], SMALL)
    assert simulator.calls() == []
    assert await booked(app, superuser_url) == []


async def test_a_refused_key_is_not_waited_for(app: Services, shop: Shop, simulator: Simulator) -> None:
    embedder = await openai_base(app, shop)
    simulator.set(status=401)
    with pytest.raises(ProviderError) as refused:
        await embedder.embed(["a passage"], bulk=True)
    assert not refused.value.retriable


async def test_a_cancelled_document_ends_its_calls_and_is_booked(
    app: Services, shop: Shop, simulator: Simulator, superuser_url: str
) -> None:
    embedder = await openai_base(app, shop)
    simulator.set(latency=30_000)
    work = asyncio.create_task(embedder.embed(["a passage"] * 600, bulk=True), name="document")
    while len(simulator.calls()) < 4:
        await asyncio.sleep(0.01)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    rows = await booked(app, superuser_url)
    assert len(rows) == 4, "a few requests at a time"
    assert {(row["state"], row["estimated"]) for row in rows} == {("cancelled", True)}
    async with asyncio.timeout(10):
        while any(not call.ended for call in simulator.calls()):
            await asyncio.sleep(0.01)
    assert {call.ended for call in simulator.calls()} == {"client_closed"}


async def test_long_texts_are_cut_to_what_the_model_reads(app: Services, shop: Shop, simulator: Simulator) -> None:
    embedder = await embedder_for(app, Base("local/multilingual-e5-small", 256), shop.scope)
    assert embedder.max_tokens == 512
    await embedder.embed_queries(["frage " * 5_000])
    assert simulator.calls()[-1].input_tokens <= 512 * 1.3
    (row,) = await embedder.embed(["問い" * 5_000])
    assert row.shape == (256,)


async def test_the_api_serves_both_local_models_and_any_providers(app: Services, shop: Shop) -> None:
    assert embedding.served_embedders(app) == ["chatwright-embed", "chatwright-embed-multilingual"]
    vectors, usage, model, _ = await embed_texts(app, shop.scope, ["ein Text"] * 3, "chatwright-embed-multilingual")
    assert (len(vectors), len(vectors[0]), model, usage.estimated) == (3, 384, "chatwright-embed-multilingual", True)
    queries, *_ = await embed_texts(app, shop.scope, ["ein Text"], "chatwright-embed-multilingual", queries=True)
    assert queries[0] != vectors[0]
    vectors, usage, model, _ = await embed_texts(app, shop.scope, ["a text"] * 200, SMALL, dimensions=64)
    assert (len(vectors), len(vectors[0]), model) == (200, 64, "text-embedding-3-small")
    assert not usage.estimated
    for wrong in ("chatwright-embed-nothing", "nobody/model"):
        with pytest.raises(NotFound):
            await embed_texts(app, shop.scope, ["a text"], wrong)
    with pytest.raises(BadRequest):
        await embed_texts(app, shop.scope, ["a text"], "chatwright-embed", dimensions=64)


async def test_the_multilingual_model_is_not_served_where_it_is_not_installed(
    app: Services, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(multilingual, "PACKAGE", "not_there_at_all")
    assert embedding.served_embedders(app) == ["chatwright-embed"]
    with pytest.raises(NotFound, match="pip install"):
        await embed_texts(app, shop.scope, ["a text"], "chatwright-embed-multilingual")
