"""The reader's sentiment and emotion, on fold 0 of the data: texts that nothing was trained or chosen on.

Also on our own review sentences, on plain questions of customers (which should come out neutral), in other languages,
and what a reading costs.
"""

import asyncio
import gzip
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.quality.page import put
from bench.quality.reading_cost import measure_cost
from bench.quality.reviews import REVIEWS, SPOKEN
from chatwright.adapters.models import LocalEmbedders, open_embedder
from chatwright.domain.reading import Reading
from chatwright.features.analysis.reader import Reader
from training.folds import REPORTED, fold
from training.sentiment import cross_validate, gather

LABELS = ("negative", "neutral", "positive")
EMOTIONS = ("anger", "joy", "optimism", "sadness")
_BINS = 10
_QUESTIONS = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """Labels of one set beside what two readers said; `scores` are the probabilities of the model's labels."""

    name: str
    truth: list[str]
    model: list[str]
    rules: list[str]
    scores: list[float]


async def measure(folder: Path) -> str:
    reader = Reader.load()
    async with open_embedder(threads=2) as embedder:
        await embedder.warm_up()
        tweets = _rows(folder, "tweeteval_sentiment/val")
        valences = _rows(folder, "hutto_sentiment/tweets")
        sets = [
            await _read(reader, embedder, "tweets (tweeteval_sentiment/val, fold 0)", [
                (row["text"], LABELS[row["label"]]) for row in tweets
            ]),
            await _read(reader, embedder, "tweets by valence, ±0.05 (hutto_sentiment/tweets, fold 0)", [
                (row["text"], _label(row["score"], 0.05)) for row in valences
            ]),
            await _read(reader, embedder, "the same, neutral within ±0.5", [
                (row["text"], _label(row["score"], 0.5)) for row in valences
            ]),
            await _read(reader, embedder, "reviews and support chat (own, by hand; in view of choices)", REVIEWS),
            *[await _read(reader, embedder, f"{name} (own, by hand)", lines) for name, lines in SPOKEN.items()],
        ]  # fmt: skip
        lines = [
            "| texts | n | macro-recall | macro-F1 | word rules alone: macro-recall | calibration error |",
            "| --- | --- | --- | --- | --- | --- |",
        ]
        lines += [
            f"| {read.name} | {len(read.truth)} | {macro_recall(read.truth, read.model):.3f} | {macro_f1(read.truth, read.model):.3f} "
            f"| {macro_recall(read.truth, read.rules):.3f} | {calibration_error(read):.3f} |"
            for read in sets
        ]
        lines += ["", "| recall of | negative | neutral | positive |", "| --- | --- | --- | --- |"]
        lines += [f"| {read.name} | " + " | ".join(_recalls(read)) + " |" for read in sets]
        lines += ["", *await _emotions(reader, embedder, folder), "", *await _plain(reader, embedder, folder)]
    lines += ["", _cost([row["text"] for row in tweets + valences])]
    return "\n".join(lines)


def macro_recall(truth: Sequence[str], said: Sequence[str]) -> float:
    labels = sorted(set(truth))
    return float(
        np.mean(
            [
                sum(s == label for t, s in zip(truth, said, strict=True) if t == label) / truth.count(label)
                for label in labels
            ]
        )
    )


def macro_f1(truth: Sequence[str], said: Sequence[str]) -> float:
    scores: list[float] = []
    for label in sorted(set(truth)):
        both = sum(t == s == label for t, s in zip(truth, said, strict=True))
        scores.append(2 * both / max(1, truth.count(label) + said.count(label)))
    return float(np.mean(scores))


def calibration_error(read: Read) -> float:
    """Expected calibration error over ten bins of the label's probability."""
    scores = np.array(read.scores)
    right = np.array(read.truth) == np.array(read.model)
    bins: NDArray[np.int64] = np.minimum((scores * _BINS).astype(np.int64), _BINS - 1)
    return float(sum(abs((right[bins == at] - scores[bins == at]).sum()) for at in range(_BINS)) / len(scores))


async def _read(reader: Reader, embedder: LocalEmbedders, name: str, labelled: Sequence[tuple[str, str]]) -> Read:
    texts = [text for text, _ in labelled]
    readings = await _readings(reader, embedder, texts)
    return Read(
        name=name,
        truth=[label for _, label in labelled],
        model=[reading.sentiment for reading in readings],
        rules=[reading.sentiment for reading in reader.read(texts, None)],
        scores=[reading.sentiment_score or 0.0 for reading in readings],
    )


