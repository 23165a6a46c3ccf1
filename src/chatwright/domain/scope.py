"""Whose data a call may touch."""

from dataclasses import dataclass

from chatwright.domain.ids import ChatbotId, TenantId


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Made once, at the edge (`entrypoints/auth.py`) or from a stored job; asked for by every store function.

    `chatbot_id` is None for a tenant-wide scope.
    """

    tenant_id: TenantId
    chatbot_id: ChatbotId | None = None
