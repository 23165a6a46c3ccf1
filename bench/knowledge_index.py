"""`python -m bench.knowledge_index`: how fast documents become searchable, against one embedding call for each passage.

Both ways in one run, over the same documents, the same servers and the same embedder: the product's indexing
(`pipeline/index.py`), and a plain one that embeds passage by passage with everything else alike. Each with one document
at a time and with several at once, as a worker has them. With the local model and with a provider's embedder over the
simulator, whose answers take `--latency-ms`. Then the unchanged folder again.
"""

import argparse
import asyncio
import json
import logging
import math
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import structlog
from rich import box
from rich.console import Console
from rich.table import Table

from bench.machine import describe
from bench.simulator import run_simulator
from chatwright.adapters.postgres.migrate import migrate
from chatwright.app.addresses import Addresses
from chatwright.app.embedded import run_embedded
from chatwright.app.options import Settings
from chatwright.app.services import open_services
from chatwright.domain.ids import DocumentId, KnowledgeBaseId
from chatwright.domain.scope import Scope
from chatwright.features import knowledge
from chatwright.features.knowledge import KnowledgeBase, NewDocument
from chatwright.pipeline import manage
from chatwright.pipeline.demo import load_documentation
from chatwright.pipeline.embedding import choose_embedder, embedder_for
from chatwright.pipeline.index import index_document
from chatwright.pipeline.services import Services

AT_ONCE = 4
LOCAL = "minilm-l6-v2-int8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """One way over all documents. `calls` counts calls of the embedder."""

    embedder: str
    way: str
    at_once: int
    documents: int
    passages: int
    took_s: float

    @property
    def per_s(self) -> float:
        return self.passages / self.took_s


@dataclass(frozen=True, slots=True)
class Page:
    title: str
    text: str


Indexing = Callable[[DocumentId], Awaitable[None]]


class Bench:
    """A tenant, and the folder that is indexed again and again, each time into a base of its own."""

    def __init__(self, app: Services, scope: Scope, pages: Sequence[Page]) -> None:
        self._app = app
        self._scope = scope
        self._pages = pages

    async def measure(self, embedder: str, way: str, at_once: int) -> Rate:
        base = await self._base(embedder)
        documents = await self._add(base.id)
        indexing: dict[str, Indexing] = {"one call a passage": self._plainly(base), "chatwright": self._as_product}
        began_s = time.perf_counter()
        await _bounded(indexing[way], documents, at_once)
        return await self._rate(base.id, embedder, way, at_once, began_s)

    async def again(self, embedder: str) -> tuple[Rate, int]:
        """The unchanged folder, every document by force. Returns the rate, and how many passages were embedded."""
        base = await self._base(embedder)
        documents = await self._add(base.id)
        await _bounded(self._as_product, documents, AT_ONCE)
        embedded = 0

        async def force(document_id: DocumentId) -> None:
            nonlocal embedded
            done = await index_document(self._app, self._scope, document_id)
            assert done is not None
            embedded += done.embedded

        began_s = time.perf_counter()
        await _bounded(force, documents, AT_ONCE)
        return await self._rate(base.id, embedder, "unchanged folder again", AT_ONCE, began_s), embedded

    async def _base(self, embedder: str) -> KnowledgeBase:
        choice = await choose_embedder(self._app, self._scope, embedder)
        async with self._app.db.transaction(self._scope) as db:
            return await knowledge.create_knowledge_base(
                db, self._scope, "bench", embedder=choice.name, dimension=choice.dimension
            )

    async def _add(self, base_id: KnowledgeBaseId) -> list[DocumentId]:
        documents: list[DocumentId] = []
        async with self._app.db.transaction(self._scope) as db:
            for page in self._pages:
                new = NewDocument(title=page.title, media_type="text/markdown", text=page.text)
                documents.append((await knowledge.put_document(db, self._scope, base_id, new)).document.id)
        return documents

    async def _as_product(self, document_id: DocumentId) -> None:
        await index_document(self._app, self._scope, document_id)

    def _plainly(self, base: KnowledgeBase) -> Indexing:
        async def index(document_id: DocumentId) -> None:
            embedder = await embedder_for(self._app, base, self._scope)
            async with self._app.db.transaction(self._scope) as db:
                stored = await knowledge.get_document_text(db, self._scope, document_id)
                await knowledge.set_document_state(db, self._scope, document_id, "indexing")
            assert stored is not None
            document = stored.document
            chunks = await asyncio.to_thread(
                knowledge.chunk_document,
                stored.text,
                document.media_type,
                embedder.count_tokens,
                title=document.title,
            )
            vectors = [(await embedder.embed([chunk.embedding_text], bulk=True))[0] for chunk in chunks]
            async with self._app.db.transaction(self._scope) as db:
                await knowledge.replace_chunks(db, self._scope, document_id, chunks, vectors, title=document.title)

        return index

    async def _rate(self, base_id: KnowledgeBaseId, embedder: str, way: str, at_once: int, began_s: float) -> Rate:
        took_s = time.perf_counter() - began_s
        async with self._app.db.transaction(self._scope) as db:
            base = await knowledge.get_knowledge_base(db, self._scope, base_id)
            states = await knowledge.count_documents(db, self._scope, base_id)
        assert base is not None
        if states != {"indexed": len(self._pages)}:
            raise RuntimeError(f"not every document was indexed: {states}")
        return Rate(
            embedder=embedder,
            way=way,
            at_once=at_once,
            documents=len(self._pages),
            passages=base.chunk_count,
            took_s=took_s,
        )


async def _bounded(work: Indexing, documents: Sequence[DocumentId], at_once: int) -> None:
    waiting = list(reversed(documents))

    async def one_after_another() -> None:
        while waiting:
            await work(waiting.pop())

    async with asyncio.TaskGroup() as tasks:
        for number in range(at_once):
            tasks.create_task(one_after_another(), name=f"bench-index-{number}")


@asynccontextmanager
async def open_bench(data_dir: Path, pages: Sequence[Page]) -> AsyncGenerator[Bench]:
    """Embedded servers and a simulator of their own, and one process's services on them."""
    async with AsyncExitStack() as stack:
        servers = await stack.enter_async_context(run_embedded(data_dir))
        await migrate(servers.database_url)
        simulator = await stack.enter_async_context(run_simulator())
        settings = Settings(
            data_dir=data_dir, openai_base_url=simulator.base_url, openai_api_key="sk-bench", unknown_prices="flag"
        )
        addresses = Addresses(database_url=servers.database_url, redis_url=servers.redis_url)
        app = await stack.enter_async_context(open_services(settings, addresses))
        tenant, _ = await manage.create_tenant(app, actor="bench", name="Bench")
        yield Bench(app, Scope(tenant_id=tenant.id), pages)


