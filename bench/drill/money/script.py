"""How each of the mixed calls shall end, and which process is hit when: drawn from a seed. Pure.

A question is `key|verb| words [[sim@primary:…]]`: the key finds its calls again, the verb names its ending in findings.
"""

import random
import signal
from dataclasses import dataclass
from typing import Literal

from bench.drill.money.fleet import PRIMARY
from bench.drill.script import WORDS

Way = Literal["stream", "whole", "queued", "leave", "cancel"]
_SHARES: tuple[tuple[str, float], ...] = (
    ("ok", 30),
    ("usage", 12),
    ("4xx", 6),
    ("5xx", 6),
    ("timeout", 3),
    ("stall", 3),
    ("garble", 4),
    ("cut", 6),
    ("reset", 4),
    ("error", 4),
    ("silent", 4),
    ("slow", 10),
    ("hedge", 8),
)
"""Kinds of endings and how often each comes."""
_LEAVES_SHARE = 0.12
_CANCELS_SHARE = 0.08


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One request. `after_s`: when a visitor leaves or cancels; `pieces`: a reader leaves after so many of them."""

    key: str
    way: Way
    chatbot: int
    text: str
    hedged: bool = False
    after_s: float = 0.0
    pieces: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """`place`: which of a role's processes, 0 being that of `up`."""

    at_s: float
    role: Literal["api", "worker"]
    place: int
    number: signal.Signals

    def __str__(self) -> str:
        return f"{self.number.name} {self.role} {self.place}"


def write_question(draw: random.Random, *, seed: int, number: int, chatbots: int) -> Question:
    """The `number`-th question of a run."""
    kinds, weights = zip(*_SHARES, strict=True)
    kind = draw.choices(kinds, weights)[0]
    way: Way = draw.choice(("stream", "whole", "queued", "queued"))
    after_s, pieces = 0.0, 0
    verb, verbs = kind, _verbs(draw, kind)
    if kind in ("ok", "slow", "usage") and (die := draw.random()) < _LEAVES_SHARE + _CANCELS_SHARE:
        verbs = "chunks=24,interval=60,latency=150"
        way = "leave" if die < _LEAVES_SHARE else "cancel"
        verb = way
        after_s, pieces = draw.uniform(0.05, 1.2), draw.randint(1, 12)
    key = f"b{seed}-{number}"
    words = " ".join(draw.choices(WORDS, k=draw.randint(4, 40)))
    directive = f" [[sim@{PRIMARY}:{verbs}]]" if verbs else ""
    return Question(
        key=key,
        way=way,
        chatbot=draw.randrange(chatbots),
        text=f"{key}|{verb}:{verbs}|{words}{directive}",
        hedged=kind == "hedge",
        after_s=after_s,
        pieces=pieces,
    )


def _verbs(draw: random.Random, kind: str) -> str:
    """The simulator's verbs of a kind of ending."""
    match kind:
        case "usage":
            return draw.choice((
                "cached_tokens=3,output_tokens=57", "reasoning=well%20now,reasoning_tokens=9", "cached_tokens=7",
                "output_tokens=91,chunks=13",
            ))  # fmt: skip
        case "4xx":
            return draw.choice(("status=400", "status=404", "status=422", "status=429", "status=429,retry_after=1"))
        case "5xx":
            return draw.choice(("status=500", "status=503", "status=529", "html_error", "error_in_200", "refuse"))
        case "timeout":
            return "latency=60000"
        case "stall":
            return draw.choice(("stall=0", "stall=3"))
        case "garble":
            return draw.choice(("garble=0", "garble=2"))
        case "cut":
            return draw.choice(("cut=0", "cut=2", "cut=5,chunks=9,interval=20"))
        case "reset":
            return draw.choice(("reset", "reset=2"))
        case "error":
            return draw.choice(("error_in_stream=0", "error_in_stream=3"))
        case "silent":
            return draw.choice(("no_usage", "no_usage,chunks=12,interval=10"))
        case "slow":
            return f"chunks={draw.randint(8, 24)},interval={draw.randint(20, 90)},ttft={draw.randint(0, 300)}"
        case "hedge":
            return "ttft=900,latency=300,chunks=10,interval=20"
        case _:
            return ""


def plan_hits(seed: int) -> list[Hit]:
    """Every process is killed once, one of each role gets a SIGTERM, one after the other in an order of the seed."""
    draw = random.Random(f"money-hits-{seed}")
    deck: list[tuple[Literal["api", "worker"], int, signal.Signals]] = [
        ("api", 0, signal.SIGKILL),
        ("api", 1, signal.SIGKILL),
        ("worker", 0, signal.SIGKILL),
        ("worker", 1, signal.SIGKILL),
        ("worker", 2, signal.SIGKILL),
        ("api", 1, signal.SIGTERM),
        ("worker", draw.randrange(3), signal.SIGTERM),
    ]
    draw.shuffle(deck)
    at_s, hits = 4.0, list[Hit]()
    for role, place, number in deck:
        hits.append(Hit(at_s=round(at_s, 2), role=role, place=place, number=number))
        at_s += draw.uniform(3.0, 6.0)
    return hits
