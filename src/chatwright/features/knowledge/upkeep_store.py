"""SQL that keeps knowledge tidy: deleted bases taken apart, old forms of index found, originals that nothing names.

Called by `pipeline/knowledge_upkeep.py`, which the sweeper runs. What looks over all tenants returns ids and no word.
"""

from collections.abc import Sequence

from chatwright.adapters.postgres import Connection
from chatwright.domain.ids import DocumentId, KnowledgeBaseId, TenantId
from chatwright.domain.scope import Scope
from chatwright.features.knowledge.index_form import INDEX_FORM

LIST_DELETED = """
-- operators: bases to take apart. Over all tenant_id.
SELECT tenant_id, id FROM knowledge_bases WHERE deleted_at IS NOT NULL ORDER BY deleted_at LIMIT $1
"""

DELETE_DOCUMENTS = """
-- Some documents of a base that is deleted, with their chunks. No counts are kept: nobody asks the base any more.
DELETE FROM documents
 WHERE tenant_id = $1
   AND id IN (SELECT d.id FROM documents d JOIN knowledge_bases b ON b.tenant_id = $1 AND b.id = d.knowledge_base_id
               WHERE d.tenant_id = $1 AND d.knowledge_base_id = $2 AND b.deleted_at IS NOT NULL LIMIT $3)
"""

DELETE_TERMS = """
DELETE FROM knowledge_terms
 WHERE tenant_id = $1 AND knowledge_base_id = $2
   AND term_key IN (SELECT term_key FROM knowledge_terms WHERE tenant_id = $1 AND knowledge_base_id = $2 LIMIT $3)
"""

DELETE_BASE = "DELETE FROM knowledge_bases WHERE tenant_id = $1 AND id = $2 AND deleted_at IS NOT NULL"

LIST_OUTDATED = """
-- operators: documents whose index has an older form. Over all tenant_id.
SELECT tenant_id, id FROM documents WHERE state = 'indexed' AND index_form < $1 ORDER BY index_form, id LIMIT $2
"""

TAKE_OUTDATED = """
-- Queued again, by whichever process was first; its chunks answer meanwhile.
UPDATE documents SET state = 'queued', updated_at = now()
 WHERE tenant_id = $1 AND id = $2 AND state = 'indexed' AND index_form < $3 RETURNING id
"""

NAMED_ORIGINALS = """
SELECT original_key FROM documents WHERE tenant_id = $1 AND original_key = ANY($2::text[])
"""


async def list_deleted_bases(db: Connection, *, limit: int) -> list[tuple[TenantId, KnowledgeBaseId]]:
    """Bases that were deleted and are still there, longest ago first. The operators' role."""
    return [(row["tenant_id"], row["id"]) for row in await db.fetch(LIST_DELETED, limit)]


async def delete_some_documents(db: Connection, scope: Scope, knowledge_base_id: KnowledgeBaseId, *, limit: int) -> int:
    """Delete up to `limit` documents of a deleted base. Returns how many; 0: none are left."""
    return _count(await db.execute(DELETE_DOCUMENTS, scope.tenant_id, knowledge_base_id, limit))


async def delete_some_terms(db: Connection, scope: Scope, knowledge_base_id: KnowledgeBaseId, *, limit: int) -> int:
    """Delete up to `limit` counts of a deleted base. Returns how many; 0: none are left."""
    return _count(await db.execute(DELETE_TERMS, scope.tenant_id, knowledge_base_id, limit))


async def delete_emptied_base(db: Connection, scope: Scope, knowledge_base_id: KnowledgeBaseId) -> None:
    await db.execute(DELETE_BASE, scope.tenant_id, knowledge_base_id)


async def list_outdated(db: Connection, *, limit: int) -> list[tuple[TenantId, DocumentId]]:
    """Indexed documents whose chunks were written in an older form. The operators' role."""
    return [(row["tenant_id"], row["id"]) for row in await db.fetch(LIST_OUTDATED, INDEX_FORM, limit)]


async def take_outdated(db: Connection, scope: Scope, document_id: DocumentId) -> bool:
    """Mark an outdated document as queued. False: another process was first, or it is none any more."""
    return await db.fetchval(TAKE_OUTDATED, scope.tenant_id, document_id, INDEX_FORM) is not None


async def named_originals(db: Connection, scope: Scope, keys: Sequence[str]) -> set[str]:
    """Those of `keys` that a document names as its original."""
    return {row["original_key"] for row in await db.fetch(NAMED_ORIGINALS, scope.tenant_id, list(keys))}


def _count(status: str) -> int:
    return int(status.rpartition(" ")[2])
