"""Which hits are looked at, what that says about the rest, and how strict the tier is for it. Pure.

A check is a hit behind which the provider is asked as well: what it says tells whether the cached answer was right. A small part of the hits is drawn by lot whatever they are; the rest of what checks may cost goes where they teach
most. Each check carries the probability with which it was made, so that all of them together say something about the hits
that nobody looked at. Called by `pipeline/semantic.py` and `pipeline/cache_checks.py`.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from chatwright.features.cache.agreement import Agreement

Drawn = Literal["uniform", "chosen", "feedback"]

UNIFORM_SHARE = 0.05
"""Of the hits, by lot, while checks are allowed at all."""
WINDOW = 500
"""Questions over which the share of checks is kept."""
FIGURE_CHECKS = 1_000
"""The newest checks that the figures are made of."""
ENOUGH = 40
"""Effective checks that a step back takes."""
STEP_WRONG, STEP_Z = 3, 1.64
"""A step further takes so many wrong answers, and a lower end above the bound: at 95 % certainty, … A router that errs just as
often as it may is looked at hundreds of times: at 80 % chance made it stricter sooner or later, and it served a third less."""
OFF_WRONG, OFF_Z = 4, 3.0
"""… and at 99.9 % the tier is shut at once. Few checks are looked at again and again, so chance has many tries."""
OFF = 3
"""Strictness at which no answer is served: hits only teach. Below it the router is trained for `max_error` halved so
often."""
_Z = 1.96
_SPENT_BACK = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """Whether a hit is checked. `share`: how probable it was."""

    check: bool
    drawn: Drawn
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One hit that was looked at. `age_s`: seconds since."""

    outcome: Agreement
    drawn: Drawn
    share: float
    age_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The measured share of wrong answers among hits: estimate and 95 % interval, in 0..1; None: nothing is known.

    `checks` counts those with an outcome, `wrong` those that were different, `effective` what all are worth (unequal
    shares make them worth less).
    """

    checks: int = 0
    wrong: int = 0
    effective: float = 0.0
    rate: float | None = None
    low: float = 0.0
    high: float = 1.0


@dataclass(slots=True)
class CheckWindow:
    """What one process's latest questions of one chatbot cost in checks."""

    marks: deque[bool] = field(default_factory=lambda: deque[bool](maxlen=WINDOW))
    spent: int = 0

    def asked(self) -> None:
        """Note a question."""
        if len(self.marks) == WINDOW and self.marks[0]:
            self.spent -= 1
        self.marks.append(False)

    def spend(self) -> None:
        """Note that one of the latest questions costs a check."""
        for place in range(1, min(len(self.marks), _SPENT_BACK) + 1):
            if not self.marks[-place]:
                self.marks[-place] = True
                self.spent += 1
                return

    def has_room(self, share: float) -> bool:
        """Whether one more check keeps within `share` of the questions."""
        return self.spent + 1 <= share * len(self.marks)


def draw(
    *, chance: float, share: float, has_room: bool, doubt: float, agreed: int, disagreed: int, confirmed: bool
) -> Draw:
    """Whether a hit of a class is checked.

    `chance`: a random number in 0..1. `share`: the most that checks may cost, of all questions. `doubt`: 0 for a hit
    that is sure, 1 for one at the router's threshold; `agreed` and `disagreed`: earlier checks of the class; `confirmed`: of the answer as it stands now.
    """
    uniform = min(UNIFORM_SHARE, share)
    # A class nobody ever looked at teaches most; each check that went well halves the interest in the next one.
    interest = 0.5 if agreed + disagreed == 0 else 0.5 / (1 + max(0, agreed - 3 * disagreed))
    if not confirmed:
        interest = max(interest, 0.25)
    interest *= 0.25 + 1.5 * min(1.0, max(0.0, doubt))
    chosen = min(1.0, interest) if has_room and share > 0 else 0.0
    probability = uniform + (1.0 - uniform) * chosen
    if chance < uniform:
        return Draw(check=True, drawn="uniform", share=probability)
    return Draw(check=chance < probability, drawn="chosen", share=max(probability, 1e-6))


def figures(checks: Sequence[Check]) -> Figures:
    """The false-hit rate that checks stand for: each counts for the 1 / share hits of its kind.

    Wilson's interval over as many checks of equal worth as theirs come to. Visitors' complaints are no sample: who is
    content says nothing.
    """
    drawn = [check for check in checks if check.drawn != "feedback"]
    known = [(check, 1.0 / check.share) for check in drawn if check.outcome != "unknown"]
    if not known:
        return Figures()
    total = sum(weight for _, weight in known)
    wrong = sum(weight for check, weight in known if check.outcome == "different")
    effective = total * total / sum(weight * weight for _, weight in known)
    rate = wrong / total
    low, high = wilson(rate, effective)
    count = sum(check.outcome == "different" for check, _ in known)
    return Figures(checks=len(known), wrong=count, effective=effective, rate=rate, low=low, high=high)


def wilson(rate: float, count: float, z: float = _Z) -> tuple[float, float]:
    """The interval of a share that was seen in `count` draws; `z` 1.96: of 95 %."""
    if count <= 0:
        return 0.0, 1.0
    squared = z * z
    middle = (rate + squared / (2 * count)) / (1 + squared / count)
    spread = z * math.sqrt(rate * (1 - rate) / count + squared / (4 * count * count)) / (1 + squared / count)
    return max(0.0, middle - spread), min(1.0, middle + spread)


def next_strictness(strictness: int, all_checks: Sequence[Check], *, strict_for_s: float, max_error: float) -> int:
    """How strict the tier should be, from its newest checks (newest first) and since when it is as it is.

    Surely above the bound: off. Probably above: one step stricter. Well under it, on checks made since the last step: one
    step less. Only checks made since count, so that one bad stretch does not shut the tier twice.
    """
    now = figures([check for check in all_checks if check.age_s <= strict_for_s])
    if now.rate is None:
        return strictness
    if now.wrong >= OFF_WRONG and wilson(now.rate, now.effective, OFF_Z)[0] > max_error:
        return OFF
    if now.wrong >= STEP_WRONG and wilson(now.rate, now.effective, STEP_Z)[0] > max_error:
        return min(OFF, strictness + 1)
    if strictness and now.effective >= ENOUGH and now.rate <= 0.75 * max_error:
        return strictness - 1
    return strictness


def error_bound(max_error: float, strictness: int) -> float:
    """What the router is trained to hold: tightened while the measured rate is above the bound."""
    return max_error / 2 ** min(strictness, OFF)
