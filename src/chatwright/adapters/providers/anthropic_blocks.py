"""From the turns of a prompt to Anthropic's system blocks and messages: roles, content blocks, cache marks.

Pure. Called by `anthropic.py` only. The API wants messages that begin with the user and no empty text; system text
stands apart from them, and the results of tools stand in the user's messages.
"""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from chatwright.domain.errors import ProviderError
from chatwright.domain.providers import Prompt, Turn

# A conversation that the assistant opened; the API wants the user first.
OPENING = "(The conversation begins.)"
_MARK = {"type": "ephemeral"}
_DATA_URL = re.compile(r"data:([a-z]+/[a-z0-9.+-]+)(?:;[a-z0-9=._-]+)*;base64,", re.IGNORECASE)
_NOT_IN_IDS = re.compile(r"[^A-Za-z0-9_-]")

Block = dict[str, Any]


def messages_of(provider: str, prompt: Prompt) -> tuple[list[Block], list[Block]]:
    """System blocks and messages, with a cache mark at the end of what the next prompt repeats word for word.

    `provider` is named in the errors. Raises ProviderError, not retriable, for content that this API cannot take.
    """
    system: list[Block] = []
    messages: list[Block] = []
    stable_system = stable_block = None
    volatile_system = False
    for number, turn in enumerate(prompt.turns):
        stable = number < prompt.stable_turns
        if turn.role == "system":
            blocks = _parts(provider, turn)
            system += blocks
            if stable and blocks:
                stable_system = blocks[-1]
            volatile_system = volatile_system or not stable
            continue
        role, blocks = _blocks(provider, turn)
        if not blocks:
            continue
        if messages and messages[-1]["role"] == role:
            messages[-1]["content"] += blocks
        else:
            messages.append({"role": role, "content": blocks})
        if stable:
            stable_block = blocks[-1]
    if stable_system is not None:
        stable_system["cache_control"] = _MARK
    # The system blocks come before the messages: a new word there ends what a cache can hold.
    if stable_block is not None and not volatile_system:
        stable_block["cache_control"] = _MARK
    if not messages or messages[0]["role"] != "user":
        messages.insert(0, {"role": "user", "content": OPENING})
    last = messages[-1]
    if last["role"] == "assistant" and last["content"][-1]["type"] == "text":
        # The beginning of the answer, given by the caller; blanks at its end are refused.
        last["content"][-1]["text"] = last["content"][-1]["text"].rstrip()
    return system, messages


def _blocks(provider: str, turn: Turn) -> tuple[str, list[Block]]:
    extra = turn.extra or {}
    if turn.role == "assistant":
        return "assistant", [*_parts(provider, turn), *_tool_uses(extra.get("tool_calls"))]
    tool_id = extra.get("tool_call_id")
    if turn.role == "tool" and tool_id:
        result: Block = {"type": "tool_result", "tool_use_id": _tool_id(tool_id)}
        if parts := _parts(provider, turn):
            result["content"] = parts
        return "user", [result]
    return "user", _parts(provider, turn)


def _parts(provider: str, turn: Turn) -> list[Block]:
    """The content of a turn: its text, or the parts that an OpenAI-compatible caller sent."""
    content: object = turn.extra.get("content") if turn.extra else None
    if not isinstance(content, list):
        return [{"type": "text", "text": turn.content}] if turn.content.strip() else []
    found: list[Block] = []
    for part in content:
        block = _part(provider, part)
        if block is not None:
            found.append(block)
    return found


def _part(provider: str, part: Any) -> Block | None:
    match part:
        case {"type": "text" | "input_text" | "output_text", "text": str(text)}:
            return {"type": "text", "text": text} if text.strip() else None
        case {"type": "refusal", "refusal": str(text)}:
            return {"type": "text", "text": text} if text.strip() else None
        case {"type": "image_url", "image_url": {"url": str(url)}} | {"type": "input_image", "image_url": str(url)}:
            return {"type": "image", "source": _source(url)}
        case {"type": "file", "file": {"file_data": str(url)}} | {"type": "input_file", "file_data": str(url)}:
            return {"type": "document", "source": _source(url)}
        case {"type": str(kind)}:
            message = f"{provider} takes no content of the type {kind[:40]!r}."
        case _:
            message = f"{provider} takes no content part without a type."
    raise ProviderError(message, retriable=False, error_class="refused")


def _source(url: str) -> Block:
    """Bytes inside a data URL, or an address that the provider fetches."""
    data = _DATA_URL.match(url)
    if data is None:
        return {"type": "url", "url": url}
    kind = data[1].lower()
    return {
        "type": "base64",
        "media_type": "image/jpeg" if kind == "image/jpg" else kind,
        "data": url[data.end() :],
    }


def _tool_uses(calls: Any) -> list[Block]:
    found: list[Block] = []
    for call in calls if isinstance(calls, list) else ():
        match call:
            case {"function": {"name": str(name)} as function}:
                found.append(
                    {
                        "type": "tool_use",
                        "id": _tool_id(call.get("id")),
                        "name": name,
                        "input": _input(function),
                    }
                )
            case _:
                continue
    return found


def _input(function: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments as an object; what is none (cut off, or made up) is carried on as text."""
    arguments: object = function.get("arguments")
    if isinstance(arguments, str) and arguments.strip():
        try:
            value: object = msgspec.json.decode(arguments)
        except (msgspec.DecodeError, UnicodeError):
            return {"arguments": arguments}
        return value if isinstance(value, dict) else {"arguments": value}
    return arguments if isinstance(arguments, dict) else {}


def _tool_id(raw: Any) -> str:
    """Other providers' ids hold dots and colons, which are refused here; call and result are renamed alike."""
    return _NOT_IN_IDS.sub("_", raw)[:64] if isinstance(raw, str) and raw else "call"
