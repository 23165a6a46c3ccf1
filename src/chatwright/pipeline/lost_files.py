"""Files in the object store that nothing names any more: of uploads, deletions and imports that were cut short.

Called by `knowledge_upkeep.py`, about daily; any number of processes may do it at once.
"""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import structlog

from chatwright.adapters.files import StoredFile
from chatwright.adapters.postgres import Connection
from chatwright.domain.ids import TenantId
from chatwright.domain.scope import Scope
from chatwright.features import imports, knowledge
from chatwright.pipeline.services import Services

ORPHAN_AGE_S = 24 * 3600.0
"""An upload stores the file first and the row that names it after it: a file that nothing names is lost only when it is old."""

Named = Callable[[Connection, Scope, Sequence[str]], Awaitable[set[str]]]
_NAMED: Mapping[str, Named] = {"knowledge": knowledge.named_originals, "imports": imports.named_files}
"""By the room in a key (tenants/<tenant>/<room>/…): which of its files are named. What lies elsewhere is not ours to judge."""

_log = structlog.get_logger(__name__)


async def remove_lost_files(app: Services, *, older_than_s: float = ORPHAN_AGE_S) -> int:
    """Delete files that no document and no import names. Returns how many."""
    before = datetime.now(UTC) - timedelta(seconds=older_than_s)
    count = 0
    async for page in app.files.list():
        for (tenant_id, room), keys in _by_owner(page, before).items():
            scope = Scope(tenant_id=tenant_id)
            async with app.db.transaction(scope) as db:
                named = await _NAMED[room](db, scope, keys)
            lost = [key for key in keys if key not in named]
            await app.files.delete(*lost)
            count += len(lost)
    if count:
        _log.info("files.lost_removed", files=count)
    return count


def _by_owner(page: list[StoredFile], before: datetime) -> dict[tuple[TenantId, str], list[str]]:
    """The keys of old files by (tenant, room)."""
    found: dict[tuple[TenantId, str], list[str]] = defaultdict(list)
    for file in page:
        parts = file.key.split("/")
        if file.modified_at < before and len(parts) > 3 and parts[0] == "tenants" and parts[2] in _NAMED:
            found[TenantId(parts[1]), parts[2]].append(file.key)
    return found
