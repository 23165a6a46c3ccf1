"""What is done for knowledge from time to time: deleted bases go, old forms of index are made anew, lost files too.

A task of every worker beside its sweeper, whose passes must not wait for long work. Every step may be run by any number of processes, stopped anywhere, and run again.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog

from chatwright.adapters.queue import route
from chatwright.domain.errors import ChatwrightError
from chatwright.domain.ids import DocumentId, JobId, KnowledgeBaseId, new_id
from chatwright.domain.jobs import JobType
from chatwright.domain.scope import Scope
from chatwright.features import jobs, knowledge
from chatwright.pipeline.enqueue import enqueue
from chatwright.pipeline.lost_files import remove_lost_files
from chatwright.pipeline.reembed import finish_large_bases
from chatwright.pipeline.services import Services

PERIOD_S = 15.0
LOST_EVERY = 5_000
"""Of the passes one looks through all files: about daily."""
BASES_PER_PASS = 5
PASS_S = 20.0
STEP_S = 1.0
"""What one statement of a deletion should take; their time-out is ten times that."""
MOST_DOCUMENTS = 500
TERMS_PER_STEP = 20_000
OUTDATED_PER_PASS = 50
LOWEST_PRIORITY = 1

_log = structlog.get_logger(__name__)


async def tend_knowledge(app: Services, *, period_s: float = PERIOD_S) -> None:
    """Tend until cancelled. A step that fails is logged; the next pass tries again."""
    passes = 0
    while True:
        await asyncio.sleep(period_s)
        await _attempt(app, renew_outdated)
        await _attempt(app, take_deleted_bases_apart)
        await _attempt(app, finish_large_bases)
        if passes % LOST_EVERY == 0:
            await _attempt(app, remove_lost_files)
        passes += 1


async def _attempt(app: Services, step: Callable[[Services], Awaitable[int]]) -> None:
    try:
        await step(app)
    except (ChatwrightError, TimeoutError) as error:
        _log.warning("knowledge.upkeep_failed", step=step.__name__, error=str(error))
    except Exception:  # noqa: BLE001 - whatever it is, the worker goes on without it
        _log.exception("knowledge.upkeep_failed", step=step.__name__)


async def take_deleted_bases_apart(app: Services, *, at_most_s: float = PASS_S) -> int:
    """Remove the rows and originals of deleted bases, in steps, for about `at_most_s` seconds. Returns how many bases are
    gone for good."""
    until_s = time.monotonic() + at_most_s
    async with app.db.operator() as db:
        deleted = await knowledge.list_deleted_bases(db, limit=BASES_PER_PASS)
    gone = 0
    for tenant_id, base_id in deleted:
        if not await _take_apart(app, Scope(tenant_id=tenant_id), base_id, until_s):
            break
        gone += 1
    return gone


async def _take_apart(app: Services, scope: Scope, base_id: KnowledgeBaseId, until_s: float) -> bool:
    """False: the time is over and something is left."""
    size = 1  # a document may have 20,000 chunks, or one
    while True:
        began_s = time.monotonic()
        async with app.db.transaction(scope) as db:
            count = await knowledge.delete_some_documents(db, scope, base_id, limit=size)
        took_s = time.monotonic() - began_s
        if count == 0:
            break
        if time.monotonic() > until_s:
            return False
        size = min(MOST_DOCUMENTS, size * 2) if took_s < STEP_S else max(1, size // 2)
    while True:
        async with app.db.transaction(scope) as db:
            if await knowledge.delete_some_terms(db, scope, base_id, limit=TERMS_PER_STEP) == 0:
                break
        if time.monotonic() > until_s:
            return False
    await app.files.delete_prefix(knowledge.originals_of(scope, base_id))
    async with app.db.transaction(scope) as db:
        await knowledge.delete_emptied_base(db, scope, base_id)
    _log.info("knowledge.base_removed", knowledge_base_id=base_id)
    return True


async def renew_outdated(app: Services) -> int:
    """Queue documents whose chunks were written in an older form of index. They answer meanwhile, their vectors are kept.
    Returns how many."""
    async with app.db.operator() as db:
        outdated = await knowledge.list_outdated(db, limit=OUTDATED_PER_PASS)
    return sum([await _renew(app, Scope(tenant_id=tenant_id), document_id) for tenant_id, document_id in outdated])


async def _renew(app: Services, scope: Scope, document_id: DocumentId) -> bool:
    job_id = JobId(new_id())
    queue = route(JobType.DOCUMENT_INDEX, LOWEST_PRIORITY)
    async with app.db.transaction(scope) as db:
        if not await knowledge.take_outdated(db, scope, document_id):
            return False
        await jobs.insert_job(
            db,
            scope,
            job_id=job_id,
            job_type=JobType.DOCUMENT_INDEX,
            queue=queue,
            priority=LOWEST_PRIORITY,
            payload={"document_id": document_id},
        )
    await enqueue(
        app,
        scope,
        job_id=job_id,
        job_type=JobType.DOCUMENT_INDEX,
        queue=queue,
        priority=LOWEST_PRIORITY,
        generation=1,
    )
    return True
