"""`python -m bench.quality [folder of the data] [section …]`: every trial in turn, or those that are named; each writes its
section of docs/reference/quality.md."""

import asyncio
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from bench.quality import animation, extractive, filtering, grounding, injection, intents, retrieval, sentiment
from bench.quality.page import put

TRIALS: Mapping[str, Callable[[Path], str]] = {
    "sentiment": sentiment.section,
    "intents": intents.section,
    "injection": injection.section,
    "filtering": filtering.section,
    "animation": animation.section,
    "grounding": grounding.section,
    "extractive": extractive.section,
    "retrieval": lambda folder: asyncio.run(retrieval.measure(folder, None)),
}


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/data")
    if not folder.is_dir():
        raise SystemExit(f"no evaluation data at {folder}: give the folder as an argument")
    names = sys.argv[2:] or list(TRIALS)
    if unknown := set(names) - set(TRIALS):
        raise SystemExit(f"no such section: {', '.join(sorted(unknown))}; there are {', '.join(TRIALS)}")
    for name in names:
        print(f"{name} …", flush=True)
        put(name, TRIALS[name](folder))


if __name__ == "__main__":
    main()
