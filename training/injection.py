"""`python -m training.injection DATA`: the three heads of the guard's model, and what they do on the reported folds.

Deterministic. Encoding takes some minutes once (kept in the training cache), the fit a minute. The weights written are
those whose figures are printed: folds 2 to 4 train, fold 1 chooses temperature and threshold, fold 0 is only reported.
`--outside deepset` trains without a set and reports on all of it, and writes nothing.
"""

import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from chatwright.adapters.models.embedder import Vectors
from chatwright.adapters.models.grams import Grams, hash_grams
from chatwright.adapters.models.linear import LinearHead
from chatwright.features.guard.injection import FEATURES
from chatwright.features.guard.signals import as_features, find_signals
from training.encode import encode
from training.folds import CHOOSING, REPORTED
from training.injection_rows import CHATS, PUBLIC, Row, document_rows, message_rows
from training.logistic import Sample, fit

CLASSES = ("honest", "attack")
NEAR = 0.94
"""Cosine from which an attack counts as a copy of one of the reported fold."""
WEIGHTS = {
    "deepset": 1.5, "jailbreak": 1.0, "piguard": 2.0, "gandalf": 0.7, "mosscap": 0.35, "bipia": 1.5, "attacks": 0.8, "turns": 1.2,
    "benign": 0.8, "plain": 1.0, "questions en": 1.0, "questions de": 1.0, "asked": 2.0, "tricky": 7.0, "banking": 0.6, "clinc": 0.6, "clinc_val": 0.6, "clinc_oos": 1.0, "stackfaq": 1.0,
    "stackfaq_q": 1.0, "tweets": 0.6, "hutto": 0.6, "mails": 0.3, "pages": 0.3, "letters": 0.5,
}  # fmt: skip
"""Of each set's rows. Mosscap's are many and half of them harmless out of their game."""
DOCUMENT_WEIGHTS = {
    "planted": 1.0, "planted letters": 1.5, "mails": 3.0, "pages": 1.0, "letters": 3.0, "manuals": 1.0, "bipia": 0.5, "attacks": 0.3, "turns": 0.3,
    "deepset": 0.3, "jailbreak": 0.3, "benign": 0.15, "asked": 0.3, "tricky": 0.5, "stackfaq": 0.3, "banking": 0.1, "hutto": 0.1,
}  # fmt: skip
DOCUMENTS = ("mails", "pages", "letters", "manuals")
PLANTED = ("planted", "planted letters")
FALSE_ALARMS = 0.008
"""On the choosing fold, so that one in a hundred is not passed elsewhere."""
FALSE_ALARMS_DOCUMENT = 0.03
"""A document that is marked is framed or shown to its owner, nobody is refused; and a page of orders is a rare page."""
HONEST_MORE = 1.5
"""Honest prompts of the public sets weigh more: an order to a chatbot is no attack."""
DECAY_DENSE, DECAY_GRAMS, STEPS = 4e-5, 1e-4, 100
DECAY_DENSE_DOCUMENT = 1e-3
"""With less the head learns the style of the few letters there are."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Set:
    """One set of rows with all that heads read of them. `near`: rows that copy one of the reported fold."""

    rows: Sequence[Row]
    features: Vectors
    signals: Vectors
    grams: Grams
    folds: NDArray[np.int64]
    attack: NDArray[np.bool_]
    near: NDArray[np.bool_]

    def dense(self, kept: NDArray[np.bool_]) -> Vectors:
        return np.concatenate([self.features[kept], self.signals[kept]], axis=1)


def read_sets(folder: Path) -> dict[str, Set]:
    """Every set, encoded. Raises FileNotFoundError without the data."""
    rows = message_rows(folder)
    rows |= document_rows(folder, rows)
    encoded = {name: encode([row.text for row in found]) for name, found in rows.items()}
    attack = {name: np.array([row.attack for row in found]) for name, found in rows.items()}
    folds = {name: np.array([row.fold for row in found]) for name, found in rows.items()}
    reported = np.concatenate(
        [encoded[name].vectors[attack[name] & (folds[name] == REPORTED)] for name in rows if name not in PLANTED]
    )
    sets: dict[str, Set] = {}
    for name, found in rows.items():
        near = np.zeros(len(found), bool)
        if name not in PLANTED and attack[name].any():
            near[attack[name]] = (encoded[name].vectors[attack[name]] @ reported.T).max(axis=1) > NEAR
        texts = [row.text for row in found]
        sets[name] = Set(
            rows=found,
            features=encoded[name].features[:, :FEATURES],
            signals=np.stack([as_features(find_signals(text)) for text in texts]),
            grams=hash_grams(texts),
            folds=folds[name],
            attack=attack[name],
            near=near,
        )
    return sets


def sample(
    sets: Mapping[str, Set],
    weights: Mapping[str, float],
    folds: Sequence[int],
    *,
    without: Collection[str] = (),
    encoder: bool = True,
) -> Sample:
    """The rows of `folds` that may be learned from, without copies of reported ones."""
    dense: list[Vectors] = []
    grams: list[Grams] = []
    targets: list[Vectors] = []
    weighed: list[Vectors] = []
    for name, weight in weights.items():
        found = sets[name]
        kept = np.isin(found.folds, folds) & ~found.near
        if name in without or not kept.any():
            continue
        if name in PLANTED:
            # What is left of a planted document teaches nothing about orders: clean documents do that.
            kept &= found.attack
        dense.append(found.dense(kept) if encoder else found.signals[kept])
        grams.append(pick(found.grams, kept))
        targets.append(found.attack[kept].astype(np.float32))
        honest = HONEST_MORE if name in PUBLIC else 1.0
        weighed.append(np.where(found.attack[kept], weight, weight * honest).astype(np.float32))
    return Sample(
        dense=np.concatenate(dense), grams=join(grams), targets=np.concatenate(targets), weights=np.concatenate(weighed)
    )


def pick(grams: Grams, kept: NDArray[np.bool_]) -> Grams:
    """The rows of `kept`."""
    lengths = np.diff(grams.offsets)
    entries = np.repeat(kept, lengths)
    offsets = np.concatenate([[0], np.cumsum(lengths[kept])]).astype(np.int64)
    return Grams(buckets=grams.buckets[entries], weights=grams.weights[entries], offsets=offsets)


def join(many: Sequence[Grams]) -> Grams:
    """The rows of all, in order."""
    lengths = np.concatenate([np.diff(grams.offsets) for grams in many])
    return Grams(
        buckets=np.concatenate([grams.buckets for grams in many]),
        weights=np.concatenate([grams.weights for grams in many]),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
    )


def odds(head: LinearHead, found: Set, *, encoder: bool = True) -> Vectors:
    """The head's log-odds of an attack for each row, shape (n,)."""
    everything = np.ones(len(found.rows), bool)
    scores = head.scores(found.dense(everything) if encoder else found.signals, found.grams)
    return (scores[:, 1] - scores[:, 0]) / head.temperature


