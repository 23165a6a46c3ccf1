"""Shapes of the API around providers: their keys, and the alerts about them."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from chatwright.entrypoints.wire import Request
from chatwright.features.provider_keys import SECRET_AT_MOST

ProviderName = Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9_-]{0,39}$")]
SecretText = Annotated[str, Meta(min_length=1, max_length=SECRET_AT_MOST)]
Limit = Annotated[int, Meta(ge=1, le=2**31 - 1)]


class ProviderKeyCreate(Request, frozen=True):
    """`base_url`: a server of your own that speaks the provider's dialect. Limits are per minute."""

    provider: ProviderName
    secret: SecretText
    name: Annotated[str, Meta(max_length=200)] = ""
    base_url: Annotated[str, Meta(min_length=1, max_length=500)] | None = None
    request_limit: Limit | None = None
    token_limit: Limit | None = None

    def __repr__(self) -> str:
        return f"ProviderKeyCreate(provider={self.provider!r}, …)"


class ProviderKeyRotate(Request, frozen=True):
    """`overlap_s`: seconds for which the old key stays in use beside the new one."""

    secret: SecretText
    overlap_s: Annotated[float, Meta(ge=0, le=30 * 86_400)] = 0.0

    def __repr__(self) -> str:
        return "ProviderKeyRotate(…)"


class ProviderKeyReply(msgspec.Struct, frozen=True):
    """Never the secret; `hint` holds its last characters, or the address of a service account."""

    id: str
    provider: str
    name: str
    hint: str
    base_url: str | None
    request_limit: int | None
    token_limit: int | None
    created_at: str
    last_used_at: str | None
    ends_at: str | None
    successor_id: str | None


class ProviderKeyPage(msgspec.Struct, frozen=True):
    items: list[ProviderKeyReply]
    next_cursor: str | None


class AlertReply(msgspec.Struct, frozen=True):
    """`subject` is what it is about (a key's id), `period` the time in which it is told once. No tenant: the platform's."""

    id: str
    tenant_id: str | None
    kind: str
    level: str
    subject: str
    period: str
    message: str
    detail: dict[str, Any]
    created_at: str


class AlertPage(msgspec.Struct, frozen=True):
    items: list[AlertReply]
    next_cursor: str | None
