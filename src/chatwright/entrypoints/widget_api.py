"""What a page asks for before its visitor says anything: the widget's configuration, and a visitor token."""

import time
from dataclasses import asdict

import msgspec

from chatwright.domain.chatbot import Chatbot
from chatwright.domain.errors import BadRequest, Forbidden, NotFound
from chatwright.domain.times import rfc3339
from chatwright.entrypoints.auth import TenantAdmin, credential_of, identify
from chatwright.entrypoints.call import Call, Header, Reply, json_reply, to_json
from chatwright.entrypoints.endpoint import Access, Endpoint
from chatwright.entrypoints.origins import check_origin
from chatwright.entrypoints.web_files import etag_of, is_known
from chatwright.entrypoints.wire_widget import WidgetConfigReply, WidgetTokenReply, WidgetTokenRequest
from chatwright.features import credentials, prompting
from chatwright.features.prompting import accepted_languages
from chatwright.features.tenancy.widget import WidgetLook, choose_locale

_token = msgspec.json.Decoder(WidgetTokenRequest)
_LOCALE_AT_MOST_CHARS = 35


async def config(call: Call) -> Reply:
    """How the widget looks and what it says first, in one language: `locale` of the query, else the first of the browser's
    or the chatbot's languages that the widget speaks."""
    widget_id, locale = call.query("widget_id"), call.query("locale")
    if not widget_id:
        raise BadRequest("name the widget: ?widget_id=cw_pub_…", param="widget_id")
    if locale is not None and len(locale) > _LOCALE_AT_MOST_CHARS:
        raise BadRequest("a locale is a language such as de or pt-BR", param="locale")
    chatbot = await _chatbot(call, widget_id)
    origin = call.header(b"origin")
    if origin is not None:  # without one it is our own page, or no page at all: nothing here is secret
        _check(call, chatbot, origin)
    body = to_json(config_of(chatbot, locale=locale, accept_language=call.header(b"accept-language") or ""))
    etag = etag_of(body)
    # One header of the name: who keeps replies may look at the first only, so `origin` (set for CORS) is said again.
    headers: tuple[Header, ...] = (
        (b"etag", etag), (b"cache-control", b"public, max-age=60"), (b"vary", b"origin, accept-language"),
    )  # fmt: skip
    call.common_headers[:] = [header for header in call.common_headers if header[0] != b"vary"]
    if is_known(call, etag):
        return Reply(304, b"", headers=headers)
    return Reply(200, body, headers=headers)


def config_of(chatbot: Chatbot, *, locale: str | None, accept_language: str) -> WidgetConfigReply:
    """What a widget gets of its chatbot. The greeting is in the language that is asked for, if the chatbot has one in it."""
    wanted = accepted_languages(accept_language) if locale is None else [locale]
    chosen = choose_locale(wanted, chatbot.languages)
    look = WidgetLook.of(chatbot.widget, locale=chosen)
    return msgspec.convert(
        {
            "widget_id": chatbot.widget_id,
            "name": chatbot.name,
            "greeting": prompting.greeting(
                chatbot.greeting, chatbot.persona, accept_language if locale is None else locale
            ),
            "suggested_questions": list(chatbot.suggested_questions),
            "locale": chosen,
            **asdict(look),
        },
        WidgetConfigReply,
    )


async def token(call: Call) -> Reply:
    """A visitor token for a page on an allowed origin; a tenant's key may ask for one for any visitor of its own."""
    body = await call.json(_token)
    chatbot = await _chatbot(call, body.widget_id)
    visitor_id = body.visitor_id
    if call.header(b"authorization") is not None or call.header(b"x-api-key") is not None:
        identity = await identify(call.app, credential_of(call))
        if not isinstance(identity, TenantAdmin) or identity.scope.tenant_id != chatbot.tenant_id:
            raise NotFound("no such widget")
    else:
        origin = call.header(b"origin")
        if origin is None:
            raise Forbidden(
                "no Origin header: visitor tokens are for web pages; a server sends its API key", param="origin"
            )
        _check(call, chatbot, origin)
        visitor_id = None if visitor_id is None else credentials.visitor_id_for_widget(visitor_id)
    visitor_id = visitor_id or credentials.new_visitor_id()
    tokens = await call.app.keys.visitor_tokens()
    issued, expires_at_s = tokens.issue(
        tenant_id=chatbot.tenant_id, chatbot_id=chatbot.id, visitor_id=visitor_id, now_s=time.time()
    )
    return json_reply(
        WidgetTokenReply(issued, rfc3339(expires_at_s), credentials.visitor_id_shown(visitor_id)),
        headers=((b"cache-control", b"no-store"),),
    )


async def _chatbot(call: Call, widget_id: str) -> Chatbot:
    """The widget's chatbot. Raises NotFound, which every page may read."""
    try:
        return await call.app.chatbots.find_widget(widget_id)
    except NotFound:
        _let_read(call)
        raise


def _check(call: Call, chatbot: Chatbot, origin: str) -> None:
    """Raise Forbidden for a page that may not speak for the chatbot's visitors; that may be read, too."""
    try:
        check_origin(
            call.settings, chatbot, origin=origin, host=call.header(b"host"), fetch_site=call.header(b"sec-fetch-site")
        )
    except Forbidden:
        _let_read(call)
        raise


def _let_read(call: Call) -> None:
    """Let any page read this refusal, so that the site's owner learns what to mend; it says nothing else."""
    if not any(name == b"access-control-allow-origin" for name, _ in call.common_headers):
        call.common_headers.append((b"access-control-allow-origin", b"*"))


ENDPOINTS = (
    Endpoint(
        method="GET", path="/api/v1/widget/config", handle=config, access=Access.NONE,
        summary="How a chatbot's widget looks and what it says first", tag="widget", response=WidgetConfigReply,
        query=(("widget_id", "cw_pub_…"), ("locale", "a language such as de; absent: by Accept-Language")), widget=True,
    ),
    Endpoint(
        method="POST", path="/api/v1/widget/token", handle=token, access=Access.NONE,
        summary="A visitor token for a page on an allowed origin, good for 15 minutes", tag="widget",
        request=WidgetTokenRequest, response=WidgetTokenReply, widget=True,
    ),
)  # fmt: skip