async def run(data_dir: Path, *, pages: int, latency_ms: int, tell: Callable[[str], None]) -> dict[str, Any]:
    """All figures. Raises RuntimeError when a document was not indexed, or an unchanged one embedded."""
    folder = [Page(page.title, page.text) for page in load_documentation()][:pages]
    remote = f"openai/sim:latency={latency_ms}"
    rates: list[Rate] = []
    async with open_bench(data_dir, folder) as bench:
        await bench.measure(LOCAL, "chatwright", 1)  # the model is loaded now, the servers are warm
        for embedder in (remote, LOCAL):
            for at_once in (1, AT_ONCE):
                for way in ("one call a passage", "chatwright"):
                    tell(f"{embedder}, {way}, {at_once} at once")
                    rates.append(await bench.measure(embedder, way, at_once))
        unchanged, embedded = await bench.again(LOCAL)
    if embedded:
        raise RuntimeError(f"an unchanged folder embedded {embedded} passages")
    return {
        "machine": describe(),
        "rates": [{**asdict(rate), "per_s": rate.per_s} for rate in [*rates, unchanged]],
        "unchanged_embedded": embedded,
    }


def show(console: Console, found: dict[str, Any]) -> None:
    table = Table(box=box.SIMPLE_HEAD, title="Indexing, passages per second")
    for name in ("embedder", "documents at once", "one call a passage", "chatwright", "times"):
        table.add_column(name, justify="left" if name == "embedder" else "right")
    by: dict[tuple[str, int], dict[str, float]] = {}
    for rate in found["rates"]:
        by.setdefault((rate["embedder"], rate["at_once"]), {})[rate["way"]] = rate["per_s"]
    for (embedder, at_once), ways in by.items():
        plain, ours = ways.get("one call a passage", math.nan), ways.get("chatwright", math.nan)
        table.add_row(embedder, str(at_once), f"{plain:.1f}", f"{ours:.1f}", f"{ours / plain:.1f}")
    console.print(table)
    last = found["rates"][-1]
    console.print(
        f"unchanged folder again: {last['documents']} documents, {last['passages']} passages, "
        f"{found['unchanged_embedded']} embedded, {last['took_s']:.2f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.knowledge_index", description=__doc__)
    parser.add_argument("--pages", type=int, default=12, help="pages of our own documentation to index")
    parser.add_argument("--latency-ms", type=int, default=150, help="the simulated provider's time for one call")
    parser.add_argument("--json", action="store_true", help="print figures as JSON")
    options = parser.parse_args()
    console = Console(stderr=options.json)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    data_dir = Path(tempfile.mkdtemp(prefix="cw-bench-"))
    data_dir.chmod(0o755)  # under root the servers run as another user, who has to pass
    try:
        found = asyncio.run(run(data_dir, pages=options.pages, latency_ms=options.latency_ms, tell=console.print))
    finally:
        shutil.rmtree(data_dir, ignore_errors=True)
    show(console, found)
    if options.json:
        json.dump(found, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
