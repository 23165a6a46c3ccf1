"""Writes `widget/src/core/wire.gen.ts`: what goes over the wire, as TypeScript, out of the server's own structs.

    python widget/wire_types.py            write the file
    python widget/wire_types.py --check    exit with 1 if it is not what would be written

Of what is sent to the server a field may be left out where the server has a default. Of what the server sends all fields are
there, but for those that it leaves out when they say nothing. Frames of one `type` that come from two places are one shape.
"""

import argparse
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from msgspec import inspect

from chatwright.domain import events
from chatwright.entrypoints import wire, wire_frames, wire_widget

TARGET = Path(__file__).parent / "src" / "core" / "wire.gen.ts"
_HEADER = """/**
 * What goes over the wire between the widget and the server.
 * Made by widget/wire_types.py out of the server's own structs: change those, then run it again.
 */
"""
_WIDTH = 120

_CLIENT: Mapping[str, type[msgspec.Struct]] = {
    "AuthFrame": wire_frames.Auth,
    "MessageFrame": wire_frames.SendMessage,
    "CancelFrame": wire_frames.CancelMessage,
    "ResumeFrame": wire_frames.Resume,
    "PingFrame": wire_frames.Ping,
}
_OWN: Mapping[str, tuple[type[msgspec.Struct], ...]] = {
    "ReadyFrame": (wire_frames.Ready,),
    "PongFrame": (wire_frames.Pong,),
    "ErrorFrame": (wire_frames.ErrorFrame,),
}
# Events carry the header's fields, too. Two of them also come as frames without a number, made from PostgreSQL.
_EVENTS: Mapping[str, tuple[type[msgspec.Struct], ...]] = {
    "MessageAcceptedEvent": (events.MessageAccepted, wire_frames.MessageAccepted),
    "StreamStartEvent": (events.StreamStart,),
    "StreamChunkEvent": (events.StreamChunk,),
    "StreamCompleteEvent": (events.StreamComplete,),
    "StreamErrorEvent": (events.StreamError,),
    "StreamResetEvent": (events.StreamReset,),
    "MessageReplaceEvent": (events.MessageReplace, wire_frames.MessageReplace),
    "AnimationEvent": (events.Animation,),
}
_PARTS: Mapping[str, type[msgspec.Struct]] = {
    "SentimentLabel": events.SentimentLabel,
    "IntentLabel": events.IntentLabel,
    "SourceView": events.SourceView,
    "UsageView": events.UsageView,
    "SuggestedActionView": wire_widget.SuggestedAction,
}
_BODIES: Mapping[str, type[msgspec.Struct]] = {
    "WidgetTokenRequest": wire_widget.WidgetTokenRequest,
    "WidgetTokenReply": wire_widget.WidgetTokenReply,
    "ConversationReply": wire.ConversationReply,
    "TranscriptMessage": wire_widget.TranscriptMessage,
    "TranscriptAnswer": wire_widget.TranscriptAnswer,
    "RatingRequest": wire_widget.RatingRequest,
    "RatingReply": wire_widget.RatingReply,
    "ErrorDetail": wire.ErrorDetail,
    "ErrorReply": wire.ErrorReply,
}
# The widget's configuration has its interfaces in config.ts, which says more about them; a test holds the two together.
CONFIG: Mapping[str, type[msgspec.Struct]] = {
    "ThemeConfig": wire_widget.ThemeConfig,
    "AvatarColors": wire_widget.AvatarColors,
    "AvatarConfig": wire_widget.AvatarConfig,
    "TextsConfig": wire_widget.TextsConfig,
    "FeaturesConfig": wire_widget.FeaturesConfig,
    "WidgetConfig": wire_widget.WidgetConfigReply,
}
# Plain objects in the structs whose shape is known.
_KNOWN_LISTS = {"sources": "readonly SourceView[]", "suggested_actions": "readonly SuggestedActionView[]"}
_NAMES: Mapping[type[Any], str] = {kind: name for table in (_PARTS, _BODIES, CONFIG) for name, kind in table.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Field:
    name: str
    type: str
    optional: bool

    @property
    def line(self) -> str:
        return f"  readonly {self.name}{'?' if self.optional else ''}: {self.type};"


def generate() -> str:
    """The whole file."""
    header = _fields(events.Header, skip={"type"})
    parts = [_HEADER]
    parts += [_interface(name, _fields(kind), kind.__doc__) for name, kind in _PARTS.items()]
    parts += [_interface(name, [_tag(kind), *_fields(kind)], kind.__doc__) for name, kind in _CLIENT.items()]
    parts.append(_union("ClientFrame", _CLIENT))
    parts += [_interface(name, [_tag(kinds[0]), *_merged(kinds)], kinds[0].__doc__) for name, kinds in _OWN.items()]
    parts.append(_interface("EventHeader", header, events.Header.__doc__))
    for name, kinds in _EVENTS.items():
        own = [field for field in _merged(kinds) if field.name not in {one.name for one in header}]
        parts.append(_interface(name, [_tag(kinds[0]), *own], kinds[0].__doc__, extends="EventHeader"))
    parts.append(_union("StreamEvent", _EVENTS))
    parts.append(_union("ServerFrame", [*_OWN, "StreamEvent"]))
    parts += [_interface(name, _fields(kind), kind.__doc__) for name, kind in _BODIES.items()]
    parts.append("export type TranscriptItem = TranscriptMessage | TranscriptAnswer;\n")
    parts.append(_interface("TranscriptPage", [
        _Field(name="items", type="readonly TranscriptItem[]", optional=False),
        _Field(name="next_cursor", type="string | null", optional=False),
    ], wire.TranscriptPage.__doc__))  # fmt: skip
    return "\n".join(parts)


def interface_fields(kind: type[msgspec.Struct]) -> dict[str, str]:
    """Field -> TypeScript type of a struct that the server sends."""
    return {field.name: field.type for field in _fields(kind)}


def _fields(kind: type[msgspec.Struct], skip: Iterable[str] = ()) -> list[_Field]:
    info = inspect.type_info(kind)
    assert isinstance(info, inspect.StructType)
    is_sent_to_us = info.forbid_unknown_fields
    found: list[_Field] = []
    for one in info.fields:
        if one.encode_name in skip:
            continue
        may_lack = is_sent_to_us or kind.__struct_config__.omit_defaults
        optional = not one.required if may_lack else _may_be_unset(one)
        known = _KNOWN_LISTS.get(one.encode_name) if isinstance(one.type, _LISTS) else None
        found.append(_Field(name=one.encode_name, type=known or _type(one.type), optional=optional))
    return found


def _merged(kinds: tuple[type[msgspec.Struct], ...]) -> list[_Field]:
    """The fields of all: optional where one of them has it not, of both types where they differ."""
    tables = [{field.name: field for field in _fields(kind)} for kind in kinds]
    names = dict.fromkeys(name for table in tables for name in table)
    merged: list[_Field] = []
    for name in names:
        there = [table[name] for table in tables if name in table]
        types = dict.fromkeys(part for field in there for part in field.type.split(" | "))
        optional = len(there) < len(kinds) or any(field.optional for field in there)
        merged.append(_Field(name=name, type=" | ".join(types), optional=optional))
    return merged


def _tag(kind: type[msgspec.Struct]) -> _Field:
    tag = kind.__struct_config__.tag
    return _Field(name="type", type=f'"{tag if tag is not None else kind.type}"', optional=False)  # pyright: ignore[reportAttributeAccessIssue]


def _may_be_unset(field: inspect.Field) -> bool:
    """`inspect` takes UNSET out of the type and out of the default: what is left is no default where none is needed."""
    return not field.required and field.default is msgspec.NODEFAULT and field.default_factory is msgspec.NODEFAULT


_LISTS = (inspect.ListType, inspect.VarTupleType)


def _type(of: inspect.Type) -> str:
    match of:
        case inspect.Metadata():
            return _type(of.type)
        case inspect.StrType() | inspect.DateTimeType() | inspect.EnumType():
            return "string"
        case inspect.IntType() | inspect.FloatType():
            return "number"
        case inspect.BoolType():
            return "boolean"
        case inspect.NoneType():
            return "null"
        case inspect.AnyType():
            return "unknown"
        case inspect.LiteralType():
            return " | ".join(f'"{value}"' for value in of.values)
        case inspect.DictType():
            return f"Readonly<Record<string, {_type(of.value_type)}>>"
        case inspect.ListType() | inspect.VarTupleType():
            item = _type(of.item_type)
            return f"readonly ({item})[]" if " | " in item else f"readonly {item}[]"
        case inspect.UnionType():
            return " | ".join(dict.fromkeys(_type(one) for one in of.types))
        case inspect.StructType():
            return _NAMES[of.cls]
        case _:
            raise TypeError(f"{of!r} has no type in TypeScript yet")


def _interface(name: str, fields: Iterable[_Field], about: str | None, *, extends: str = "") -> str:
    base = f" extends {extends}" if extends else ""
    return "\n".join([*_comment(about), f"export interface {name}{base} {{", *(field.line for field in fields), "}\n"])


def _union(name: str, members: Iterable[str]) -> str:
    names = list(members)
    line = f"export type {name} = {' | '.join(names)};\n"
    return line if len(line) <= _WIDTH else f"export type {name} =\n  | " + "\n  | ".join(names) + ";\n"


def _comment(about: str | None) -> list[str]:
    """A docstring as a comment; msgspec gives structs without one a generated text, which says nothing."""
    lines = [re.sub(r"\bNone\b", "null", line.strip()) for line in (about or "").strip().splitlines()]
    if not lines or any("*/" in line for line in lines):
        return []
    return [f"/** {lines[0]} */"] if len(lines) == 1 else ["/**", *(f" * {line}".rstrip() for line in lines), " */"]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if the file is stale")
    options: Any = parser.parse_args(arguments)
    text = generate()
    if options.check:
        is_fresh = TARGET.is_file() and TARGET.read_text("utf-8") == text
        if not is_fresh:
            sys.stderr.write(f"{TARGET} is stale: run python widget/wire_types.py\n")
        return 0 if is_fresh else 1
    TARGET.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