async def _readings(reader: Reader, embedder: LocalEmbedders, texts: Sequence[str]) -> list[Reading]:
    return reader.read(texts, await embedder.encode(texts))


def _recalls(read: Read) -> list[str]:
    return [
        f"{sum(s == label for t, s in zip(read.truth, read.model, strict=True) if t == label) / max(1, read.truth.count(label)):.2f}"
        for label in LABELS
    ]


async def _emotions(reader: Reader, embedder: LocalEmbedders, folder: Path) -> list[str]:
    rows = _rows(folder, "tweeteval_emotion/train")
    truth = [EMOTIONS[row["label"]] for row in rows]
    readings = await _readings(reader, embedder, [row["text"] for row in rows])
    said = [str(reading.emotion) for reading in readings]
    named = [t == s for t, s in zip(truth, said, strict=True) if s != "none"]
    return [
        (
            f"Emotion (tweeteval_emotion/train, fold 0, {len(rows)} tweets with one of four): named in {len(named) / len(rows):.0%}, "
            f"right in {sum(named) / max(1, len(named)):.0%} of those; macro-recall {macro_recall(truth, said):.3f}, counting "
            "`none` as wrong."
        )
    ]


async def _plain(reader: Reader, embedder: LocalEmbedders, folder: Path) -> list[str]:
    lines = ["| plain questions of customers, fold 0 | n | neutral | positive | negative | an emotion named |", "| --- | --- | --- | --- | --- | --- |"]  # fmt: skip
    for name in ("banking77/train", "clinc150/train"):
        texts = [row["text"] for row in _rows(folder, name)][:_QUESTIONS]
        readings = await _readings(reader, embedder, texts)
        shares = [sum(reading.sentiment == label for reading in readings) / len(texts) for label in ("neutral", "positive", "negative")]  # fmt: skip
        emotions = sum(reading.emotion != "none" for reading in readings) / len(texts)
        lines.append(f"| {name} | {len(texts)} | " + " | ".join(f"{share:.1%}" for share in [*shares, emotions]) + " |")
    return lines


def _cost(texts: Sequence[str]) -> str:
    """Both kinds of product in the same run, each in a process of its own."""
    lines = ["| cost of a reading | p50 of a message, one core | of it the heads | in bulk, two cores | memory that encoder and heads add | peak of the process |", "| --- | --- | --- | --- | --- | --- |"]  # fmt: skip
    for name, floats in (("as this processor runs it", False), ("encoder in floats", True)):
        cost = measure_cost(texts, floats=floats)
        lines.append(
            f"| {name} | {cost.message_ms:.1f} ms | {cost.heads_ms:.2f} ms | {cost.bulk:.0f} messages/s | {cost.added_mb:.0f} MB "
            f"| {cost.peak_mb:.0f} MB |"
        )
    return "\n".join(lines)


def _validated(folder: Path) -> str:
    """What folds 1 to 4 say, where each tweet is read by a head that was trained on the other three."""
    truth, said = ([LABELS[int(at)] for at in labels] for labels in cross_validate(gather(folder)))
    return (
        f"On tweets of the folds that shape and penalties were chosen by (tweeteval_sentiment/val, folds 1 to 4, {len(truth)} tweets, each fold "
        f"read by a head that was trained without it): macro-recall **{macro_recall(truth, said):.3f}**, macro-F1 "
        f"{macro_f1(truth, said):.3f}. Four times the tweets of fold 0, but in view of choices."
    )


def _label(score: float, neutral: float) -> str:
    return "negative" if score < -neutral else "positive" if score > neutral else "neutral"


def _rows(folder: Path, name: str) -> list[dict[str, Any]]:
    with gzip.open(folder / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
        return [row for row in map(json.loads, file) if fold(row["text"]) == REPORTED]


def section(folder: Path) -> str:
    """The figures as Markdown. Raises FileNotFoundError without the data."""
    return f"{asyncio.run(measure(folder))}\n\n{_validated(folder)}"


if __name__ == "__main__":
    put("sentiment", section(Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/data")))
