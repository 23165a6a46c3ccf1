"""Alerts over HTTP: signed as Standard Webhooks says (standardwebhooks.com), or in Slack's shape.

A tenant's URL is called through the guarded session. Redirects are not followed: a signed body goes where it was sent.
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Callable
from typing import Any

import aiohttp
import msgspec

from chatwright.adapters.alerts.base import Letter, Outcome, Place, shortened
from chatwright.domain.errors import ChatwrightError

TIMEOUT_S = 10.0
_READ_AT_MOST = 800  # bytes; 200 characters of UTF-8
_SECRET_START = "whsec_"  # noqa: S105 - marks the kind, is no secret
_SLACK_TEXT_AT_MOST = 2900  # a section's text may have 3000
_SLACK_HEADER_AT_MOST = 150
_GONE = 410
_encode = msgspec.json.Encoder().encode


class WebhookCourier:
    """POSTs `{"type", "timestamp", "data"}` with the headers webhook-id, webhook-timestamp and webhook-signature."""

    def __init__(
        self,
        plain: aiohttp.ClientSession,
        guarded: aiohttp.ClientSession,
        *,
        timeout_s: float = TIMEOUT_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._plain = plain
        self._guarded = guarded
        self._timeout_s = timeout_s
        self._clock = clock

    async def send(self, letter: Letter, place: Place) -> Outcome:
        body = _encode({"type": letter.type, "timestamp": letter.created_at, "data": data_of(letter)})
        stamp = int(self._clock())
        try:
            signature = sign(place.secret, letter.id, stamp, body)
        except ValueError as error:
            return Outcome(ok=False, error=str(error))
        headers = {
            "content-type": "application/json",
            "webhook-id": letter.id,
            "webhook-timestamp": str(stamp),
            "webhook-signature": signature,
        }
        return await post(
            self._guarded if place.guarded else self._plain, place.target, body, headers, timeout_s=self._timeout_s
        )


class SlackCourier:
    """POSTs `{"text", "blocks"}` to an incoming webhook of Slack; what only knows `text` (Mattermost) is served too."""

    def __init__(
        self, plain: aiohttp.ClientSession, guarded: aiohttp.ClientSession, *, timeout_s: float = TIMEOUT_S
    ) -> None:
        self._plain = plain
        self._guarded = guarded
        self._timeout_s = timeout_s

    async def send(self, letter: Letter, place: Place) -> Outcome:
        headers = {"content-type": "application/json"}
        session = self._guarded if place.guarded else self._plain
        return await post(session, place.target, _encode(slack_body(letter)), headers, timeout_s=self._timeout_s)


def data_of(letter: Letter) -> dict[str, Any]:
    """The alert as a webhook's `data`, in the fields of the REST API."""
    return {
        "id": letter.id,
        "tenant_id": letter.tenant_id,
        "kind": letter.type,
        "level": letter.level,
        "subject": letter.subject,
        "period": letter.period,
        "message": letter.message,
        "detail": letter.detail,
        "created_at": letter.created_at,
    }


def sign(secret: str, letter_id: str, stamp: int, body: bytes) -> str:
    """``v1,`` and the base64 HMAC-SHA256 of ``id.timestamp.body``. Raises ValueError for a secret of another kind."""
    try:
        key = base64.b64decode(secret.removeprefix(_SECRET_START), validate=True)
    except binascii.Error:
        key = b""
    if not secret.startswith(_SECRET_START) or not key:
        raise ValueError("the signing secret is no whsec_ secret; add the webhook anew")
    mac = hmac.digest(key, f"{letter_id}.{stamp}.".encode() + body, hashlib.sha256)
    return f"v1,{base64.b64encode(mac).decode()}"


def slack_body(letter: Letter) -> dict[str, Any]:
    """An alert as a message for people: a header, the words, and a line that says what, whose and when."""
    title = f"{letter.level.capitalize()}: {letter.type}"
    facts = [f"*{letter.subject}*" if letter.subject else "", letter.period, letter.created_at]
    if letter.tenant_id is not None:
        facts.insert(1, f"tenant {letter.tenant_id}")
    return {
        "text": _escaped(f"{title}: {letter.message}"),
        "blocks": [
            {"type": "header", "text": {"type": "plain_text", "text": title[:_SLACK_HEADER_AT_MOST]}},
            {"type": "section", "text": {"type": "mrkdwn", "text": _escaped(letter.message) or "-"}},
            {
                "type": "context",
                "elements": [{"type": "mrkdwn", "text": _escaped(" · ".join(fact for fact in facts if fact))}],
            },
        ],
    }


async def post(
    session: aiohttp.ClientSession, url: str, body: bytes, headers: dict[str, str], *, timeout_s: float
) -> Outcome:
    """POST once and say what came back. Any 2xx is good; of other answers the first 200 characters are kept."""
    status: int | None = None
    try:
        async with (
            asyncio.timeout(timeout_s),
            session.post(url, data=body, headers=headers, allow_redirects=False) as response,
        ):
            status = response.status
            if 200 <= status < 300:
                return Outcome(ok=True, status=status)
            said = shortened((await _beginning(response)).decode("utf-8", "replace"))
            return Outcome(
                ok=False,
                status=status,
                error=_refusal(status, said),
                gone=status == _GONE,
                retry_after_s=_retry_after_s(response.headers.get("retry-after")),
            )
    except TimeoutError:
        if status is not None:
            return Outcome(ok=False, status=status, error=_refusal(status, ""), gone=status == _GONE)
        return Outcome(ok=False, error=f"no answer within {timeout_s:g} s")
    except ChatwrightError as error:  # the guard's
        return Outcome(ok=False, error=shortened(error.message))
    except (aiohttp.ClientError, OSError, ValueError) as error:
        # The kind alone: what aiohttp says holds the whole URL, which may hold a token.
        return Outcome(ok=False, status=status, error=f"could not be reached: {type(error).__name__}")


async def _beginning(response: aiohttp.ClientResponse) -> bytes:
    found = b""
    while len(found) < _READ_AT_MOST and not response.content.at_eof():
        found += await response.content.read(_READ_AT_MOST - len(found))
    return found


def _refusal(status: int, said: str) -> str:
    if 300 <= status < 400:
        return f"answered {status}; redirects are not followed"
    return shortened(f"answered {status}: {said}" if said else f"answered {status}")


def _retry_after_s(text: str | None) -> float | None:
    return float(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 8 else None


def _escaped(text: str) -> str:
    """As Slack wants it: three characters escaped, and not longer than a section may be."""
    short = text if len(text) <= _SLACK_TEXT_AT_MOST // 5 else text[: _SLACK_TEXT_AT_MOST // 5] + "…"
    return short.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
