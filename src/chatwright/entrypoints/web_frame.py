"""The frame page: one chatbot's widget on a page of our own, for sites whose styles or policies get in its way.

Sites put it into an iframe; which ones may is said by `frame-ancestors`. The page holds the launcher's script and nothing
else. See `origins.py` for whose visitor tokens it may ask for.
"""

import html
from urllib.parse import urlsplit

from chatwright.domain.chatbot import Chatbot
from chatwright.domain.errors import Forbidden
from chatwright.entrypoints.call import Call, Reply
from chatwright.entrypoints.endpoint import Access, Endpoint
from chatwright.entrypoints.origins import is_shown
from chatwright.entrypoints.widget_api import config_of
from chatwright.features.tenancy.widget import LOCALES, WidgetLook

# Addresses are relative: a proxy may have put us below a path.
_PAGE = """<!doctype html>
<html lang="{locale}" dir="{direction}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1, viewport-fit=cover, interactive-widget=resizes-content">
<meta name="color-scheme" content="light dark">
<meta name="robots" content="noindex">
<title>{name}</title>
<link rel="stylesheet" href="../../assets/frame.css">
</head>
<body><script async src="../../widget.js" data-chatbot="{widget_id}" data-mode="inline"></script></body>
</html>
"""
_SOURCES = (
    "script-src 'self'; style-src 'self'; img-src 'self' data: blob:{pictures}; connect-src 'self' https: blob: data:{own}; "
    "media-src 'none'; worker-src 'none'; object-src 'none'; base-uri 'none'"
)


async def frame(call: Call) -> Reply:
    """The page. Raises NotFound for an unknown widget, Forbidden where no site may hold it and it has no demo here."""
    chatbot = await call.app.chatbots.find_widget(call.params["widget_id"])
    shown = is_shown(call.settings, chatbot)
    if not chatbot.allowed_origins and not shown:
        raise Forbidden(
            "no page may show this chatbot yet: list its origin in allowed_origins", param="allowed_origins"
        )
    # The common headers forbid every frame; of those that may, `frame-ancestors` tells.
    call.common_headers[:] = [header for header in call.common_headers if header[0] != b"x-frame-options"]
    config = config_of(chatbot, locale=None, accept_language=call.header(b"accept-language") or "")
    body = _PAGE.format(
        locale=config.locale,
        direction="rtl" if config.locale == "ar" else "ltr",
        name=html.escape(config.texts.title or chatbot.name),
        widget_id=html.escape(chatbot.widget_id, quote=True),
    ).encode()
    headers = (
        (b"content-security-policy", frame_policy(chatbot, host=call.header(b"host") or "", shown=shown).encode()),
        (b"cache-control", b"no-cache"),
        (b"vary", b"accept-language"),
    )
    return Reply(200, body, b"text/html; charset=utf-8", headers)


def frame_policy(chatbot: Chatbot, *, host: str, shown: bool) -> str:
    """The page's content security policy. `shown`: our own pages may hold it, too."""
    ancestors = [*(("'self'",) if shown else ()), *chatbot.allowed_origins]
    sources = widget_sources(chatbot, host=host)
    return f"default-src 'none'; {sources}; form-action 'none'; frame-ancestors {' '.join(ancestors)}"


def widget_sources(chatbot: Chatbot, *, host: str) -> str:
    """What a page of ours must let the chatbot's widget do, as directives of a policy. `host`: as the page was asked for.

    Models come from where the operator or the page keeps them, and their textures are read from memory (blob:). Pictures of
    answers are let in where the chatbot shows them. The socket is named for browsers in which 'self' is not also wss:.
    """
    look = WidgetLook.of(chatbot.widget, locale=LOCALES[0])
    is_plain = host and all(letter.isalnum() or letter in ".-:[]_" for letter in host)
    own = f" ws://{host} wss://{host}" if is_plain else ""
    model = urlsplit(look.avatar.url or "")
    if model.scheme == "http":  # of this machine, says the check of the field
        own += f" http://{model.netloc}"
    return _SOURCES.format(own=own, pictures=" https:" if look.features.images else "")


ENDPOINTS = (
    Endpoint(
        method="GET", path="/widget/frame/{widget_id}", handle=frame, access=Access.NONE,
        summary="A chatbot's widget as a page for iframes", tag="pages", content_type="text/html",
    ),
)  # fmt: skip
