"""Which fault hits what and when: drawn from the seed alone. Pure."""

import random
from dataclasses import dataclass
from typing import Literal

PARTS = ("worker", "api", "valkey", "postgres")
Kind = Literal["kill", "term", "stop", "flush"]
_FIRST_S = 3.0
_GAP_S = (1.2, 3.6)
_STOP_S = (1.0, 4.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """`at_s` after the load began. `stop` freezes the part for `lasts_s`; `flush` empties Valkey."""

    at_s: float
    kind: Kind
    part: str
    lasts_s: float = 0.0

    @property
    def end_s(self) -> float:
        return self.at_s + self.lasts_s

    def __str__(self) -> str:
        words = {"kill": "kill -9", "term": "SIGTERM", "stop": f"SIGSTOP {self.lasts_s:.1f} s", "flush": "FLUSHALL"}
        return f"{words[self.kind]} {self.part}"


def plan_faults(seed: int) -> list[Fault]:
    """Every kind on every part once, in an order and at moments of the seed, and one flush in the middle third."""
    draw = random.Random(seed)
    deck: list[tuple[Kind, str]] = [(kind, part) for part in PARTS for kind in ("kill", "term", "stop")]
    draw.shuffle(deck)
    deck.insert(draw.randint(len(deck) // 3, 2 * len(deck) // 3), ("flush", "valkey"))
    faults: list[Fault] = []
    at_s = _FIRST_S
    for kind, part in deck:
        lasts_s = round(draw.uniform(*_STOP_S), 2) if kind == "stop" else 0.0
        faults.append(Fault(at_s=round(at_s, 2), kind=kind, part=part, lasts_s=lasts_s))
        at_s += lasts_s + draw.uniform(*_GAP_S)
    return faults
