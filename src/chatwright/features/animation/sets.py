"""A chatbot's `animation_set`: which animations its avatar has, and what plays when. Pure data with its checks.

`check_animation_set` stands where a tenant writes it; `AnimationSet.of` reads what is stored, for every answer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from chatwright.domain.errors import Unprocessable

Table = Mapping[str, tuple[str, ...]]

ANIMATIONS = ("idle", "wave", "happy", "thumbs_up", "nod", "thinking", "confused", "talk_calm", "talk_explain")
"""What an avatar has if its set does not say."""

BY_INTENT: Table = {
    "greeting": ("wave",),
    "farewell": ("wave",),
    "explanation": ("talk_explain",),
    "question": ("thinking",),
}
BY_SENTIMENT: Table = {
    "positive": ("happy", "thumbs_up", "nod"),
    "negative": ("thinking", "confused"),
    "neutral": ("talk_calm", "talk_explain"),
}
BY_TONE: Table = {
    "waiting": ("thinking",),
    "greeting": ("wave",),
    "farewell": ("wave",),
    "apology": ("confused",),
    "celebration": ("happy", "thumbs_up"),
    "question": ("thinking", "nod"),
    "agreement": ("nod", "thumbs_up"),
    "list": ("talk_explain",),
    "plain": ("talk_calm", "talk_explain"),
}
"""By what a sentence of the reply does; `waiting` before its first one, `plain` where nothing tells."""
INSTEAD: Table = {
    "wave": ("happy", "nod"),
    "talk_explain": ("talk_calm",),
    "talk_calm": ("talk_explain",),
    "thinking": ("nod",),
    "confused": ("thinking",),
    "idle": ("nod",),
}
"""What plays where a table knows only the animation that played just now."""

DWELL_S = 1.5
MOST_DWELL_S = 30.0
_KEYS: Mapping[str, tuple[str, ...] | None] = {
    "intent": None,  # the twelve, and a chatbot's own
    "emotion": ("anger", "joy", "optimism", "sadness", "none"),
    "sentiment": ("positive", "neutral", "negative"),
    "tone": tuple(BY_TONE),
    "instead": None,
}
_DEFAULTS: Mapping[str, Table] = {
    "intent": BY_INTENT,
    "emotion": {},
    "sentiment": BY_SENTIMENT,
    "tone": BY_TONE,
    "instead": INSTEAD,
}
_FIELDS = (*_KEYS, "default", "available", "manifest", "dwell_s")
_NAME_AT_MOST = 64
_NAMES_AT_MOST = 100
_ENTRIES_AT_MOST = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class AnimationSet:
    """Tables of candidates, every one of which the avatar has. `dwell_s`: how long a cue plays at least while a reply is
    streamed, in seconds."""

    available: tuple[str, ...] = ANIMATIONS
    intent: Table = field(default_factory=lambda: BY_INTENT)
    emotion: Table = field(default_factory=dict[str, tuple[str, ...]])
    sentiment: Table = field(default_factory=lambda: BY_SENTIMENT)
    tone: Table = field(default_factory=lambda: BY_TONE)
    instead: Table = field(default_factory=lambda: INSTEAD)
    default: tuple[str, ...] = ("idle",)
    dwell_s: float = DWELL_S

    @classmethod
    def of(cls, fields: "Mapping[str, Any] | AnimationSet | None") -> "AnimationSet":
        """Read a stored set. What the avatar does not have is left out of every table: no answer fails over it."""
        if isinstance(fields, AnimationSet):
            return fields
        if not fields:
            return _DEFAULT
        available = _available(fields)
        tables = {name: _kept(_table(fields.get(name), _DEFAULTS[name]), available) for name in _KEYS}
        resting = "idle" if "idle" in available else available[0]
        return cls(
            available=available,
            default=tuple(name for name in _names(fields.get("default")) if name in available) or (resting,),
            dwell_s=float(fields["dwell_s"]) if _is_dwell(fields.get("dwell_s")) else DWELL_S,
            **tables,
        )


_DEFAULT = AnimationSet()


def check_animation_set(fields: Mapping[str, Any]) -> None:
    """Raise Unprocessable, naming the field, for a set that cannot be meant: an unknown field or key, or a name that the
    avatar does not have."""
    for name, value in fields.items():
        if (fault := _fault(name, value)) is not None:
            raise Unprocessable(fault[:300], param=f"animation_set.{name}"[:100])
    available = frozenset(_available(fields))
    if beyond := sorted(set(_names(fields.get("available"))) - set(_manifest(fields) or available)):
        raise Unprocessable(
            f"the avatar's manifest has no animation {beyond[0]!r}"[:300], param="animation_set.available"
        )
    for name in (*_KEYS, "default"):
        for key, names in {"": fields.get(name)}.items() if name == "default" else _mapping(fields.get(name)).items():
            where = f"animation_set.{name}.{key}" if key else f"animation_set.{name}"
            for animation in _names(names) if name != "instead" else (key, *_names(names)):
                if animation not in available:
                    raise Unprocessable(
                        f"the avatar has no animation {animation!r}; it has {', '.join(sorted(available))}"[:300],
                        param=where[:100],
                    )


def _fault(name: str, value: Any) -> str | None:
    if name == "dwell_s":
        return None if _is_dwell(value) else f"dwell_s is a number of seconds from 0 to {MOST_DWELL_S:g}"
    if name == "default":
        return None if _are_names(value) and value else "default is an animation, or a list of some"
    if name == "available":
        listed = isinstance(value, list) and bool(cast("list[Any]", value)) and _are_names(value)
        return None if listed else "available is a list of the avatar's animations, at least one"
    if name == "manifest":
        names: Any = list(cast("Mapping[Any, Any]", value)) if isinstance(value, Mapping) else value
        listed = isinstance(names, list) and bool(cast("list[Any]", names)) and _are_names(names)
        return None if listed else "manifest is a list of animations, or an object with an animation for each key"
    if name not in _KEYS:
        return f"no such field: {name!r}; there are {', '.join(_FIELDS)}"
    if not isinstance(value, Mapping):
        return f"{name} is an object of names to animations"
    table, keys = cast("Mapping[str, Any]", value), _KEYS[name]
    if len(table) > _ENTRIES_AT_MOST:
        return f"{name} has at most {_ENTRIES_AT_MOST} entries"
    for key, names in table.items():
        if (keys is not None and key not in keys) or not 0 < len(key) <= _NAME_AT_MOST:
            return f"{name} has no {key!r}; there are {', '.join(keys or ('names of at most 64 characters',))}"
        if not _are_names(names):
            return f"{name}.{key} is an animation, or a list of some"
    return None


def _is_dwell(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MOST_DWELL_S


def _are_names(value: object) -> bool:
    if isinstance(value, str):
        return 0 < len(value) <= _NAME_AT_MOST
    if not isinstance(value, list):
        return False
    names = cast("list[object]", value)
    return len(names) <= _NAMES_AT_MOST and all(
        isinstance(name, str) and 0 < len(name) <= _NAME_AT_MOST for name in names
    )


def _available(fields: Mapping[str, Any]) -> tuple[str, ...]:
    manifest = _manifest(fields)
    named = tuple(dict.fromkeys(_names(fields.get("available"))))
    if manifest is None:
        return named or ANIMATIONS
    return tuple(name for name in named if name in manifest) or manifest


def _manifest(fields: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The names of the avatar's clips; None where the set does not say."""
    value = fields.get("manifest")
    names = _names(list(cast("Mapping[str, Any]", value)) if isinstance(value, Mapping) else value)
    return tuple(dict.fromkeys(names)) or None


def _table(value: object, default: Table) -> Table:
    own = _mapping(value)
    return {**default, **{key: tuple(_names(names)) for key, names in own.items()}} if own else default


def _kept(table: Table, available: Sequence[str]) -> Table:
    return {key: tuple(name for name in names if name in available) for key, names in table.items()}


def _mapping(value: object) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def _names(value: object) -> Sequence[str]:
    if isinstance(value, str):
        return (value,) if value else ()
    if isinstance(value, list | tuple):
        return [name for name in cast("Sequence[object]", value) if isinstance(name, str) and name]
    return ()
