"""The answer of a model that says what it was asked, so that an answer given to the wrong question is seen. Pure.

A mark has four parts: digests of what shapes every answer (model, options, system prompt), of the turns before the
question, and of the question without its spelling; and all words of the request that begin with `zq`, in order of the
alphabet. Two requests with the same mark ask the same of the same model.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

_TOKEN = re.compile(r"zq[a-z0-9]+")
_SPACES = re.compile(r"\s+")
_MARK = re.compile(r"asked s=(\w+) h=(\w+) q=(\w+) t=(\S+)\.")
_LEFT_OUT = frozenset(["messages", "stream", "stream_options", "user", "prompt_cache_key"])
NO_HISTORY = "none"


@dataclass(frozen=True, slots=True)
class Mark:
    """What a request asked: `shape`, `history` (`NO_HISTORY` for a first turn), `question`, `tokens`."""

    shape: str
    history: str
    question: str
    tokens: str

    @classmethod
    def read(cls, text: str) -> "Mark | None":
        """The mark in an answer."""
        found = _MARK.search(text)
        return None if found is None else cls(*found.groups())

    def __str__(self) -> str:
        return f"You asked s={self.shape} h={self.history} q={self.question} t={self.tokens}."


def mark_of(body: bytes, topics: Mapping[str, str]) -> Mark:
    """The mark of a chat request in OpenAI's dialect. `topics`: what is said instead of a question's mark, by it."""
    asked: dict[str, Any] = json.loads(body)
    turns = [(str(turn["role"]), str(turn.get("content"))) for turn in asked["messages"]]
    systems = [text for role, text in turns if role in ("system", "developer")]
    said = [(role, text) for role, text in turns if role not in ("system", "developer")]
    options = {name: value for name, value in asked.items() if name not in _LEFT_OUT}
    tokens = "+".join(sorted(set(_TOKEN.findall(body.decode("utf-8", "replace").lower()))))
    # What stands before it (passages, the page) may differ with its spelling; its own words are the last paragraph.
    question = question_mark(said[-1][1].rpartition("\n\n")[2] if said else "")
    return Mark(
        shape=_digest([json.dumps(options, sort_keys=True), *systems]),
        history=_digest([part for turn in said[:-1] for part in turn]) if said[:-1] else NO_HISTORY,
        question=topics.get(question, question),
        tokens=tokens or "-",
    )


def question_mark(text: str) -> str:
    """The mark of a question: the same however it is spelled."""
    return _digest([_SPACES.sub(" ", text).strip().rstrip("?.! ").casefold()])


def _digest(parts: list[str]) -> str:
    taken = blake2b(digest_size=6)
    for part in parts:
        raw = part.encode("utf-8", "surrogatepass")
        taken.update(len(raw).to_bytes(4, "big") + raw)
    return taken.hexdigest()
