"""What may be subscribed to, and how long a delivery that failed waits. No I/O."""

import base64
import re
import secrets

from chatwright.domain.errors import Unprocessable

WEBHOOKS_AT_MOST = 20
"""Webhooks that one owner may have."""
EVENTS_AT_MOST = 50
DELAYS_S = (5.0, 30.0, 120.0, 600.0, 3600.0, 2 * 3600.0, 4 * 3600.0, 8 * 3600.0, 8 * 3600.0)
"""Waits after the first, second … failed attempt; 23.2 h together."""
GIVE_UP_AFTER_S = 24 * 3600.0
_RETRY_AT_MOST_S = 3600.0  # what a receiver may ask for
_SPREAD = 0.1
_SECRET_BYTES = 32
_SECRET_START = "whsec_"  # noqa: S105 - marks the kind, is no secret
_EVENT = re.compile(r"\*|[a-z0-9_]+(?:\.[a-z0-9_]+)*(?:\.\*)?")
_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,250}[A-Za-z0-9])?")


def check_events(events: list[str]) -> tuple[str, ...]:
    """The filter as it is stored: kinds of alerts, prefixes such as ``budget.*``, or ``*``. Raises Unprocessable."""
    if not 1 <= len(events) <= EVENTS_AT_MOST:
        raise Unprocessable(f"name 1 to {EVENTS_AT_MOST} kinds of alerts, or * for all", param="events")
    for event in events:
        if len(event) > 100 or not _EVENT.fullmatch(event):
            raise Unprocessable(f"{event[:100]!r} is no kind of alert; write budget.100, budget.* or *", param="events")
    return tuple(dict.fromkeys(events))


def check_mail_address(text: str) -> str:
    """One plain mail address. Raises Unprocessable."""
    text = text.strip()
    if not _ADDRESS.fullmatch(text) or ".." in text:
        raise Unprocessable("this is no mail address; write one such as ops@example.com", param="target")
    return text


def new_secret() -> str:
    """A signing secret as Standard Webhooks writes it: ``whsec_`` and 32 random bytes in base64."""
    return _SECRET_START + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def next_delay_s(attempts: int, *, age_s: float, spread: float, asked_s: float | None = None) -> float | None:
    """Seconds until a delivery is tried again after `attempts` failed ones; None: it is given up.

    `age_s` is the age of the delivery, `spread` a number in [0, 1) that keeps many from coming back at one moment, `asked_s`
    what the receiver asked for (heeded up to an hour).
    """
    if attempts > len(DELAYS_S):
        return None
    delay_s = DELAYS_S[max(0, attempts - 1)] * (1 + _SPREAD * spread)
    if asked_s is not None:
        delay_s = max(delay_s, min(asked_s, _RETRY_AT_MOST_S))
    return None if age_s + delay_s > GIVE_UP_AFTER_S else delay_s
