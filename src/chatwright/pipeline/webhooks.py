"""Webhooks come, change and go: where a tenant, or the platform (scope None), has its alerts delivered.

Every change writes its audit row in the same transaction. Called by `entrypoints/admin_webhooks.py`; `alerting.py`
delivers to what stands here.
"""

import time
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from yarl import URL

from chatwright.adapters.alerts import Letter, Outcome, Place
from chatwright.adapters.postgres import Connection
from chatwright.domain.errors import BadRequest, Conflict, NotFound, RateLimited, Unprocessable
from chatwright.domain.ids import new_id
from chatwright.domain.scope import Scope
from chatwright.domain.times import rfc3339
from chatwright.features import alerts, tenancy
from chatwright.features.alerts import Sealed, Webhook, WebhookKind
from chatwright.features.provider_keys import SealBroken
from chatwright.pipeline.services import Services

_SAMPLE_EVERY_S = 5.0
_TARGET_AT_MOST = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """A new webhook and its signing secret, which is shown this once; "" for the kinds that sign nothing."""

    webhook: Webhook
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampled:
    """What came back of a sample, and after how many seconds."""

    outcome: Outcome
    took_s: float


async def add_webhook(
    app: Services, scope: Scope | None, *, actor: str, kind: WebhookKind, target: str, events: list[str]
) -> Added:
    """Store a webhook; alerts raised from now on are delivered to it.

    Raises Unprocessable for a target or an event that cannot be, Conflict if the owner has too many, NotFound for an
    unknown tenant, Unavailable where a secret cannot be sealed.
    """
    wanted = alerts.check_events(events)
    shown, secret = _checked_target(app, scope, kind, target)
    row_id, tenant_id = new_id(), None if scope is None else scope.tenant_id
    sealed, sealed_by = b"", ""
    if secret:
        sealed, sealed_by = app.provider_keys.seal(secret, tenant_id=tenant_id, row_id=row_id)
    async with rows_of(app, scope) as db:
        # Two at once may pass the limit by one: it bounds what one owner's alerts cost, nothing else hangs on it.
        if await alerts.count_webhooks(db, scope) >= alerts.WEBHOOKS_AT_MOST:
            raise Conflict(f"there are {alerts.WEBHOOKS_AT_MOST} webhooks; remove one first")
        webhook = await alerts.insert_webhook(
            db,
            tenant_id,
            webhook_id=row_id,
            kind=kind,
            target=shown,
            events=wanted,
            sealed=sealed,
            sealed_by=sealed_by,
        )
        detail = {"kind": kind, "events": list(wanted)}
        await tenancy.record(db, tenant_id, actor=actor, action="webhook.created", target=row_id, detail=detail)
    return Added(webhook=webhook, secret=secret if kind == "webhook" else "")


async def change_webhook(
    app: Services,
    scope: Scope | None,
    webhook_id: str,
    *,
    actor: str,
    events: list[str] | None = None,
    enabled: bool | None = None,
) -> Webhook:
    """Change the filter, or switch it off and on; what is None stays. Raises NotFound, Unprocessable."""
    wanted = None if events is None else alerts.check_events(events)
    async with rows_of(app, scope) as db:
        webhook = await alerts.patch_webhook(db, scope, webhook_id, events=wanted, enabled=enabled)
        if webhook is None:
            raise NotFound("no such webhook")
        fields = [name for name, given in (("events", events), ("enabled", enabled)) if given is not None]
        await tenancy.record(
            db, webhook.tenant_id, actor=actor, action="webhook.changed", target=webhook_id, detail={"fields": fields}
        )
    return webhook


async def remove_webhook(app: Services, scope: Scope | None, webhook_id: str, *, actor: str) -> None:
    """Delete a webhook and what it still had to hear. Raises NotFound."""
    async with rows_of(app, scope) as db:
        if not await alerts.delete_webhook(db, scope, webhook_id):
            raise NotFound("no such webhook")
        tenant_id = None if scope is None else scope.tenant_id
        await tenancy.record(db, tenant_id, actor=actor, action="webhook.removed", target=webhook_id)


async def send_sample(app: Services, scope: Scope | None, webhook_id: str) -> Sampled:
    """Send a made-up alert now, once, and say what came back. Raises NotFound, RateLimited."""
    async with rows_of(app, scope) as db:
        webhook = await alerts.get_webhook(db, scope, webhook_id)
        if webhook is None:
            raise NotFound("no such webhook")
        if not await alerts.claim_sample(db, scope, webhook_id, every_s=_SAMPLE_EVERY_S):
            raise RateLimited("a sample was sent a moment ago", retry_after_s=_SAMPLE_EVERY_S)
    now = datetime.now(UTC)
    letter = Letter(
        id=new_id(),
        type="webhook.test",
        level="info",
        message="This is a sample: alerts of this webhook arrive here.",
        subject=webhook.id,
        period=now.strftime("%Y-%m-%dT%H"),
        tenant_id=webhook.tenant_id,
        detail={},
        created_at=rfc3339(now),
    )
    started = time.perf_counter()
    outcome = await send_letter(app, letter, kind=webhook.kind, target=webhook.target, secret=webhook.secret)
    return Sampled(outcome=outcome, took_s=time.perf_counter() - started)


async def send_letter(app: Services, letter: Letter, *, kind: WebhookKind, target: str, secret: Sealed) -> Outcome:
    """One attempt to deliver a letter to a webhook. Raises nothing but CancelledError."""
    courier = app.couriers.get(kind)
    if courier is None:
        return Outcome(ok=False, error="no mail server is set: CHATWRIGHT_SMTP_URL")
    opened = ""
    if secret.sealed_by:
        try:
            opened = app.provider_keys.unseal(
                secret.sealed,
                secret.sealed_by,
                tenant_id=secret.tenant_id,
                row_id=secret.id,
                version=secret.version,
            ).reveal()
        except SealBroken:
            return Outcome(ok=False, error="its secret does not open with this server's key-encryption keys")
    guarded = secret.tenant_id is not None
    place = (
        Place(target=opened, guarded=guarded)
        if kind == "slack"
        else Place(target=target, secret=opened, guarded=guarded)
    )
    return await courier.send(letter, place)


def rows_of(app: Services, scope: Scope | None) -> AbstractAsyncContextManager[Connection]:
    """A transaction in which the owner's webhooks can be seen: the platform's only by the operators."""
    return app.db.operator() if scope is None else app.db.transaction(scope)


def _checked_target(app: Services, scope: Scope | None, kind: WebhookKind, target: str) -> tuple[str, str]:
    """(target as it is shown, secret to seal). Whoever knows Slack's URL can write there: it is the secret itself."""
    if kind == "email":
        if "email" not in app.couriers:
            raise Unprocessable("e-mail needs a mail server; an operator sets CHATWRIGHT_SMTP_URL", param="kind")
        return alerts.check_mail_address(target), ""
    try:
        url = URL(target) if scope is None else app.http.guard.check_url(target)
    except (BadRequest, ValueError) as error:
        said = error.message if isinstance(error, BadRequest) else "The address is not a URL."
        raise Unprocessable(said, param="target") from error
    if url.scheme not in ("http", "https") or not url.raw_host or url.user or url.password or url.fragment:
        raise Unprocessable("a target is http(s)://host/path, without a user or fragment", param="target")
    if len(target) > _TARGET_AT_MOST:
        raise Unprocessable(f"a target has at most {_TARGET_AT_MOST} characters", param="target")
    return (f"{url.origin()}/…", str(url)) if kind == "slack" else (str(url), alerts.new_secret())
