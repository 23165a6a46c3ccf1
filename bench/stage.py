"""What a figure stands on: the simulator, the product, a tenant with a bare chatbot, and how parts are pinned."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.load.plan import Mode, Plan, Result
from bench.load.run import run_load
from bench.machine import all_cores, core_for, pin, tree
from bench.product import BARE_FIELDS, Product, Rest, Tenant, start_product
from bench.provider import Provider, start_provider

BARE = "bare"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """How long things are measured. `quick` is for a look, not for the record."""

    quick: bool

    def seconds(self, full: float, quick: float) -> float:
        return quick if self.quick else full

    def count(self, full: int, quick: int) -> int:
        return quick if self.quick else full


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Everything runs; figures only send load and read."""

    provider: Provider
    product: Product
    tenant: Tenant
    rest: Rest
    demo_chatbot: str
    demo_key: str = field(repr=False)
    lengths: Lengths

    @property
    def chat_url(self) -> str:
        return self.product.base_url + "/v1/chat/completions"

    @property
    def direct_url(self) -> str:
        return self.provider.base_url + "/chat/completions"

    @property
    def socket_url(self) -> str:
        return self.product.base_url.replace("http", "ws", 1) + "/api/v1/ws"

    def api_pid(self) -> int:
        """Raises RuntimeError between two lives of the API."""
        pid = self.product.role_pid("api")
        if pid is None:
            raise RuntimeError("the API process is gone")
        return pid

    def worker_pid(self) -> int:
        """Raises RuntimeError between two lives of the worker."""
        pid = self.product.role_pid("worker")
        if pid is None:
            raise RuntimeError("the worker process is gone")
        return pid

    def rest_pids(self) -> list[int]:
        """Everything of ours but the API: PostgreSQL, Valkey, worker, simulator."""
        api = set(tree(self.api_pid()))
        return [pid for pid in [*tree(self.product.up_pid), self.provider.pid] if pid not in api]

    def pin_per_core(self) -> None:
        """The API alone on one core; PostgreSQL, Valkey, worker and simulator on the other."""
        pin([*tree(self.product.up_pid), self.provider.pid], core_for("rest"))
        pin([self.api_pid()], core_for("api"))

    def unpin(self) -> None:
        """Everybody may run everywhere again."""
        pin([*tree(self.product.up_pid), self.provider.pid], all_cores())

    async def load(
        self,
        mode: Mode,
        *,
        direct: bool = False,
        key: str | None = None,
        model: str = BARE,
        pinned: bool = True,
        **fields: Any,
    ) -> Result:
        """Run one load against the product, or `direct`ly against the simulator."""
        talk = mode.startswith("talk")
        url = self.direct_url if direct else self.socket_url if talk else self.chat_url
        fields.setdefault("cores", sorted(core_for("rest")) if pinned else [])
        return await run_load(Plan(mode=mode, url=url, key=key or self.tenant.key, model=model, **fields))


@asynccontextmanager
async def open_stage(
    data_dir: Path, log_file: Path, lengths: Lengths, *, options: Mapping[str, str] | None = None
) -> AsyncGenerator[Stage]:
    """Start all on `data_dir` (used again: the demo is made once), and wait until the demo has read its documents.

    Raises NotStarted, RuntimeError.
    """
    async with AsyncExitStack() as stack:
        provider = await stack.enter_async_context(start_provider())
        product = await stack.enter_async_context(
            start_product(data_dir, log_file=log_file, provider_url=provider.base_url, demo=True, options=options)
        )
        rest = Rest(product.base_url, product.admin_key)
        await rest.wait_indexed(product.demo_chatbot, product.demo_key)
        tenant = await rest.make_tenant("bench")
        await rest.make_chatbot(tenant, BARE, **BARE_FIELDS)
        yield Stage(
            provider=provider,
            product=product,
            tenant=tenant,
            rest=rest,
            demo_chatbot=product.demo_chatbot,
            demo_key=product.demo_key,
            lengths=lengths,
        )
