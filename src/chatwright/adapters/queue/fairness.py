"""The numbers of tenant fairness: how a level and a turn become a BullMQ priority.

The arithmetic itself is in `lua/fair.lua`, because a turn must be taken in the same step that adds the job. Pure.
"""

import math

SPAN = 131_072
"""Turns per level, 2**17; sixteen levels fill BullMQ's largest priority, 2**21."""

REBASE_AT = 32_768
"""Once this many turns were served without the level ever being empty, its numbers are shifted down."""

AHEAD = 65_000
"""A tenant's job is queued at most this many turns ahead; further jobs share that turn in order of arrival."""

MIN_WEIGHT = 1 / 16
MAX_WEIGHT = 16.0


def cost_of(weight: float) -> float:
    """Turns that one job costs a tenant of this weight. Weights are clamped to 1/16..16; nonsense counts as 1."""
    if not math.isfinite(weight) or weight <= 0:
        return 1.0
    return 1.0 / min(MAX_WEIGHT, max(MIN_WEIGHT, weight))


def level_of_number(number: int) -> int:
    """Level of a BullMQ priority number; 0 (an unprioritized foreign job, which BullMQ runs first) is level 0."""
    return 0 if number <= 0 else (number - 1) // SPAN
