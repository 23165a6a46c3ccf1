"""Rate limits of tenants, chatbots, visitors and API keys. The room's door; called by `pipeline/limits.py`."""

from chatwright.features.limits.rules import Rule, ScopeKind
from chatwright.features.limits.service import Limiter, Ticket, open_limiter

__all__ = ["Limiter", "Rule", "ScopeKind", "Ticket", "open_limiter"]
