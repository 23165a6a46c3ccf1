"""Imports that are deleted: their file, report and rows at once; their conversations, where that was asked, by jobs.

An import may have brought millions of messages: they go in small transactions, a minute of them in a job, and the import is
shown as being deleted until the last is gone. The ledger keeps what was paid. Called by the endpoint, and by `bulk.py` for
the jobs.
"""

import time

import structlog

from chatwright.adapters.postgres import Connection
from chatwright.adapters.queue import route
from chatwright.domain.errors import Conflict, NotFound, Unavailable
from chatwright.domain.ids import ImportId, JobId, new_id
from chatwright.domain.jobs import JobType
from chatwright.domain.scope import Scope
from chatwright.features import budgets, imports, jobs, tenancy
from chatwright.features.imports import Import
from chatwright.pipeline.embedding_batches import Unfinished
from chatwright.pipeline.enqueue import enqueue
from chatwright.pipeline.import_courtesy import WRITING_REST, Courtesy
from chatwright.pipeline.import_report import folder_of
from chatwright.pipeline.services import Services

LEG_S = 60.0
STEP_S = 0.5
"""What one transaction should take."""
MOST_CONVERSATIONS, FEWEST_CONVERSATIONS = 1_000, 20
MESSAGES_EACH = 10
"""So many times as many messages may go in one transaction."""
PRIORITY = 3
_OPEN = ("queued", "running", "paused")

log = structlog.get_logger(__name__)


async def delete_import(
    app: Services, scope: Scope, import_id: str, *, with_conversations: bool, actor: str
) -> Import | None:
    """Delete an import that has ended: file, report, rows and budget. Returns None when that is done; with its conversations
    the import as it stands while a job deletes them. Asking again for one that is being deleted queues a job again.

    Raises NotFound, and Conflict for an import that may still go on.
    """
    job_id = JobId(new_id())
    async with app.db.transaction(scope) as db:
        one = await imports.lock_import(db, scope, import_id)
        if one.state in _OPEN:
            raise Conflict(f"the import is {one.state}; cancel it first, then delete it")
        if one.state != "deleting":
            await _remove_budgets(db, scope, one)
            await tenancy.record(
                db,
                scope.tenant_id,
                actor=actor,
                action="import.deleted",
                target=one.id,
                detail={"file": one.name, "with_conversations": with_conversations},
            )
        is_deleting = with_conversations or one.state == "deleting"
        if is_deleting:
            one = await imports.mark_deleting(db, scope, one.id)
            await _insert_job(db, scope, one, job_id)
        else:
            await imports.delete_import(db, scope, one.id)
    if is_deleting:
        await _enqueue(app, scope, one, job_id)
        return one
    try:
        await app.files.delete_prefix(folder_of(scope, one.id))
    except Unavailable as error:  # nothing names them any more: they are cleared away later
        log.warning("import.files_not_deleted", import_id=one.id, error=error.message)
    return None


async def go_on_deleting(app: Services, scope: Scope, import_id: ImportId) -> bool:
    """One leg of a deletion; False: the import is not to be deleted. Raises Unfinished when there is more to do, and
    Unavailable when a server of ours is away: the job goes on later."""
    async with app.db.transaction(scope) as db:
        try:
            one = await imports.get_import(db, scope, import_id)
        except NotFound:
            return False
    if one.state != "deleting":
        return False
    until = time.monotonic() + LEG_S
    await app.files.delete_prefix(folder_of(scope, one.id))
    await _delete_conversations(app, scope, one, until)
    async with app.db.transaction(scope) as db:
        # A unit that was being written when the import was given up may have come after the last look.
        await imports.lock_import(db, scope, one.id)
        if await imports.delete_some_conversations(db, scope, one.id, conversations=1, messages=1) is not None:
            raise Unfinished("the deletion goes on")
        await imports.delete_import(db, scope, one.id)
    log.info("import.deleted", import_id=one.id)
    return True


async def _delete_conversations(app: Services, scope: Scope, one: Import, until: float) -> None:
    """Raises Unfinished."""
    courtesy = Courtesy(app)
    size = FEWEST_CONVERSATIONS
    while True:
        async with courtesy.step(WRITING_REST), app.db.transaction(scope) as db:
            began = time.monotonic()
            gone = await imports.delete_some_conversations(
                db, scope, one.id, conversations=size, messages=size * MESSAGES_EACH
            )
        if gone is None:
            return
        if time.monotonic() > until:
            raise Unfinished("the deletion goes on")
        is_quick = time.monotonic() - began < STEP_S and not courtesy.is_making_way
        size = min(MOST_CONVERSATIONS, size * 2) if is_quick else FEWEST_CONVERSATIONS


async def _remove_budgets(db: Connection, scope: Scope, one: Import) -> None:
    """A tenant has room for so many budgets; what was spent stays in the ledger."""
    for status in await budgets.list_budgets(db, scope):
        budget = status.budget
        if budget.scope_kind == "import" and budget.scope_id == one.id:
            await budgets.delete_budget(db, scope, budget.id)


async def _insert_job(db: Connection, scope: Scope, one: Import, job_id: JobId) -> None:
    await jobs.insert_job(
        db,
        Scope(tenant_id=scope.tenant_id, chatbot_id=one.chatbot_id),
        job_id=job_id,
        job_type=JobType.CSV_IMPORT_BATCH,
        queue=route(JobType.CSV_IMPORT_BATCH, PRIORITY),
        priority=PRIORITY,
        payload={"import_id": one.id},
    )


async def _enqueue(app: Services, scope: Scope, one: Import, job_id: JobId) -> None:
    await enqueue(
        app,
        Scope(tenant_id=scope.tenant_id, chatbot_id=one.chatbot_id),
        job_id=job_id,
        job_type=JobType.CSV_IMPORT_BATCH,
        queue=route(JobType.CSV_IMPORT_BATCH, PRIORITY),
        priority=PRIORITY,
        generation=1,
    )
