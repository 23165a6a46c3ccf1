"""What a caller of the OpenAI-compatible endpoint may hand to a provider besides text. Called by `inline.py`.

A provider fetches the addresses that stand in content parts, and runs the tools that it offers itself, with the means of
whoever's key it is: a model server of the operator's reaches the operator's network, Google's reaches the buckets of the
platform's project, hosted tools cost what no price list of tokens knows.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from chatwright.adapters.providers.address_guard import AddressGuard
from chatwright.domain.errors import BadRequest, Unprocessable
from chatwright.domain.providers import Turn

_ADDRESSES = ("url", "uri")
"""How the names of fields end that hold an address, in every dialect: image_url, file_url, fileUri …"""
_OWN_TOOLS = frozenset({"function", "custom"})


def check_attachments(guard: AddressGuard, turns: Sequence[Turn], options: Mapping[str, Any]) -> None:
    """Raises Unprocessable for an address that is neither data nor on the public internet, and for a tool that the
    provider would run itself. Host names are judged by their spelling: the provider is the one who resolves them."""
    for place, turn in enumerate(turns):
        content: object = None if turn.extra is None else turn.extra.get("content")
        if isinstance(content, list):
            _check(guard, content, f"messages[{place}].content", is_address=False)
    tools: Any = options.get("tools")
    for place, tool in enumerate(cast("list[Any]", tools) if isinstance(tools, list) else ()):
        kind: Any = tool.get("type") if isinstance(tool, dict) else None
        if not isinstance(kind, str) or kind not in _OWN_TOOLS:
            raise Unprocessable("a tool is of the type function or custom: yours to run", param=f"tools[{place}].type")


def _check(guard: AddressGuard, value: object, where: str, *, is_address: bool) -> None:
    if isinstance(value, str):
        if is_address and not value.startswith("data:"):
            try:
                guard.check_url(value)
            except BadRequest as error:
                raise Unprocessable(error.message, param=where) from error
    elif isinstance(value, dict):
        for name, inner in value.items():
            # A file is data, as a data URL or bare base64, which has no colon; some dialects take an address there too.
            is_link = name == "file_data" and isinstance(inner, str) and ":" in inner[:64]
            address = is_link or str(name).lower().endswith(_ADDRESSES)
            _check(guard, inner, f"{where}.{name}"[:200], is_address=address)
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            _check(guard, inner, f"{where}[{place}]", is_address=is_address)
