"""Chooses what the avatar does. Pure and deterministic per message: the same message always plays the same.

Intent decides before emotion, emotion before sentiment, sentiment before the default; emotion only where the chatbot's
set has a table for it. No choice repeats the one before it while the avatar has anything else to do.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from chatwright.features.animation.sets import AnimationSet


def choose(
    message_id: str,
    *,
    intent: str | None,
    sentiment: str | None,
    emotion: str | None = None,
    custom_intent: str | None = None,
    animation_set: Mapping[str, Any] | AnimationSet | None = None,
    previous: str | None = None,
) -> str:
    """Pick an animation that the avatar has. `previous` is what it played last: it is repeated only by an avatar that has
    nothing else. `custom_intent` is a chatbot's own, which is looked up before the twelve."""
    tables = AnimationSet.of(animation_set)
    candidates = (
        (tables.intent.get(custom_intent or "") or tables.intent.get(intent or ""))
        or tables.emotion.get(emotion or "")
        or tables.sentiment.get(sentiment or "")
        or tables.default
    )
    fresh = others(candidates, tables, previous)
    digest = hashlib.blake2s(message_id.encode("utf-8", "replace"), digest_size=4).digest()
    return fresh[int.from_bytes(digest) % len(fresh)]


def others(candidates: Sequence[str], tables: AnimationSet, previous: str | None) -> Sequence[str]:
    """`candidates` without `previous`; what the set names instead, or anything else, where none is left. Never empty."""
    if previous is None or previous not in candidates:
        return candidates
    for names in (candidates, tables.instead.get(previous, ()), tables.default, tables.available[:1], tables.available):
        if fresh := [name for name in names if name != previous]:
            return fresh
    return candidates


def while_streaming(sentence: int, animation_set: Mapping[str, Any] | AnimationSet | None = None) -> str:
    """What plays during a plain sentence (from 0) of a streamed answer: the talking animations in turn."""
    tables = AnimationSet.of(animation_set)
    candidates = tables.tone.get("plain") or tables.default
    return candidates[sentence % len(candidates)]
