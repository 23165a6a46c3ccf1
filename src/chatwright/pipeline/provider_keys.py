"""Provider keys come, are rotated and end; their seals are renewed; what they do is watched.

Every change writes its audit row in the same transaction and is told to every process after it. Called by
`entrypoints/admin_provider_keys.py`, the command line (`reseal`) and the sweeper (`watch_keys`).
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

import structlog
from yarl import URL

from chatwright.adapters.postgres import Connection, Database
from chatwright.adapters.providers.google_tokens import read_service_account
from chatwright.domain.errors import AuthenticationError, BadRequest, Conflict, NotFound, Unavailable, Unprocessable
from chatwright.domain.ids import ApiKeyId, TenantId, new_id
from chatwright.domain.scope import Scope
from chatwright.features import alerts, provider_keys, tenancy
from chatwright.features.provider_keys import (
    PLATFORM,
    KeyEncryptionKey,
    KeyEncryptionKeys,
    KeyRecord,
    NewKey,
    SealBroken,
)
from chatwright.pipeline.services import Services

EXTRACTIVE = "extractive"
VERTEX = "vertex"
_ADDRESS_NEEDED = frozenset({"azure", "local"})
_WATCH = "watch_provider_keys"
_WATCH_EVERY_S = 55.0  # the sweeper asks once a minute; five seconds are left for its own lateness
_FIRST = "00000000-0000-0000-0000-000000000000"

log = structlog.get_logger(__name__)


class _SealedRow(Protocol):
    """A stored secret of any table, and what it is bound to."""

    @property
    def id(self) -> str: ...
    @property
    def tenant_id(self) -> TenantId | None: ...
    @property
    def sealed(self) -> bytes: ...
    @property
    def sealed_by(self) -> str: ...
    @property
    def version(self) -> int: ...


_Take = Callable[..., Awaitable[Sequence[_SealedRow]]]
_Write = Callable[[Connection, str, Sequence[tuple[str, int, bytes]]], Awaitable[int]]
_Count = Callable[[Connection], Awaitable[dict[str, int]]]
_SEALED: tuple[tuple[_Take, _Write, _Count], ...] = (
    (provider_keys.take_to_reseal, provider_keys.write_resealed, provider_keys.count_sealed_by),
    (alerts.take_secrets, alerts.write_secrets, alerts.count_secrets_by),
)
"""Every table that holds sealed secrets: none may be left behind when a key-encryption key goes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resealed:
    """How far sealing anew is. `left` counts what the newest key does not seal; `broken` of these did not open."""

    done: int = 0
    broken: int = 0
    left: int = 0


async def add_key(
    app: Services,
    scope: Scope | None,
    *,
    actor: str,
    provider: str,
    secret: str,
    name: str = "",
    base_url: str | None = None,
    request_limit: int | None = None,
    token_limit: int | None = None,
) -> KeyRecord:
    """Store a tenant's key, or the platform's for scope None; every process may use it within a second.

    Raises Unprocessable for an unknown provider, a secret or an address that cannot be, Conflict if the owner has too
    many keys, NotFound for an unknown tenant, Unavailable without a key-encryption key.
    """
    base_url = _checked_address(app, scope, provider, base_url)
    secret = _checked_secret(provider, secret)
    async with _rows_of(app, scope) as db:
        await _check_room(db, scope)
        key = await _insert(
            app, db, scope, provider, secret, name=name, base_url=base_url, limits=(request_limit, token_limit)
        )
        await tenancy.record(
            db,
            key.tenant_id,
            actor=actor,
            action="provider_key.created",
            target=key.id,
            detail={"provider": provider, "base_url": base_url},
        )
    await _tell_changed(app, scope)
    return key


