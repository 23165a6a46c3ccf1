"""Imports on their way in: forms with a file, taken as they arrive or only planned; mappings kept under a name."""

import re
from typing import Any

import msgspec

from chatwright.domain.errors import BadRequest, Conflict, NotFound, Unprocessable
from chatwright.domain.money import parse_usd
from chatwright.entrypoints.auth import tenant_of
from chatwright.entrypoints.call import Call, Reply, json_reply, to_json
from chatwright.entrypoints.decoding import check_text, decode
from chatwright.entrypoints.endpoint import Access, Endpoint
from chatwright.entrypoints.multipart import Form
from chatwright.entrypoints.once import once
from chatwright.entrypoints.wire_imports import ImportAccepted, PlanReply, PresetPage, PresetReply, QuoteReply, plain
from chatwright.features import imports
from chatwright.features.imports import Arriving, Options
from chatwright.pipeline import importing
from chatwright.pipeline.import_summaries import quote_nano
from chatwright.pipeline.importing import Received

_AMOUNT = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?")
_NAME_AT_MOST_CHARS = 100
_PLAN_AT_MOST_BYTES = 64 * 1024 * 1024
_FIELDS = frozenset({"chatbot", "mapping", "enrich", "summaries", "redact", "source", "limit_usd", "preset", "name"})
_object = msgspec.json.Decoder(dict[str, Any])


class _Sent:
    """A form as it came in: its fields, and what became of its file."""

    def __init__(self) -> None:
        self.fields: dict[str, str] = {}
        self.received: Received | None = None

    def mapping(self) -> dict[str, Any]:
        """Raises Unprocessable."""
        text = self.fields.get("mapping", "")
        try:
            mapping = decode(_object, text.encode()) if text.strip() else {}
        except (BadRequest, Unprocessable) as error:
            raise Unprocessable(
                f"the mapping is a JSON object of fields and columns ({error.message})", param="mapping"
            ) from error
        if "preset" in self.fields:
            mapping.setdefault("preset", self.fields["preset"])
        return mapping

    def options(self) -> Options:
        """Raises Unprocessable."""
        options = imports.read_enrichment(self.fields.get("enrich"), summaries=self.fields.get("summaries"))
        limit = self.fields.get("limit_usd")
        return msgspec.structs.replace(
            options,
            redact=imports.read_personal(self.fields.get("redact")),
            limit_nano=None if not limit else amount_of(limit),
        )

    def source(self) -> str:
        preset = self.mapping().get("preset")
        return importing.source_of(self.fields.get("source"), preset if isinstance(preset, str) else None)


async def create(call: Call) -> Reply:
    """Take a file as it comes in, then begin its import. The form's fields may stand before or after the file."""
    tenant = tenant_of(call)
    scope = tenant.scope
    form = Form(call, files_at_most_bytes=call.app.settings.import_max_bytes)
    sent = _Sent()
    used = False
    try:
        async for part in form:
            if part.file_name is None:
                await _take_field(sent, part.name, await part.text())
            elif sent.received is not None:
                raise Unprocessable("one file at a time", param="file")
            else:
                encoding = sent.mapping().get("encoding")
                sent.received = await importing.receive_file(
                    call.app,
                    scope,
                    part.chunks(),
                    name=sent.fields.get("name") or part.file_name,
                    encoding=encoding if isinstance(encoding, str) else None,
                )
        received = sent.received
        if received is None:
            raise Unprocessable("the form has no file", param="file")
        mapping, options, source = sent.mapping(), sent.options(), sent.source()
        chatbot = await call.app.chatbots.get(scope, _needed(sent, "chatbot"))

        async def work() -> Reply:
            nonlocal used
            one = await importing.start_import(
                call.app, scope, chatbot, received, mapping, options, source=source, actor=tenant.actor
            )
            used = True
            accepted = ImportAccepted(one.id, one.state, one.quote_nano, plain(one.columns))
            return json_reply(accepted, status=202)

        told = to_json({**sent.fields, "name": received.name, "size": received.size_bytes})
        return await once(call, scope, told + received.digest, work)
    finally:
        if sent.received is not None and not used:
            await importing.discard_file(call.app, scope, sent.received)


async def plan(call: Call) -> Reply:
    """Say what a file would bring. Its beginning is enough: of a large one, send the first megabyte."""
    scope = tenant_of(call).scope
    form = Form(call, files_at_most_bytes=_PLAN_AT_MOST_BYTES)
    sent = _Sent()
    arriving: Arriving | None = None
    async for part in form:
        if part.file_name is None:
            await _take_field(sent, part.name, await part.text())
        else:
            encoding = sent.mapping().get("encoding")
            arriving = Arriving(
                part.chunks(),
                limit_bytes=8 * _PLAN_AT_MOST_BYTES,
                encoding=encoding if isinstance(encoding, str) else None,
            )
            async for _ in arriving:
                pass
    if arriving is None:
        raise Unprocessable("the form has no file", param="file")
    chatbot = await call.app.chatbots.get(scope, _needed(sent, "chatbot"))
    planned = await importing.plan_file(
        call.app,
        scope,
        chatbot,
        arriving.head,
        sent.mapping(),
        sent.options(),
        source=sent.source(),
        is_all=arriving.size_bytes <= len(arriving.head),
        is_rewritten=arriving.is_rewritten,
    )
    found = planned.plan
    return json_reply(
        PlanReply(
            dialect=plain(planned.dialect),
            columns=plain(planned.columns),
            rows=found.rows,
            failed=found.failed,
            skipped=found.skipped,
            conversations=found.conversations,
            messages=found.messages,
            visitor_messages=found.visitor_messages,
            characters=found.characters,
            is_whole=found.is_whole,
            quote_nano=planned.quote_nano,
            sample=found.sample,
            problems=[plain(problem) for problem in found.problems],
            presets=planned.presets,
        )
    )


