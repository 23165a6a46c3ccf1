"""How many attacks the guard finds, and how many honest texts it marks, beside its rules alone in the same run.

All texts are of fold 0 of the sets in `../shared/data`, none of which was trained on or chosen by, nor copies of them
(`training/injection.py`); the tricky sentences are the reported half of our own. Documents are BIPIA's mails, XQuAD's
English passages and letters of our own of fold 0, plain or with one attack planted between two sentences, and read in windows.
"""

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.quality.page import put
from chatwright.adapters.models import LocalEmbedders, open_embedder
from chatwright.features.guard.injection import InjectionModel
from chatwright.features.guard.judging import OWN_THRESHOLD, WORTH_A_NOTE, suspect
from chatwright.features.guard.signals import find_signals
from training.folds import REPORTED
from training.injection_rows import CHATS, Row, document_rows, message_rows

_MIXED = ("deepset", "jailbreak", "piguard", "gandalf", "mosscap")


@dataclass(frozen=True, slots=True, kw_only=True)
class Marked:
    """Of some texts whether the guard, and whether its rules alone, mark each."""

    guard: NDArray[np.bool_]
    rules: NDArray[np.bool_]


def section(folder: Path) -> str:
    """Markdown. Raises FileNotFoundError without the data."""
    return asyncio.run(_measure(folder))


async def _measure(folder: Path) -> str:
    model = InjectionModel.load()
    messages = message_rows(folder)
    documents = document_rows(folder, messages)
    lines = ["| texts (fold 0) | n | guard | rules alone |", "| --- | --- | --- | --- |"]
    async with open_embedder() as embedder:
        chats = [row for name in CHATS for row in messages[name] if row.fold == REPORTED]
        found = await _mark(model, embedder, chats, document=False)
        lines.append(_line("**marked**: support chats and tweets (" + ", ".join(CHATS) + ")", found))
        lines += [_line(f"- {name}", _some(found, [row.source == name for row in chats])) for name in CHATS]
        attacks = [row for name in _MIXED for row in messages[name] if row.attack and row.fold == REPORTED]
        found = await _mark(model, embedder, attacks, document=False)
        lines.append(_line("**found**: mixed attacks", found))
        lines += [_line(f"- {name}", _some(found, [row.source == name for row in attacks])) for name in _MIXED]
        honest = [
            row for name in (*_MIXED, "tricky") for row in messages[name] if not row.attack and row.fold == REPORTED
        ]
        found = await _mark(model, embedder, honest, document=False)
        lines.append(
            _line(
                "**marked**: own sentences full of trigger words, reported half",
                _some(found, [row.source == "tricky" for row in honest]),
            )
        )
        lines += [
            _line(f"- {name}, honest rows", _some(found, [row.source == name for row in honest]))
            for name in ("piguard", "jailbreak", "deepset")
        ]
        for name in ("mails", "pages", "letters"):
            rows = [row for row in documents[name] if row.fold == REPORTED]
            lines.append(
                _line(
                    f"**marked**: {name} without an attack",
                    _whole(rows, await _mark(model, embedder, rows, document=True)),
                )
            )
        rows = [row for name in ("planted", "planted letters") for row in documents[name] if row.fold == REPORTED]
        found = await _mark(model, embedder, rows, document=True)
        lines.append(_line("**found**: attacks buried in mails and pages", _whole(rows, found)))
        for source in sorted({row.source for row in rows}):
            kept = [row.source == source for row in rows]
            lines.append(
                _line(f"- {source}", _whole([row for row in rows if row.source == source], _some(found, kept)))
            )
    return "\n".join(lines)


async def _mark(model: InjectionModel, embedder: LocalEmbedders, rows: Sequence[Row], *, document: bool) -> Marked:
    texts = [row.text for row in rows]
    seen = [find_signals(text) for text in texts]
    scores = model.score(texts, await embedder.encode(texts, bulk=True), findings=seen, document=document)
    suspicions = [suspect(found, score) for found, score in zip(seen, scores, strict=True)]
    return Marked(
        guard=np.array(suspicions) >= OWN_THRESHOLD,
        rules=np.array([suspect(found, None) for found in seen]) >= WORTH_A_NOTE,
    )


def _some(found: Marked, kept: Sequence[bool]) -> Marked:
    mask = np.array(kept, bool)
    return Marked(guard=found.guard[mask], rules=found.rules[mask])


def _whole(rows: Sequence[Row], found: Marked) -> Marked:
    """A document is marked when one of its windows is."""
    numbers = sorted({row.whole for row in rows})
    of = np.array([row.whole for row in rows])
    return Marked(
        guard=np.array([found.guard[of == number].any() for number in numbers]),
        rules=np.array([found.rules[of == number].any() for number in numbers]),
    )


def _line(name: str, found: Marked) -> str:
    if not len(found.guard):
        return f"| {name} | 0 | – | – |"
    return f"| {name} | {len(found.guard)} | {found.guard.mean():.3f} | {found.rules.mean():.3f} |"


if __name__ == "__main__":
    put("injection", section(Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/data")))
