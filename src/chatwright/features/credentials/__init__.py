"""API keys and visitor tokens: made, checked, revoked. Secrets are stored as hashes and shown once.

Called by `entrypoints/auth.py` (who is this?) and `pipeline/manage.py` (make, rotate, revoke).
"""

from chatwright.features.credentials.rules import (
    VISITOR_TOKEN_TTL_S,
    Secret,
    VisitorClaims,
    VisitorTokens,
    hash_secret,
    new_secret,
    new_visitor_id,
    new_widget_id,
    visitor_id_for_widget,
    visitor_id_shown,
)
from chatwright.features.credentials.service import KeyDirectory
from chatwright.features.credentials.store import (
    ApiKey,
    KeyIdentity,
    create_key,
    find_by_hash,
    get_key,
    list_keys,
    load_secret,
    revoke_key,
)

__all__ = [
    "VISITOR_TOKEN_TTL_S",
    "ApiKey",
    "KeyDirectory",
    "KeyIdentity",
    "Secret",
    "VisitorClaims",
    "VisitorTokens",
    "create_key",
    "find_by_hash",
    "get_key",
    "hash_secret",
    "list_keys",
    "load_secret",
    "new_secret",
    "new_visitor_id",
    "new_widget_id",
    "revoke_key",
    "visitor_id_for_widget",
    "visitor_id_shown",
]
