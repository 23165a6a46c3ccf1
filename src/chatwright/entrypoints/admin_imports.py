"""Imports of conversations: followed, paused, resumed, deleted; their errors, their conversations, their reports."""

import asyncio
import time
from contextlib import suppress
from typing import Literal

import msgspec

from chatwright.domain.errors import BadRequest, Unauthenticated, Unavailable
from chatwright.domain.scope import Scope
from chatwright.entrypoints.admin_imports_in import RECEIVING, amount_of
from chatwright.entrypoints.admin_imports_out import report, report_urls
from chatwright.entrypoints.auth import check_still, credential_of, tenant_of
from chatwright.entrypoints.call import Call, ClientGone, Reply, json_reply, to_json
from chatwright.entrypoints.endpoint import Access, Endpoint
from chatwright.entrypoints.streaming import watched
from chatwright.entrypoints.wire_imports import (
    FaqEntry,
    FaqReply,
    ImportedConversation,
    ImportedPage,
    ImportPage,
    ImportPatch,
    ImportReply,
    ImportRow,
    ImportRowPage,
    plain,
)
from chatwright.features import imports
from chatwright.features.imports import Import
from chatwright.pipeline import importing
from chatwright.pipeline.import_deletion import delete_import
from chatwright.pipeline.import_faq import draft_faq

_LOOK_S = 0.5
_KEY_CHECK_S = 2.0
_STATES = ("queued", "running", "paused", "done", "failed", "cancelled", "deleting")
_patch = msgspec.json.Decoder(ImportPatch)


async def list_all(call: Call) -> Reply:
    scope = tenant_of(call).scope
    before, limit = call.page()
    state = call.query("state")
    if state is not None and state not in _STATES:
        raise BadRequest(f"a state is one of {', '.join(_STATES)}", param="state")
    async with call.app.db.transaction(scope) as db:
        found = await imports.list_imports(db, scope, before=before, state=state, limit=limit + 1)
    items = [await _shown(call, scope, one) for one in found[:limit]]
    return json_reply(ImportPage(items, found[limit - 1].id if len(found) > limit else None))


async def get(call: Call) -> Reply:
    return json_reply(await _look(call, tenant_of(call).scope))


async def change(call: Call) -> Reply:
    tenant = tenant_of(call)
    body = await call.json(_patch)
    limit_nano = amount_of(body.limit_usd)
    await importing.limit_import(call.app, tenant.scope, _id(call), limit_nano, actor=tenant.actor)
    return json_reply(await _look(call, tenant.scope))


async def _control(call: Call, action: Literal["pause", "resume", "cancel"]) -> Reply:
    tenant = tenant_of(call)
    await importing.control_import(call.app, tenant.scope, _id(call), action, actor=tenant.actor)
    return json_reply(await _look(call, tenant.scope), status=202)


async def pause(call: Call) -> Reply:
    return await _control(call, "pause")


async def resume(call: Call) -> Reply:
    return await _control(call, "resume")


async def cancel(call: Call) -> Reply:
    return await _control(call, "cancel")


async def delete(call: Call) -> Reply:
    """Delete an import; with its conversations the reply comes before they are gone."""
    tenant = tenant_of(call)
    wish = call.query("with_conversations") or "false"
    if wish not in ("true", "false", "1", "0"):
        raise BadRequest("with_conversations is true or false", param="with_conversations")
    one = await delete_import(
        call.app, tenant.scope, _id(call), with_conversations=wish in ("true", "1"), actor=tenant.actor
    )
    if one is None:
        return Reply(204)
    return json_reply(await _shown(call, tenant.scope, one), status=202)


