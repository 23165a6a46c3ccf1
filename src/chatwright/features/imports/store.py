"""SQL of imports: begun, taken up, paused, resumed, ended; the checkpoint. Functions never commit.

Whoever works on an import holds its `leg`, a fencing token: a worker whose lock was lost, and an import that was paused
meanwhile, change nothing.
"""

from datetime import datetime
from typing import Any, Literal

import msgspec

from chatwright.adapters.postgres import Connection
from chatwright.adapters.postgres.pool import Row
from chatwright.domain.errors import LostLock, NotFound
from chatwright.domain.ids import ChatbotId, ImportId, is_id
from chatwright.domain.scope import Scope
from chatwright.features.imports.dialect import Dialect
from chatwright.features.imports.mapping import ColumnMap
from chatwright.features.imports.options import Options

State = Literal["queued", "running", "paused", "done", "failed", "cancelled", "deleting"]
Stage = Literal["reading", "ordering", "summarising", "reporting", "over"]
PauseReason = Literal["operator", "budget"]
PRESETS_AT_MOST = 200

_COLUMNS = (
    "id, chatbot_id, source, name, file_key, size_bytes, dialect, columns, options, state, stage, reason, error, leg, "
    "unit_rows, next_window, offset_bytes, rows_before, rows_read, rows_stored, rows_failed, rows_skipped, rows_recoded, "
    "messages, conversations, summaries, problems_kept, worked_s, summarised_s, quote_nano, report_key, created_at, "
    "started_at, finished_at"
)

INSERT_IMPORT = f"""
INSERT INTO imports (id, tenant_id, chatbot_id, source, name, file_key, size_bytes, dialect, columns, options, unit_rows,
                     quote_nano)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
RETURNING {_COLUMNS}
"""

GET_IMPORT = f"SELECT {_COLUMNS} FROM imports WHERE tenant_id = $1 AND id = $2"

LIST_IMPORTS = f"""
SELECT {_COLUMNS} FROM imports
 WHERE tenant_id = $1 AND ($2::uuid IS NULL OR id < $2) AND ($3::text IS NULL OR state = $3) ORDER BY id DESC LIMIT $4
"""

COUNT_OPEN_IMPORTS = """
SELECT count(*) FILTER (WHERE state <> 'paused') AS open, count(*) FILTER (WHERE state = 'paused') AS paused
  FROM imports WHERE tenant_id = $1 AND state IN ('queued', 'running', 'paused')
"""

SUM_UNITS = """
-- What units beyond the checkpoint have brought.
SELECT import_id, sum(rows_read)::bigint AS rows_read, sum(rows_stored)::bigint AS rows_stored,
       sum(rows_failed)::bigint AS rows_failed, sum(rows_skipped)::bigint AS rows_skipped,
       sum(messages)::bigint AS messages, sum(conversations)::bigint AS conversations
  FROM import_units WHERE tenant_id = $1 AND import_id = ANY($2::uuid[]) GROUP BY import_id
"""

COUNT_TO_SUMMARISE = """
SELECT count(*) FROM import_conversations WHERE tenant_id = $1 AND import_id = $2 AND summary = 'waiting'
"""

TAKE_UP_IMPORT = f"""
UPDATE imports SET state = 'running', leg = leg + 1, started_at = coalesce(started_at, now())
 WHERE tenant_id = $1 AND id = $2 AND state IN ('queued', 'running')
RETURNING {_COLUMNS}
"""

HOLD_IMPORT = """
SELECT leg FROM imports WHERE tenant_id = $1 AND id = $2 AND leg = $3 AND state = 'running' FOR UPDATE
"""

FOLD_UNITS = """
DELETE FROM import_units WHERE tenant_id = $1 AND import_id = $2 AND unit < $3
RETURNING rows_read, rows_stored, rows_failed, rows_skipped, messages, conversations, problems, counts
"""

ADVANCE_IMPORT = """
UPDATE imports
   SET next_window = $3, offset_bytes = $4, rows_before = $5, rows_read = rows_read + $6, rows_stored = rows_stored + $7,
       rows_failed = rows_failed + $8, rows_skipped = rows_skipped + $9, messages = messages + $10,
       conversations = conversations + $11, problems_kept = problems_kept + $12, rows_recoded = rows_recoded + $13,
       worked_s = worked_s + $14
 WHERE tenant_id = $1 AND id = $2
"""

