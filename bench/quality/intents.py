"""How often the twelve intents are read right, and what the machinery of custom intents makes of public sets of intents.

The twelve: the hand-checked messages of training/labelled, of which two thirds are reported and none was trained on.
Custom intents: BANKING77 and CLINC150 by cross-validation over the five folds of `training/folds.py`, ten examples of each
intent, and messages that have none of them. Shapes and weights were chosen on fold 1 and on `clinc150/oos_train`.
"""

import asyncio
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from bench.quality.articles import read_rows
from bench.quality.page import put
from chatwright.adapters.models import Encoded, LocalEmbedders, open_embedder
from chatwright.adapters.models.grams import hash_grams
from chatwright.domain.reading import Intent
from chatwright.features.analysis.custom import CustomIntents, Quality, train
from chatwright.features.analysis.intents import IntentHead
from chatwright.features.analysis.rules import read
from chatwright.pipeline.intent_training import spoken
from training.folds import FOLDS, fold
from training.intents import f1, macro_f1, read_labelled

INTENTS: tuple[Intent, ...] = get_args(Intent)
SHOTS = 10
DRAWS = 3
_BINS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Twelve:
    """Of the reported messages: macro-F1 and accuracy of the head and of the word rules, F1 of each intent, the gap between
    confidence and accuracy, the macro-F1 over the choosing third."""

    messages: int
    macro: float
    accuracy: float
    rules_macro: float
    chosen_macro: float
    gap: float
    by_intent: dict[str, tuple[int, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Custom:
    """Of one set: accuracy by cross-validation and on fold 0 alone, with ten examples each, the share named and how much of
    it is right."""

    name: str
    intents: int
    rows: int
    accuracy: float
    reported: float
    few: float
    named: float
    right_of_named: float
    few_named: float
    few_right: float


class Messages:
    """Texts with labels, encoded once."""

    def __init__(self, texts: Sequence[str], labels: Sequence[str], encoded: Encoded, named: Encoded) -> None:
        """`named`: the labels' words, encoded, in the order of the sorted labels."""
        self.texts, self.encoded, self.spoken = list(texts), encoded, named
        self.names = sorted(set(labels))
        self.columns = np.array([self.names.index(label) for label in labels])
        self.folds = np.array([fold(text) for text in texts])

    def learn(self, rows: NDArray[np.intp]) -> tuple[CustomIntents, Quality]:
        """As the product does: with the intents' names as words on them."""
        taken, count = self.take(rows), len(self.names)
        encoded = Encoded(
            vectors=np.concatenate([taken.vectors, self.spoken.vectors]),
            features=np.concatenate([taken.features, self.spoken.features]),
        )
        labels = [*self.columns[rows].tolist(), *range(count)]
        texts = [*(self.texts[at] for at in rows), *(spoken(name) for name in self.names)]
        return train(self.names, labels, texts, encoded, hints=count)

    def take(self, rows: NDArray[np.intp]) -> Encoded:
        return Encoded(vectors=self.encoded.vectors[rows], features=self.encoded.features[rows])

    def judge(self, model: CustomIntents, rows: NDArray[np.intp]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Whether each row's intent is named right, and whether it is named at all."""
        verdicts = model.read([self.texts[at] for at in rows], self.take(rows))
        right = [self.names.index(verdict.name) == self.columns[at] for verdict, at in zip(verdicts, rows, strict=True)]
        return np.array(right), np.array([verdict.holds for verdict in verdicts])


def section(folder: Path) -> str:
    """Raises FileNotFoundError without the data."""
    return asyncio.run(_section(folder))


async def _section(folder: Path) -> str:
    async with open_embedder(threads=2) as embedder:
        texts = [one.text for one in read_labelled(folder)]
        twelve = measure_twelve(folder, await embedder.encode(texts, bulk=True))
        banking = await _messages(folder, "banking77/train", embedder)
        known = await _messages(folder, "clinc150/train", embedder)
        inside = await _messages(folder, "clinc150/val", embedder)
        strange = await _messages(folder, "clinc150/oos_val", embedder)
    sets = [_measure_custom("BANKING77", banking), _measure_custom("CLINC150", known)]
    model, _ = known.learn(np.arange(len(known.texts)))
    confident = [
        np.array([one.confidence for one in model.read(each.texts, each.encoded)]) for each in (inside, strange)
    ]
    named = float((confident[1] >= model.threshold).mean())
    return _page(twelve, sets, _auc(*confident), named)


async def _messages(folder: Path, path: str, embedder: LocalEmbedders) -> Messages:
    rows = read_rows(folder, path)
    texts = [str(row["text"]) for row in rows]
    labels = [str(row["label"]) for row in rows]
    named = await embedder.encode([spoken(label) for label in sorted(set(labels))], bulk=True)
    return Messages(texts, labels, await embedder.encode(texts, bulk=True), named)


def measure_twelve(folder: Path, encoded: Encoded) -> Twelve:
    """`encoded`: of the labelled messages, in their order."""
    labelled = read_labelled(folder)
    texts = [one.text for one in labelled]
    read_as = IntentHead.load().read(encoded.features, hash_grams(texts))
    reported = [at for at, one in enumerate(labelled) if not one.chooses]
    chosen = [at for at, one in enumerate(labelled) if one.chooses]
    right = [labelled[at].intent for at in reported]
    named = [read_as[at][0] for at in reported]
    counts = Counter(right)
    return Twelve(
        messages=len(reported),
        macro=macro_f1(named, right),
        accuracy=float(np.mean([one == other for one, other in zip(named, right, strict=True)])),
        rules_macro=macro_f1([read(texts[at]).intent for at in reported], right),
        chosen_macro=macro_f1([read_as[at][0] for at in chosen], [labelled[at].intent for at in chosen]),
        gap=_gap([read_as[at][1] for at in reported], [one == other for one, other in zip(named, right, strict=True)]),
        by_intent={intent: (counts[intent], f1(named, right, intent)) for intent in INTENTS},
    )


def _measure_custom(name: str, messages: Messages) -> Custom:
    rights: list[NDArray[np.bool_]] = []
    holds: list[NDArray[np.bool_]] = []
    few: list[tuple[NDArray[np.bool_], NDArray[np.bool_]]] = []
    for held in range(FOLDS):
        away = np.flatnonzero(messages.folds == held)
        model, _ = messages.learn(np.flatnonzero(messages.folds != held))
        right, named = messages.judge(model, away)
        rights.append(right)
        holds.append(named)
    away, others = np.flatnonzero(messages.folds == 0), np.flatnonzero(messages.folds > 0)
    for draw in range(DRAWS):
        shuffled = np.random.default_rng(draw).permutation(others)
        columns = messages.columns[shuffled]
        drawn = [shuffled[columns == column][:SHOTS] for column in range(len(messages.names))]
        few.append(messages.judge(messages.learn(np.concatenate(drawn))[0], away))
    right, named = np.concatenate(rights), np.concatenate(holds)
    few_right, few_named = (np.concatenate([pair[at] for pair in few]) for at in (0, 1))
    return Custom(
        name=name,
        intents=len(messages.names),
        rows=len(messages.texts),
        accuracy=float(right.mean()),
        reported=float(rights[0].mean()),
        few=float(few_right.mean()),
        named=float(named.mean()),
        right_of_named=float(right[named].mean()),
        few_named=float(few_named.mean()),
        few_right=float(few_right[few_named].mean()),
    )


def _gap(confidences: Sequence[float], right: Sequence[bool]) -> float:
    """Expected calibration error over ten bins of confidence."""
    sure, true = np.array(confidences), np.array(right, np.float64)
    bins = np.minimum((sure * _BINS).astype(np.int64), _BINS - 1)
    return float(sum(abs(sure[bins == at].sum() - true[bins == at].sum()) for at in range(_BINS)) / max(1, len(sure)))


def _auc(inside: NDArray[np.float64], strange: NDArray[np.float64]) -> float:
    """How often a message that has an intent is surer than one that has none; ties count half."""
    higher = (inside[:, None] > strange[None]).mean()
    return float(higher + (inside[:, None] == strange[None]).mean() / 2)


def _page(twelve: Twelve, sets: Sequence[Custom], auc: float, strange_named: float) -> str:
    rows = "\n".join(f"| `{intent}` | {count} | {score:.2f} |" for intent, (count, score) in twelve.by_intent.items())
    custom = "\n".join(
        f"| {one.name} ({one.intents} intents, {one.rows:,} rows) | {one.accuracy:.3f} | {one.reported:.3f} | "
        f"{one.named:.0%}, {one.right_of_named:.1%} of them right | {one.few:.3f} | "
        f"{one.few_named:.0%}, {one.few_right:.1%} of them right |"
        for one in sets
    )
    return f"""**The twelve intents**, {twelve.messages} messages of `training/labelled/intents.tsv` (banks, assistants, shops, tweets;
digest modulo 3 is not 0), none of them trained on: macro-F1 **{twelve.macro:.3f}**, accuracy {twelve.accuracy:.3f}; the word
rules that stand in where the model cannot be had reach {twelve.rules_macro:.3f}. Confidence and accuracy are {twelve.gap:.3f}
apart (ten bins). On the third that chose the temperature it is {twelve.chosen_macro:.3f}.

| intent | messages | F1 |
| --- | --- | --- |
{rows}

**Custom intents**: `banking77/train` and `clinc150/train`, five folds in turn held out (fold 1 chose the shape of the model);
ten examples of each intent from folds 1 to 4, {DRAWS} draws, on fold 0. An intent is named from a confidence of 0.5 on.

| set | accuracy, 5 folds | fold 0 | named | {SHOTS} examples each, fold 0 | named |
| --- | --- | --- | --- | --- | --- |
{custom}

Messages that have none of CLINC150's intents (`clinc150/oos_val`, 100) against those that have one (`clinc150/val`), trained on
`clinc150/train`: AUC of the confidence **{auc:.3f}**; {strange_named:.0%} of them are named one."""


if __name__ == "__main__":
    put("intents", section(Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/data")))