async def events(call: Call) -> None:
    """Follow an import: an event whenever its numbers change, until it rests. A revoked key ends the stream."""
    scope, identity, credential = tenant_of(call).scope, tenant_of(call), credential_of(call)
    shown = to_json(await _look(call, scope))

    async def tick() -> None:
        try:
            await check_still(call.app, identity, credential)
        except Unauthenticated:
            raise ClientGone from None
        except Unavailable:
            pass
        await call.write(b": keep-alive\n\n")

    with call.app.metrics.open_sockets.track_inprogress():
        await call.start(
            200,
            (
                (b"content-type", b"text/event-stream; charset=utf-8"),
                (b"cache-control", b"no-cache, no-transform"),
                (b"x-accel-buffering", b"no"),
            ),
        )
        async with watched(call, every_s=_KEY_CHECK_S, tick=tick):
            await call.write(b"data: " + shown + b"\n\n")
            while msgspec.json.decode(shown)["state"] in ("queued", "running"):
                await asyncio.sleep(_LOOK_S)
                with suppress(Unavailable):
                    now = to_json(await _look(call, scope))
                    if now != shown:
                        shown = now
                        await call.write(b"data: " + shown + b"\n\n")
        await call.write(b"", last=True)


async def list_errors(call: Call) -> Reply:
    """Rows that failed, in order; `cursor` is the number of the last one seen."""
    scope = tenant_of(call).scope
    after, limit = call.query_int("cursor", 0, low=0, high=10**12), call.query_int("limit", 50, low=1, high=200)
    async with call.app.db.transaction(scope) as db:
        one = await imports.get_import(db, scope, _id(call))
        found = await imports.list_problems(db, scope, one.id, after=after, limit=limit + 1)
    items = [ImportRow(*problem) for problem in found[:limit]]
    return json_reply(ImportRowPage(items, str(found[limit - 1][0]) if len(found) > limit else None))


async def list_conversations(call: Call) -> Reply:
    """Conversations whose latest messages this import brought."""
    scope = tenant_of(call).scope
    after, limit = call.page()
    async with call.app.db.transaction(scope) as db:
        one = await imports.get_import(db, scope, _id(call))
        found = await imports.list_conversations_of(db, scope, one.id, after=after, limit=limit + 1)
    items = [
        ImportedConversation(
            row["conversation_id"], row["first_at"].isoformat(), row["last_at"].isoformat(), row["summary"]
        )
        for row in found[:limit]
    ]
    return json_reply(ImportedPage(items, items[-1].conversation_id if len(found) > limit else None))


async def faq(call: Call) -> Reply:
    """What visitors asked most and agents answered, as a draft for review."""
    limit = call.query_int("limit", 50, low=1, high=500)
    drafts = await draft_faq(call.app, tenant_of(call).scope, _id(call), at_most=limit)
    items = [FaqEntry(one.question, one.answer, one.asked, one.conversation_id, one.message_id) for one in drafts]
    return json_reply(FaqReply(items, imports.to_markdown(drafts, title="Questions and answers")))


async def _look(call: Call, scope: Scope) -> ImportReply:
    async with call.app.db.transaction(scope) as db:
        one = await imports.get_import(db, scope, _id(call))
    return await _shown(call, scope, one)


async def _shown(call: Call, scope: Scope, one: Import) -> ImportReply:
    waiting = 0
    if one.options.summary != "none" and one.state not in ("done", "cancelled"):
        async with call.app.db.transaction(scope) as db:
            waiting = await imports.count_to_summarise(db, scope, one.id)
    progress, eta_s = _progress(call, one, waiting)
    tokens = await call.app.keys.visitor_tokens()
    urls = report_urls(tokens, scope, one, now_s=time.time())
    return ImportReply(
        id=one.id,
        state=one.state,
        stage=one.stage,
        reason=one.reason,
        error=one.error,
        chatbot_id=one.chatbot_id,
        source=one.source,
        file=one.name,
        size_bytes=one.size_bytes,
        rows_read=one.rows_read,
        rows_stored=one.rows_stored,
        rows_failed=one.rows_failed,
        rows_skipped=one.rows_skipped,
        rows_recoded=one.rows_recoded,
        messages=one.messages,
        conversations=one.conversations,
        summaries=one.summaries,
        summaries_waiting=waiting,
        rows_per_s=round(one.rows_read / one.worked_s, 1) if one.worked_s else None,
        progress=round(progress, 4),
        eta_s=None if eta_s is None else round(eta_s, 1),
        quote_nano=one.quote_nano,
        columns=plain(one.columns),
        options=msgspec.structs.asdict(one.options),
        report_url=urls.get("html"),
        report_json_url=urls.get("json"),
        errors_url=urls.get("csv"),
        created_at=one.created_at.isoformat(),
        started_at=one.started_at.isoformat() if one.started_at else None,
        finished_at=one.finished_at.isoformat() if one.finished_at else None,
    )