LIST_UNITS = "SELECT unit FROM import_units WHERE tenant_id = $1 AND import_id = $2"

ADD_COUNTS = """
INSERT INTO import_counts (tenant_id, import_id, kind, name, n)
SELECT $1, $2, kind, name, n FROM unnest($3::text[], $4::text[], $5::bigint[]) AS given (kind, name, n)
ON CONFLICT (tenant_id, import_id, kind, name) DO UPDATE SET n = import_counts.n + excluded.n
"""

SET_STAGE = "UPDATE imports SET stage = $3 WHERE tenant_id = $1 AND id = $2"

PAUSE_IMPORT = """
UPDATE imports SET state = 'paused', reason = $3, error = $4
 WHERE tenant_id = $1 AND id = $2 AND state IN ('queued', 'running') AND ($5::integer IS NULL OR leg = $5)
RETURNING id
"""

RESUME_IMPORT = f"""
UPDATE imports SET state = 'queued', reason = NULL, error = NULL, finished_at = NULL
 WHERE tenant_id = $1 AND id = $2 AND state IN ('paused', 'failed') AND file_key IS NOT NULL
RETURNING {_COLUMNS}
"""

END_IMPORT = """
UPDATE imports SET state = $3, error = $4, finished_at = now(),
                   stage = CASE WHEN $3 = 'done' THEN 'over' ELSE stage END
 WHERE tenant_id = $1 AND id = $2 AND state IN ('queued', 'running', 'paused') AND ($5::integer IS NULL OR leg = $5)
RETURNING id
"""

SET_LIMIT = """
UPDATE imports SET options = options || jsonb_build_object('limit_nano', $3::bigint) WHERE tenant_id = $1 AND id = $2
"""

SET_REPORT = "UPDATE imports SET report_key = $3 WHERE tenant_id = $1 AND id = $2"

DROP_FILE = "UPDATE imports SET file_key = NULL WHERE tenant_id = $1 AND id = $2"

GET_COUNTS = "SELECT kind, name, n FROM import_counts WHERE tenant_id = $1 AND import_id = $2 ORDER BY kind, name"

LIST_PROBLEMS = """
SELECT number, reason, raw FROM import_problems WHERE tenant_id = $1 AND import_id = $2 AND number > $3
 ORDER BY number LIMIT $4
"""

PUT_PRESET = """
INSERT INTO import_presets (tenant_id, name, columns) VALUES ($1, $2, $3)
ON CONFLICT (tenant_id, name) DO UPDATE SET columns = excluded.columns
"""

LIST_PRESETS = f"""
SELECT name, columns FROM import_presets WHERE tenant_id = $1 ORDER BY name LIMIT {PRESETS_AT_MOST}
"""

DELETE_PRESET = "DELETE FROM import_presets WHERE tenant_id = $1 AND name = $2 RETURNING name"

LIST_OF_IMPORT = """
SELECT conversation_id, first_at, last_at, summary FROM import_conversations
 WHERE tenant_id = $1 AND import_id = $2 AND ($3::uuid IS NULL OR conversation_id > $3)
 ORDER BY conversation_id LIMIT $4
"""


