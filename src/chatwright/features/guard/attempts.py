"""What a conversation tried before: a count that fades. Pure; where it is kept is the flow's business (`pipeline/guarding.py`).

Whoever was caught once and asks again in softer words is met with less patience; whoever was misread once is forgiven
within the hour. Called before and after `judging.judge`.
"""

from dataclasses import dataclass

HALF_LIFE_S = 600.0
MAX_WEIGHT = 4.0
"""More attempts than this change nothing more, so that a long fight is forgotten as soon as a short one."""
LEAST_SUSPICION = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempts:
    """`weight` attempts were counted at `at_s`, seconds on a clock that all processes share."""

    weight: float
    at_s: float


def weigh(attempts: Attempts | None, now_s: float) -> float:
    """How many recent attempts count at `now_s`, in 0..MAX_WEIGHT: half as many every `HALF_LIFE_S`."""
    if attempts is None:
        return 0.0
    passed_s = max(0.0, now_s - attempts.at_s)
    return min(MAX_WEIGHT, max(0.0, attempts.weight)) * 0.5 ** (passed_s / HALF_LIFE_S)


def remember(attempts: Attempts | None, suspicion: float, now_s: float) -> Attempts | None:
    """`attempts` with a message of this `suspicion` (0..1) counted in. None stays None for a message that is beyond
    suspicion: nothing has to be stored for an ordinary visitor."""
    counted = suspicion if suspicion >= LEAST_SUSPICION else 0.0
    if attempts is None and not counted:
        return None
    return Attempts(weight=min(MAX_WEIGHT, weigh(attempts, now_s) + counted), at_s=now_s)
