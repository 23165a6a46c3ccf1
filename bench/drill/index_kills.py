"""`python -m bench.drill.index_kills`: a worker killed again and again while it indexes a folder.

The same pages are indexed twice, into a base each: once by a worker that is left alone, once by workers of which ten are
killed (SIGKILL) at random moments of their work; another takes over each time. Afterwards the two indexes must be the
same: passages, vectors, keywords, counts. Exit code 1 if they are not.

`--worker` is the worker's own process: the product's role on the servers that the environment names.
"""

import argparse
import asyncio
import json
import logging
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import structlog

from chatwright.adapters.postgres.migrate import migrate
from chatwright.app.addresses import Addresses
from chatwright.app.embedded import run_embedded
from chatwright.app.options import Settings
from chatwright.app.serve import run_role, serve_worker
from chatwright.app.services import open_services
from chatwright.domain.ids import KnowledgeBaseId
from chatwright.domain.scope import Scope
from chatwright.features import knowledge
from chatwright.pipeline import manage
from chatwright.pipeline.demo import load_documentation
from chatwright.pipeline.documents import submit_text
from chatwright.pipeline.services import Services

EMBEDDER, DIMENSION = "minilm-l6-v2-int8", 384
KILLS = 10
INDEXED_WITHIN_S = 600.0
_ENVIRONMENT: tuple[str, ...] = ("CW_DRILL_DATABASE", "CW_DRILL_REDIS", "CW_DRILL_DATA")
_SAME_VECTOR = 2e-3
"""Half precision, and a batch of another size: the model's sums differ in the last digits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Killed:
    """One kill: seconds after the worker's start, and how far the folder was."""

    after_s: float
    indexed: int
    staged: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    kills: list[Killed]
    passages: int
    left_alone_s: float
    killed_s: float
    differences: list[str]