class Import(msgspec.Struct, frozen=True, kw_only=True):
    """An import as its row has it; counters as of the checkpoint."""

    id: ImportId
    chatbot_id: ChatbotId
    source: str
    name: str
    file_key: str | None
    size_bytes: int
    dialect: Dialect
    columns: ColumnMap
    options: Options
    state: State
    stage: Stage
    reason: PauseReason | None
    error: str | None
    leg: int
    unit_rows: int
    next_window: int
    offset_bytes: int
    rows_before: int
    rows_read: int
    rows_stored: int
    rows_failed: int
    rows_skipped: int
    rows_recoded: int
    messages: int
    conversations: int
    summaries: int
    problems_kept: int
    worked_s: float
    summarised_s: float
    quote_nano: int | None
    report_key: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Where the next window begins, and the units before it."""

    window: int
    offset_bytes: int
    rows_before: int
    units_before: int


async def insert_import(
    db: Connection,
    scope: Scope,
    import_id: ImportId,
    *,
    chatbot_id: ChatbotId,
    source: str,
    name: str,
    file_key: str,
    size_bytes: int,
    dialect: Dialect,
    columns: ColumnMap,
    options: Options,
    unit_rows: int,
    quote_nano: int | None,
) -> Import:
    row = await db.fetchrow(
        INSERT_IMPORT, import_id, scope.tenant_id, chatbot_id, source, name, file_key, size_bytes, dialect, columns,
        options, unit_rows, quote_nano,
    )  # fmt: skip
    assert row is not None
    return _import(row)


async def get_import(db: Connection, scope: Scope, import_id: str) -> Import:
    """The import with everything that was done of it so far. Raises NotFound."""
    row = await db.fetchrow(GET_IMPORT, scope.tenant_id, import_id) if is_id(import_id) else None
    if row is None:
        raise NotFound("no such import")
    return (await _with_units(db, scope, [_import(row)]))[0]


async def list_imports(
    db: Connection, scope: Scope, *, before: str | None, state: str | None, limit: int
) -> list[Import]:
    """One page, newest first."""
    rows = await db.fetch(LIST_IMPORTS, scope.tenant_id, before, state, limit)
    return await _with_units(db, scope, [_import(row) for row in rows])


async def count_open(db: Connection, scope: Scope) -> tuple[int, int]:
    """(under way, paused)."""
    row = await db.fetchrow(COUNT_OPEN_IMPORTS, scope.tenant_id)
    assert row is not None
    return row["open"], row["paused"]


async def count_to_summarise(db: Connection, scope: Scope, import_id: ImportId) -> int:
    return int(await db.fetchval(COUNT_TO_SUMMARISE, scope.tenant_id, import_id))


async def take_up(db: Connection, scope: Scope, import_id: ImportId) -> Import | None:
    """Begin a leg; older ones are fenced off. None: it is not to be worked on (any more)."""
    row = await db.fetchrow(TAKE_UP_IMPORT, scope.tenant_id, import_id)
    return None if row is None else _import(row)


async def hold(db: Connection, scope: Scope, one: Import) -> None:
    """Make sure of the leg until the transaction ends. Raises LostLock."""
    if await db.fetchval(HOLD_IMPORT, scope.tenant_id, one.id, one.leg) is None:
        raise LostLock("the import was paused, or another worker took it up")


async def advance(
    db: Connection, scope: Scope, one: Import, to: Checkpoint, *, recoded: int, worked_s: float
) -> dict[str, int]:
    """Move the checkpoint: sum up the units before it; returns their rows by what became of them. Raises LostLock."""
    await hold(db, scope, one)
    rows = await db.fetch(FOLD_UNITS, scope.tenant_id, one.id, to.units_before)
    names = ("rows_read", "rows_stored", "rows_failed", "rows_skipped", "messages", "conversations", "problems")
    sums = [sum(int(row[name]) for row in rows) for name in names]
    await db.execute(
        ADVANCE_IMPORT, scope.tenant_id, one.id, to.window, to.offset_bytes, to.rows_before, *sums, recoded, worked_s
    )
    counts: dict[tuple[str, str], int] = {}
    for row in rows:
        for kind, named in row["counts"].items():
            for name, n in named.items():
                counts[kind, name] = counts.get((kind, name), 0) + n
    await add_counts(db, scope, one.id, counts)
    return dict(zip(("stored", "failed", "skipped"), sums[1:4], strict=True))


async def add_counts(db: Connection, scope: Scope, import_id: ImportId, counts: dict[tuple[str, str], int]) -> None:
    if counts:
        kinds, names = [kind for kind, _ in counts], [name for _, name in counts]
        await db.execute(ADD_COUNTS, scope.tenant_id, import_id, kinds, names, list(counts.values()))


async def list_units(db: Connection, scope: Scope, import_id: ImportId) -> set[int]:
    """Numbers of the units beyond the checkpoint that are written."""
    return {row["unit"] for row in await db.fetch(LIST_UNITS, scope.tenant_id, import_id)}


async def set_stage(db: Connection, scope: Scope, one: Import, stage: Stage) -> Import:
    """Raises LostLock."""
    await hold(db, scope, one)
    await db.execute(SET_STAGE, scope.tenant_id, one.id, stage)
    return msgspec.structs.replace(one, stage=stage)


async def pause(
    db: Connection,
    scope: Scope,
    import_id: ImportId,
    reason: PauseReason,
    *,
    error: str | None = None,
    leg: int | None = None,
) -> bool:
    """Stop before the next unit. False: it is over, paused already, or (with `leg`) another worker's."""
    return await db.fetchval(PAUSE_IMPORT, scope.tenant_id, import_id, reason, error, leg) is not None


