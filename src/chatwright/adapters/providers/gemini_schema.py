"""A JSON schema as Gemini takes it: its subset of OpenAPI 3, anything else left out. Pure. Used by `gemini_request.py`.

What is left out only loosens what a model may answer: the caller checks its arguments anyway.
"""

from typing import Any

MAX_DEPTH = 32
"""Deeper schemas, recursive ones above all, become a plain object there: references are written out in place."""

_KEPT = frozenset(
    {
        "title",
        "description",
        "nullable",
        "default",
        "example",
        "minItems",
        "maxItems",
        "minLength",
        "maxLength",
        "minProperties",
        "maxProperties",
        "minimum",
        "maximum",
        "pattern",
        "propertyOrdering",
    }
)
_TYPES = {name: name.upper() for name in ("string", "number", "integer", "boolean", "array", "object")}
_FORMATS = {
    "STRING": frozenset({"enum", "date-time"}),
    "INTEGER": frozenset({"int32", "int64"}),
    "NUMBER": frozenset({"float", "double"}),
}
_ROOM = 2_000
"""Nodes of one schema: references written out may grow it beyond any request, and the loop waits meanwhile."""


def cleaned(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema in Gemini's words; `schema` is not changed."""
    return _Cleaner(schema).clean(schema, 0)


class _Cleaner:
    __slots__ = ("_left", "_root")

    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        self._left = _ROOM

    def clean(self, schema: object, depth: int) -> dict[str, Any]:
        """One schema and what is inside it."""
        self._left -= 1
        if not isinstance(schema, dict):
            # `true`: anything goes. A type must be named, and text can hold anything.
            return {"type": "STRING"}
        if depth > MAX_DEPTH or self._left < 0:
            return {"type": "OBJECT"}
        schema = self._merged(self._followed(schema))
        made: dict[str, Any] = {name: value for name, value in schema.items() if name in _KEPT}
        self._type(schema, made, depth)
        self._choices(schema, made, depth)
        kind = made.get("type")
        if isinstance(schema.get("properties"), dict):
            made["properties"] = {str(k): self.clean(v, depth + 1) for k, v in schema["properties"].items()}
            required: Any = schema.get("required")
            if isinstance(required, list):
                made["required"] = [name for name in made["properties"] if name in required]
            made.setdefault("type", "OBJECT")
        if kind == "ARRAY" or "items" in schema:
            made["items"] = self.clean(schema.get("items", {"type": "string"}), depth + 1)
            made.setdefault("type", "ARRAY")
        said = schema.get("format")
        if isinstance(said, str) and said in _FORMATS.get(str(kind), ()):
            made["format"] = said
        if "anyOf" in made:
            return _alone(made)
        made.setdefault("type", "STRING" if depth else "OBJECT")
        return made

    def _followed(self, schema: dict[str, Any]) -> dict[str, Any]:
        """The schema that a local reference leads to, with what stands beside the reference."""
        for _ in range(MAX_DEPTH):
            reference: Any = schema.get("$ref")
            if not isinstance(reference, str):
                return schema
            found: Any = self._root
            for step in reference.removeprefix("#").strip("/").split("/"):
                if step:
                    found = found.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(found, dict) else None
            beside = {name: value for name, value in schema.items() if name != "$ref"}
            schema = {**found, **beside} if isinstance(found, dict) and reference.startswith("#") else beside
        return {}

    def _merged(self, schema: dict[str, Any]) -> dict[str, Any]:
        """`allOf` written into one schema: the parts' properties together, the last word on anything else."""
        parts: Any = schema.get("allOf")
        if not isinstance(parts, list):
            return schema
        merged = {name: value for name, value in schema.items() if name != "allOf"}
        for part in parts:
            self._left -= 1
            if not isinstance(part, dict) or self._left < 0:
                continue
            for name, value in self._followed(part).items():
                before: Any = merged.get(name)
                if isinstance(before, dict) and isinstance(value, dict):
                    merged[name] = {**before, **value}
                elif isinstance(before, list) and isinstance(value, list):
                    merged[name] = before + [item for item in value if item not in before]
                else:
                    merged.setdefault(name, value)
        return merged

    def _type(self, schema: dict[str, Any], made: dict[str, Any], depth: int) -> None:
        said: Any = schema.get("type")
        several = [name for name in said if isinstance(name, str)] if isinstance(said, list) else []
        if "null" in several:
            made["nullable"] = True
            several.remove("null")
        if len(several) > 1:
            rest = {name: value for name, value in schema.items() if name not in ("type", "anyOf", "oneOf")}
            made["anyOf"] = [self.clean({**rest, "type": name}, depth + 1) for name in several]
            return
        name = several[0] if several else said
        if isinstance(name, str) and name.lower() in _TYPES:
            made["type"] = _TYPES[name.lower()]

    def _choices(self, schema: dict[str, Any], made: dict[str, Any], depth: int) -> None:
        """`enum` and `const` of texts, `anyOf` and `oneOf`; a choice of null makes the rest nullable."""
        values: Any = [schema["const"]] if "const" in schema else schema.get("enum")
        if isinstance(values, list):
            if None in values:
                made["nullable"] = True
            texts = [value for value in values if isinstance(value, str)]
            if texts and made.get("type", "STRING") == "STRING":
                made["type"], made["enum"] = "STRING", texts
        options: Any = schema.get("anyOf") or schema.get("oneOf")
        if not isinstance(options, list) or "properties" in schema:
            # Beside properties the choices only say which of them belong together.
            return
        kept = [option for option in options if not (isinstance(option, dict) and option.get("type") == "null")]
        if len(kept) < len(options):
            made["nullable"] = True
        inner = [self.clean(option, depth + 1) for option in kept]
        if len(inner) == 1:
            for name, value in inner[0].items():
                made.setdefault(name, value)
        elif inner:
            made["anyOf"] = inner


def _alone(made: dict[str, Any]) -> dict[str, Any]:
    """A choice may have nothing beside it: what was said of all is said of each."""
    shared = {name: made[name] for name in ("description", "nullable") if name in made}
    if not shared:
        return {"anyOf": made["anyOf"]}
    options = [{**shared, **option} for option in made["anyOf"]]
    return {"anyOf": [_alone(option) if "anyOf" in option else option for option in options]}
