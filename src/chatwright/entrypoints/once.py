"""Idempotency-Key on creating requests: the same key and body twice is one creation and the same reply.

The key is claimed before the work and keeps the reply afterwards, 24 h. Replies that hold a secret are kept sealed
under a key made from the caller's own API key, so that the database alone never gives a secret away.
"""

import asyncio
import hashlib
import hmac
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress

import msgspec

from chatwright.domain.errors import BadRequest, ChatwrightError, Conflict
from chatwright.domain.ids import TenantId
from chatwright.domain.scope import Scope
from chatwright.entrypoints.auth import Visitor, credential_of
from chatwright.entrypoints.call import Call, Reply
from chatwright.features import idempotency
from chatwright.features.idempotency import Claim

REPLAYED = (b"idempotency-replayed", b"true")
_WAIT_S = 20.0
_TAKE_OVER_S = 60.0
_POLL_S = 0.05
_RELEASE_TIMEOUT_S = 5.0
_KEY_AT_MOST = 255

Work = Callable[[], Awaitable[Reply]]


def idempotency_key(call: Call) -> str | None:
    """The request's Idempotency-Key. Raises BadRequest for one that cannot be kept."""
    key = call.header(b"idempotency-key")
    if key is None:
        return None
    if not key or len(key) > _KEY_AT_MOST or not key.isascii() or not key.isprintable():
        raise BadRequest("an Idempotency-Key is 1 to 255 printable ASCII characters", param="idempotency-key")
    return key


async def once(call: Call, scope: Scope, raw: bytes, work: Work, *, secret: bool = False) -> Reply:
    """Run `work` once for the request's Idempotency-Key, if it has one; later requests get the first one's reply.

    `raw` is the body, part of what must be the same. A request that fails gives the key back. Raises Conflict if the
    key was used for another request, or the same request is still under way after 20 s.
    """
    header = idempotency_key(call)
    if header is None:
        return await work()
    key, digest = _place(call, header), fingerprint(call, raw)
    app, tenant_id = call.app, scope.tenant_id
    claim = await _claim(call, scope, key, digest)
    if claim is not None:
        return replayed(call, claim, secret=secret)
    try:
        reply = await work()
    except BaseException:
        # If this fails too, the claim can be taken over in a minute; what the caller learns is the first failure.
        with suppress(ChatwrightError, TimeoutError):
            async with asyncio.timeout(_RELEASE_TIMEOUT_S), app.db.transaction(scope) as db:
                await idempotency.release(db, tenant_id, key, digest)
        raise
    async with app.db.transaction(scope) as db:
        await idempotency.finish(
            db, tenant_id, key, digest, status=reply.status, response=kept(call, reply, secret=secret)
        )
    return reply


def _place(call: Call, header: str) -> str:
    """Where a request's key is kept: one space for a tenant's API keys, and one for each visitor, who must not be able
    to name another visitor's request and be given its reply."""
    if not isinstance(call.identity, Visitor):
        return f"request:{header}"
    speaker = (call.identity.scope.chatbot_id or "", call.identity.visitor_id, header)
    return f"visitor-request:{hashlib.sha256(msgspec.json.encode(speaker)).hexdigest()}"


def fingerprint(call: Call, raw: bytes) -> bytes:
    """What makes two requests the same: method, path, query, body."""
    head = f"{call.method} {call.path}?".encode("utf-8", "surrogatepass") + call.scope.get("query_string", b"")
    return hashlib.sha256(head + b"\n" + raw).digest()


def kept(call: Call, reply: Reply, *, secret: bool) -> dict[str, str]:
    """A reply as it is stored."""
    if not secret:
        return {"body": reply.body.decode()}
    nonce = secrets.token_bytes(16)
    sealed = _mask(_sealing_key(call), nonce, reply.body)
    tag = hmac.digest(_sealing_key(call), nonce + sealed, "sha256")
    return {"nonce": nonce.hex(), "sealed": sealed.hex(), "tag": tag.hex()}


def replayed(call: Call, claim: Claim, *, secret: bool) -> Reply:
    """The reply of a finished request. Raises Conflict if it cannot be given again."""
    if claim.state == "other":
        raise Conflict("this Idempotency-Key was used for another request; use a new one", param="idempotency-key")
    stored = msgspec.convert(claim.response, dict[str, str])
    if not secret:
        return Reply(claim.status, stored["body"].encode(), headers=(REPLAYED,))
    nonce, sealed = bytes.fromhex(stored["nonce"]), bytes.fromhex(stored["sealed"])
    key = _sealing_key(call)
    if not hmac.compare_digest(hmac.digest(key, nonce + sealed, "sha256"), bytes.fromhex(stored["tag"])):
        raise Conflict("this Idempotency-Key was used with another API key, which alone can read the reply again")
    return Reply(claim.status, _mask(key, nonce, sealed), headers=(REPLAYED, (b"cache-control", b"no-store")))


async def _claim(call: Call, scope: Scope, key: str, digest: bytes) -> Claim | None:
    """None: the work is ours. Waits while somebody else is at it."""
    deadline = asyncio.get_running_loop().time() + _WAIT_S
    while True:
        async with call.app.db.transaction(scope) as db:
            claim = await idempotency.claim(
                db,
                TenantId(scope.tenant_id),
                key,
                digest,
                hours=call.app.settings.idempotency_hours,
                take_over_s=_TAKE_OVER_S,
            )
        if claim.state == "mine":
            return None
        if claim.state != "busy":
            return claim
        if asyncio.get_running_loop().time() > deadline:
            raise Conflict("the same request is still under way; try again in a moment", param="idempotency-key")
        await asyncio.sleep(_POLL_S)


def _sealing_key(call: Call) -> bytes:
    return hmac.digest(credential_of(call).encode("latin-1", "replace"), b"chatwright idempotent reply", "sha256")


def _mask(key: bytes, nonce: bytes, data: bytes) -> bytes:
    """Counter mode with HMAC-SHA256 as the pseudorandom function; the same call seals and opens."""
    blocks = -(-len(data) // 32)
    stream = b"".join(hmac.digest(key, nonce + place.to_bytes(8), "sha256") for place in range(blocks))
    return bytes(left ^ right for left, right in zip(data, stream, strict=False))
