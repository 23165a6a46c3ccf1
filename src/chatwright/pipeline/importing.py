"""Files of conversations: received, planned, begun, looked at, paused, resumed.

What a file is gets decided when it arrives; its rows are read by jobs (`bulk.py`). Called by the endpoints.
"""

import asyncio
import io
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal

import msgspec
import structlog

from chatwright.adapters.postgres import Connection
from chatwright.adapters.queue import route
from chatwright.domain.chatbot import Chatbot
from chatwright.domain.errors import ChatwrightError, Conflict, NotFound, Unavailable, Unprocessable
from chatwright.domain.ids import ImportId, JobId, new_id
from chatwright.domain.jobs import JobType
from chatwright.domain.scope import Scope
from chatwright.features import imports, jobs, tenancy
from chatwright.features.imports import (
    PRESETS,
    Arriving,
    ColumnMap,
    Dialect,
    Import,
    ItemMaker,
    Options,
    Plan,
    Planner,
    Record,
    check_map,
    guess,
    open_records,
    over_preset,
    read_map,
    sniff,
)
from chatwright.pipeline.budgeting import set_budget
from chatwright.pipeline.bulk import redactor
from chatwright.pipeline.enqueue import enqueue
from chatwright.pipeline.import_report import folder_of
from chatwright.pipeline.import_summaries import quote_nano
from chatwright.pipeline.services import Services

MOST_OPEN = 5
MOST_PAUSED = 50
"""Each holds a file in the object store."""
PRIORITY = 3
SOURCE_AT_MOST_CHARS = 100
_SAMPLE = 500
_ROWS_FOR_QUOTE = 20
UNITS_UNREAD = 5
"""So many batches are one where no model reads them: a transaction costs as much as fifty rows do."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A file in the object store. `head` is its beginning, `digest` of all of it, unpacked. `is_rewritten`: it came in
    UTF-16 or UTF-32."""

    import_id: ImportId
    key: str
    name: str
    size_bytes: int
    head: bytes
    digest: bytes
    is_rewritten: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """What a file is, what its columns are taken for, and what it would bring. `quote_nano`: what summaries by the model
    would cost at most, None where no price is known."""

    dialect: Dialect
    columns: ColumnMap
    plan: Plan
    quote_nano: int | None
    presets: list[str]


async def receive_file(
    app: Services, scope: Scope, chunks: AsyncIterator[bytes], *, name: str, encoding: str | None = None
) -> Received:
    """Put a file into the object store as it arrives, unpacked. Raises Unprocessable, PayloadTooLarge, Unavailable."""
    import_id = ImportId(new_id())
    key = f"{folder_of(scope, import_id)}/rows"
    arriving = Arriving(chunks, limit_bytes=app.settings.import_max_bytes, encoding=encoding)
    try:
        size_bytes = await app.files.put(key, aiter(arriving), limit_bytes=app.settings.import_max_bytes + 1)
    except Exception:
        if isinstance(arriving.error, ChatwrightError):
            raise arriving.error from None
        raise
    plain = PurePosixPath(name.replace("\\", "/")).name or "file"
    return Received(
        import_id=import_id,
        key=key,
        name=plain[:200],
        size_bytes=size_bytes,
        head=arriving.head,
        digest=arriving.digest(),
        is_rewritten=arriving.is_rewritten,
    )


async def discard_file(app: Services, scope: Scope, received: Received) -> None:
    """Delete a received file that no import came of. Whoever began one may have been cut short after it was stored."""
    try:
        async with app.db.transaction(scope) as db:
            await imports.get_import(db, scope, received.import_id)
    except NotFound:
        pass
    except Unavailable as error:
        log.warning("import.file_not_deleted", import_id=received.import_id, error=error.message)
        return
    else:
        return
    try:
        await app.files.delete(received.key)
    except Unavailable as error:
        log.warning("import.file_not_deleted", import_id=received.import_id, error=error.message)


async def read_columns(app: Services, scope: Scope, given: Mapping[str, Any]) -> tuple[ColumnMap, Mapping[str, Any]]:
    """A map out of JSON, and the preset that it names. Raises Unprocessable."""
    columns = read_map(given)
    if columns.preset is None:
        return columns, {}
    async with app.db.transaction(scope) as db:
        own = await imports.list_presets(db, scope)
    preset = own.get(columns.preset, PRESETS.get(columns.preset))
    if preset is None:
        known = ", ".join(sorted({*own, *PRESETS}))
        raise Unprocessable(f"no preset {columns.preset[:60]!r}; there are {known}", param="mapping.preset")
    return columns, preset


