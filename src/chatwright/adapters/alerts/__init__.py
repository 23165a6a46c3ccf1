"""Ways to deliver an alert: signed webhooks, Slack, e-mail. Opened by `app/services.py`, called by the alert flows."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

import aiohttp

from chatwright.adapters.alerts.base import Courier, Letter, Outcome, Place
from chatwright.adapters.alerts.email import EmailCourier, SmtpServer, read_smtp_url
from chatwright.adapters.alerts.webhook import SlackCourier, WebhookCourier

__all__ = ["Courier", "Letter", "Outcome", "Place", "SmtpServer", "open_couriers", "read_smtp_url"]


@asynccontextmanager
async def open_couriers(
    *, plain: aiohttp.ClientSession, guarded: aiohttp.ClientSession, smtp: SmtpServer | None
) -> AsyncGenerator[Mapping[str, Courier]]:
    """A courier for each kind of webhook; `email` is missing without an SMTP server. `guarded` calls what tenants chose."""
    couriers: dict[str, Courier] = {
        "webhook": WebhookCourier(plain, guarded),
        "slack": SlackCourier(plain, guarded),
    }
    if smtp is None:
        yield couriers
        return
    email = EmailCourier(smtp)
    try:
        yield {**couriers, "email": email}
    finally:
        email.close()
