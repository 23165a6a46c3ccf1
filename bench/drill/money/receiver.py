"""A webhook's receiver on loopback: verifies each delivery as Standard Webhooks has it, and refuses the first ones."""

import base64
import hashlib
import hmac
import json
import time
from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

from aiohttp import web

from bench.drill.money.evidence import Delivered

_OLD_S = 300


class Receiver:
    """`refusals`: how many first attempts of each kind of alert are answered 500, for every alert anew."""

    def __init__(self, refusals: Mapping[str, int]) -> None:
        self.refusals = dict(refusals)
        self.url = ""
        self.secrets: dict[str, str] = {}
        """Signing secrets by path."""
        self.delivered: dict[str, list[Delivered]] = {}
        """What came, by path."""
        self._seen: Counter[tuple[str, str]] = Counter()

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        path, webhook_id = request.path, request.headers.get("webhook-id", "")
        kind = str(json.loads(body).get("type", ""))
        self._seen[path, webhook_id] += 1
        status = 500 if self._seen[path, webhook_id] <= self.refusals.get(kind, 0) else 200
        signed = verified(self.secrets.get(path, ""), request.headers, body, now_s=time.time())
        self.delivered.setdefault(path, []).append(
            Delivered(webhook_id=webhook_id, kind=kind, signed=signed, status=status)
        )
        return web.Response(status=status, text="not now" if status == 500 else "heard")


def verified(secret: str, headers: Mapping[str, str], body: bytes, *, now_s: float) -> bool:
    """Whether the signature is one over this id, time and body, and the time is not minutes away."""
    stamp = headers.get("webhook-timestamp", "")
    if not stamp.isdigit() or abs(now_s - int(stamp)) > _OLD_S:
        return False
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{headers.get('webhook-id', '')}.{stamp}.".encode() + body
    wanted = "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    return any(hmac.compare_digest(wanted, given) for given in headers.get("webhook-signature", "").split())


@asynccontextmanager
async def run_receiver(refusals: Mapping[str, int]) -> AsyncGenerator[Receiver]:
    """Listen on a free port of loopback until the block ends."""
    receiver = Receiver(refusals)
    app = web.Application()
    app.router.add_post("/{path:.*}", receiver.handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        receiver.url = f"http://127.0.0.1:{port}"
        yield receiver
    finally:
        await runner.cleanup()
