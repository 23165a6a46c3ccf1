"""A knowledge base changes its embedder while it is in use: searches go on with the present one until all is ready.

`change_embedder` is what an operator asks for, `reembed` the job that follows. Documents added meanwhile are embedded by
both (`index.py`), so the job comes to an end.
"""

import time
from collections.abc import Sequence

import structlog

from chatwright.adapters.models import Vectors
from chatwright.adapters.postgres import Connection
from chatwright.adapters.queue import route
from chatwright.domain.errors import BudgetExceeded, NotFound, Unavailable
from chatwright.domain.ids import DocumentId, JobId, KnowledgeBaseId, new_id
from chatwright.domain.jobs import JobType
from chatwright.domain.scope import Scope
from chatwright.features import jobs, knowledge
from chatwright.features.knowledge import KnowledgeBase, StoredChunk
from chatwright.pipeline.embedding import EmbedderChoice, choose_embedder, embedder_for
from chatwright.pipeline.embedding_batches import Unfinished, in_batches
from chatwright.pipeline.enqueue import enqueue
from chatwright.pipeline.knowledge_indexes import drop_before_swap
from chatwright.pipeline.services import Services

RUN_S = 200.0
PAGE = 1_000
PRIORITY = 5
BUDGET_WAIT_S = 900.0
MOST_IN_A_RUN = 50_000
"""Chunks whose vectors are swapped in by the job itself; that takes about a millisecond each."""

log = structlog.get_logger(__name__)


async def change_embedder(
    app: Services, scope: Scope, knowledge_base_id: KnowledgeBaseId, name: str, *, dimension: int | None = None
) -> KnowledgeBase:
    """Give a base another embedder. An empty one has it at once; else `next_embedder` is set until a job has embedded
    every passage. Naming the present embedder gives such a change up.

    Raises NotFound, and what `choose_embedder` raises for an embedder that cannot be had here.
    """
    async with app.db.transaction(scope) as db:
        present = await knowledge.get_knowledge_base(db, scope, knowledge_base_id)
    if present is None:
        raise NotFound("no such knowledge base")
    choice = EmbedderChoice(name=present.embedder, dimension=present.dimension)
    if name != present.embedder:
        choice = await choose_embedder(app, scope, name, dimension=dimension)
    async with app.db.transaction(scope) as db:
        base = await knowledge.choose_embedder(
            db, scope, knowledge_base_id, embedder=choice.name, dimension=choice.dimension
        )
        if base.next_embedder is None:
            return base
        job_id = await _insert_job(db, scope, knowledge_base_id)
    await _enqueue(app, scope, job_id)
    return base


async def reembed(app: Services, scope: Scope, knowledge_base_id: KnowledgeBaseId) -> int:
    """Embed what has no vector by the base's next embedder yet, then let it take the place of the present one.

    Returns how many passages this run embedded. Nothing is done where no change is under way, or no longer the same.
    Raises NotFound for an unknown base, Unfinished when it needs more time than one run has or its budget is used up, and
    what embedders raise; the next run goes on.
    """
    until_s = time.monotonic() + RUN_S
    async with app.db.transaction(scope) as db:
        base = await knowledge.get_knowledge_base(db, scope, knowledge_base_id)
    if base is None:
        raise NotFound("no such knowledge base")
    if base.next_embedder is None or base.next_dimension is None:
        return 0
    choice = EmbedderChoice(name=base.next_embedder, dimension=base.next_dimension)
    filling = _Filling(app, scope, base.id, choice, until_s)
    for _ in range(10):
        try:
            wanted = await filling.fill()
        except BudgetExceeded as error:
            raise Unfinished(error.message, delay_s=BUDGET_WAIT_S) from error
        if not wanted:
            log.info("knowledge.reembedding_given_up", knowledge_base_id=base.id, embedder=choice.name)
            return filling.embedded
        if base.chunk_count > MOST_IN_A_RUN:
            async with app.db.transaction(scope) as db:
                await knowledge.set_next_ready(db, scope, base.id, embedder=choice.name)
            return filling.embedded
        if await _finish(app, scope, base.id, choice.name):
            return filling.embedded
    raise Unavailable("the knowledge base changes faster than it can be embedded; it is tried again")


