"""One measured figure: its value, what it is set against, and the goal. Made in `figures/`, shown by `report.py`."""

import math
from typing import Any, Literal

import msgspec


class Goal(msgspec.Struct, frozen=True):
    """What the figure shall be: `at_least` or `at_most` `value`, in the figure's unit."""

    kind: Literal["at_least", "at_most"]
    value: float

    def met(self, value: float) -> bool:
        """False for nan: a figure that could not be taken meets no goal."""
        return value >= self.value if self.kind == "at_least" else value <= self.value

    def __str__(self) -> str:
        return f"{'≥' if self.kind == 'at_least' else '≤'} {self.value:,g}"


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """`ratio` is value / baseline; `samples` is how many measurements are behind the value."""

    group: str
    name: str
    unit: str
    value: float
    profile: Literal["bare", "full", "-"] = "-"
    goal: Goal | None = None
    baseline: float | None = None
    baseline_of: str = ""
    samples: int = 0
    detail: dict[str, Any] = {}

    @property
    def met(self) -> bool | None:
        return None if self.goal is None else self.goal.met(self.value)

    @property
    def ratio(self) -> float | None:
        if self.baseline is None or not self.baseline or not math.isfinite(self.value):
            return None
        return self.value / self.baseline


def at_least(value: float) -> Goal:
    return Goal("at_least", value)


def at_most(value: float) -> Goal:
    return Goal("at_most", value)