def _progress(call: Call, one: Import, waiting: int) -> tuple[float, float | None]:
    """(share of the present stage, seconds left of it). Where both rows and summaries cost time, half is either's."""
    read = 1.0 if one.stage != "reading" else min(1.0, one.offset_bytes / max(1, one.size_bytes))
    if one.stage == "over":
        return 1.0, 0.0 if one.state == "done" else None
    if one.stage == "reading":
        eta_s = one.worked_s * (1 - read) / read if read else None
        return read if one.options.summary == "none" else read / 2, eta_s
    done = one.summaries / max(1, one.summaries + waiting)
    at_once = call.app.settings.import_batches_at_once if one.options.summary == "model" else 1
    eta_s = one.summarised_s / one.summaries * waiting / at_once if one.summaries else None
    return 0.5 + done / 2, eta_s


def _id(call: Call) -> str:
    return call.params["import_id"]


_IMPORTS = "/api/v1/imports"
_IMPORT = _IMPORTS + "/{import_id}"
_PAGE = (("cursor", "next_cursor of the page before"), ("limit", "1 to 200, default 50"))
ENDPOINTS = (
    *RECEIVING,
    Endpoint(
        method="GET", path=_IMPORTS, handle=list_all, access=Access.TENANT, summary="List imports, newest first",
        tag="imports", response=ImportPage, query=(*_PAGE, ("state", "only those in this state")),
    ),
    Endpoint(
        method="GET", path=_IMPORT, handle=get, access=Access.TENANT, summary="How far an import is", tag="imports",
        response=ImportReply,
    ),
    Endpoint(
        method="PATCH", path=_IMPORT, handle=change, access=Access.TENANT, summary="Set what an import may cost",
        tag="imports", request=ImportPatch, response=ImportReply,
    ),
    Endpoint(
        method="POST", path=_IMPORT + "/pause", handle=pause, access=Access.TENANT,
        summary="Stop before the next batch", tag="imports", status=202, response=ImportReply,
    ),
    Endpoint(
        method="POST", path=_IMPORT + "/resume", handle=resume, access=Access.TENANT,
        summary="Go on where it stopped", tag="imports", status=202, response=ImportReply,
    ),
    Endpoint(
        method="POST", path=_IMPORT + "/cancel", handle=cancel, access=Access.TENANT,
        summary="Give an import up; what is stored stays", tag="imports", status=202, response=ImportReply,
    ),
    Endpoint(
        method="DELETE", path=_IMPORT, handle=delete, access=Access.TENANT,
        summary="Delete an import that has ended: its file, its report and its rows", tag="imports", status=204,
        also=((202, "Its conversations are being deleted, with ?with_conversations=true", ImportReply),),
        query=(("with_conversations", "true: also the conversations that it brought; until they are gone it is shown as deleting"),),
    ),
    Endpoint(
        method="GET", path=_IMPORT + "/events", handle=events, access=Access.TENANT,
        summary="Follow an import as server-sent events until it rests", tag="imports", content_type="text/event-stream",
    ),
    Endpoint(
        method="GET", path=_IMPORT + "/errors", handle=list_errors, access=Access.TENANT,
        summary="Rows that failed, with the reason", tag="imports", response=ImportRowPage, query=_PAGE,
    ),
    Endpoint(
        method="GET", path=_IMPORT + "/conversations", handle=list_conversations, access=Access.TENANT,
        summary="Conversations that an import brought", tag="imports", response=ImportedPage, query=_PAGE,
    ),
    Endpoint(
        method="GET", path=_IMPORT + "/faq", handle=faq, access=Access.TENANT,
        summary="A draft of a FAQ out of answered questions", tag="imports", response=FaqReply,
        query=(("limit", "1 to 500, default 50"),),
    ),
    Endpoint(
        method="GET", path=_IMPORT + "/report", handle=report, access=Access.NONE,
        summary="The report, by the signed address that the import shows, or with a tenant's key", tag="imports",
        query=(("format", "html, json or csv (the rows that failed)"), ("token", "of the signed address")),
        content_type="text/html",
    ),
)  # fmt: skip
