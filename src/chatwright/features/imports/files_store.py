"""SQL of the files that imports keep in the object store. Called by `pipeline/lost_files.py`."""

from collections.abc import Sequence

from chatwright.adapters.postgres import Connection
from chatwright.domain.scope import Scope

RESUMABLE_DAYS = 30
"""For so long a failed import keeps its file, so that it can be resumed."""

NAMED_FILES = f"""
-- The files of imports that may still be read, and the folders of reports.
SELECT file_key AS key FROM imports
 WHERE tenant_id = $1 AND file_key = ANY($2::text[]) AND state <> 'cancelled'
   AND (state <> 'failed' OR finished_at > now() - interval '{RESUMABLE_DAYS} days')
 UNION ALL
SELECT given.key FROM imports JOIN unnest($2::text[]) AS given (key) ON starts_with(given.key, report_key || '/')
 WHERE tenant_id = $1 AND given.key IS DISTINCT FROM file_key AND given.key NOT LIKE '%/rows'
"""


async def named_files(db: Connection, scope: Scope, keys: Sequence[str]) -> set[str]:
    """Those of `keys` that an import still needs: its file while it can go on, its report for good."""
    return {row["key"] for row in await db.fetch(NAMED_FILES, scope.tenant_id, list(keys))}
