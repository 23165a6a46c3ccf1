"""One row of the routing table: where, for whom, what goes in and out. `web.py` routes by it, `openapi.py` tells it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from chatwright.entrypoints.call import Call, Reply

Handler = Callable[[Call], Awaitable[Reply | None]]


class Access(StrEnum):
    """Who may call. An operator acts for a tenant by naming it in `x-chatwright-tenant`."""

    NONE = "none"
    ADMIN = "admin"
    TENANT = "tenant"
    VISITOR = "visitor"  # a visitor's token, or the tenant
    STAFF = "staff"  # a tenant for itself, an operator for all tenants


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """`path` holds parameters as {name}. `widget`: browsers on other origins may call it (CORS)."""

    method: str
    path: str
    handle: Handler
    access: Access
    summary: str
    tag: str
    status: int = 200
    request: Any = None
    response: Any = None
    also: tuple[tuple[int, str, Any], ...] = ()  # other good replies: (status, meaning, shape)
    query: tuple[tuple[str, str], ...] = ()  # (name, meaning)
    widget: bool = False
    creates: bool = False  # takes an Idempotency-Key
    content_type: str = "application/json"
