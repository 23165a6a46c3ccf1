"""Decoding that keeps what fits: a field of an unexpected type is as if it were not there, the rest is read.

Pure. Used by the readings of this folder for bytes that failed their strict decoder; a provider that changes one field
must not fail every answer.
"""

from typing import Any, TypeVar, get_args

import msgspec

from chatwright.adapters.providers.base import Unreadable

_S = TypeVar("_S", bound=msgspec.Struct)


def decode_leniently(data: bytes, kind: type[_S]) -> _S:
    """Decode an object field by field. Raises Unreadable if `data` is no JSON object."""
    try:
        value: object = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        # The decoder's own message may quote what it read.
        raise Unreadable("not JSON") from error
    if not isinstance(value, dict):
        raise Unreadable("not a JSON object")
    return fitting(value, kind)


def fitting(value: dict[str, Any], kind: type[_S]) -> _S:
    """The struct of those fields of `value` that fit, at any depth; of lists of objects, the objects."""
    kept: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind):
        found: Any = value.get(field.encode_name)
        if found is None:
            continue
        try:
            kept[field.name] = msgspec.convert(found, field.type, strict=False)
        except msgspec.ValidationError:
            for option in get_args(field.type):
                if isinstance(found, dict) and _is_struct(option):
                    kept[field.name] = fitting(found, option)
                elif isinstance(found, list) and (inner := next(iter(get_args(option)), None)) and _is_struct(inner):
                    kept[field.name] = [fitting(item, inner) for item in found if isinstance(item, dict)]
    return kind(**kept)


def _is_struct(option: Any) -> bool:
    return isinstance(option, type) and issubclass(option, msgspec.Struct)
