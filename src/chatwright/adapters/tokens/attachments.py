"""What pictures, documents and sound in a prompt take at most, in tokens. Pure; used by `counts.py` only.

Providers document how they count a picture by its size; what is handed over by address has no size that we know, so every
picture is taken for the largest (`Family.image`). A document counts by its pages; one whose pages cannot be seen counts
as more than fits into any model, and the model's context is then the bound.
"""

import binascii
import re
from base64 import b64decode
from collections.abc import Callable
from typing import Any

UNBOUNDED = 4_000_000
"""More than any context holds."""
_PAGE_TOKENS = 5_000
"""A page read as text and as a picture: Anthropic states 1,500 to 3,000 and the picture's 1,600."""
_SOUND_TOKENS_PER_KB = 64
"""Gemini takes 32 tokens a second, OpenAI 10 to 20; a second of speech has half a kilobyte at the least."""
_PAGE = re.compile(rb"/Type\s*/Page(?![a-zA-Z])")
_SEEN_BYTES = 1_000_000
"""So much of a document is looked through: a millisecond."""


def tokens_of(part: dict[str, Any], image: int, count: Callable[[str], int]) -> int:
    """The most that one content part which is no text takes. `image`: the most that the model gives a picture."""
    match part:
        case {"type": "image_url" | "input_image" | "image"}:
            return image
        case {"type": "input_audio", "input_audio": {"data": str(data)}}:
            return len(data) * 3 // 4 * _SOUND_TOKENS_PER_KB // 1_000 + 100
        case {"file": {"file_data": str(data)}} | {"file_data": str(data)}:
            return max(image, _document(data, count))
        case _:
            return UNBOUNDED


def _document(data: str, count: Callable[[str], int]) -> int:
    head, comma, body = data.partition(",") if data.startswith("data:") else ("", ",", data)
    if not comma or (not head and ":" in data[:64]) or len(body) > _SEEN_BYTES:
        return UNBOUNDED
    if head.startswith("data:image/"):
        return 0  # a picture by another name
    try:
        raw = b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        return UNBOUNDED
    if head.startswith("data:text/"):
        return 2 * count(raw.decode("utf-8", "replace")) + 50
    pages = len(_PAGE.findall(raw))
    # Objects of newer files are packed together, and their pages cannot be counted without unpacking them.
    return pages * _PAGE_TOKENS if pages and b"/ObjStm" not in raw else UNBOUNDED
