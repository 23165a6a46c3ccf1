"""Tokens as OpenAI counts them, for the verb `tokenized`: the o200k vocabulary, and what frames a message.

Every text of a request is counted, in whichever dialect it stands. Called by `server.py`; slow beside the rest of the
simulator, so nothing is counted this way unless asked for.
"""

import functools
import importlib
import warnings
from collections.abc import Callable, Sequence
from typing import Any, cast

import msgspec

_PER_MESSAGE = 4
_PER_PROMPT = 3
_TEXTS = ("content", "text", "system", "instructions", "input", "parts", "system_instruction", "systemInstruction")
_MESSAGES = ("messages", "contents", "input")


@functools.cache
def _encoding() -> Any:
    # Loaded at the first use: a tenth of a second that most runs do not need.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the way in which this package opens its own files
        return importlib.import_module("bpe_openai").get_encoding("o200k_base")


def count_text(text: str) -> int:
    return len(cast("Callable[[str], Sequence[int]]", _encoding().encode_ordinary)(text)) if text else 0


def count_prompt(body: bytes) -> int:
    """The tokens of a request's texts and of what frames its messages. Raises msgspec.DecodeError."""
    request = msgspec.json.decode(body)
    messages = 1
    for name in _MESSAGES:
        if isinstance(found := request.get(name), list):
            messages = len(cast("list[Any]", found)) + ("system" in request)
    return _PER_PROMPT + _PER_MESSAGE * messages + sum(count_text(text) for text in _texts(request))


def _texts(value: Any) -> list[str]:
    found: list[str] = []
    if isinstance(value, dict):
        for name, inner in cast("dict[str, Any]", value).items():
            if name in _TEXTS or name in _MESSAGES:
                found += [inner] if isinstance(inner, str) else _texts(inner)
    elif isinstance(value, list):
        for inner in cast("list[Any]", value):
            found += [inner] if isinstance(inner, str) else _texts(inner)
    return found
