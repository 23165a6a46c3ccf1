"""What a chatbot's `cache_policy` may say, and what one request may ask of the caches. Pure.

`check_policy` stands at the edge, where a tenant writes it; `CachePolicy.of` reads what is stored, on every question.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from chatwright.domain.errors import BadRequest, Unprocessable

CacheMode = Literal["on", "read", "write", "off"]
"""`read` looks answers up and keeps none, `write` keeps them and looks none up: it refreshes."""

MODES: Mapping[str, CacheMode] = {"on": "on", "read-only": "read", "write-only": "write", "off": "off"}
"""The word on the wire -> the mode."""

TTL_S = 300
TTL_KNOWLEDGE_S = 86_400
"""Under a knowledge base the version in the key ends an answer's life; the clock need not."""
_TTL_AT_MOST_S = 30 * 86_400
_NUMBERS = {
    "ttl_s": (1, _TTL_AT_MOST_S),
    "semantic_ttl_s": (1, _TTL_AT_MOST_S),
    "max_error": (0.0, 0.5),
    "check_share": (0.0, 1.0),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CachePolicy:
    """A chatbot's caches. Times in seconds; shares in 0..1.

    `ttl_s` None: 300 without knowledge, a day with it. `max_error` bounds the share of wrong answers among those that
    the semantic tier gives; `check_share` is the most questions of a hundred that checking it may cost a call.
    """

    mode: CacheMode = "on"
    ttl_s: int | None = None
    semantic: bool = True
    max_error: float = 0.02
    check_share: float = 0.1
    semantic_ttl_s: int = 86_400
    semantic_named: bool = False
    """Whether the policy says it: a bare chatbot behind `/v1`, which is a gateway, pays for vectors only if asked to."""

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> "CachePolicy":
        """Read a stored policy. What cannot be meant is left at its default: no answer fails over it."""
        if not fields:
            return _DEFAULT
        known: dict[str, Any] = {}
        for name, value in fields.items():
            if _fault(name, value) is None:
                known[name] = MODES[value] if name == "mode" else value
        if "semantic" in known:
            known["semantic_named"] = True
        return cls(**known)

    def lifetime_s(self, *, has_knowledge: bool) -> int:
        """How long an answer is kept in the exact tier."""
        if self.ttl_s is not None:
            return self.ttl_s
        return TTL_KNOWLEDGE_S if has_knowledge else TTL_S


_DEFAULT = CachePolicy()


def check_policy(fields: Mapping[str, Any]) -> None:
    """Raise Unprocessable, naming the field, for a policy that cannot be meant."""
    for name, value in fields.items():
        if (fault := _fault(name, value)) is not None:
            raise Unprocessable(fault[:300], param=f"cache_policy.{name}"[:100])


def _fault(name: str, value: Any) -> str | None:
    if name == "mode":
        known = isinstance(value, str) and value in MODES
        return None if known else f"the mode of a cache is one of {', '.join(MODES)}"
    if name == "semantic":
        return None if isinstance(value, bool) else "semantic is true or false"
    if name not in _NUMBERS:
        return f"no such field: {name!r}; there are mode, semantic, {', '.join(_NUMBERS)}"
    low, high = _NUMBERS[name]
    kinds = int if isinstance(low, int) else (int, float)
    if name == "ttl_s" and value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
        return f"{name} is a {'whole ' if isinstance(low, int) else ''}number from {low} to {high:,}"
    return None


def mode_word(mode: CacheMode) -> str:
    """A mode's word on the wire."""
    return next(word for word, known in MODES.items() if known == mode)


def requested_mode(cache_control: str | None, asked: str | None) -> CacheMode | None:
    """What one request asks for: its `x-chatwright-cache` header, else its `Cache-Control`; None where neither says.

    `no-store` neither reads nor keeps, `no-cache` asks anew and keeps the answer. Other directives are for the caches
    between us and the client. Raises BadRequest for an `x-chatwright-cache` that is no mode.
    """
    if asked is not None:
        mode = MODES.get(asked.strip().lower())
        if mode is None:
            raise BadRequest(f"x-chatwright-cache is one of {', '.join(MODES)}", param="x-chatwright-cache")
        return mode
    if cache_control is None:
        return None
    directives = {part.strip().partition("=")[0].lower() for part in cache_control.split(",")}
    if "no-store" in directives:
        return "off"
    return "write" if "no-cache" in directives else None


def narrowed(policy: CacheMode, asked: CacheMode | None) -> CacheMode:
    """The mode of one request: it may ask for less than the chatbot's policy grants, never for more."""
    if asked is None or asked == policy:
        return policy
    reads = policy in ("on", "read") and asked in ("on", "read")
    writes = policy in ("on", "write") and asked in ("on", "write")
    return "on" if reads and writes else "read" if reads else "write" if writes else "off"
