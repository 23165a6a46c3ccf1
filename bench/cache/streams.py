"""Streams of visitors' questions with the answer that is right for each: from labelled question sets, in a fixed fold.

BANKING77 (train) and CLINC150 (train and validation) are cut by a hash of the text: a third was looked at while the cache
was made (the development fold), streams are drawn from the other two thirds only. Read from a folder of evaluation data;
nothing of it is kept here.
"""

import gzip
import json
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal

import numpy as np

Arrival = Literal["uniform", "zipf"]
Fold = Literal["report", "development"]
FILES = {
    "banking77": ("banking77/train.jsonl.gz",),
    "clinc150": ("clinc150/train.jsonl.gz", "clinc150/val.jsonl.gz"),
}
STRANGERS = ("clinc150/oos_train.jsonl.gz", "clinc150/oos_val.jsonl.gz")
ZIPF = 1.1
OUT = "out of scope"


@dataclass(frozen=True, slots=True)
class Asked:
    """A question and its class; `label` begins with OUT where no class has it, another one each time."""

    text: str
    label: str

    @property
    def is_stranger(self) -> bool:
        return self.label.startswith(OUT)

    @property
    def answer(self) -> str:
        """What the provider says: the same words to all of a class."""
        if self.is_stranger:
            return f"I cannot say much about that ({self.label.removeprefix(OUT).strip()})."
        return f"About {self.label.replace('_', ' ').rstrip('?')}: this is what our help pages say."


def read(folder: Path, name: str, fold: Fold) -> list[Asked]:
    """The fold's questions, in the files' order, each text once."""
    found: dict[str, Asked] = {}
    for row in _rows(folder, FILES[name]):
        if is_in(row["text"], fold):
            found.setdefault(row["text"].strip(), Asked(row["text"].strip(), row["label"]))
    return list(found.values())


def read_strangers(folder: Path, fold: Fold) -> list[Asked]:
    """Questions of no class of CLINC150, and of none of BANKING77: each with an answer of its own."""
    texts = dict.fromkeys(row["text"].strip() for row in _rows(folder, STRANGERS) if is_in(row["text"], fold))
    return [Asked(text, f"{OUT} {number}") for number, text in enumerate(texts)]


def is_in(text: str, fold: Fold) -> bool:
    return (sha256(text.encode()).digest()[0] % 3 == 0) == (fold == "development")


def stream(folder: Path, name: str, *, arrival: Arrival, seed: int, fold: Fold = "report") -> list[Asked]:
    """Every question of the fold once, in random order, strangers among them.

    `zipf`: classes come by Zipf's law, each with its questions in random order; once a class has no fresh question left, the
    next one comes in its place.
    """
    random = np.random.default_rng(seed)
    asked = read(folder, name, fold)
    random.shuffle(asked)  # pyright: ignore[reportArgumentType]
    if arrival == "zipf":
        asked = _by_zipf(asked, random)
    strangers = read_strangers(folder, fold)
    random.shuffle(strangers)  # pyright: ignore[reportArgumentType]
    for stranger, place in zip(
        strangers, sorted(random.integers(0, len(asked), len(strangers)), reverse=True), strict=True
    ):
        asked.insert(int(place), stranger)
    return asked


def given(questions: list[Asked], count: int) -> tuple[dict[str, list[Asked]], list[Asked]]:
    """The first `count` questions of each class, and the rest with the strangers."""
    seeds: dict[str, list[Asked]] = {}
    rest: list[Asked] = []
    for asked in questions:
        mine = seeds.setdefault(asked.label, []) if not asked.is_stranger else None
        if mine is not None and len(mine) < count:
            mine.append(asked)
        else:
            rest.append(asked)
    return seeds, rest


def _by_zipf(asked: list[Asked], random: np.random.Generator) -> list[Asked]:
    waiting: dict[str, list[Asked]] = {}
    for one in asked:
        waiting.setdefault(one.label, []).append(one)
    labels = list(waiting)
    random.shuffle(labels)
    weights = 1.0 / np.arange(1, len(labels) + 1) ** ZIPF
    ordered: list[Asked] = []
    while labels:
        place = int(random.choice(len(labels), p=weights / weights.sum()))
        mine = waiting[labels[place]]
        ordered.append(mine.pop())
        if not mine:
            del labels[place]
            weights = np.delete(weights, place)
    return ordered


def _rows(folder: Path, names: tuple[str, ...]) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = []
    for name in names:
        with gzip.open(folder / name, "rt", encoding="utf-8") as lines:
            rows += [json.loads(line) for line in lines]
    return rows
