"""Who says what: tenants, conversations and texts of one seed, with the provider's behaviour written into each text."""

import random
from dataclasses import dataclass

from bench.drill.evidence import Sent

WORDS = [
    "amber",
    "basket",
    "candle",
    "delta",
    "engine",
    "forest",
    "garden",
    "harbour",
    "island",
    "jacket",
    "kettle",
    "lantern",
    "meadow",
    "needle",
    "orchard",
    "pepper",
    "quarry",
    "ribbon",
    "saddle",
    "timber",
    "umbrella",
    "valley",
    "window",
    "yellow",
    "zipper",
    "anchor",
    "bridge",
    "copper",
    "desert",
    "eagle",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One message to send. `pause_s` before it; `waits` for its answer before the next one is sent."""

    sent: Sent
    pause_s: float
    waits: bool


def write_lines(draw: random.Random, *, name: str, tenant_id: str, count: int, over_s: float) -> list[Line]:
    """`count` messages of one conversation, spread over about `over_s` seconds."""
    lines: list[Line] = []
    for number in range(count):
        key = f"{name}-{number}"
        words = " ".join(draw.choices(WORDS, k=draw.randint(8, 30)))
        echo = f"{key}: {words}"
        sent = Sent(key=key, tenant_id=tenant_id, text=f"{echo} [[sim:{_behaviour(draw)}]]", echo=echo)
        lines.append(Line(sent=sent, pause_s=draw.uniform(0.2, 1.8) * over_s / count, waits=draw.random() < 0.6))
    return lines


def _behaviour(draw: random.Random) -> str:
    """Mostly good answers, slow enough that faults hit in the middle; some that the provider spoils."""
    die = draw.random()
    if die < 0.03:
        return "cut=3,chunks=8,interval=30"
    if die < 0.05:
        return "status=500"
    if die < 0.20:
        return f"latency={draw.randint(300, 1500)},chunks={draw.randint(4, 10)}"
    if die < 0.35:
        return "chunks=6"
    return f"chunks={draw.randint(6, 24)},interval={draw.randint(15, 120)},ttft={draw.randint(0, 300)}"
