"""The stage of the money drill: two simulators, `up` with one API and one worker, one more API and two more workers.

Each of the five can be killed and comes back: `up` sees to its own, we to ours.
"""

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from bench.drill.faults import find
from bench.drill.money.evidence import BilledCall, Rates
from bench.processes import die_with_parent, stop_process
from bench.product import NotStarted, Product, Rest, Tenant, start_product
from bench.provider import Provider, start_provider
from bench.simulator import Call, read_log_file

PRIMARY, SECONDARY = "primary", "secondary"
EXACT = "exact"
"""Only output costs, so a reservation is the same whatever the prompt is made of."""
MIXED = "mixed-"
"""The beginning of the names of models of which all sides cost something odd."""
CHAIN_MODELS = 12
FIRST_BYTE_S = 3.0
IDLE_S = 2.0
DEADLINE_S = 15.0
RATES: dict[tuple[str, str], Rates] = {
    (PRIMARY, EXACT): Rates(input_usd="0", output_usd="4"),
    (PRIMARY, MIXED): Rates(input_usd="1.37", cached_usd="0.137", output_usd="4.19"),
    (SECONDARY, MIXED): Rates(input_usd="0.83", cached_usd="0.083", cache_write_usd="1.0375", output_usd="4.15"),
}
_PROVIDERS = {PRIMARY: "openai", SECONDARY: "anthropic"}
_SHAPES = ("plain", "dark")
_FACTS = {f"{MIXED}plain-*": ('capabilities = ["tools"]',), f"{MIXED}dark-*": ()}
"""Of plain ones it is known that they do not think unseen; what a dark one has thought when it is cut off nobody knows."""
_READY_WITHIN_S = 60.0
_BACK_AFTER_S = 0.5
_VERBS = "echo=1,chunks=6,interval=4,tokenized=1"


def write_models(folder: Path) -> None:
    """The operator's own prices."""
    lines: list[str] = []
    for (simulator, model), rates in RATES.items():
        prices = [
            f'{side}_usd_per_million = "{rate}"'
            for side, rate in (
                ("input", rates.input_usd),
                ("cached", rates.cached_usd),
                ("cache_write", rates.cache_write_usd),
                ("output", rates.output_usd),
            )
            if rate is not None
        ]
        for name, facts in _FACTS.items() if model == MIXED else ((model, ()),):
            lines += ["[[model]]", f'provider = "{_PROVIDERS[simulator]}"', f'model = "{name}"', *facts, *prices]
    (folder / "models.toml").write_text("\n".join(lines) + "\n", "utf-8")


def billed(simulator: str, call: Call) -> BilledCall:
    """A call with its bill in nanodollars. Raises KeyError for a model without a price."""
    rates = RATES[(simulator, MIXED if call.model.startswith(MIXED) else call.model)]
    whole = call.ended == "complete"
    cached = call.cached_tokens if whole else 0
    written = call.cache_write_tokens if whole and simulator == SECONDARY else 0
    bill_nano = rates.nano(
        fresh=max(0, call.billed_input_tokens - cached - written),
        cached=min(cached, call.billed_input_tokens),
        written=written,
        output=call.billed_output_tokens,
    )
    head, _, verb = call.head.partition("|")
    return BilledCall(
        simulator=simulator, n=call.n, call_id=call.call_id, head=head, ended=call.ended, bill_nano=bill_nano, verb=verb.partition("|")[0],
        shape=call.model.removeprefix(MIXED).partition("-")[0],
    )  # fmt: skip


class Extra:
    """An `api` or `worker` beside those of `up`. It is started again after it was hit."""

    def __init__(self, product: Product, role: str, name: str) -> None:
        self.role = role
        self.name = name
        self.base_url = ""
        self._product = product
        self._process: asyncio.subprocess.Process | None = None
        if role == "api":
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self._port: int = probe.getsockname()[1]
            self.base_url = f"http://127.0.0.1:{self._port}"

    @property
    def pid(self) -> int | None:
        return None if self._process is None or self._process.returncode is not None else self._process.pid

    async def start(self) -> None:
        """Start the process; an API is waited for. Raises NotStarted."""
        environment = {**self._product.environment, "CHATWRIGHT_WORKER_NAME": self.name}
        command = [sys.executable, "-m", "chatwright", self.role, "--data-dir", str(self._product.data_dir)]
        if self.role == "api":
            command += ["--port", str(self._port)]
        with self._product.log_file.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                env=environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
        if self.role == "api":
            await _wait_healthy(self.base_url)

    async def hit(self, number: signal.Signals) -> bool:
        """Send the signal, wait for the end and start it again. False if it was not there."""
        process = self._process
        if process is None or process.returncode is not None:
            return False
        process.send_signal(number)
        await process.wait()
        await asyncio.sleep(_BACK_AFTER_S)
        await self.start()
        return True

    async def stop(self) -> None:
        if self._process is not None:
            await stop_process(self._process, within_s=25)


