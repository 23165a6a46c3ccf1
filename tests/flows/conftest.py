"""Whole flows on real servers: services opened as the product opens them, a provider simulator, a running worker."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.simulator import Simulator, run_simulator
from chatwright.adapters.queue import QUEUES, Consumer
from chatwright.app.addresses import Addresses
from chatwright.app.options import Settings
from chatwright.app.services import open_services
from chatwright.domain.chatbot import Chatbot, ProviderLink
from chatwright.domain.scope import Scope
from chatwright.entrypoints.worker import Worker
from chatwright.features.credentials import new_widget_id
from chatwright.features.tenancy import NewChatbot
from chatwright.pipeline import manage
from chatwright.pipeline.services import Services


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with run_simulator() as running:
        yield running


OpenApp = Callable[[], AbstractAsyncContextManager[Services]]


@pytest.fixture
def open_app(
    request: pytest.FixtureRequest, database_url: str, valkey_url: str, simulator: Simulator, tmp_path: Path
) -> OpenApp:
    """Opens one more process's worth of services on this test's servers. Answers are cached only where a test is about it
    (`test_cache_*.py`): elsewhere the same question twice is two calls."""
    settings = Settings(
        data_dir=tmp_path,
        openai_base_url=simulator.base_url,
        openai_api_key="sk-test",
        anthropic_base_url=simulator.base_url.removesuffix("/v1"),
        anthropic_api_key="sk-ant-test",
        relevance_threshold=0.5,
        unknown_prices="flag",  # the simulator's behaviour stands in its models' names
        cache_memory_mib=16 if request.path.name.startswith("test_cache") else 0,
    )
    addresses = Addresses(database_url=database_url, redis_url=valkey_url)

    def opener() -> AbstractAsyncContextManager[Services]:
        return open_services(settings, addresses)

    return opener


@pytest.fixture
async def app(open_app: OpenApp) -> AsyncIterator[Services]:
    async with open_app() as services:
        yield services


@dataclass(frozen=True)
class Shop:
    """A tenant with one bare chatbot that answers through the simulator."""

    scope: Scope
    chatbot: Chatbot


async def open_shop(app: Services, *, name: str = "Shop", knowledge: bool = False, model: str = "mock") -> Shop:
    tenant, _ = await manage.create_tenant(app, actor="test", name=name)
    scope = Scope(tenant_id=tenant.id)
    chatbot = await manage.create_chatbot(
        app,
        scope,
        NewChatbot(
            name=name,
            slug=name.lower(),
            widget_id=new_widget_id(),
            providers=(ProviderLink(provider="openai", model=model),),
            knowledge_enabled=knowledge,
        ),
        actor="test",
    )
    return Shop(scope, chatbot)


@pytest.fixture
async def shop(app: Services) -> Shop:
    return await open_shop(app)


@asynccontextmanager
async def running_worker(app: Services, valkey_url: str, *, concurrency: int = 8) -> AsyncGenerator[Worker]:
    """A worker of this event loop. On leaving it is stopped as the product stops it."""
    consumer = Consumer(
        url=valkey_url,
        queues=list(QUEUES.values()),
        concurrency=concurrency,
        high_priority_reserve=1,
        tenant_in_flight_cap=concurrency,
    )
    worker = Worker(app, consumer)
    task = asyncio.create_task(worker.run(), name="test-worker")
    try:
        yield worker
    finally:
        await worker.stop(grace_s=2)
        task.cancel()
        await asyncio.wait({task})
