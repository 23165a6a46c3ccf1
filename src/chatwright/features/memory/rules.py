"""The arithmetic of a conversation's memory: what is due for its summary, and one step of it. Pure.

A prompt holds the latest messages as they are and, of those before, a summary: facts in the visitor's own words and
a gist of what it was about. A step takes the summary and the messages that left the window, and makes the next summary;
it never looks at a message again. Called by `pipeline/memory.py` and `pipeline/summary.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any
from urllib.parse import urlsplit

from chatwright.domain.language import content_words
from chatwright.domain.providers import Turn
from chatwright.features.memory.facts import (
    Count,
    Fact,
    Suspect,
    bound,
    clip,
    find_facts,
    is_small_talk,
    line,
    merge,
    sentences_of,
)

_FACTS_SHARE = 2 / 3
"""Of a summary's room that facts may take; what they leave is the gist's."""
_GIST_LINES_A_STEP = 4
_LINE_CHARS = 140
_AGE = 0.97
"""How much a line of the gist loses against the one after it."""
_METADATA_CHARS = 200
ABOUT = "What it was about:"


@dataclass(frozen=True, slots=True)
class Exchange:
    """A visitor's message with its answer, if it has one."""

    ordinal: int
    said: str
    answered: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What is remembered of the messages up to `covers_upto`. `made_by` wrote the gist: `provider/model`, or `local`."""

    covers_upto: int = 0
    facts: tuple[Fact, ...] = ()
    gist: str = ""
    made_by: str = ""


def due(ordinal: int, *, since: int, keep: int, every: int) -> int:
    """Up to which message the summary is to reach once `ordinal` was answered; 0 while it need not.

    `since`: the last message that stands in it, or was forgotten. The latest `keep` messages stay as they are, and so do up
    to `every` more, so that a step is worth it: its bounds depend on nothing but these numbers.
    """
    steps = (ordinal - since - keep) // every
    return since + steps * every if steps > 0 else 0


def due_for_room(history: Sequence[Turn], ordinal: int, room_tokens: int, count: Count) -> int:
    """Like `due`, where the messages are so long that they do not fit: those that do not fit into half of
    `room_tokens`, so that the next few do; 0 while all fit.

    `history`: the messages before `ordinal`, each beginning with a turn of the visitor.
    """
    costs = [count(turn.content) for turn in history]
    if sum(costs) <= room_tokens:
        return 0
    room, kept = room_tokens // 2, 0
    cost = 0
    for turn, tokens in zip(reversed(history), reversed(costs), strict=True):
        cost += tokens
        if turn.role == "user":
            if cost > room:
                break
            room -= cost
            kept += 1
            cost = 0
    return max(0, ordinal - 1 - kept)


def fold(
    before: Summary,
    exchanges: Sequence[Exchange],
    *,
    room_tokens: int,
    count: Count,
    suspect: Suspect,
    gist: str | None = None,
    made_by: str = "local",
) -> Summary:
    """One step: `before` and the messages after it, oldest first, as the next summary of at most `room_tokens`.

    `gist`: what a model made of the gist and these messages; None: the local one is made, of sentences that were said.
    """
    new = [fact for one in exchanges for fact in find_facts(one.ordinal, one.said, one.answered, suspect)]
    facts = bound(merge(before.facts, new), int(room_tokens * _FACTS_SHARE), count)
    room = room_tokens - count(ABOUT) - sum(count(line(fact)) + 1 for fact in facts)
    lines = (
        _lines(before.gist) + _gist(exchanges, {fact.text for fact in facts}, suspect) if gist is None else _lines(gist)
    )
    return Summary(
        covers_upto=exchanges[-1].ordinal if exchanges else before.covers_upto,
        facts=tuple(facts),
        gist="\n".join(_fitting(lines, room, count)),
        made_by=made_by,
    )


def render(summary: Summary) -> str:
    """The summary as a prompt shows it, without the marks around it; "" for an empty one."""
    parts = [line(fact) for fact in summary.facts]
    if summary.gist:
        parts += [ABOUT, summary.gist]
    return "\n".join(parts)


def show_metadata(metadata: dict[str, Any], fields: Sequence[str]) -> str:
    """The named fields of a visitor's metadata, one a line; "" where there are none.

    It is what a page says of itself, and a page may be anybody's: every value is cut short, in one line, and of an
    address only host and path are shown.
    """
    shown: list[str] = []
    for name in fields:
        value = metadata.get(name)
        if isinstance(value, (bool, int, float, str)):
            text = " ".join(str(value).split())
            if "://" in text[:12]:
                parts = urlsplit(text) if "[" not in text else None
                text = f"{parts.netloc.rpartition('@')[2]}{parts.path}" if parts is not None else ""
            if text:
                shown.append(f"{name}: {text[:_METADATA_CHARS]}")
    return "\n".join(shown)


def digest(*texts: str) -> bytes:
    """16 bytes over what a conversation adds to a prompt beside its messages; b"" where it adds nothing."""
    if not any(texts):
        return b""
    seen = blake2b(digest_size=16)
    for text in texts:
        raw = text.encode("utf-8", "surrogatepass")
        seen.update(len(raw).to_bytes(8, "big") + raw)
    return seen.digest()


def _lines(gist: str) -> list[str]:
    """A gist in pieces that can go one by one: our own lines, a model's sentences."""
    return [
        piece for row in gist.splitlines() for piece in ([row] if row.startswith("- ") else sentences_of(row)) if piece
    ]


def _gist(exchanges: Sequence[Exchange], known: set[str], suspect: Suspect) -> list[str]:
    """The most telling of these messages, each with how its answer began; in their order."""
    found: list[tuple[float, int, str]] = []
    for at, one in enumerate(exchanges):
        best, weight = "", 0.0
        for sentence in sentences_of(one.said)[:20]:
            telling = _telling(sentence)
            if telling > weight and clip(sentence) not in known and not suspect(sentence):
                best, weight = sentence, telling
        if not best:
            continue
        text = f"- {clip(best, _LINE_CHARS)}"
        reply = next((s for s in sentences_of(one.answered or "")[:3] if not is_small_talk(s)), "")
        if reply and not suspect(reply):
            text += f" → {clip(reply, _LINE_CHARS)}"
        found.append((weight, at, text))
    best_first = sorted(found, key=lambda item: (-item[0], item[1]))[:_GIST_LINES_A_STEP]
    return [text for _, _, text in sorted(best_first, key=lambda item: item[1])]


def _fitting(lines: Sequence[str], room_tokens: int, count: Count) -> list[str]:
    """The lines that fit, in their order, none twice; the least telling go first, and of equals the oldest."""
    seen: set[frozenset[str]] = set()
    left: list[tuple[float, int, str]] = []
    for at, text in enumerate(lines):
        meaning = frozenset(content_words(text))
        if meaning and meaning not in seen:
            seen.add(meaning)
            left.append((_telling(text) * _AGE ** (len(lines) - at), at, text))
    kept: list[tuple[int, str]] = []
    for _, at, text in sorted(left, key=lambda item: (-item[0], -item[1])):
        cost = count(text) + 1
        if cost <= room_tokens:
            room_tokens -= cost
            kept.append((at, text))
    return [text for _, text in sorted(kept)]


def _telling(sentence: str) -> float:
    """How much a sentence says: its different words that carry meaning, up to a dozen."""
    return 0.0 if is_small_talk(sentence) else float(min(12, len(set(content_words(sentence)))))