async def resume(db: Connection, scope: Scope, import_id: ImportId) -> Import | None:
    """Queue a paused or failed import again; the caller writes the job. None: it is neither, or its file is gone."""
    row = await db.fetchrow(RESUME_IMPORT, scope.tenant_id, import_id)
    return None if row is None else _import(row)


async def end_import(
    db: Connection,
    scope: Scope,
    import_id: ImportId,
    state: Literal["done", "failed", "cancelled"],
    *,
    error: str | None = None,
    leg: int | None = None,
) -> bool:
    """False: it had ended, or (with `leg`) is another worker's."""
    return await db.fetchval(END_IMPORT, scope.tenant_id, import_id, state, error, leg) is not None


async def set_limit(db: Connection, scope: Scope, import_id: ImportId, limit_nano: int) -> None:
    """Note what the import may cost from now on; the budget that keeps it to that is the caller's."""
    await db.execute(SET_LIMIT, scope.tenant_id, import_id, limit_nano)


async def set_report(db: Connection, scope: Scope, import_id: ImportId, report_key: str) -> None:
    await db.execute(SET_REPORT, scope.tenant_id, import_id, report_key)


async def drop_file(db: Connection, scope: Scope, import_id: ImportId) -> None:
    """The file is needed no more; the caller deletes it from the object store."""
    await db.execute(DROP_FILE, scope.tenant_id, import_id)


async def get_counts(db: Connection, scope: Scope, import_id: ImportId) -> dict[str, dict[str, int]]:
    """{kind: {name: n}} of everything before the checkpoint."""
    counts: dict[str, dict[str, int]] = {}
    for row in await db.fetch(GET_COUNTS, scope.tenant_id, import_id):
        counts.setdefault(row["kind"], {})[row["name"]] = row["n"]
    return counts


async def list_problems(
    db: Connection, scope: Scope, import_id: ImportId, *, after: int = 0, limit: int
) -> list[tuple[int, str, str]]:
    """(row number, reason, row as it was), in order."""
    rows = await db.fetch(LIST_PROBLEMS, scope.tenant_id, import_id, after, limit)
    return [(row["number"], row["reason"], row["raw"]) for row in rows]


async def list_conversations_of(
    db: Connection, scope: Scope, import_id: ImportId, *, after: str | None, limit: int
) -> list[dict[str, Any]]:
    """Conversations whose latest messages this import brought, by id."""
    return [dict(row) for row in await db.fetch(LIST_OF_IMPORT, scope.tenant_id, import_id, after, limit)]


async def put_preset(db: Connection, scope: Scope, name: str, columns: ColumnMap) -> None:
    await db.execute(PUT_PRESET, scope.tenant_id, name, columns)


async def list_presets(db: Connection, scope: Scope) -> dict[str, dict[str, Any]]:
    """The tenant's own, by name."""
    return {row["name"]: row["columns"] for row in await db.fetch(LIST_PRESETS, scope.tenant_id)}


async def delete_preset(db: Connection, scope: Scope, name: str) -> bool:
    return await db.fetchval(DELETE_PRESET, scope.tenant_id, name) is not None


async def _with_units(db: Connection, scope: Scope, found: list[Import]) -> list[Import]:
    # One that failed or was given up has stored them, too; one that is being deleted counts down.
    running = [one.id for one in found if one.state not in ("done", "deleting")]
    sums = {row["import_id"]: row for row in await db.fetch(SUM_UNITS, scope.tenant_id, running)} if running else {}
    names = ("rows_read", "rows_stored", "rows_failed", "rows_skipped", "messages", "conversations")
    return [
        msgspec.structs.replace(one, **{name: getattr(one, name) + sums[one.id][name] for name in names})
        if one.id in sums
        else one
        for one in found
    ]


def _import(row: Row) -> Import:
    return msgspec.convert(dict(row), Import)
