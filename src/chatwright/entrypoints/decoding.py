"""From bytes to a checked shape, or to an error that says what was wrong where.

JSON is decoded by msgspec, so decoding is validation. Text that PostgreSQL or UTF-8 cannot hold (NUL, half a surrogate
pair) is refused here, for every field of every body and frame at once: nothing behind this has to think of it.
"""

import json
import re
from typing import Any, TypeVar

import msgspec

from chatwright.domain.errors import BadRequest, Unprocessable

Shape = TypeVar("Shape")

_WHERE = re.compile(r"^(?P<message>.*?)(?: - at `(?P<path>[^`]*)`)?$", re.DOTALL)
_FIELD = re.compile(r"(?:missing required|contains unknown) field `(?P<name>[^`]*)`")
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
DEPTH_AT_MOST = 100
_BAD_TEXT = "text must not contain NUL or half of a surrogate pair"


def decode(decoder: "msgspec.json.Decoder[Shape]", raw: bytes) -> Shape:
    """Decode a JSON document. Raises BadRequest if it is no JSON or holds text that cannot be stored, Unprocessable
    with the path of the field if it has the wrong shape."""
    if raw.count(b"[") + raw.count(b"{") > DEPTH_AT_MOST:
        _check_depth(raw)
    # In valid JSON these characters can only stand as escapes; most documents hold none, and three searches are cheap.
    if b"\\u0000" in raw or b"\\ud" in raw or b"\\uD" in raw:
        _check_escapes(raw)
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError as error:
        message, param = _locate(str(error))
        raise Unprocessable(message, param=param) from None
    except msgspec.DecodeError as error:
        raise BadRequest(f"the body is not valid JSON: {error}") from None
    except UnicodeDecodeError:
        raise BadRequest("the body is not valid UTF-8") from None
    except RecursionError:
        raise BadRequest("the body is nested too deeply") from None


def _check_depth(raw: bytes) -> None:
    """Refuse what is nested so deep that a later reader of the stored value would give up. Raises BadRequest."""
    if _depth(raw.translate(None, _NO_BRACKETS)) <= DEPTH_AT_MOST:
        return  # brackets inside texts counted too: no document is deeper than this says
    if _depth(_STRING.sub(b"", raw).translate(None, _NO_BRACKETS)) > DEPTH_AT_MOST:
        raise BadRequest(f"the body is nested more than {DEPTH_AT_MOST} levels deep")


def _depth(brackets: bytes) -> int:
    deepest = depth = 0
    for bracket in brackets:
        if bracket in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        else:
            depth -= 1
    return deepest


def is_clean_text(text: str) -> bool:
    """Whether PostgreSQL and UTF-8 can hold the text."""
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def check_text(text: str, *, param: str) -> str:
    """Return `text` from a query, header or form if it can be stored. Raises BadRequest."""
    if not is_clean_text(text):
        raise BadRequest(_BAD_TEXT, param=param)
    return text


def _check_escapes(raw: bytes) -> None:
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        return  # the decoder says what is wrong with it
    path = _find_bad_text(document, "")
    if path is not None:
        raise BadRequest(_BAD_TEXT, param=path or None)


def _find_bad_text(value: Any, path: str) -> str | None:
    if isinstance(value, str):
        return None if is_clean_text(value) else path
    if isinstance(value, dict):
        for name, item in value.items():
            if not is_clean_text(name):
                return path
            found = _find_bad_text(item, f"{path}.{name}" if path else name)
            if found is not None:
                return found
    elif isinstance(value, list):
        for place, item in enumerate(value):
            found = _find_bad_text(item, f"{path}[{place}]")
            if found is not None:
                return found
    return None


def _locate(text: str) -> tuple[str, str | None]:
    """Split msgspec's message into what is wrong and the field it is wrong with."""
    match = _WHERE.match(text)
    assert match is not None
    path = (match["path"] or "").removeprefix("$").removeprefix(".")
    field = _FIELD.search(match["message"])
    if field is not None:
        path = f"{path}.{field['name']}" if path else field["name"]
    return match["message"], path or None
