"""Alerts: what an operator or a tenant should know, told once per subject, kind and period.

Raised by flows in the transaction that found the reason; listed by `entrypoints/admin_alerts.py`; delivered by
`pipeline/alerting.py` to the webhooks that their owners added (`pipeline/webhooks.py`).
"""

from chatwright.features.alerts.deliveries import (
    Delivery,
    FannedOut,
    count_deliveries,
    fan_out,
    mark_failed,
    mark_sent,
    take_due,
    trim_deliveries,
)
from chatwright.features.alerts.rules import (
    DELAYS_S,
    GIVE_UP_AFTER_S,
    WEBHOOKS_AT_MOST,
    check_events,
    check_mail_address,
    new_secret,
    next_delay_s,
)
from chatwright.features.alerts.store import Alert, Level, list_alerts, raise_alert
from chatwright.features.alerts.webhooks import (
    Sealed,
    Webhook,
    WebhookKind,
    claim_sample,
    count_secrets_by,
    count_webhooks,
    delete_webhook,
    get_webhook,
    insert_webhook,
    list_webhooks,
    patch_webhook,
    take_secrets,
    write_secrets,
)

__all__ = [
    "DELAYS_S",
    "GIVE_UP_AFTER_S",
    "WEBHOOKS_AT_MOST",
    "Alert",
    "Delivery",
    "FannedOut",
    "Level",
    "Sealed",
    "Webhook",
    "WebhookKind",
    "check_events",
    "check_mail_address",
    "claim_sample",
    "count_deliveries",
    "count_secrets_by",
    "count_webhooks",
    "delete_webhook",
    "fan_out",
    "get_webhook",
    "insert_webhook",
    "list_alerts",
    "list_webhooks",
    "mark_failed",
    "mark_sent",
    "new_secret",
    "next_delay_s",
    "patch_webhook",
    "raise_alert",
    "take_due",
    "take_secrets",
    "trim_deliveries",
    "write_secrets",
]
