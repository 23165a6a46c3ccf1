"""Keys for providers, the platform's and the tenants' own: sealed at rest, rotated, revoked, watched.

Called by `pipeline/provider_keys.py` (add, rotate, revoke, seal anew, watch) and by `pipeline/targets.py` (which keys may
this call use?).
"""

from chatwright.features.provider_keys.anomaly import Activity, Anomaly, find_anomalies
from chatwright.features.provider_keys.rules import (
    KEYS_AT_MOST,
    SECRET_AT_MOST,
    KeyEncryptionKey,
    KeyEncryptionKeys,
    ProviderKey,
    ProviderSecret,
    SealBroken,
    check_secret,
    hint_of,
    read_base64,
    read_keks,
    seal,
    sealed_secret,
)
from chatwright.features.provider_keys.service import PLATFORM, KeyRing
from chatwright.features.provider_keys.store import (
    KeyRecord,
    NewKey,
    SealedKey,
    count_keys,
    count_sealed_by,
    end_key,
    forget_ended,
    get_key,
    insert_key,
    list_keys,
    take_to_reseal,
    write_resealed,
)
from chatwright.features.provider_keys.usage import claim_chore, compare, roll_up

__all__ = [
    "KEYS_AT_MOST",
    "PLATFORM",
    "SECRET_AT_MOST",
    "Activity",
    "Anomaly",
    "KeyEncryptionKey",
    "KeyEncryptionKeys",
    "KeyRecord",
    "KeyRing",
    "NewKey",
    "ProviderKey",
    "ProviderSecret",
    "SealBroken",
    "SealedKey",
    "check_secret",
    "claim_chore",
    "compare",
    "count_keys",
    "count_sealed_by",
    "end_key",
    "find_anomalies",
    "forget_ended",
    "get_key",
    "hint_of",
    "insert_key",
    "list_keys",
    "read_base64",
    "read_keks",
    "roll_up",
    "seal",
    "sealed_secret",
    "take_to_reseal",
    "write_resealed",
]
