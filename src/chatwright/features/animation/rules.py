"""Chooses what the avatar does. Pure and deterministic per message: the same message always plays the same.

Intent decides before sentiment, sentiment before the default. The tables are data; a chatbot may override them with
`{"intent": {...}, "sentiment": {...}, "default": "...", "available": [...]}`.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, cast

ANIMATIONS = ("idle", "wave", "happy", "thumbs_up", "nod", "thinking", "confused", "talk_calm", "talk_explain")

BY_INTENT: Mapping[str, Sequence[str]] = {
    "greeting": ("wave",),
    "farewell": ("wave",),
    "explanation": ("talk_explain",),
    "question": ("thinking",),
}
BY_SENTIMENT: Mapping[str, Sequence[str]] = {
    "positive": ("happy", "thumbs_up", "nod"),
    "negative": ("thinking", "confused"),
    "neutral": ("talk_calm", "talk_explain"),
}
WHILE_STREAMING = ("talk_calm", "talk_explain")


def choose(
    message_id: str,
    *,
    intent: str | None,
    sentiment: str | None,
    animation_set: Mapping[str, Any] | None = None,
    previous: str | None = None,
) -> str:
    """Pick an animation the avatar has. `previous` is not repeated at once when there is another choice."""
    tables = animation_set or {}
    available = set(_names(tables.get("available")) or ANIMATIONS)
    for table, key in (
        (_table(tables, "intent", BY_INTENT), intent),
        (_table(tables, "sentiment", BY_SENTIMENT), sentiment),
    ):
        candidates = [name for name in _names(table.get(key or "")) if name in available]
        if candidates:
            return _pick(candidates, message_id, previous)
    default = tables.get("default", "idle")
    return default if isinstance(default, str) and default in available else "idle"


def while_streaming(sentence: int, animation_set: Mapping[str, Any] | None = None) -> str:
    """What plays during sentence `sentence` (from 0) of a streamed answer: the talking animations in turn."""
    available = set(_names((animation_set or {}).get("available")) or ANIMATIONS)
    candidates = [name for name in WHILE_STREAMING if name in available] or ["idle"]
    return candidates[sentence % len(candidates)]


def _pick(candidates: Sequence[str], message_id: str, previous: str | None) -> str:
    fresh = [name for name in candidates if name != previous] or list(candidates)
    digest = hashlib.blake2s(message_id.encode(), digest_size=4).digest()
    return fresh[int.from_bytes(digest) % len(fresh)]


def _table(tables: Mapping[str, Any], name: str, default: Mapping[str, Sequence[str]]) -> Mapping[str, Any]:
    override = tables.get(name)
    return {**default, **cast("Mapping[str, Any]", override)} if isinstance(override, Mapping) else default


def _names(value: object) -> Sequence[str]:
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list | tuple):
        return [name for name in cast("Sequence[object]", value) if isinstance(name, str)]
    return ()
