"""chatwright itself under measurement: `up` in a process of its own, its parts' process ids, and a small REST client.

Called by the bench and the drill. Knows the product from outside only: command line, `credentials.json`,
`servers.json`, REST.
"""

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import aiohttp
import psutil

from bench.processes import die_with_parent, quiet_environment, stop_process
from chatwright.app.embedded import find_running

_READY_WITHIN_S = 180.0
_STOP_WITHIN_S = 25.0
ROLES = ("api", "worker")


class NotStarted(RuntimeError):
    """The product did not become ready; the message has the end of its log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """A running `chatwright up`."""

    base_url: str
    data_dir: Path
    up_pid: int
    admin_key: str = field(repr=False)
    environment: Mapping[str, str] = field(repr=False)
    log_file: Path
    demo_chatbot: str
    demo_key: str = field(repr=False)
    """Empty without a demo."""
    ready_s: float
    """From the start of the process until it said that it is ready."""

    def role_pid(self, role: str) -> int | None:
        """The process of `api` or `worker` at this moment, or None between two of them."""
        with contextlib.suppress(psutil.Error):
            for child in psutil.Process(self.up_pid).children():
                with contextlib.suppress(psutil.Error):
                    words = child.cmdline()
                    if "chatwright" in words and role in words and child.status() != psutil.STATUS_ZOMBIE:
                        return child.pid
        return None

    def server_pid(self, server: str) -> int | None:
        """The process of `postgres` or `valkey` at this moment, or None while it is down."""
        running = find_running(self.data_dir)
        noted = None if running is None else getattr(running, server)
        process = None if noted is None else noted.find()
        return None if process is None else process.pid

    def pid(self, part: str) -> int | None:
        return self.role_pid(part) if part in ROLES else self.server_pid(part)

    @property
    def superuser_database_url(self) -> str:
        return self._running().superuser_database_url

    @property
    def redis_url(self) -> str:
        return self._running().redis_url

    def _running(self) -> Any:
        running = find_running(self.data_dir)
        if running is None:
            raise RuntimeError(f"no servers run on {self.data_dir}")
        return running

    def log_tail(self, size: int = 3_000) -> str:
        with contextlib.suppress(OSError):
            return self.log_file.read_bytes()[-size:].decode("utf-8", "replace")
        return ""


@asynccontextmanager
async def start_product(
    data_dir: Path,
    *,
    log_file: Path,
    provider_url: str,
    demo: bool = False,
    port: int = 0,
    options: Mapping[str, str] | None = None,
) -> AsyncGenerator[Product]:
    """Run `chatwright up` on `data_dir` until the block ends. `options` are settings as environment variables.

    Raises NotStarted.
    """
    environment = quiet_environment(
        {
            "OPENAI_BASE_URL": provider_url,
            "OPENAI_API_KEY": "sk-simulated",
            "CHATWRIGHT_LOG_FORMAT": "json",
            # The simulator's models are in no price book.
            "CHATWRIGHT_UNKNOWN_PRICES": "flag",
            # Loads and drills ask the same question again and again, and want it answered by the provider.
            "CHATWRIGHT_CACHE_MEMORY_MIB": "0",
            **(options or {}),
        }
    )
    command = [sys.executable, "-m", "chatwright", "up", "--data-dir", str(data_dir), "--port", str(port), "--json"]
    if not demo:
        command.append("--no-demo")
    began_s = time.monotonic()
    with log_file.open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *command,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
    drain: asyncio.Task[None] | None = None
    try:
        ready = await _ready(process, log_file)
        assert process.stdout is not None
        drain = asyncio.create_task(_drain(process.stdout), name="product.stdout")
        credentials = json.loads((data_dir / "credentials.json").read_text("utf-8"))
        yield Product(
            base_url=ready["base_url"],
            data_dir=data_dir,
            up_pid=process.pid,
            admin_key=credentials["admin_key"],
            demo_chatbot=credentials["chatbot"],
            demo_key=credentials["tenant_key"],
            environment=environment,
            log_file=log_file,
            ready_s=time.monotonic() - began_s,
        )
    finally:
        await stop_process(process, within_s=_STOP_WITHIN_S)
        if drain is not None:
            drain.cancel()


@asynccontextmanager
async def start_worker(product: Product, name: str) -> AsyncGenerator[int]:
    """One more `chatwright worker` beside the one of `up`; yields its process id. Killed at the end if need be."""
    environment = {**product.environment, "CHATWRIGHT_WORKER_NAME": name}
    command = [sys.executable, "-m", "chatwright", "worker", "--data-dir", str(product.data_dir)]
    with product.log_file.open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *command,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
    try:
        yield process.pid
    finally:
        await stop_process(process, within_s=_STOP_WITHIN_S)


async def _ready(process: asyncio.subprocess.Process, log_file: Path) -> dict[str, Any]:
    assert process.stdout is not None
    said = b""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_READY_WITHIN_S):
            async for line in process.stdout:
                said += line
                with contextlib.suppress(ValueError):
                    found = json.loads(line)
                    if isinstance(found, dict) and cast("dict[str, Any]", found).get("ready"):
                        return cast("dict[str, Any]", found)
    tail = log_file.read_bytes()[-3_000:].decode("utf-8", "replace")
    raise NotStarted(f"`chatwright up` did not become ready: {said.decode('utf-8', 'replace')[-800:]}\n{tail}")


async def _drain(stream: asyncio.StreamReader) -> None:
    while await stream.read(65_536):
        pass


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant made for a run."""

    id: str
    key: str = field(repr=False)


