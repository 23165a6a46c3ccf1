"""`python -m training.intents DATA`: the head of the twelve intents, from weak labels and own phrasings.

Rows of the public sets are labelled by `intents_weak.py`; the hand-checked messages of `labelled/intents.tsv`, and all of
fold 0, are left out, so that what is reported was never seen. Numpy only, deterministic; some minutes, mostly encoding.
"""

import csv
import hashlib
import random
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import cycle
from pathlib import Path
from typing import cast, get_args

import numpy as np
from numpy.typing import NDArray

from chatwright.adapters.models.encoded import Encoded
from chatwright.adapters.models.grams import BUCKETS, Grams, hash_grams
from chatwright.adapters.models.linear import LinearHead, softmax
from chatwright.domain.reading import Intent
from training.encode import encode, read_rows
from training.folds import REPORTED, fold
from training.intents_templates import PATTERNS, phrasings
from training.intents_weak import weak_intent

Floats = NDArray[np.float32]

INTENTS: tuple[Intent, ...] = get_args(Intent)
LABELLED = Path(__file__).parent / "labelled" / "intents.tsv"
SETS = (
    "banking77/train", "clinc150/train", "clinc150/val", "stackfaq_paraphrases/pairs", "deepset_injections/train",
    "clinc150/oos_train", "clinc150/oos_val", "hutto_sentiment/tweets", "tweeteval_emotion/train", "tweeteval_emotion/val", "tweeteval_sentiment/val",
)  # fmt: skip
PER_INTENT = 3_000
"""Rows of the sets that teach an intent, at most: else every second message would be a question about a card."""
WHO_TO_ASK = (
    "Who should I contact?", "who can I talk to about this", "Can I speak to someone?", "Who do I call about this?",
    "I want to talk to a person.", "Who must I speak with to fix this?", "please have someone call me",
)  # fmt: skip
"""Behind reports of what went wrong: whoever asks for a person wants one, whatever the matter is."""
PER_PATTERN = 14
"""Own phrasings for each pattern of an intent, at most."""
FEATURES = 7 * 384
EPOCHS = 14
BATCH = 64
RATE = 0.05
DECAY_DENSE = 3e-3
DECAY_GRAMS = 3e-4
SMOOTHING = 0.05
"""Of the labels: some of the weak ones are wrong."""
OWN_WEIGHT = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """A hand-checked message. `chooses`: it is in the third that choices are made on, else it is reported."""

    text: str
    intent: Intent
    chooses: bool


def read_labelled(folder: Path) -> list[Labelled]:
    """The hand-checked messages, their texts from the data. Raises FileNotFoundError, or ValueError if a text is another
    one than was labelled."""
    rows: dict[str, list[str]] = {}
    found: list[Labelled] = []
    with LABELLED.open(encoding="utf-8") as file:
        for line in csv.DictReader(file, delimiter="\t"):
            name = line["set"]
            if name not in rows:
                rows[name] = [_text(row) for row in read_rows(folder, name)]
            text = rows[name][int(line["row"])]
            if digest(text) != line["digest"]:
                raise ValueError(f"{name} row {line['row']} is not the text that was labelled")
            intent = INTENTS[INTENTS.index(cast("Intent", line["intent"]))]
            found.append(Labelled(text=text, intent=intent, chooses=int(line["digest"], 16) % 3 == 0))
    return found


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def weak_rows(folder: Path, left_out: frozenset[str]) -> Iterator[tuple[str, Intent]]:
    """Texts and weak labels of the sets, without fold 0 and without those whose letters are in `left_out`."""
    for name in SETS:
        for row in read_rows(folder, name):
            text = _text(row)
            if fold(text) == REPORTED or letters(text) in left_out or len(text) > 300:
                continue
            if name.startswith("deepset") and row["label"] != 0:
                continue
            intent = weak_intent(name, row.get("label", row.get("score")), text)
            if intent is not None:
                yield text, intent