async def quote(call: Call) -> Reply:
    """What summaries by the model may cost at most."""
    scope = tenant_of(call).scope
    chatbot = await call.app.chatbots.get(scope, call.query("chatbot") or "")
    nano = quote_nano(
        call.app,
        chatbot,
        conversations=call.query_int("conversations", 0, low=0, high=10**9),
        characters=call.query_int("characters", 0, low=0, high=10**15),
    )
    return json_reply(QuoteReply(nano, None if nano is None else f"{nano / 1e9:.9f}"))


async def list_presets(call: Call) -> Reply:
    scope = tenant_of(call).scope
    async with call.app.db.transaction(scope) as db:
        own = await imports.list_presets(db, scope)
    built_in = {name: preset for name, preset in imports.PRESETS.items() if name not in own}
    items = [PresetReply(name, columns, is_own=True) for name, columns in own.items()]
    items += [PresetReply(name, dict(columns), is_own=False) for name, columns in built_in.items()]
    return json_reply(PresetPage(items))


async def put_preset(call: Call) -> Reply:
    scope = tenant_of(call).scope
    name = check_text(call.params["name"], param="name")
    if len(name) > _NAME_AT_MOST_CHARS:
        raise Unprocessable(f"a preset's name has at most {_NAME_AT_MOST_CHARS} characters", param="name")
    columns = imports.read_map(await call.json(_object))
    if columns.preset is not None:
        raise Unprocessable("a preset names no other one", param="preset")
    async with call.app.db.transaction(scope) as db:
        own = await imports.list_presets(db, scope)
        if name not in own and len(own) >= imports.PRESETS_AT_MOST:
            raise Conflict(f"a tenant has at most {imports.PRESETS_AT_MOST} presets; delete one")
        await imports.put_preset(db, scope, name, columns)
    return json_reply(PresetReply(name, plain(columns), is_own=True))


async def delete_preset(call: Call) -> Reply:
    scope = tenant_of(call).scope
    async with call.app.db.transaction(scope) as db:
        if not await imports.delete_preset(db, scope, check_text(call.params["name"], param="name")):
            raise NotFound("no such preset of your own")
    return Reply(204)


def _needed(sent: _Sent, name: str) -> str:
    value = sent.fields.get(name, "")
    if not value:
        raise Unprocessable(f"the form has no field {name}", param=name)
    return value


async def _take_field(sent: _Sent, name: str, value: str) -> None:
    if name not in _FIELDS:
        raise Unprocessable(f"no field {name[:60]!r}; there are file, {', '.join(sorted(_FIELDS))}", param=name[:60])
    sent.fields[name] = value


def amount_of(text: str) -> int:
    """Nanodollars of a decimal text. Raises Unprocessable."""
    if not _AMOUNT.fullmatch(text):
        raise Unprocessable("limit_usd is a decimal number of dollars, such as 12.50", param="limit_usd")
    return parse_usd(text)


_IMPORTS = "/api/v1/imports"
_PRESETS = "/api/v1/import-presets"
RECEIVING = (
    Endpoint(
        method="POST", path=_IMPORTS, handle=create, access=Access.TENANT,
        summary="Import conversations: a form with file, chatbot, and mapping, enrich, summaries, redact, source, limit_usd",
        tag="imports", status=202, response=ImportAccepted, creates=True,
    ),
    Endpoint(
        method="POST", path=_IMPORTS + "/plan", handle=plan, access=Access.TENANT,
        summary="What a file would bring: the same form, nothing is stored", tag="imports", response=PlanReply,
    ),
    Endpoint(
        method="GET", path=_IMPORTS + "/quote", handle=quote, access=Access.TENANT,
        summary="What summaries by the model may cost", tag="imports", response=QuoteReply,
        query=(("chatbot", "slug or id"), ("conversations", "how many"), ("characters", "of all their texts")),
    ),
    Endpoint(
        method="GET", path=_PRESETS, handle=list_presets, access=Access.TENANT,
        summary="Mappings kept under a name, and those for common exports", tag="imports", response=PresetPage,
    ),
    Endpoint(
        method="PUT", path=_PRESETS + "/{name}", handle=put_preset, access=Access.TENANT,
        summary="Keep a mapping under a name", tag="imports", response=PresetReply,
    ),
    Endpoint(
        method="DELETE", path=_PRESETS + "/{name}", handle=delete_preset, access=Access.TENANT,
        summary="Forget a mapping of your own", tag="imports", status=204,
    ),
)  # fmt: skip