async def _wait_healthy(base_url: str) -> None:
    give_up_s = time.monotonic() + _READY_WITHIN_S
    timeout = aiohttp.ClientTimeout(total=2)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        while time.monotonic() < give_up_s:
            with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
                async with session.get(base_url + "/health/live") as response:
                    if response.status == 200:
                        return
            await asyncio.sleep(0.1)
    raise NotStarted(f"no API at {base_url} within {_READY_WITHIN_S:g} s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """Everything runs. `extras`: an API and two workers beside those of `up`."""

    product: Product
    providers: dict[str, Provider]
    logs: dict[str, Path]
    extras: list[Extra]
    session: aiohttp.ClientSession
    rest: Rest

    @property
    def apis(self) -> list[str]:
        return [self.product.base_url, *(extra.base_url for extra in self.extras if extra.role == "api")]

    async def hit(self, role: str, place: int, number: signal.Signals) -> bool:
        """Signal the `place`-th process of a role, 0 being that of `up`. Returns when it is back; False: it was not there."""
        if place:
            return await [extra for extra in self.extras if extra.role == role][place - 1].hit(number)
        pid = await find(self.product, role)
        if pid is None:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        give_up_s = time.monotonic() + _READY_WITHIN_S
        while self.product.role_pid(role) in (None, pid):
            if time.monotonic() > give_up_s:
                return False
            await asyncio.sleep(0.05)
        if role == "api":
            await _wait_healthy(self.product.base_url)
        return True

    def calls(self, prefix: str) -> list[tuple[str, Call]]:
        """(simulator, call) of all calls whose question begins with `prefix`."""
        return [
            (name, call) for name, file in self.logs.items() for call in read_log_file(file) if call.head.startswith(prefix)
        ]  # fmt: skip

    async def control(self, **verbs: float | str) -> None:
        """What both simulators do from now on, beside what questions tell them."""
        for provider in self.providers.values():
            await provider.control(**verbs)

    async def make_tenant(self, name: str) -> Tenant:
        return await self.rest.make_tenant(name)

    async def put_budget(self, tenant: Tenant, *, limit_nano: int, period: str, chatbot: str | None = None) -> str:
        """Set a budget that blocks; of the tenant, or of a chatbot by its slug. Returns its id."""
        body = {"scope": "tenant", "period": period, "limit_usd": f"{limit_nano // 10**9}.{limit_nano % 10**9:09d}"}
        if chatbot is not None:
            body |= {"scope": "chatbot", "scope_id": chatbot}
        return (await self.rest.call("PUT", "/api/v1/budgets", tenant.key, body))["id"]


@asynccontextmanager
async def open_fleet(notes: Path, data_dir: Path) -> AsyncGenerator[Fleet]:
    """Start all of it. Raises NotStarted, RuntimeError."""
    data_dir.mkdir(parents=True, exist_ok=True)
    write_models(data_dir)
    async with AsyncExitStack() as stack:
        logs = {name: notes / f"{name}.jsonl" for name in (PRIMARY, SECONDARY)}
        providers = {
            name: await stack.enter_async_context(start_provider(verbs=_VERBS, log_file=file, name=name))
            for name, file in logs.items()
        }
        options = {
            "ANTHROPIC_BASE_URL": providers[SECONDARY].origin,
            "ANTHROPIC_API_KEY": "sk-simulated",
            "CHATWRIGHT_UNKNOWN_PRICES": "refuse",
            "CHATWRIGHT_ANSWER_DEADLINE_S": f"{DEADLINE_S:g}",
            "CHATWRIGHT_PROVIDER_FIRST_BYTE_TIMEOUT_S": f"{FIRST_BYTE_S:g}",
            "CHATWRIGHT_PROVIDER_IDLE_TIMEOUT_S": f"{IDLE_S:g}",
            "CHATWRIGHT_TENANT_IN_FLIGHT": "0",
            # Five processes with two pools each share the embedded PostgreSQL's hundred connections.
            "CHATWRIGHT_POSTGRES_MAX_CONNECTIONS": "8",
            # The receiver of alerts listens on loopback.
            "CHATWRIGHT_ALLOWED_ADDRESSES": "127.0.0.1",
        }
        product = await stack.enter_async_context(
            start_product(
                data_dir, log_file=notes / "product.log", provider_url=providers[PRIMARY].base_url, options=options
            )
        )
        extras = [Extra(product, role, name) for role, name in (("api", "b"), ("worker", "c"), ("worker", "d"))]
        for extra in extras:
            stack.push_async_callback(extra.stop)
            await extra.start()
        session = await stack.enter_async_context(
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=60))
        )
        yield Fleet(
            product=product,
            providers=providers,
            logs=logs,
            extras=extras,
            session=session,
            rest=Rest(product.base_url, product.admin_key),
        )


def chain(number: int) -> list[dict[str, str]]:
    """A chatbot's chain of two priced models, one of `CHAIN_MODELS` pairs: each has breakers of its own."""
    name = f"{MIXED}{_SHAPES[number % 2]}-{number % CHAIN_MODELS}"
    return [{"provider": provider, "model": name} for provider in _PROVIDERS.values()]