async def rotate_key(
    app: Services, scope: Scope | None, key_id: str, *, actor: str, secret: str, overlap_s: float = 0.0
) -> KeyRecord:
    """Put a new secret in a key's place, as a key of its own with the same name, address and limits; the old one ends
    in `overlap_s` seconds. Chatbots that name the old key use the new one.

    Raises NotFound, Conflict if the key has ended or was rotated already; Unprocessable, Unavailable as `add_key`.
    """
    async with _rows_of(app, scope) as db:
        old = await provider_keys.get_key(db, scope, key_id)
        if old is None:
            raise NotFound("no such provider key")
        if old.ends_at is not None:
            raise Conflict("this provider key has been revoked or rotated already")
        await _check_room(db, scope)
        fresh = await _insert(
            app,
            db,
            scope,
            old.provider,
            _checked_secret(old.provider, secret),
            name=old.name,
            base_url=old.base_url,
            limits=(old.request_limit, old.token_limit),
        )
        ended = await provider_keys.end_key(db, scope, key_id, after_s=overlap_s, successor_id=fresh.id)
        if ended is None or ended.successor_id != fresh.id:
            raise Conflict("this provider key is being rotated by somebody else")
        await tenancy.record(
            db,
            old.tenant_id,
            actor=actor,
            action="provider_key.rotated",
            target=old.id,
            detail={"successor": fresh.id, "overlap_s": overlap_s},
        )
    await _tell_changed(app, scope)
    return fresh


async def revoke_key(app: Services, scope: Scope | None, key_id: str, *, actor: str) -> KeyRecord:
    """End a key now and forget its secret; no process starts a call with it a second later.

    Raises NotFound; revoking twice is fine.
    """
    async with _rows_of(app, scope) as db:
        key = await provider_keys.end_key(db, scope, key_id)
        if key is None:
            raise NotFound("no such provider key")
        await tenancy.record(db, key.tenant_id, actor=actor, action="provider_key.revoked", target=key.id)
    await _tell_changed(app, scope)
    return key


async def reseal(
    db: Database,
    keks: KeyEncryptionKeys,
    *,
    batch: int = 100,
    progress: Callable[[Resealed], None] | None = None,
) -> Resealed:
    """Seal every stored secret (provider keys, webhooks) with the newest key-encryption key, in batches that commit.

    May run beside everything else and beside itself, and be stopped and begun again at any time: a row is either old or
    new, and processes that hold the old ciphertext can still open it. Raises Unavailable without a key.
    """
    newest = keks.newest()
    if newest is None:
        raise Unavailable("there is no key-encryption key to seal with; `chatwright provider-key rotate-kek` makes one")
    done = broken = 0
    report = Resealed()
    for take, write, _ in _SEALED:
        after, rows = _FIRST, ()
        while after == _FIRST or rows:
            async with db.operator() as connection:
                rows = await take(connection, newest.id, after=after, limit=batch)
                fresh = [sealed for row in rows if (sealed := _sealed_anew(keks, newest, row)) is not None]
                done += await write(connection, newest.id, fresh)
                counts = [await count(connection) for _, _, count in _SEALED]
            broken += len(rows) - len(fresh)
            left = sum(sum(by.values()) - by.get(newest.id, 0) for by in counts)
            before, report = report, Resealed(done=done, broken=broken, left=left)
            if progress is not None and report != before:
                progress(report)
            after = rows[-1].id if rows else ""
    if done or broken:
        async with db.operator() as connection:
            detail = {"kek": newest.id, "done": done, "broken": broken, "left": report.left}
            await tenancy.record(connection, None, actor="cli", action="provider_keys.resealed", detail=detail)
    return report


async def watch_keys(app: Services) -> int:
    """Once a minute over all processes: note what every key did, tell what is far off its usual, and forget the
    secrets of keys whose overlap is over. Returns how many alerts were raised now."""
    async with app.db.operator() as db:
        if not await provider_keys.claim_chore(db, _WATCH, every_s=_WATCH_EVERY_S):
            return 0
    raised = 0
    period = datetime.now(UTC).strftime("%Y-%m-%dT%H")
    async with app.db.operator() as db:
        await provider_keys.forget_ended(db)
        await provider_keys.roll_up(db)
        for activity in await provider_keys.compare(db):
            for anomaly in provider_keys.find_anomalies(activity):
                fresh = await alerts.raise_alert(
                    db,
                    activity.tenant_id,
                    kind=anomaly.kind,
                    level=anomaly.level,
                    subject=activity.subject,
                    period=period,
                    message=anomaly.message,
                    detail=anomaly.detail,
                )
                if fresh:
                    raised += 1
                    log.warning(
                        "provider_key.unusual", tenant_id=activity.tenant_id, kind=anomaly.kind, **anomaly.detail
                    )
    return raised


