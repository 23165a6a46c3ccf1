"""The arguments of one function call that Vertex AI streams piece by piece, put together. Pure.

Each piece names its place by a JSON path (`$.recipe.steps[2]`) and brings a value or a part of a string. Used by
`gemini_reading.py` only.
"""

import re
from typing import Any

import msgspec

MAX_DEPTH = 64

_STEP = re.compile(
    r"""\.([^.\[\]'"]{1,256})|\[(\d{1,9})\]|\['((?:[^'\\]|\\.){0,256})'\]|\["((?:[^"\\]|\\.){0,256})"\]"""
)


class PartialArgument(msgspec.Struct, rename="camel"):
    """One piece. `null_value` is sent as the text NULL_VALUE."""

    json_path: str = ""
    string_value: str | None = None
    number_value: float | int | None = None
    bool_value: bool | None = None
    null_value: str | None = None
    will_continue: bool | None = None


class GrowingCall:
    """A function call whose arguments are still arriving."""

    __slots__ = ("_open", "arguments", "id", "name", "signature")

    def __init__(self, call_id: str | None, name: str, signature: str | None) -> None:
        self.id = call_id
        self.name = name
        self.signature = signature
        self.arguments: dict[str, Any] = {}
        self._open: str | None = None
        """The path whose string goes on with the next piece of the same path."""

    def take(self, piece: PartialArgument) -> None:
        """Put one piece in its place; a path that cannot be followed is skipped."""
        steps = _steps(piece.json_path)
        if not steps:
            return
        more = self._open == piece.json_path
        self._open = piece.json_path if piece.will_continue else None
        value: Any = None
        if piece.string_value is not None:
            value = piece.string_value
        elif piece.number_value is not None:
            value = piece.number_value
        elif piece.bool_value is not None:
            value = piece.bool_value
        elif piece.null_value is None:
            return
        holder: Any = self.arguments
        for step, following in zip(steps, [*steps[1:], None], strict=True):
            if following is None:
                before = _get(holder, step)
                grown = before + value if more and isinstance(before, str) and isinstance(value, str) else value
                _put(holder, step, grown)
                return
            inner = _get(holder, step)
            if not isinstance(inner, dict | list):
                inner = [] if isinstance(following, int) else {}
                if not _put(holder, step, inner):
                    return
            holder = inner


def _steps(path: str) -> list[str | int]:
    """The path's names and numbers, in order; empty if it is no path."""
    if not path.startswith("$"):
        return []
    steps: list[str | int] = []
    at = 1
    while at < len(path):
        step = _STEP.match(path, at)
        if step is None or len(steps) >= MAX_DEPTH:
            return []
        name, number, single, double = step.groups()
        quoted = single if single is not None else double
        if number is not None:
            steps.append(int(number))
        else:
            steps.append(name if name is not None else re.sub(r"\\(.)", r"\1", quoted or ""))
        at = step.end()
    return steps


def _get(holder: Any, step: str | int) -> Any:
    if isinstance(holder, dict):
        return holder.get(step)
    if isinstance(holder, list) and isinstance(step, int) and step < len(holder):
        return holder[step]
    return None


def _put(holder: Any, step: str | int, value: Any) -> bool:
    """Set the place; False if there is none: a name in a list, a number in an object, a gap in a list.

    Lists come in order; filling gaps would let a few bytes ask for any amount of memory.
    """
    if isinstance(holder, dict) and isinstance(step, str):
        holder[step] = value
        return True
    if isinstance(holder, list) and isinstance(step, int) and step <= len(holder):
        holder[step : step + 1] = [value]
        return True
    return False
