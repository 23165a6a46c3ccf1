"""Random readings through the choice of animations: what it may never do, counted. Called by `python -m bench.quality`.

Needs no data. Half of the readings go through the default tables, half through random sets of a chatbot's own, each with a
manifest of its own, valid as a tenant could have saved it.
"""

import random
import sys
from collections import Counter
from pathlib import Path
from typing import Any, get_args

from bench.quality.page import put
from chatwright.domain.reading import Emotion, Intent, Sentiment
from chatwright.features.animation import AnimationSet, check_animation_set, choose

READINGS = 10_000
_SEED = 11
_A_CONVERSATION = 20
_INTENTS, _SENTIMENTS, _EMOTIONS = get_args(Intent), get_args(Sentiment), get_args(Emotion)
_OWN = ("refund", "shipping")
FAULTS = (
    "a name that the manifest lacks",
    "another name for the same message",
    "the same as the answer before, though the avatar has others",
    "not of the intent's entry, though the set has one",
)


def section(folder: Path) -> str:
    """The figures as Markdown."""
    del folder
    counts = {"the default tables": _count({}, READINGS // 2, _SEED), "random sets of a chatbot's own": _count_sets()}
    about = (
        f"{READINGS:,} random readings (intent, a chatbot's own intent, emotion, sentiment; each may be missing), in conversations "
        f"of {_A_CONVERSATION} answers; no file, seed {_SEED}."
    )
    lines = [
        about,
        "",
        f"| fault | {' | '.join(counts)} |",
        f"| --- |{' --- |' * len(counts)}",
        *(f"| {fault} | {' | '.join(str(found[fault]) for found in counts.values())} |" for fault in FAULTS),
        "| readings | " + " | ".join(f"{found['readings']:,}" for found in counts.values()) + " |",
    ]
    return "\n".join(lines)


def _count_sets() -> Counter[str]:
    draw = random.Random(_SEED)
    found: Counter[str] = Counter()
    for number in range(READINGS // 2 // _A_CONVERSATION):
        found += _count(_random_set(draw), _A_CONVERSATION, _SEED + number)
    return found


def _count(animations: dict[str, Any], readings: int, seed: int) -> Counter[str]:
    draw = random.Random(seed)
    tables = AnimationSet.of(animations)
    found: Counter[str] = Counter({"readings": readings})
    previous: str | None = None
    for number in range(readings):
        if number % _A_CONVERSATION == 0:
            previous = None
        message_id = f"{seed}-{draw.getrandbits(64)}"
        reading: dict[str, Any] = {
            "intent": draw.choice((*_INTENTS, None)),
            "custom_intent": draw.choice((*_OWN, None, None)),
            "emotion": draw.choice((*_EMOTIONS, None)),
            "sentiment": draw.choice((*_SENTIMENTS, None)),
        }
        name = choose(message_id, **reading, animation_set=animations, previous=previous)
        again = choose(message_id, **reading, animation_set=animations, previous=previous)
        entry = tables.intent.get(reading["custom_intent"] or "") or tables.intent.get(reading["intent"] or "") or ()
        # An entry that knows only what was just played is left for what the set has in its place.
        spent = set(entry) <= {previous}
        found[FAULTS[0]] += name not in tables.available
        found[FAULTS[1]] += name != again
        found[FAULTS[2]] += name == previous and len(tables.available) > 1
        found[FAULTS[3]] += bool(entry) and not spent and name not in entry
        previous = name
    return found


def _random_set(draw: random.Random) -> dict[str, Any]:
    manifest = [f"clip_{number}" for number in range(draw.randint(1, 9))]

    def table(keys: tuple[str, ...]) -> dict[str, list[str]]:
        chosen = draw.sample(keys, draw.randint(0, len(keys)))
        return {key: draw.sample(manifest, draw.randint(0, len(manifest))) for key in chosen}

    animations: dict[str, Any] = {
        "available": manifest,
        "intent": table((*_INTENTS, *_OWN)),
        "emotion": table(_EMOTIONS),
        "sentiment": table(_SENTIMENTS),
        "default": draw.choice(manifest),
    }
    check_animation_set(animations)
    return animations


if __name__ == "__main__":
    put("animation", section(Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/data")))
