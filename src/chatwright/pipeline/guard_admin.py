"""The guard's log, allow list and tenant-wide policy, for those who run it. Called by `entrypoints/admin_guard.py`.

Every change is audited in its transaction, holds in this process at once and in the others within a second.
"""

from collections.abc import Mapping
from typing import Any

from chatwright.domain.errors import NotFound, Unprocessable
from chatwright.domain.ids import DocumentId
from chatwright.domain.scope import Scope
from chatwright.domain.times import rfc3339
from chatwright.features import knowledge, tenancy
from chatwright.features.guard import store
from chatwright.features.guard.allow import mark_of
from chatwright.features.guard.events import excerpt_of
from chatwright.features.guard.looking import looked_at
from chatwright.features.guard.policy import check_policy
from chatwright.features.guard.store import AllowedEntry, EventFilter, LoggedEvent
from chatwright.pipeline.documents import reindex_document
from chatwright.pipeline.services import Services


async def list_events(
    app: Services, scope: Scope, wanted: EventFilter, *, before: str | None, limit: int
) -> list[LoggedEvent]:
    """Newest first."""
    async with app.db.transaction(scope) as db:
        return await store.list_events(db, scope, wanted, before=before, limit=limit)


async def get_event(app: Services, scope: Scope, event_id: str) -> LoggedEvent:
    """Raises NotFound."""
    async with app.db.transaction(scope) as db:
        event = await store.get_event(db, scope, event_id)
    if event is None:
        raise NotFound("no such event")
    return event


async def mark_wrong(app: Services, scope: Scope, event_id: str, *, span_only: bool, actor: str) -> LoggedEvent:
    """Say that an event was no attack, and allow its text (or its span under its rule) from now on.

    A document's passages are judged anew. Raises NotFound, Conflict when the allow list is full. Twice is once.
    """
    async with app.db.transaction(scope) as db:
        event = await store.mark_wrong(db, scope, event_id, span_only=span_only)
        if event is None:
            raise NotFound("no such event")
        await tenancy.record(
            db, scope.tenant_id, actor=actor, action="guard.marked_wrong", target=event.id, detail={"rule": event.rule}
        )
        document = None
        if event.direction == "document" and event.document_id is not None:
            document = await knowledge.get_document(db, scope, DocumentId(event.document_id))
    app.guard.directory.drop(scope.tenant_id)
    # A page that was never kept would be fetched anew for it: it is judged again when it is next read.
    if document is not None and (document.original_key is not None or document.source == "text"):
        await reindex_document(app, scope, document)
    return event


async def allow(app: Services, scope: Scope, text: str, *, rule: str, actor: str) -> AllowedEntry:
    """Allow a text (rule `*`), or words under one rule, as the guard will see them again: a text that is pasted may have
    hidden characters in it. Raises Conflict when the list is full, Unprocessable for a text without anything to see."""
    looked = looked_at(text)
    if not looked.strip():
        raise Unprocessable("the text has nothing that can be seen", param="text")
    async with app.db.transaction(scope) as db:
        entry = await store.allow(db, scope, rule=rule, mark=mark_of(looked), excerpt=excerpt_of(looked))
        await tenancy.record(
            db, scope.tenant_id, actor=actor, action="guard.allowed", target=entry.id, detail={"rule": rule}
        )
    app.guard.directory.drop(scope.tenant_id)
    return entry


async def list_allowed(app: Services, scope: Scope, *, before: str | None, limit: int) -> list[AllowedEntry]:
    """Newest first."""
    async with app.db.transaction(scope) as db:
        return await store.list_allowed(db, scope, before=before, limit=limit)


async def remove_allowed(app: Services, scope: Scope, entry_id: str, *, actor: str) -> None:
    """Raises NotFound."""
    async with app.db.transaction(scope) as db:
        if not await store.remove_allowed(db, scope, entry_id):
            raise NotFound("no such entry of the allow list")
        await tenancy.record(db, scope.tenant_id, actor=actor, action="guard.disallowed", target=entry_id)
    app.guard.directory.drop(scope.tenant_id)


async def count_events(
    app: Services, scope: Scope, *, days: int, chatbot_id: str | None = None
) -> list[Mapping[str, Any]]:
    """See `store.count_events`."""
    async with app.db.transaction(scope) as db:
        return await store.count_events(db, scope, days=days, chatbot_id=chatbot_id)


async def read_wave(app: Services, scope: Scope) -> dict[str, Any]:
    """How much comes now, and since when a wave is under way. Raises Unavailable."""
    tide = await app.guard.waves.count(scope.tenant_id, 0)
    began_at = None if tide.began_at_s is None else rfc3339(tide.began_at_s, timespec="seconds")
    return {"lately": tide.lately, "usual": tide.usual, "began_at": began_at}


async def get_policy(app: Services, scope: Scope) -> dict[str, Any]:
    """What the tenant set for all its chatbots."""
    async with app.db.transaction(scope) as db:
        return await store.get_policy(db, scope)


async def put_policy(app: Services, scope: Scope, policy: Mapping[str, Any], *, actor: str) -> None:
    """Set it, whole. Raises Unprocessable, naming the field."""
    check_own(policy)
    async with app.db.transaction(scope) as db:
        await store.put_policy(db, scope, policy)
        await tenancy.record(
            db, scope.tenant_id, actor=actor, action="guard.policy_set", detail={"fields": sorted(policy)}
        )
    app.guard.directory.drop(scope.tenant_id)
    app.chatbots.invalidate(scope.tenant_id)


def check_own(policy: Mapping[str, Any]) -> None:
    """As for a chatbot's policy; the field stands at the top here."""
    try:
        check_policy(policy)
    except Unprocessable as error:
        raise Unprocessable(error.message, param=(error.param or "").removeprefix("guard_policy.")) from error