class Drill:
    """Servers, a tenant, and worker processes that come and go."""

    def __init__(
        self, app: Services, scope: Scope, environment: dict[str, str], pages: Sequence[tuple[str, str]]
    ) -> None:
        self._app = app
        self._scope = scope
        self._environment = environment
        self._pages = pages
        self.worked_s = 0.0
        """How long the last worker was at work, without its start."""

    async def index(
        self, base_id: KnowledgeBaseId, kills: Sequence[float], tell: Callable[[str], None]
    ) -> list[Killed]:
        """Have a base indexed. `kills`: seconds of work after which a worker is killed, one after the other."""
        for title, text in self._pages:
            await submit_text(
                self._app, self._scope, base_id, title=title, text=text, media_type="text/markdown", source_key=title
            )
        killed: list[Killed] = []
        until_s = time.monotonic() + INDEXED_WITHIN_S
        for life_s in [*kills, None]:
            worker = await self._start()
            try:
                before = await self._progress(base_id)
                began_s = time.monotonic()
                # Its life begins when it works: it has seen a document, or brought one on.
                while await self._progress(base_id) == before and not await self._is_done(base_id):
                    await self._check(worker, until_s)
                worked_s = time.monotonic()
                while not await self._is_done(base_id):
                    await self._check(worker, until_s)
                    if life_s is not None and time.monotonic() >= worked_s + life_s:
                        worker.send_signal(signal.SIGKILL)
                        indexed, staged = await self._progress(base_id)
                        killed.append(
                            Killed(after_s=round(time.monotonic() - began_s, 2), indexed=indexed, staged=staged)
                        )
                        tell(f"killed, {indexed} documents indexed, {staged} vectors staged")
                        break
                else:
                    self.worked_s = time.monotonic() - worked_s
                    return killed
            finally:
                if worker.returncode is None:
                    worker.kill()
                await worker.wait()
        raise RuntimeError("the last worker did not finish")

    async def make_base(self) -> KnowledgeBaseId:
        async with self._app.db.transaction(self._scope) as db:
            return (
                await knowledge.create_knowledge_base(db, self._scope, "drill", embedder=EMBEDDER, dimension=DIMENSION)
            ).id

    async def read(self, base_id: KnowledgeBaseId) -> dict[str, Any]:
        """An index as it must be the same again: nothing of ids and of numbers that carry the base."""
        async with self._app.db.transaction(self._scope) as db:
            chunks = await db.fetch(
                """SELECT d.title, c.ordinal, c.heading, c.anchor, c.text, c.content_hash, c.term_count,
                          cardinality(c.term_keys) AS terms, c.keywords::text, c.embedding::real[] AS embedding
                     FROM chunks c JOIN documents d ON d.tenant_id = c.tenant_id AND d.id = c.document_id
                    WHERE c.knowledge_base_id = $1 ORDER BY d.title, c.ordinal""",
                base_id,
            )
            counts = await db.fetch("SELECT documents FROM knowledge_terms WHERE knowledge_base_id = $1", base_id)
            recount = await db.fetchval(
                """SELECT count(*) FROM (SELECT key, count(*) AS n FROM chunks, unnest(term_keys) AS key
                                          WHERE knowledge_base_id = $1 GROUP BY key) AS real
                     FULL JOIN (SELECT * FROM knowledge_terms WHERE knowledge_base_id = $1) AS kept
                            ON kept.term_key = real.key
                    WHERE kept.documents IS DISTINCT FROM real.n""",
                base_id,
            )
            staged = await db.fetchval("SELECT count(*) FROM staged_vectors")
            base = await knowledge.get_knowledge_base(db, self._scope, base_id)
            states = await knowledge.count_documents(db, self._scope, base_id)
        assert base is not None
        return {
            "chunks": [{**row, "embedding": np.array(row["embedding"])} for row in chunks],
            "counts": sorted(Counter(row["documents"] for row in counts).items()),
            "wrong_counts": recount,
            "staged": staged,
            "sums": (base.chunk_count, base.total_terms),
            "states": states,
        }

    async def _start(self) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.drill.index_kills", "--worker", env={**os.environ, **self._environment}
        )

    async def _check(self, worker: asyncio.subprocess.Process, until_s: float) -> None:
        if worker.returncode is not None:
            raise RuntimeError(f"the worker ended by itself: {worker.returncode}")
        if time.monotonic() > until_s:
            raise RuntimeError("the folder is not indexed in time")
        await asyncio.sleep(0.02)

    async def _progress(self, base_id: KnowledgeBaseId) -> tuple[int, int]:
        """(documents indexed, vectors staged)."""
        async with self._app.db.transaction(self._scope) as db:
            states = await knowledge.count_documents(db, self._scope, base_id)
            staged = await db.fetchval("SELECT count(*) FROM staged_vectors")
        if states.get("failed"):
            raise RuntimeError(f"documents failed: {states}")
        return states.get("indexed", 0), staged

    async def _is_done(self, base_id: KnowledgeBaseId) -> bool:
        return (await self._progress(base_id))[0] == len(self._pages)


def compare(alone: dict[str, Any], killed: dict[str, Any]) -> list[str]:
    """How the second index differs from the first; empty: not at all."""
    found = [
        f"{name}: {alone[name]} left alone, {killed[name]} killed"
        for name in ("counts", "wrong_counts", "staged", "sums", "states")
        if alone[name] != killed[name]
    ]
    found += [f"{name} must be 0: {killed[name]}" for name in ("wrong_counts", "staged") if killed[name]]
    if len(alone["chunks"]) != len(killed["chunks"]):
        return [*found, f"{len(alone['chunks'])} passages left alone, {len(killed['chunks'])} killed"]
    for one, other in zip(alone["chunks"], killed["chunks"], strict=True):
        where = f"{one['title']} #{one['ordinal']}"
        found += [f"{where}: {name}" for name in one.keys() - {"embedding"} if one[name] != other[name]]
        if np.abs(one["embedding"] - other["embedding"]).max() > _SAME_VECTOR:
            found.append(f"{where}: another vector")
    return found


