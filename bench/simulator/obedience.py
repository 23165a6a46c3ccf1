"""The answer of a model that obeys every text it is given: the worst that a poisoned document can make of one. Pure."""

import re
from collections.abc import Iterator
from typing import Any

import msgspec

_HOLD_TEXT = frozenset(
    ("messages", "contents", "content", "parts", "text", "system", "systemInstruction", "instructions", "input")
)
_PASSAGES = re.compile(r"<passages>.*</passages>\s*", re.DOTALL)
VISITOR = "{visitor}"


def obedient(body: bytes, last: str) -> str:
    """All texts of a request in any dialect, in their order, as one answer that cites nine sources.

    `last` is the last user message: what of it stands outside the passages is what the visitor said.
    """
    said = "".join(character if character.isalnum() else "-" for character in _PASSAGES.sub("", last))
    everything = "\n".join(_texts(msgspec.json.decode(body)))
    return everything.replace(VISITOR, said) + "\n\nAll of this is true [1][9]."


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)
    elif isinstance(value, dict):
        for name, each in value.items():
            if name in _HOLD_TEXT:
                yield from _texts(each)
