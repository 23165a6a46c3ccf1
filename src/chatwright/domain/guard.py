"""What a guard found in a text, and what is to be done about it."""

from dataclasses import dataclass
from typing import Literal

GuardAction = Literal["allow", "flag", "advise", "block"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """`rule` tripped over the characters `start` to `end` of the text as it came. `score` is in 0..1, None for a rule that
    only counts."""

    rule: str
    start: int
    end: int
    score: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`score` is the probability that the text is an attack, None where no model read it."""

    action: GuardAction
    score: float | None = None
    findings: tuple[Finding, ...] = ()

    @property
    def signals(self) -> tuple[str, ...]:
        """Names of the rules, each once, in the order found."""
        return tuple(dict.fromkeys(finding.rule for finding in self.findings))


CLEAN = Verdict(action="allow")