def settle_columns(
    head: bytes, columns: ColumnMap, preset: Mapping[str, Any], *, is_all: bool, is_rewritten: bool
) -> tuple[Dialect, ColumnMap, list[Record]]:
    """What the file that begins with `head` is, what its columns mean, and some of its rows. Raises Unprocessable."""
    # A preset may say how files are written, too; the map wins over it.
    wishes = columns.wishes()
    wishes = msgspec.structs.replace(
        wishes,
        encoding=preset.get("encoding") if wishes.encoding is None else wishes.encoding,
        delimiter=preset.get("delimiter") if wishes.delimiter is None else wishes.delimiter,
        has_header=preset.get("has_header") if wishes.has_header is None else wishes.has_header,
    )
    if is_rewritten:
        wishes = msgspec.structs.replace(wishes, encoding=None)
    elif wishes.encoding is not None and imports.is_wide(imports.encoding_of(head, wishes.encoding)):
        raise Unprocessable(
            "a file in UTF-16 or UTF-32 without a byte order mark is written anew as it arrives: say its encoding in a "
            "mapping that stands before the file",
            param="mapping.encoding",
        )
    dialect = sniff(head, wishes, is_all=is_all)
    sample = open_records(io.BytesIO(head), dialect).read(_SAMPLE)
    if not is_all and len(sample) > 1:
        sample = sample[:-1]  # it may be cut
    settled = guess(over_preset(columns, preset, dialect), dialect, sample)
    check_map(settled, dialect)
    return dialect, settled, sample


async def plan_file(
    app: Services,
    scope: Scope,
    chatbot: Chatbot,
    head: bytes,
    given: Mapping[str, Any],
    options: Options,
    *,
    source: str,
    is_all: bool,
    is_rewritten: bool = False,
) -> Planned:
    """What an import of a file that begins with `head` would do; nothing is stored. Raises Unprocessable."""
    columns, preset = await read_columns(app, scope, given)

    def look() -> tuple[Dialect, ColumnMap, Plan]:
        dialect, settled, sample = settle_columns(head, columns, preset, is_all=is_all, is_rewritten=is_rewritten)
        planner = Planner(_maker(scope, chatbot, source, settled, dialect, options))
        planner.add(sample)
        if is_all and len(sample) == _SAMPLE:
            reader = open_records(io.BytesIO(head), dialect)
            reader.read(_SAMPLE)
            planner.add(reader.read(1 << 30))
        return dialect, settled, planner.plan(size_bytes=len(head), is_whole=is_all)

    dialect, settled, plan = await asyncio.to_thread(look)  # up to a second for thousands of odd times
    return Planned(
        dialect=dialect,
        columns=settled,
        plan=plan,
        quote_nano=quote_nano(app, chatbot, conversations=plan.conversations, characters=plan.characters),
        presets=sorted(PRESETS),
    )


async def start_import(
    app: Services,
    scope: Scope,
    chatbot: Chatbot,
    received: Received,
    given: Mapping[str, Any],
    options: Options,
    *,
    source: str,
    actor: str,
) -> Import:
    """Begin the import of a received file. Raises Unprocessable for a file or map that no row can be read with, Conflict
    while too many imports of the tenant are under way. The caller discards the file then."""
    columns, preset = await read_columns(app, scope, given)
    is_all = received.size_bytes <= len(received.head)

    def look() -> tuple[Dialect, ColumnMap, Plan]:
        dialect, settled, sample = settle_columns(
            received.head, columns, preset, is_all=is_all, is_rewritten=received.is_rewritten
        )
        planner = Planner(_maker(scope, chatbot, source, settled, dialect, options))
        planner.add(sample)
        return dialect, settled, planner.plan(size_bytes=received.size_bytes, is_whole=is_all)

    dialect, settled, plan = await asyncio.to_thread(look)
    _check_sample(plan)
    async with app.db.transaction(scope) as db:
        await _check_room(db, scope)
    if options.limit_nano is not None:
        await _limit(app, scope, received.import_id, options.limit_nano, actor=actor)
    job_id = JobId(new_id())
    async with app.db.transaction(scope) as db:
        await _check_room(db, scope)  # again: another one may have begun meanwhile
        one = await imports.insert_import(
            db,
            scope,
            received.import_id,
            chatbot_id=chatbot.id,
            source=source,
            name=received.name,
            file_key=received.key,
            size_bytes=received.size_bytes,
            dialect=dialect,
            columns=settled,
            options=options,
            unit_rows=app.settings.import_batch_rows * (1 if options.is_reading else UNITS_UNREAD),
            quote_nano=_quote(app, chatbot, options, plan, received),
        )
        await _insert_job(db, scope, one, job_id)
        await tenancy.record(
            db, scope.tenant_id, actor=actor, action="import.started", target=one.id, detail={"file": one.name}
        )
    await _enqueue(app, scope, one, job_id)
    return one