async def finish_large_bases(app: Services) -> int:
    """Swap in the next vectors of bases that are too large for a job's time. Run by a task that has none to keep to.
    Returns how many bases were looked at."""
    async with app.db.operator() as db:
        ready = await knowledge.list_next_ready(db, limit=10)
    for tenant_id, base_id, embedder in ready:
        scope = Scope(tenant_id=tenant_id)
        if not await _finish(app, scope, base_id, embedder):
            await _queue(app, scope, base_id)  # some chunks have no next vector yet
    return len(ready)


async def _finish(app: Services, scope: Scope, base_id: KnowledgeBaseId, embedder: str) -> bool:
    """False: some chunks have no next vector yet."""
    await drop_before_swap(app, base_id)
    try:
        async with app.db.transaction(scope) as db:
            done = await knowledge.finish_reembedding(db, scope, base_id, embedder=embedder)
    except NotFound:  # given up, or done by another process
        return True
    if isinstance(done, KnowledgeBase):
        log.info("knowledge.reembedded", knowledge_base_id=base_id, embedder=embedder)
        return True
    return False


async def _queue(app: Services, scope: Scope, base_id: KnowledgeBaseId) -> None:
    async with app.db.transaction(scope) as db:
        job_id = await _insert_job(db, scope, base_id)
    await _enqueue(app, scope, job_id)


async def _insert_job(db: Connection, scope: Scope, base_id: KnowledgeBaseId) -> JobId:
    job_id = JobId(new_id())
    await jobs.insert_job(
        db,
        scope,
        job_id=job_id,
        job_type=JobType.KNOWLEDGE_REEMBED,
        queue=route(JobType.KNOWLEDGE_REEMBED, PRIORITY),
        priority=PRIORITY,
        payload={"knowledge_base_id": base_id},
    )
    return job_id


async def _enqueue(app: Services, scope: Scope, job_id: JobId) -> None:
    await enqueue(
        app,
        scope,
        job_id=job_id,
        job_type=JobType.KNOWLEDGE_REEMBED,
        queue=route(JobType.KNOWLEDGE_REEMBED, PRIORITY),
        priority=PRIORITY,
        generation=1,
    )


class _PinnedTo:
    """The base as its next embedder sees it."""

    def __init__(self, choice: EmbedderChoice) -> None:
        self.embedder = choice.name
        self.dimension = choice.dimension


class _Filling:
    """One pass after another over a base's chunks without a next vector."""

    def __init__(
        self, app: Services, scope: Scope, base_id: KnowledgeBaseId, choice: EmbedderChoice, until_s: float
    ) -> None:
        self._app = app
        self._scope = scope
        self._base_id = base_id
        self._choice = choice
        self._until_s = until_s
        self.embedded = 0

    async def fill(self) -> bool:
        """Go through the base once. False: its next embedder is another one by now."""
        embedder = await embedder_for(self._app, _PinnedTo(self._choice), self._scope)

        async def embed(batch: Sequence[StoredChunk]) -> Vectors:
            texts = [
                knowledge.embedding_text(
                    title=chunk.title, heading=chunk.heading, text=chunk.text, question=chunk.question
                )
                for chunk in batch
            ]
            return await embedder.embed(texts, bulk=True)

        async def store(batch: Sequence[StoredChunk], vectors: Vectors) -> bool:
            self.embedded += len(batch)
            async with self._app.db.transaction(self._scope) as db:
                return await knowledge.store_next(
                    db,
                    self._scope,
                    self._base_id,
                    embedder=self._choice.name,
                    hashes=[chunk.content_hash for chunk in batch],
                    vectors=vectors,
                )

        after: DocumentId | None = None
        while True:
            async with self._app.db.transaction(self._scope) as db:
                page, after = await knowledge.list_to_embed(db, self._scope, self._base_id, after=after, limit=PAGE)
            distinct = list({chunk.content_hash: chunk for chunk in page}.values())
            if distinct and not await in_batches(distinct, embed, store, until_s=self._until_s):
                return False
            if after is None:
                return True
