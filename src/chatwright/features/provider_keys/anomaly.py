"""When what a key does is far off its usual. Pure; `pipeline/provider_keys.py` asks once a minute.

A key is compared with itself: its last ten minutes with its ten-minute windows of the last seven days.

Spend is unusual at 3 times the 95th percentile of the windows in which the key was used at all, from 1 USD on. The
percentile knows the busy hours; one spike of the past does not hide the next, and a slow rise moves it along. A key
with less than two hours of use has no usual spend yet.

Errors are unusual from a fifth of at least ten calls on, at 4 times the usual rate, or half-way between the usual rate
and everything where that is less (a key that always fails a third of its calls). A new key's usual rate counts as 0,
because a key that fails from its first call on is worth telling. Ten calls are few, because a breaker that opened lets
no more through.
"""

from dataclasses import dataclass
from typing import Any, Literal

from chatwright.domain.ids import TenantId
from chatwright.domain.money import format_usd

WINDOW_S = 600
SPEND_FLOOR_NANO = 1_000_000_000
SPEND_FACTOR = 3
SPEND_CRITICAL_FACTOR = 10
SPEND_WINDOWS = 12
ERROR_CALLS = 10
ERROR_FLOOR = 0.2
ERROR_FACTOR = 4
ERROR_CRITICAL = 0.9

ENVIRONMENT = "env"
"""Stands in the ledger for a key that came from the environment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """One key's last ten minutes, and the week before them: `usual_cost_nano` is the 95th percentile of a window."""

    key_id: str
    provider: str
    tenant_id: TenantId | None  # the key's owner, None: the platform
    label: str = ""
    calls: int = 0
    failures: int = 0
    cost_nano: int = 0
    usual_windows: int = 0
    usual_calls: int = 0
    usual_failures: int = 0
    usual_cost_nano: int = 0

    @property
    def subject(self) -> str:
        """What alerts are counted by: keys of the environment share an id, their provider tells them apart."""
        return f"{self.key_id}:{self.provider}" if self.key_id == ENVIRONMENT else self.key_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Anomaly:
    """Something to tell: a kind of alert, how loud, in words and in numbers."""

    kind: Literal["provider_key.spend", "provider_key.errors"]
    level: Literal["warning", "critical"]
    message: str
    detail: dict[str, Any]


def find_anomalies(activity: Activity) -> list[Anomaly]:
    """What is unusual about a key's last ten minutes."""
    return [found for found in (_spend(activity), _errors(activity)) if found is not None]


def _spend(now: Activity) -> Anomaly | None:
    if now.usual_windows < SPEND_WINDOWS or now.cost_nano < SPEND_FLOOR_NANO:
        return None
    if now.cost_nano < SPEND_FACTOR * now.usual_cost_nano:
        return None
    return Anomaly(
        kind="provider_key.spend",
        level="critical" if now.cost_nano >= SPEND_CRITICAL_FACTOR * now.usual_cost_nano else "warning",
        message=(
            f"{_named(now)} spent {format_usd(now.cost_nano)} USD in ten minutes; in 95 % of its ten minutes of the last "
            f"week it spent at most {format_usd(now.usual_cost_nano)} USD"
        ),
        detail={**_numbers(now), "cost_nano": now.cost_nano, "usual_cost_nano": now.usual_cost_nano},
    )


def _errors(now: Activity) -> Anomaly | None:
    if now.calls < ERROR_CALLS:
        return None
    rate = now.failures / now.calls
    usual = now.usual_failures / now.usual_calls if now.usual_calls else 0.0
    if rate < max(ERROR_FLOOR, min(ERROR_FACTOR * usual, (1 + usual) / 2)):
        return None
    return Anomaly(
        kind="provider_key.errors",
        level="critical" if rate >= ERROR_CRITICAL else "warning",
        message=(
            f"{_named(now)}: {now.failures} of {now.calls} calls failed in ten minutes; in the week before it was "
            f"{usual:.1%}"
        ),
        detail={**_numbers(now), "rate": round(rate, 4), "usual_rate": round(usual, 4)},
    )


def _named(now: Activity) -> str:
    if now.key_id == ENVIRONMENT:
        return f"The key of {now.provider} from the environment"
    return f"The key {now.label or now.key_id} of {now.provider}"


def _numbers(now: Activity) -> dict[str, Any]:
    return {"key_id": now.key_id, "provider": now.provider, "calls": now.calls, "failures": now.failures}
