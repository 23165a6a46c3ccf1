"""`python -m training.grams DATA`: what each bucket of n-grams weighs, by how rare it is in all texts of the data.

Only counts leave this script, rounded to sixteenths: no text, and no label is read. Fold 0 stays out.
"""

import gzip
import json
import sys
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from chatwright.adapters.models.grams import BUCKETS, raw_buckets
from training.folds import REPORTED, fold

SETS = (
    "tweeteval_sentiment/val", "hutto_sentiment/tweets", "tweeteval_emotion/train", "tweeteval_offensive/train",
    "tweeteval_emoji/train20k", "banking77/train", "clinc150/train", "deepset_injections/train",
    "jailbreak_classification/all", "piguard_valid/all", "parapet_gandalf/all", "parapet_mosscap/all",
)  # fmt: skip
TWEETS_AT_MOST = 6_000
"""Of each set: 50,000 tweets would make every word of a support chat look rare."""


def main(folder: Path) -> None:
    counts: NDArray[np.int64] = np.zeros(BUCKETS, np.int64)
    texts = 0
    for name in SETS:
        with gzip.open(folder / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
            kept = [text for text in (str(json.loads(line)["text"]) for line in file) if fold(text) != REPORTED]
        for text in kept[:TWEETS_AT_MOST]:
            texts += 1
            for raw in raw_buckets(text):
                counts[np.unique(raw)] += 1
    rarity = np.log((1 + texts) / (1 + counts)) + 1
    path = resources.files("chatwright.adapters.models") / "data" / "gram_weights.npz"
    with Path(str(path)).open("wb") as file:
        np.savez_compressed(file, sixteenths=np.clip(np.rint(rarity * 16), 1, 255).astype(np.uint8))
    print(f"{texts} texts, {np.count_nonzero(counts)} of {BUCKETS} buckets seen")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/data"))