def letters(text: str) -> str:
    return "".join(character for character in text.casefold() if character.isalnum())


def training_rows(folder: Path) -> tuple[list[tuple[str, Intent]], list[tuple[str, Intent]]]:
    """Weak rows, at most PER_INTENT of an intent, and own phrasings."""
    left_out = frozenset(letters(one.text) for one in read_labelled(folder))
    chance = random.Random("intent rows")
    by_intent: dict[Intent, list[str]] = {intent: [] for intent in INTENTS}
    for text, intent in weak_rows(folder, left_out):
        by_intent[intent].append(text)
    weak: list[tuple[str, Intent]] = []
    own: list[tuple[str, Intent]] = []
    for intent in INTENTS:
        rows = list(dict.fromkeys(by_intent[intent]))
        chance.shuffle(rows)
        # Tweets come first where they complain: few of them do, and bank customers write in another way.
        rows.sort(key=lambda text: not (intent == "complaint" and ("@" in text or "#" in text)))
        weak.extend(_labelled(rows[:PER_INTENT], intent))
        if intent == "complaint":
            asked = zip(rows[PER_INTENT // 2 :: 5], cycle(WHO_TO_ASK), strict=False)
            weak.extend(_labelled([f"{text} {whom}" for text, whom in asked], "handoff"))
        sentences = phrasings(intent, PER_PATTERN * len(PATTERNS[intent]))
        own.extend(_labelled([text for text in sentences if letters(text) not in left_out], intent))
    return weak, own


def _labelled(texts: Sequence[str], intent: Intent) -> list[tuple[str, Intent]]:
    return [(text, intent) for text in texts]


def fit(encoded: Encoded, grams: Grams, targets: NDArray[np.int64], weights: Floats) -> LinearHead:
    """A head by stochastic gradient with steps that shrink where much was learned (Adagrad). Deterministic.

    `targets`: shape (n,), columns of INTENTS. An intent's rows weigh the same together, up to the square root of their count.
    """
    features = encoded.features[:, :FEATURES]
    centre, spread = features.mean(axis=0), features.std(axis=0) + 1e-3
    scaled = (features - centre) / spread / np.float32(np.sqrt(FEATURES) / 4)
    counts = np.bincount(targets, minlength=len(INTENTS))
    share = weights / np.sqrt(np.maximum(counts, 1))[targets]
    share = share / share.mean()

    dense = np.zeros((FEATURES, len(INTENTS)), np.float32)
    table = np.zeros((BUCKETS, len(INTENTS)), np.float32)
    bias = np.zeros(len(INTENTS), np.float32)
    seen_dense, seen_table, seen_bias = np.full_like(dense, 1e-4), np.full_like(table, 1e-4), np.full_like(bias, 1e-2)
    order = np.random.default_rng(7)
    for epoch in range(EPOCHS):
        rate = np.float32(RATE * (1 - epoch / EPOCHS))
        shuffled = order.permutation(len(targets))
        for start in range(0, len(shuffled), BATCH):
            rows = shuffled[start : start + BATCH]
            spans = [slice(int(grams.offsets[row]), int(grams.offsets[row + 1])) for row in rows]
            buckets = np.concatenate([grams.buckets[span] for span in spans])
            heights = np.concatenate([grams.weights[span] for span in spans])
            owner = np.repeat(np.arange(len(rows)), [span.stop - span.start for span in spans])
            scores = scaled[rows] @ dense + bias
            np.add.at(scores, owner, table[buckets] * heights[:, None])
            error = softmax(scores) * share[rows, None]
            wanted = np.full((len(rows), len(INTENTS)), SMOOTHING / len(INTENTS), np.float32)
            wanted[np.arange(len(rows)), targets[rows]] += 1 - SMOOTHING
            error = (error - wanted * share[rows, None]) / len(rows)
            slope = scaled[rows].T @ error + DECAY_DENSE * dense / 10
            seen_dense += slope * slope
            dense -= rate * slope / np.sqrt(seen_dense)
            unique, inverse = np.unique(buckets, return_inverse=True)
            steps = np.zeros((len(unique), len(INTENTS)), np.float32)
            np.add.at(steps, inverse, error[owner] * heights[:, None])
            steps += DECAY_GRAMS * table[unique] / 10
            seen_table[unique] += steps * steps
            table[unique] -= rate * steps / np.sqrt(seen_table[unique])
            drift = error.sum(axis=0)
            seen_bias += drift * drift
            bias -= rate * drift / np.sqrt(seen_bias)
    real = dense / spread[:, None] / np.float32(np.sqrt(FEATURES) / 4)
    return LinearHead.of(INTENTS, dense=real, grams=table, bias=bias - centre @ real, temperature=1.0)


def examples(folder: Path) -> tuple[Encoded, Grams, NDArray[np.int64], Floats]:
    """What `fit` takes."""
    weak, own = training_rows(folder)
    print(f"{len(weak)} weak rows {dict(Counter(intent for _, intent in weak))}, {len(own)} own phrasings")
    parts = [encode([text for text, _ in rows]) for rows in (weak, own)]
    encoded = Encoded(
        vectors=np.concatenate([part.vectors for part in parts]),
        features=np.concatenate([part.features for part in parts]),
    )
    rows = [*weak, *own]
    targets = np.array([INTENTS.index(intent) for _, intent in rows])
    weights = np.array([1.0] * len(weak) + [OWN_WEIGHT] * len(own), np.float32)
    return encoded, hash_grams([text for text, _ in rows]), targets, weights


def best_temperature(head: LinearHead, encoded: Encoded, grams: Grams, targets: NDArray[np.int64]) -> float:
    """The one with the least log loss."""
    scores = head.scores(encoded.features, grams)
    tried = np.geomspace(0.3, 4.0, 60)
    losses = [-np.log(softmax(scores / t)[np.arange(len(targets)), targets] + 1e-9).mean() for t in tried]
    return float(tried[int(np.argmin(losses))])


def macro_f1(named: Sequence[str], right: Sequence[str]) -> float:
    """Over the twelve; an intent that neither side names counts as 0."""
    return float(np.mean([f1(named, right, intent) for intent in INTENTS]))


def f1(named: Sequence[str], right: Sequence[str], intent: str) -> float:
    both = sum(one == other == intent for one, other in zip(named, right, strict=True))
    return 2 * both / max(1, sum(one == intent for one in named) + sum(one == intent for one in right))


def main(folder: Path) -> None:
    head = fit(*examples(folder))

    choosing = [one for one in read_labelled(folder) if one.chooses]
    chosen = [one.text for one in choosing]
    encoded, grams = encode(chosen), hash_grams(chosen)
    right = np.array([INTENTS.index(one.intent) for one in choosing])
    temperature = best_temperature(head, encoded, grams, right)
    head = LinearHead(
        classes=head.classes, dense=head.dense, grams=head.grams, gram_step=head.gram_step, bias=head.bias,
        temperature=temperature,
    )  # fmt: skip
    probabilities = head.probabilities(encoded.features, grams)
    named = [INTENTS[int(column)] for column in probabilities.argmax(axis=1)]
    print(
        f"temperature {temperature:.2f}; choosing third: macro-F1 {macro_f1(named, [one.intent for one in choosing]):.3f}"
    )
    for one, name, row in zip(choosing, named, probabilities, strict=True):
        if name != one.intent:
            print(f"  {one.intent} read as {name} ({row.max():.2f})")
    path = Path(str(resources.files("chatwright.features.analysis"))) / "data" / "intents.npz"
    path.parent.mkdir(exist_ok=True)
    with path.open("wb") as file:
        head.save(file)
    print(f"{path.stat().st_size / 1e6:.2f} MB")


def _text(row: dict[str, object]) -> str:
    return str(row.get("text") or row.get("paraphrase"))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/data"))