BARE_FIELDS: Mapping[str, Any] = {
    "guard_policy": {"input": "off", "output": "off"},
    "reading_policy": {"by": "off"},
    "suggestion_policy": {"mode": "off"},
}
"""The bare profile: no guard, no reading, nothing suggested. Knowledge is off by default here."""


class Rest:
    """The few REST calls that benches and drills need. Raises RuntimeError with the server's words when refused."""

    def __init__(self, base_url: str, admin_key: str) -> None:
        self._base = base_url
        self._admin_key = admin_key

    async def make_tenant(self, name: str) -> Tenant:
        made = await self.call("POST", "/api/v1/tenants", self._admin_key, {"name": name})
        return Tenant(made["id"], made["key"]["secret"])

    async def make_chatbot(self, tenant: Tenant, slug: str, **fields: Any) -> dict[str, Any]:
        """A chatbot without knowledge whose only provider is the simulator, unless `fields` say otherwise."""
        body: dict[str, Any] = {
            "name": slug,
            "slug": slug,
            "providers": [{"provider": "openai", "model": "mock"}],
            "knowledge_enabled": False,
            **fields,
        }
        return await self.call("POST", "/api/v1/chatbots", tenant.key, body)

    async def wait_indexed(self, chatbot: str, key: str, *, within_s: float = 180.0) -> None:
        """Until no document of the chatbot waits for its indexing: that takes the cores that are measured.

        Raises RuntimeError if it takes longer than `within_s` seconds.
        """
        base = (await self.call("GET", f"/api/v1/chatbots/{chatbot}", key))["knowledge_base_id"]
        give_up_at = time.monotonic() + within_s
        while True:
            counts = (await self.call("GET", f"/api/v1/knowledge-bases/{base}", key))["documents"]
            if not counts["queued"] + counts["indexing"]:
                return
            if time.monotonic() > give_up_at:
                raise RuntimeError(f"the documents of {chatbot} are not indexed after {within_s:.0f} s: {counts}")
            await asyncio.sleep(0.25)

    async def call(self, method: str, path: str, key: str, body: Any = None, *, timeout_s: float = 15.0) -> Any:
        headers = {"authorization": f"Bearer {key}"}
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.request(method, self._base + path, json=body, headers=headers) as response,
        ):
            text = await response.text()
            if response.status >= 300:
                raise RuntimeError(f"{method} {path}: {response.status} {text[:400]}")
            return json.loads(text) if text else None