def of_fold(sets: Mapping[str, Set], scored: Mapping[str, Vectors], names: Collection[str], kept: int) -> Vectors:
    return np.concatenate([scored[name][sets[name].folds == kept] for name in names])


def whole(found: Set, scored: Vectors, kept: int) -> dict[str, list[float]]:
    """Of each source the largest log-odds of each document of a fold."""
    largest: dict[tuple[str, int], float] = {}
    for row, value in zip(found.rows, scored, strict=True):
        if row.fold == kept:
            key = (row.source, row.whole)
            largest[key] = max(largest.get(key, -np.inf), float(value))
    by_source: dict[str, list[float]] = {}
    for (source, _), value in largest.items():
        by_source.setdefault(source, []).append(value)
    return by_source


def calibrate(
    head: LinearHead, chosen: Vectors, honest: Vectors, attacks: Vectors, *, false_alarms: float
) -> LinearHead:
    """Temperature by the log loss of the choosing fold, and a bias that puts the threshold, which `false_alarms` of the
    `chosen` honest texts pass, at a probability of one half."""
    cut = float(np.quantile(chosen, 1 - false_alarms))
    tried = np.geomspace(0.3, 6.0, 60)
    losses = [np.logaddexp(0, (honest - cut) / t).mean() + np.logaddexp(0, -(attacks - cut) / t).mean() for t in tried]
    return replace(
        head, bias=head.bias - np.array([0.0, cut], np.float32), temperature=float(tried[int(np.argmin(losses))])
    )