async def control_import(
    app: Services, scope: Scope, import_id: str, action: Literal["pause", "resume", "cancel"], *, actor: str
) -> Import:
    """Pause, resume or cancel. Doing it twice is doing it once. Raises NotFound, and Conflict for an import that has ended
    otherwise. What is stored stays."""
    job_id, is_queued = JobId(new_id()), False
    async with app.db.transaction(scope) as db:
        one = await imports.get_import(db, scope, import_id)
        if action == "pause":
            done = await imports.pause(db, scope, one.id, "operator") or one.state == "paused"
        elif action == "cancel":
            done = await imports.end_import(db, scope, one.id, "cancelled") or one.state == "cancelled"
        else:
            done = await imports.resume(db, scope, one.id) is not None
            if done:
                await _insert_job(db, scope, one, job_id)
            is_queued, done = done, done or one.state in ("queued", "running")
        if not done:
            raise Conflict(f"the import is {one.state}; it cannot be {action}d" if action != "cancel" else
                           f"the import is {one.state} already")  # fmt: skip
        await tenancy.record(db, scope.tenant_id, actor=actor, action=f"import.{action}", target=one.id)
        now = await imports.get_import(db, scope, import_id)
    if is_queued:
        await _enqueue(app, scope, now, job_id)
    if action == "cancel" and now.file_key is not None:
        try:
            await app.files.delete(now.file_key)
        except Unavailable as error:
            log.warning("import.file_not_deleted", import_id=now.id, error=error.message)
    return now


async def limit_import(app: Services, scope: Scope, import_id: str, limit_nano: int, *, actor: str) -> Import:
    """Set what the import may cost; a paused one still has to be resumed. Raises NotFound, Unprocessable."""
    async with app.db.transaction(scope) as db:
        one = await imports.get_import(db, scope, import_id)
    await _limit(app, scope, one.id, limit_nano, actor=actor)
    async with app.db.transaction(scope) as db:
        await imports.set_limit(db, scope, one.id, limit_nano)
        return await imports.get_import(db, scope, one.id)


async def _check_room(db: Connection, scope: Scope) -> None:
    """Raise Conflict while the tenant has as many imports as it may."""
    under_way, paused = await imports.count_open(db, scope)
    if under_way >= MOST_OPEN:
        raise Conflict(f"{MOST_OPEN} imports are under way; wait for one to end, or cancel one")
    if paused >= MOST_PAUSED:
        raise Conflict(f"{MOST_PAUSED} imports are paused; resume one, or cancel one")


async def _limit(app: Services, scope: Scope, import_id: ImportId, limit_nano: int, *, actor: str) -> None:
    await set_budget(
        app,
        scope,
        actor=actor,
        scope_kind="import",
        scope_id=import_id,
        period="total",
        limit_nano=limit_nano,
        action="block",
    )


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


def _maker(
    scope: Scope, chatbot: Chatbot, source: str, columns: ColumnMap, dialect: Dialect, options: Options
) -> ItemMaker:
    return ItemMaker(
        tenant_id=scope.tenant_id,
        chatbot_id=chatbot.id,
        source=source,
        columns=columns,
        dialect=dialect,
        redact=redactor(options.redact),
    )


def _check_sample(plan: Plan) -> None:
    """A map with which every row of the beginning fails is a wrong map. Raises Unprocessable."""
    if plan.rows >= _ROWS_FOR_QUOTE and plan.failed == plan.rows:
        first = plan.problems[0]
        raise Unprocessable(
            f"none of the first {plan.rows} rows can be read; row {first.number}: {first.reason}", param="mapping"
        )


def _quote(app: Services, chatbot: Chatbot, options: Options, plan: Plan, received: Received) -> int | None:
    """What the summaries may cost at most, reckoned from the file's beginning."""
    if options.summary != "model":
        return 0
    seen = len(received.head) if not plan.is_whole else received.size_bytes
    times = received.size_bytes / max(1, seen)
    return quote_nano(
        app,
        chatbot,
        conversations=round(plan.conversations * times),
        characters=round(plan.characters * times),
    )


def source_of(text: str | None, preset: str | None) -> str:
    """Whose ids the file's ids are: as it was said, else the preset's name. Raises Unprocessable."""
    source = (text or preset or "file").strip()
    if not source or len(source) > SOURCE_AT_MOST_CHARS:
        raise Unprocessable(f"a source has 1 to {SOURCE_AT_MOST_CHARS} characters", param="source")
    return source
