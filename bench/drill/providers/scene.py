"""The stage of the provider drill: two simulators, the product with a chatbot that asks one and falls back on the other."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import psutil

from bench.drill.collect import superuser
from bench.drill.providers.clients import Asker
from bench.drill.providers.evidence import PRIMARY, SECONDARY, TAGS, LedgerRow, ProviderCall, StoredMessage
from bench.product import ROLES, Product, Rest, Tenant, start_product
from bench.provider import Provider, start_provider
from bench.simulator import read_log_file

CHATBOT = "two"
CHAIN = [{"provider": "openai", "model": "gpt-4.1-mini"}, {"provider": "anthropic", "model": "claude-haiku-4-5"}]
DEADLINE_S = 12.0
PATIENCE_S = DEADLINE_S + 8
PLATFORM_KEY = "sk-simulated"
_VERBS = "echo=1,chunks=8,ttft=10,interval=8"
_ROWS = """
SELECT id::text, provider, state, message_id::text FROM calls WHERE kind = 'call' AND provider IN ('openai', 'anthropic')
"""
_MESSAGES = """
SELECT m.text, m.state, a.text AS answer, a.partial
  FROM messages m LEFT JOIN answers a ON a.tenant_id = m.tenant_id AND a.message_id = m.id
"""


class Simulated:
    """One simulator that can be stopped and started again at the same address, with one log over all its lives."""

    def __init__(self, name: str, notes: Path) -> None:
        self.name = name
        self.log_file = notes / f"{name}.jsonl"
        self.port = 0
        self._stack = AsyncExitStack()
        self._running: Provider | None = None

    async def start(self) -> None:
        """Raises RuntimeError."""
        verbs = f"{_VERBS},tag={TAGS[self.name]}"
        self._running = await self._stack.enter_async_context(
            start_provider(verbs=verbs, log_file=self.log_file, name=self.name, port=self.port)
        )
        self.port = self._running.port

    async def stop(self) -> None:
        self._running = None
        await self._stack.aclose()

    @property
    def running(self) -> Provider:
        if self._running is None:
            raise RuntimeError(f"{self.name} does not run")
        return self._running

    def calls(self) -> list[ProviderCall]:
        return [
            ProviderCall(
                simulator=self.name, n=call.n, call_id=call.call_id, head=call.head, ended=call.ended, text=call.text,
                status=call.status,
            )
            for call in read_log_file(self.log_file)
        ]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Everything runs."""

    product: Product
    primary: Simulated
    secondary: Simulated
    session: aiohttp.ClientSession
    rest: Rest
    tenant: Tenant
    asker: Asker

    def asker_of(self, tenant: Tenant, chatbot: str) -> Asker:
        return Asker(
            self.session, base_url=self.product.base_url, key=tenant.key, chatbot=chatbot, patience_s=PATIENCE_S
        )

    def role_pids(self) -> dict[str, int]:
        """API and worker, those that run."""
        pids = {role: self.product.role_pid(role) for role in ROLES}
        return {role: pid for role, pid in pids.items() if pid is not None}

    def provider_sockets(self) -> list[str]:
        """TCP connections of API and worker to the simulators, in any state: who, to whom, in which."""
        names = {self.primary.port: self.primary.name, self.secondary.port: self.secondary.name}
        found: list[str] = []
        for role, pid in self.role_pids().items():
            with contextlib.suppress(psutil.Error):
                found += [
                    f"{role} to {names[connection.raddr.port]} {connection.status}"
                    for connection in psutil.Process(pid).net_connections(kind="tcp")
                    if connection.raddr and connection.raddr.port in names
                ]
        return found

    def descriptors(self) -> int:
        """Open files and sockets of API and worker together."""
        count = 0
        for pid in self.role_pids().values():
            with contextlib.suppress(psutil.Error):
                count += psutil.Process(pid).num_fds()
        return count

    async def open_calls(self) -> int:
        return await self.primary.running.open_now() + await self.secondary.running.open_now()

    async def rows(self) -> list[LedgerRow]:
        """The ledger; closed rows are written in groups, so give them a moment."""
        async with superuser(self.product) as db:
            return [LedgerRow(**row) for row in await db.fetch(_ROWS)]

    async def messages(self) -> list[StoredMessage]:
        async with superuser(self.product) as db:
            return [StoredMessage(**row) for row in await db.fetch(_MESSAGES)]


@asynccontextmanager
async def open_scene(notes: Path, data_dir: Path, *, options: Mapping[str, str] | None = None) -> AsyncGenerator[Scene]:
    """Start all of it. Raises NotStarted, RuntimeError."""
    async with AsyncExitStack() as stack:
        primary, secondary = Simulated(PRIMARY, notes), Simulated(SECONDARY, notes)
        for simulated in (primary, secondary):
            stack.push_async_callback(simulated.stop)
            await simulated.start()
        settings = {
            "OPENAI_API_KEY": PLATFORM_KEY,
            "ANTHROPIC_BASE_URL": secondary.running.origin,
            "ANTHROPIC_API_KEY": PLATFORM_KEY,
            "CHATWRIGHT_ANSWER_DEADLINE_S": f"{DEADLINE_S:g}",
            "CHATWRIGHT_PROVIDER_FIRST_BYTE_TIMEOUT_S": "3",
            "CHATWRIGHT_PROVIDER_IDLE_TIMEOUT_S": "3",
            # Slow answers of one tenant shall wait for their provider, not for each other.
            "CHATWRIGHT_WORKER_CONCURRENCY": "400",
            "CHATWRIGHT_TENANT_IN_FLIGHT": "0",
            **(options or {}),
        }
        product = await stack.enter_async_context(
            start_product(
                data_dir, log_file=notes / "product.log", provider_url=primary.running.base_url, options=settings
            )
        )
        rest = Rest(product.base_url, product.admin_key)
        tenant = await rest.make_tenant("providers")
        await rest.make_chatbot(tenant, CHATBOT, providers=CHAIN)
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
        asker = Asker(session, base_url=product.base_url, key=tenant.key, chatbot=CHATBOT, patience_s=PATIENCE_S)
        stack.push_async_callback(asker.close)
        yield Scene(
            product=product,
            primary=primary,
            secondary=secondary,
            session=session,
            rest=rest,
            tenant=tenant,
            asker=asker,
        )


async def wait_for(condition: Callable[[], Awaitable[bool]], *, limit_s: float, every_s: float = 0.25) -> float | None:
    """Seconds until `condition` held, None if it never did."""
    began_s = time.monotonic()
    while (waited_s := time.monotonic() - began_s) < limit_s:
        if await condition():
            return waited_s
        await asyncio.sleep(every_s)
    return None
