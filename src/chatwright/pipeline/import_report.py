"""The last stage of an import: its report is made, stored beside its file, and the file is deleted. Called by `bulk.py`."""

from collections.abc import AsyncGenerator
from datetime import UTC, datetime

import structlog

from chatwright.domain.errors import NotFound, Unavailable
from chatwright.domain.scope import Scope
from chatwright.features import budgets, imports
from chatwright.features.imports import Facts, Import
from chatwright.pipeline.services import Services

_PROBLEMS_A_PAGE = 1_000
LINK_S = 900
_REPORT_AT_MOST_BYTES = 256 * 1024 * 1024
FILES = {
    "html": ("report.html", "text/html; charset=utf-8"),
    "json": ("report.json", "application/json"),
    "csv": ("errors.csv", "text/csv; charset=utf-8; header=present"),
}
"""What a report consists of: (name in the object store, media type) by format."""

log = structlog.get_logger(__name__)


def folder_of(scope: Scope, import_id: str) -> str:
    """Where an import's file and report lie in the object store."""
    return f"tenants/{scope.tenant_id}/imports/{import_id}"


async def report_import(app: Services, scope: Scope, one: Import) -> None:
    """Make the report and end the import as done. Raises LostLock, and Unavailable when the object store is away."""
    await app.ledger.flush()  # the last calls' rows may be on their way
    async with app.db.transaction(scope) as db:
        await imports.hold(db, scope, one)
        whole = await imports.get_import(db, scope, one.id)
        counts = await imports.get_counts(db, scope, one.id)
        first = await imports.list_problems(db, scope, one.id, limit=100)
        spent = await budgets.import_cost(db, scope, one.id, since=one.created_at)
    try:
        chatbot = (await app.chatbots.get(scope, one.chatbot_id)).name
    except NotFound:
        chatbot = one.chatbot_id
    facts = Facts(
        one=whole,
        chatbot=chatbot,
        counts=counts,
        problems=first,
        calls=spent.calls,
        cost_nano=spent.cost_nano,
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    folder = folder_of(scope, one.id)
    for form, pieces in (
        ("html", _whole(imports.report_html(facts))),
        ("json", _whole(imports.report_json(facts))),
        ("csv", _problems(app, scope, one)),
    ):
        await app.files.put(f"{folder}/{FILES[form][0]}", pieces, limit_bytes=_REPORT_AT_MOST_BYTES)
    async with app.db.transaction(scope) as db:
        await imports.hold(db, scope, one)
        await imports.set_report(db, scope, one.id, folder)
        await imports.drop_file(db, scope, one.id)
        await imports.end_import(db, scope, one.id, "done", leg=one.leg)
    log.info("import.done", import_id=one.id, rows_read=whole.rows_read, rows_stored=whole.rows_stored)
    if one.file_key is not None:
        try:
            await app.files.delete(one.file_key)
        except Unavailable as error:
            log.warning("import.file_not_deleted", import_id=one.id, error=error.message)


async def _whole(data: bytes) -> AsyncGenerator[bytes]:
    yield data


async def _problems(app: Services, scope: Scope, one: Import) -> AsyncGenerator[bytes]:
    yield imports.problems_csv((), with_header=True)
    after = 0
    while True:
        async with app.db.transaction(scope) as db:
            page = await imports.list_problems(db, scope, one.id, after=after, limit=_PROBLEMS_A_PAGE)
        if not page:
            return
        after = page[-1][0]
        yield imports.problems_csv(page, with_header=False)


async def report_link(app: Services, one: Import, file: str) -> str | None:
    """A signed address of a file of the report at the object store; None where that is a folder. Raises NotFound."""
    if one.report_key is None:
        raise NotFound("the import has no report yet")
    return await app.files.link(f"{one.report_key}/{file}", expires_s=LINK_S)
