"""Which web pages may speak for a chatbot's visitors: those on its list of origins, and our own where it is shown by us.

Browsers say truthfully which origin a page has, and a page cannot change it; other programs say what they like. So this
keeps a chatbot off other people's sites; it is no credential. Called for the widget's configuration, for visitor tokens
and for sockets.
"""

from chatwright.domain.chatbot import Chatbot
from chatwright.domain.errors import Forbidden
from chatwright.entrypoints.call import WebSettings

ORIGIN_AT_MOST_CHARS = 300
_REFUSED = "this origin is not on the chatbot's allow-list (allowed_origins)"


def is_shown(settings: WebSettings, chatbot: Chatbot) -> bool:
    """Whether the chatbot has a demo page here."""
    return settings.demo and settings.demo_tenant_id in (None, chatbot.tenant_id)


def check_origin(
    settings: WebSettings, chatbot: Chatbot, *, origin: str, host: str | None, fetch_site: str | None = None
) -> None:
    """Raise Forbidden unless a page of this origin may speak for the chatbot's visitors.

    `origin`, `host` and `fetch_site` are the headers Origin, Host and Sec-Fetch-Site. A page on the list may. A page of our
    own may for a chatbot with a demo page, and for one with any origin on its list: that is the frame page
    (`/widget/frame/…`), which asks with our origin whoever embeds it. This opens the chat of such a chatbot to everybody
    who opens the frame page as a page by itself, which gives no more than the listed sites do: the same chat, with nobody's
    data in it. It does not let other sites embed it, because the frame page names the list in `frame-ancestors`. Of pages
    under our origin there are only our own; tenants' content is never served as a page. A browser that says that the
    request came from elsewhere (Sec-Fetch-Site) is believed against an Origin that looks like ours.
    """
    asked = origin.lower()
    if len(asked) <= ORIGIN_AT_MOST_CHARS:
        if asked in chatbot.allowed_origins:
            return
        own = _own_origins(settings, host)
        is_ours = asked in own and fetch_site in (None, "same-origin")
        if is_ours and (chatbot.allowed_origins or is_shown(settings, chatbot)):
            return
    raise Forbidden(_REFUSED, param="origin")


def _own_origins(settings: WebSettings, host: str | None) -> tuple[str, ...]:
    """Where this server's own pages come from: the host that was asked, and CHATWRIGHT_PUBLIC_URL for a proxy that hides it."""
    asked = (host or "").lower()
    own = (f"http://{asked}", f"https://{asked}") if asked else ()
    return own if settings.public_origin is None else (*own, settings.public_origin)
