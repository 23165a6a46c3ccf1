"""The reader's sentiment and emotion, on fold 0 of the data: texts that nothing was trained or chosen on.

Also on our own review sentences, on plain questions of customers (which should come out neutral), in other languages,
and what a reading costs.
"""

import asyncio
import gzip
import json
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.quality.page import put
from bench.quality.reviews import REVIEWS, SPOKEN
from chatwright.adapters.models import LocalEmbedders, hash_grams, open_embedder
from chatwright.domain.reading import Reading
from chatwright.features.analysis.reader import Reader
from training.folds import REPORTED, fold

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
        lines += ["", *await _cost(reader, embedder, [row["text"] for row in tweets + valences])]
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


async def _cost(reader: Reader, embedder: LocalEmbedders, texts: Sequence[str]) -> list[str]:
    """One core for single messages: they go one after another. In bulk both lanes work."""
    alone: list[float] = []
    heads: list[float] = []
    for text in texts[:300]:
        started_s = time.perf_counter()
        encoded = await embedder.encode([text])
        encoded_s = time.perf_counter()
        reader.read([text], encoded)
        ended_s = time.perf_counter()
        alone.append(ended_s - started_s)
        heads.append(ended_s - encoded_s)
    started_s = time.perf_counter()
    many = list(texts[:900])
    await asyncio.gather(*[_bulk(reader, embedder, many[at : at + 60]) for at in range(0, len(many), 60)])
    bulk_s = time.perf_counter() - started_s
    started_s = time.perf_counter()
    hash_grams(texts[:300])
    grams_ms = (time.perf_counter() - started_s) / min(300, len(texts)) * 1e3
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return [
        (
            f"Cost: {np.median(alone) * 1e3:.1f} ms p50 for one message, encoder and all heads ({np.median(heads) * 1e3:.2f} ms for the "
            f"heads, of it {grams_ms:.2f} ms for n-grams); {len(many) / bulk_s:.0f} messages/s in bulk on two cores. The whole process "
            f"peaked at {peak:.0f} MB."
        )
    ]


async def _bulk(reader: Reader, embedder: LocalEmbedders, texts: Sequence[str]) -> None:
    encoded = await embedder.encode(texts)
    await asyncio.to_thread(reader.read, texts, encoded)


def _label(score: float, neutral: float) -> str:
    return "negative" if score < -neutral else "positive" if score > neutral else "neutral"


def _rows(folder: Path, name: str) -> list[dict[str, Any]]:
    with gzip.open(folder / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
        return [row for row in map(json.loads, file) if fold(row["text"]) == REPORTED]


def section(folder: Path) -> str:
    """The figures as Markdown. Raises FileNotFoundError without the data."""
    return asyncio.run(measure(folder))


if __name__ == "__main__":
    put("sentiment", section(Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/data")))
