"""How secrets look, how they are hashed, and how visitor tokens are signed. No I/O."""

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from chatwright.domain.errors import Unauthenticated
from chatwright.domain.ids import ChatbotId, TenantId, is_id

KeyKind = Literal["admin", "tenant"]

VISITOR_TOKEN_TTL_S = 900
_SECRET_BYTES = 24  # 192 bits
_PREFIX_CHARS = 6  # of the random part, kept in clear so that people can tell keys apart: 156 secret bits remain
_KEY_STARTS: dict[KeyKind, str] = {"admin": "cw_admin_", "tenant": "cw_sk_"}
_TOKEN_START = "cw_vt_"  # noqa: S105 - marks the kind, is no secret
_TOKEN_AT_MOST = 2000  # holds the longest visitor id there may be, whatever its characters
_MAC_BYTES = 32
_OWN_VISITOR_ID = re.compile(r"v_[0-9a-f]{32}")
_WIDGET_SPACE = "w:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """A key just made. `text` is shown to its owner once and kept nowhere; `hash` and `prefix` are stored."""

    text: str = field(repr=False)
    hash: bytes
    prefix: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VisitorClaims:
    """What a visitor token says; `expires_at_s` is Unix time."""

    tenant_id: TenantId
    chatbot_id: ChatbotId
    visitor_id: str
    expires_at_s: int


def new_secret(kind: KeyKind) -> Secret:
    """Make an API key with 192 random bits."""
    start = _KEY_STARTS[kind]
    text = start + secrets.token_urlsafe(_SECRET_BYTES)
    return Secret(text=text, hash=hash_secret(text), prefix=text[: len(start) + _PREFIX_CHARS])


def hash_secret(text: str) -> bytes:
    """SHA-256. A slow hash would add nothing: the secrets are random, not chosen by people."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def is_key(text: str) -> bool:
    return text.startswith(("cw_sk_", "cw_admin_")) and len(text) <= 128


def new_widget_id() -> str:
    """A publishable id: no secret, but not to be guessed by counting either."""
    return "cw_pub_" + secrets.token_urlsafe(18)


def new_visitor_id() -> str:
    """128 random bits: whoever knows a visitor's id may ask for that visitor's conversations."""
    return "v_" + secrets.token_hex(16)


def visitor_id_for_widget(asked: str) -> str:
    """The visitor id that a widget's token may speak for when the page asked for `asked`.

    Ids that cannot be guessed (ours and UUIDs) stand as they are. Any other is moved into a space of its own, because
    a page may claim any id: without this, asking for "user-42" would open what the tenant's own servers wrote for
    their user 42.
    """
    if _OWN_VISITOR_ID.fullmatch(asked) or is_id(asked):
        return asked
    return _WIDGET_SPACE + asked


def visitor_id_shown(visitor_id: str) -> str:
    """The id as the page knows it: without the space that `visitor_id_for_widget` put it in."""
    return visitor_id.removeprefix(_WIDGET_SPACE)


class VisitorTokens:
    """Signs and checks visitor tokens: ``cw_vt_`` + base64url(HMAC-SHA256 + JSON array of the claims); and links in the
    same way, under another name, so that neither passes for the other."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) < _MAC_BYTES:
            raise ValueError("the signing secret has fewer than 32 bytes")
        self._secret = secret

    def issue(
        self,
        *,
        tenant_id: TenantId,
        chatbot_id: ChatbotId,
        visitor_id: str,
        now_s: float,
        ttl_s: int = VISITOR_TOKEN_TTL_S,
    ) -> tuple[str, int]:
        """Returns the token and the Unix second at which it ends."""
        expires_at_s = int(now_s) + ttl_s
        payload = msgspec.json.encode((tenant_id, chatbot_id, visitor_id, expires_at_s))
        text = base64.urlsafe_b64encode(self._mac(payload) + payload).rstrip(b"=").decode()
        return _TOKEN_START + text, expires_at_s

    def derived_key(self, purpose: bytes) -> bytes:
        """A key of this installation for something else, 32 bytes: the signing secret does not follow from it."""
        return hmac.digest(self._secret, b"derived\0" + purpose, hashlib.sha256)

    def verify(self, token: str, *, now_s: float) -> VisitorClaims:
        """Raises Unauthenticated for a token that is forged, malformed or past its end."""
        body = token.removeprefix(_TOKEN_START)
        if body is token or len(token) > _TOKEN_AT_MOST:
            raise Unauthenticated("this is no visitor token")
        try:
            raw = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise Unauthenticated("the visitor token is malformed") from None
        payload = raw[_MAC_BYTES:]
        if not hmac.compare_digest(raw[:_MAC_BYTES], self._mac(payload)):
            raise Unauthenticated("the visitor token is not ours")
        tenant_id, chatbot_id, visitor_id, expires_at_s = msgspec.json.decode(payload, type=tuple[str, str, str, int])
        if now_s >= expires_at_s:
            raise Unauthenticated("the visitor token has expired; ask for a new one")
        return VisitorClaims(
            tenant_id=TenantId(tenant_id),
            chatbot_id=ChatbotId(chatbot_id),
            visitor_id=visitor_id,
            expires_at_s=expires_at_s,
        )

    def issue_link(self, *, tenant_id: TenantId, target: str, now_s: float, ttl_s: int) -> str:
        """A token that stands in an address and opens `target` of the tenant, nothing else, for `ttl_s` seconds."""
        payload = msgspec.json.encode((tenant_id, target, int(now_s) + ttl_s))
        return base64.urlsafe_b64encode(self._link_mac(payload) + payload).rstrip(b"=").decode()

    def verify_link(self, token: str, *, now_s: float) -> tuple[TenantId, str]:
        """(tenant, target). Raises Unauthenticated for a token that is forged, malformed or past its end."""
        try:
            raw = base64.b64decode(token[:_TOKEN_AT_MOST] + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise Unauthenticated("the link is malformed") from None
        payload = raw[_MAC_BYTES:]
        if not hmac.compare_digest(raw[:_MAC_BYTES], self._link_mac(payload)):
            raise Unauthenticated("the link is not ours")
        tenant_id, target, expires_at_s = msgspec.json.decode(payload, type=tuple[str, str, int])
        if now_s >= expires_at_s:
            raise Unauthenticated("the link has expired; ask for the import again to get a new one")
        return TenantId(tenant_id), target

    def _mac(self, payload: bytes) -> bytes:
        return hmac.digest(self._secret, b"visitor-token:" + payload, "sha256")

    def _link_mac(self, payload: bytes) -> bytes:
        return hmac.digest(self._secret, b"link:" + payload, "sha256")