@asynccontextmanager
async def open_drill(data_dir: Path, pages: Sequence[tuple[str, str]]) -> AsyncGenerator[Drill]:
    """Embedded servers of its own, and services to submit and to read with; workers are processes."""
    async with AsyncExitStack() as stack:
        servers = await stack.enter_async_context(run_embedded(data_dir))
        await migrate(servers.database_url)
        addresses = Addresses(database_url=servers.database_url, redis_url=servers.redis_url)
        app = await stack.enter_async_context(open_services(Settings(data_dir=data_dir), addresses))
        tenant, _ = await manage.create_tenant(app, actor="drill", name="Drill")
        environment = dict(zip(_ENVIRONMENT, (servers.database_url, servers.redis_url, str(data_dir)), strict=True))
        yield Drill(app, Scope(tenant_id=tenant.id), environment, pages)


async def run_index_kills(
    data_dir: Path, *, seed: int, kills: int = KILLS, pages: int = 48, tell: Callable[[str], None] = print
) -> Outcome:
    """Index the documentation twice and compare. Raises RuntimeError when it does not come to an end."""
    folder = _folder(pages)
    chance = random.Random(seed)
    async with open_drill(data_dir, folder) as drill:
        alone, harassed = await drill.make_base(), await drill.make_base()
        began_s = time.monotonic()
        await drill.index(alone, [], tell)
        left_alone_s = time.monotonic() - began_s
        tell(f"left alone: {left_alone_s:.1f} s")
        # So short that every one of them is killed at work, and the folder is not done before the last.
        lives_s = [chance.uniform(0.0, 1.2 * drill.worked_s / kills) for _ in range(kills)]
        began_s = time.monotonic()
        killed = await drill.index(harassed, lives_s, tell)
        killed_s = time.monotonic() - began_s
        first, second = await drill.read(alone), await drill.read(harassed)
    return Outcome(
        kills=killed,
        passages=len(first["chunks"]),
        left_alone_s=round(left_alone_s, 1),
        killed_s=round(killed_s, 1),
        differences=compare(first, second),
    )


def _folder(pages: int) -> list[tuple[str, str]]:
    """Our documentation as (title, text): half of its pages each by itself, half bound four to a volume, so that kills hit short
    documents and the middle of long ones."""
    documents = [(page.title, page.text) for page in load_documentation()][:pages]
    half = len(documents) // 2
    bound = [documents[at : at + 4] for at in range(half, len(documents), 4)]
    return documents[:half] + [
        (f"Volume {number}", "\n\n".join(text for _, text in volume)) for number, volume in enumerate(bound, start=1)
    ]


def _be_worker() -> None:
    database_url, redis_url, data_dir = (os.environ[name] for name in _ENVIRONMENT)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    settings = Settings(data_dir=Path(data_dir), embedder_threads=1)
    run_role(serve_worker(settings, Addresses(database_url=database_url, redis_url=redis_url)))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.drill.index_kills", description=__doc__)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=KILLS)
    parser.add_argument("--pages", type=int, default=48, help="pages of our own documentation")
    options = parser.parse_args()
    if options.worker:
        _be_worker()
        return
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    data_dir = Path(tempfile.mkdtemp(prefix="cw-kills-"))
    data_dir.chmod(0o755)  # under root the servers run as another user, who has to pass
    try:
        done = asyncio.run(run_index_kills(data_dir, seed=options.seed, kills=options.kills, pages=options.pages))
    finally:
        shutil.rmtree(data_dir, ignore_errors=True)
    print(
        f"{len(done.kills)} kills, {done.passages} passages, "
        f"{done.left_alone_s} s left alone, {done.killed_s} s with kills: "
        + (f"{len(done.differences)} differences" if done.differences else "the same index")
    )
    for line in done.differences[:20]:
        print(json.dumps(line, ensure_ascii=False))
    sys.exit(1 if done.differences or len(done.kills) < options.kills else 0)


if __name__ == "__main__":
    main()