def _rows_of(app: Services, scope: Scope | None) -> AbstractAsyncContextManager[Connection]:
    """A transaction in which the owner's keys can be seen: the platform's only by the operators."""
    return app.db.operator() if scope is None else app.db.transaction(scope)


async def _check_room(db: Connection, scope: Scope | None) -> None:
    # Two at once may pass the limit by one: it keeps memory bounded, nothing else hangs on it.
    if await provider_keys.count_keys(db, scope) >= provider_keys.KEYS_AT_MOST:
        raise Conflict(f"there are {provider_keys.KEYS_AT_MOST} provider keys in use; revoke one first")


async def _insert(
    app: Services,
    db: Connection,
    scope: Scope | None,
    provider: str,
    secret: str,
    *,
    name: str,
    base_url: str | None,
    limits: tuple[int | None, int | None],
) -> KeyRecord:
    row_id, tenant_id = new_id(), None if scope is None else scope.tenant_id
    sealed, sealed_by = app.provider_keys.seal(secret, tenant_id=tenant_id, row_id=row_id)
    return await provider_keys.insert_key(
        db,
        NewKey(
            id=row_id,
            tenant_id=tenant_id,
            provider=provider,
            name=name,
            hint=provider_keys.hint_of(provider, secret),
            sealed=sealed,
            sealed_by=sealed_by,
            base_url=base_url,
            request_limit=limits[0],
            token_limit=limits[1],
        ),
    )


def _checked_address(app: Services, scope: Scope | None, provider: str, base_url: str | None) -> str | None:
    """The address as it is stored. A tenant's must be one that we may call for it; an operator knows the network."""
    if provider == EXTRACTIVE:
        raise Unprocessable("extractive quotes the knowledge base and needs no key", param="provider")
    if base_url is None:
        if provider in _ADDRESS_NEEDED:
            raise Unprocessable(f"{provider} needs a base_url: it has no address of its own", param="base_url")
        if app.catalogue.provider(provider) is None and provider not in app.platform_providers:
            raise Unprocessable(
                f"no such provider: {provider!r}; an OpenAI-compatible one needs a base_url", param="provider"
            )
        return None
    try:
        url = URL(base_url) if scope is None else app.http.guard.check_url(base_url)
    except (BadRequest, ValueError) as error:
        said = error.message if isinstance(error, BadRequest) else "The address is not a URL."
        raise Unprocessable(said, param="base_url") from error
    if url.scheme not in ("http", "https") or not url.raw_host or url.query_string or url.fragment or url.user:
        raise Unprocessable("a base_url is http(s)://host/path, without a user, query or fragment", param="base_url")
    return str(url).rstrip("/")


def _checked_secret(provider: str, secret: str) -> str:
    """The secret as it is stored. Raises Unprocessable for what no call could be made with."""
    secret = provider_keys.check_secret(provider, secret)
    if provider == VERTEX:
        try:
            read_service_account(secret)
        except AuthenticationError as error:
            raise Unprocessable(error.message, param="secret") from error
    return secret


def _sealed_anew(keks: KeyEncryptionKeys, newest: KeyEncryptionKey, row: _SealedRow) -> tuple[str, int, bytes] | None:
    """(id, version it has, ciphertext of the next version); None if it does not open."""
    kek = keks.find(row.sealed_by)
    try:
        if kek is None:
            raise SealBroken("its key-encryption key is not here")
        secret = provider_keys.sealed_secret(
            kek, row.sealed, tenant_id=row.tenant_id, row_id=row.id, version=row.version
        )
    except SealBroken as error:
        log.error("provider_keys.not_resealed", key_id=row.id, sealed_by=row.sealed_by, error=error.message)
        return None
    fresh = provider_keys.seal(newest, secret.reveal(), tenant_id=row.tenant_id, row_id=row.id, version=row.version + 1)
    return row.id, row.version, fresh


async def _tell_changed(app: Services, scope: Scope | None) -> None:
    owner = PLATFORM if scope is None else scope.tenant_id
    app.provider_keys.drop_owner(owner)
    try:
        await app.channel.publish_revoked(ApiKeyId(owner))
    except Unavailable as error:
        # Other processes learn it from PostgreSQL within a second (KeyRing.watch).
        log.warning("provider_keys.notice_failed", owner=owner, error=error.message)
