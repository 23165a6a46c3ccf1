"""Alerts: what an operator or a tenant should know, told once per subject, kind and period.

Raised by flows in the transaction that found the reason; listed by `entrypoints/admin_alerts.py`.
"""

from chatwright.features.alerts.store import Alert, Level, list_alerts, raise_alert

__all__ = ["Alert", "Level", "list_alerts", "raise_alert"]
