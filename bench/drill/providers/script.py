"""What is asked and how the primary shall fail at it, drawn from a seed. Pure."""

import random
from collections.abc import Sequence

from bench.drill.providers.evidence import PRIMARY, Question, Way
from bench.drill.script import WORDS

BEFORE = (
    "status=429", "status=429,retry_after=1", "status=500", "status=503", "status=529",
    "latency=60000", "stall=0", "refuse", "reset", "drip,drip_pause=150", "garble=0", "html_error", "error_in_200",
    "cut=0", "error_in_stream=0",
)  # fmt: skip
"""Rate limits, server errors, time-outs before the status line and behind it, refused and reset connections, a slow
drip, garbage: none of them shows a word."""
LONG_LIMIT = "status=429,retry_after=20"
"""Nobody can ask this provider for a while."""
AFTER = ("cut=3", "reset=3", "stall=3", "garble=3", "error_in_stream=3", "interval=2500")
"""The same in the middle of the text; the last one is too slow to end in time."""


def write_questions(
    draw: random.Random, *, name: str, way: Way, count: int, faults: Sequence[str], share: float
) -> list[Question]:
    """`count` questions of which about `share` (0..1) make the primary fail."""
    questions: list[Question] = []
    for number in range(count):
        key = f"{name}-{way}-{number}"
        echo = f"{key}: {' '.join(draw.choices(WORDS, k=draw.randint(8, 20)))}"
        faulty = draw.random() < share
        directive = f" [[sim@{PRIMARY}:{draw.choice(faults)}]]" if faulty else ""
        questions.append(Question(key=key, way=way, echo=echo, text=echo + directive, faulty=faulty))
    return questions
