"""SQL of imports that are deleted: marked, their conversations taken some at a time, then the row with what hangs on it.

Deleting a row takes its units, counts and problems along. What stands in `import_conversations` belongs to the conversations
and goes with them: a later import of the same source asks it how they end.
"""

from collections.abc import Sequence

from chatwright.adapters.postgres import Connection
from chatwright.domain.errors import NotFound
from chatwright.domain.ids import ConversationId, ImportId, is_id
from chatwright.domain.scope import Scope
from chatwright.features.imports.store import Import, get_import
from chatwright.features.imports.write_store import BY_INDEX

LOCK_IMPORT = """
-- Waits for a unit that is being written, which holds the import's row by its foreign key.
SELECT id FROM imports WHERE tenant_id = $1 AND id = $2 FOR UPDATE
"""

MARK_DELETING = """
-- `conversations` counts down from here on. No key: files that nothing names are cleared away, whatever happens to us.
UPDATE imports SET state = 'deleting', reason = NULL, error = NULL, file_key = NULL, report_key = NULL,
       conversations = (SELECT count(*) FROM import_conversations k WHERE k.tenant_id = $1 AND k.import_id = $2)
 WHERE tenant_id = $1 AND id = $2
"""

DELETE_IMPORT = "DELETE FROM imports WHERE tenant_id = $1 AND id = $2"

PICK_CONVERSATIONS = """
SELECT conversation_id FROM import_conversations
 WHERE tenant_id = $1 AND import_id = $2 ORDER BY conversation_id LIMIT $3
"""

LOCK_CONVERSATIONS = """
SELECT id FROM conversations WHERE tenant_id = $1 AND id = ANY($2::uuid[]) ORDER BY id FOR UPDATE
"""

STILL_OF_IMPORT = """
-- Asked once they are locked: another import may have added to one meanwhile, and has it now.
SELECT conversation_id FROM import_conversations
 WHERE tenant_id = $1 AND import_id = $2 AND conversation_id = ANY($3::uuid[])
"""

DELETE_MESSAGES = """
DELETE FROM messages
 WHERE tenant_id = $1
   AND id IN (SELECT m.id FROM messages m WHERE m.tenant_id = $1 AND m.conversation_id = ANY($2::uuid[]) LIMIT $3)
"""

DELETE_CONVERSATIONS = "DELETE FROM conversations WHERE tenant_id = $1 AND id = ANY($2::uuid[])"

COUNT_DOWN = """
UPDATE imports SET conversations = greatest(0, conversations - $3) WHERE tenant_id = $1 AND id = $2
"""


async def lock_import(db: Connection, scope: Scope, import_id: str) -> Import:
    """The import, which nobody changes until the transaction ends. Raises NotFound."""
    if not is_id(import_id) or await db.fetchval(LOCK_IMPORT, scope.tenant_id, import_id) is None:
        raise NotFound("no such import")
    return await get_import(db, scope, import_id)


async def mark_deleting(db: Connection, scope: Scope, import_id: ImportId) -> Import:
    await db.execute(MARK_DELETING, scope.tenant_id, import_id)
    return await get_import(db, scope, import_id)


async def delete_import(db: Connection, scope: Scope, import_id: ImportId) -> None:
    """Delete its rows; its conversations stay, if they are there."""
    await db.execute(DELETE_IMPORT, scope.tenant_id, import_id)


async def delete_some_conversations(
    db: Connection, scope: Scope, import_id: ImportId, *, conversations: int, messages: int
) -> int | None:
    """Delete up to so many of the import's conversations with all that hangs on them, and no more than so many messages: a
    long conversation takes several calls. Returns how many conversations are gone; None: none are left."""
    await db.execute(BY_INDEX)
    picked = [
        row["conversation_id"] for row in await db.fetch(PICK_CONVERSATIONS, scope.tenant_id, import_id, conversations)
    ]
    if not picked:
        return None
    await db.fetch(LOCK_CONVERSATIONS, scope.tenant_id, picked)
    ours = [row["conversation_id"] for row in await db.fetch(STILL_OF_IMPORT, scope.tenant_id, import_id, picked)]
    if not await _empty(db, scope, ours, at_most=messages):
        return 0
    await db.execute(DELETE_CONVERSATIONS, scope.tenant_id, ours)
    await db.execute(COUNT_DOWN, scope.tenant_id, import_id, len(ours))
    return len(ours)


async def _empty(db: Connection, scope: Scope, conversation_ids: Sequence[ConversationId], *, at_most: int) -> bool:
    """Delete messages; False: there may be more."""
    done = await db.execute(DELETE_MESSAGES, scope.tenant_id, list(conversation_ids), at_most)
    return int(done.rpartition(" ")[2]) < at_most