def train(sets: Mapping[str, Set], *, without: Collection[str] = ()) -> dict[str, LinearHead]:
    """The heads `message`, `document` and `words`, calibrated."""
    heads: dict[str, LinearHead] = {}
    for name, weights, encoder in (
        ("message", WEIGHTS, True), ("document", DOCUMENT_WEIGHTS, True), ("words", WEIGHTS, False)
    ):  # fmt: skip
        learned = sample(sets, weights, (2, 3, 4), without=without, encoder=encoder)
        decay = DECAY_DENSE_DOCUMENT if name == "document" else DECAY_DENSE
        head = fit(learned, CLASSES, decay_dense=decay, decay_grams=DECAY_GRAMS, steps=STEPS)
        scored = {each: odds(head, found, encoder=encoder) for each, found in sets.items()}
        if name == "document":
            clean = [
                value for each in DOCUMENTS for of in whole(sets[each], scored[each], CHOOSING).values() for value in of
            ]
            chosen = honest = np.array(clean, np.float32)
            attacks = np.array(
                [v for each in PLANTED for of in whole(sets[each], scored[each], CHOOSING).values() for v in of],
                np.float32,
            )
        else:
            chosen = of_fold(sets, scored, CHATS, CHOOSING)
            rows = [each for each in WEIGHTS if each not in without]
            honest = np.concatenate([scored[n][(sets[n].folds == CHOOSING) & ~sets[n].attack] for n in rows])
            attacks = np.concatenate([scored[n][(sets[n].folds == CHOOSING) & sets[n].attack] for n in rows])
        alarms = FALSE_ALARMS_DOCUMENT if name == "document" else FALSE_ALARMS
        heads[name] = calibrate(head, chosen, honest, attacks, false_alarms=alarms)
    return heads


def report(sets: Mapping[str, Set], heads: Mapping[str, LinearHead], *, outside: Collection[str] = ()) -> list[str]:
    """A line a head and set: the share of attacks that is found, and of honest texts that is marked, in fold 0."""
    lines: list[str] = []
    for name, head in heads.items():
        scored = {each: odds(head, found, encoder=name != "words") for each, found in sets.items()}
        lines.append(f"{name}: chats marked {np.mean(of_fold(sets, scored, CHATS, REPORTED) > 0):.4f}")
        for each, found in sets.items():
            if each in CHATS or each in (*DOCUMENTS, *PLANTED):
                continue
            kept = np.ones(len(found.rows), bool) if each in outside else found.folds == REPORTED
            said = scored[each] > 0
            for attack in (True, False):
                rows = kept & (found.attack == attack)
                if rows.any():
                    lines.append(
                        f"  {each:10} {'found' if attack else 'marked'} {said[rows].mean():.3f} of {rows.sum()}"
                    )
        for each in (*DOCUMENTS, *PLANTED):
            for source, values in sorted(whole(sets[each], scored[each], REPORTED).items()):
                lines.append(f"  {each:10} {source:24} {np.mean(np.array(values) > 0):.3f} of {len(values)}")
    return lines


def main(folder: Path, outside: Collection[str]) -> None:
    sets = read_sets(folder)
    heads = train(sets, without=outside)
    print("\n".join(report(sets, heads, outside=outside)))
    if outside:
        return
    for name, head in heads.items():
        path = Path(str(resources.files("chatwright.features.guard"))) / "data" / f"injection_{name}.npz"
        with path.open("wb") as file:
            head.save(file)
        print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB, temperature {head.temperature:.2f}")


if __name__ == "__main__":
    named = [word for word in sys.argv[1:] if word != "--outside"]
    apart = named[1:] if "--outside" in sys.argv else []
    main(Path(named[0] if named else "../shared/data"), apart)
