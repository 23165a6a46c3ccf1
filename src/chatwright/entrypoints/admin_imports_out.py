"""Reports of imports on their way out: behind a key, or behind an address that is signed and ends soon."""

import asyncio
import time

from chatwright.domain.errors import BadRequest, NotFound
from chatwright.domain.ids import is_id
from chatwright.domain.scope import Scope
from chatwright.entrypoints.auth import authorize, tenant_of
from chatwright.entrypoints.call import Call, Header, Reply
from chatwright.entrypoints.endpoint import Access
from chatwright.features import imports
from chatwright.features.credentials.rules import VisitorTokens
from chatwright.features.imports import Import
from chatwright.pipeline.import_report import FILES, LINK_S, report_link

_PIECE_BYTES = 256 * 1024
_SAFE: tuple[Header, ...] = (
    (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'; sandbox"),
    (b"cache-control", b"private, no-store"),
)
"""A report shows words of strangers: it may load and run nothing, whatever they are."""


def report_urls(tokens: VisitorTokens, scope: Scope, one: Import, *, now_s: float) -> dict[str, str]:
    """Signed addresses of an import's report by format; none while it has no report."""
    if one.report_key is None:
        return {}
    token = tokens.issue_link(tenant_id=scope.tenant_id, target=f"import:{one.id}", now_s=now_s, ttl_s=LINK_S)
    return {form: f"/api/v1/imports/{one.id}/report?format={form}&token={token}" for form in FILES}


async def report(call: Call) -> Reply | None:
    """Send a file of the report, or lead to where the object store gives it out itself."""
    form = call.query("format") or "html"
    if form not in FILES:
        raise BadRequest(f"a format is one of {', '.join(FILES)}", param="format")
    scope = await _scope_of(call)
    async with call.app.db.transaction(scope) as db:
        one = await imports.get_import(db, scope, call.params["import_id"])
    name, media_type = FILES[form]
    link = await report_link(call.app, one, name)
    if link is not None:
        return Reply(302, headers=((b"location", link.encode()), *_SAFE))
    opened = await call.app.files.open(f"{one.report_key}/{name}")
    try:
        headers: list[Header] = [(b"content-type", media_type.encode()), *_SAFE]
        if form == "csv":
            headers.append((b"content-disposition", b'attachment; filename="errors.csv"'))
        await call.start(200, headers)
        while piece := await asyncio.to_thread(opened.read, _PIECE_BYTES):
            await call.write(piece)
        await call.write(b"", last=True)
    finally:
        await asyncio.to_thread(opened.close)
    return None


async def _scope_of(call: Call) -> Scope:
    """Whose report it is, by the token in the address or else by the key. Raises Unauthenticated, NotFound."""
    token = call.query("token")
    if token is None:
        call.identity = await authorize(call, Access.TENANT)
        return tenant_of(call).scope
    tenant_id, target = (await call.app.keys.visitor_tokens()).verify_link(token, now_s=time.time())
    import_id = call.params["import_id"]
    if not is_id(import_id) or target != f"import:{import_id}":
        raise NotFound("no such import")
    return Scope(tenant_id=tenant_id)
