"""A prompt as a request of OpenAI's Responses API, for the models that take no chat completions.

Pure; `openai_chat.py` calls it for the endpoint and model that told it to go there. What the other API has no word for
(`stop`, penalties, `seed`, audio) is left out. The answer's reading is in `responses_reading.py`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from chatwright.domain.providers import Prompt, Turn

PATH = "/responses"
# OpenAI refuses less ("expected a value >= 16"): a few tokens more are nearer to what was asked than no answer.
MIN_OUTPUT_TOKENS = 16

_SAME = frozenset(
    {
        "metadata",
        "parallel_tool_calls",
        "prompt_cache_key",
        "prompt_cache_retention",
        "reasoning",
        "safety_identifier",
        "service_tier",
        "store",
        "temperature",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "truncation",
        "user",
    }
)
"""Options of a caller that mean the same in both APIs."""


def response_fields(model: str, prompt: Prompt, *, stream: bool) -> dict[str, Any]:
    """The request as a JSON object. Our own fields win over the caller's options of the same name."""
    options = prompt.options
    fields: dict[str, Any] = {name: value for name, value in options.items() if name in _SAME}
    fields["model"] = model
    fields["input"] = _items(prompt.turns)
    # Conversations are kept here, not there.
    fields.setdefault("store", False)
    if prompt.temperature is not None:
        fields["temperature"] = prompt.temperature
    max_tokens = prompt.max_tokens or options.get("max_completion_tokens") or options.get("max_tokens")
    if isinstance(max_tokens, int):
        fields["max_output_tokens"] = max(max_tokens, MIN_OUTPUT_TOKENS)
    if isinstance(effort := options.get("reasoning_effort"), str):
        fields["reasoning"] = {"effort": effort}
    tools = fields.pop("tools", None)
    if isinstance(tools, list) and tools:
        fields["tools"] = [_flat(tool) for tool in tools]
    if "tool_choice" in fields:
        fields["tool_choice"] = _choice(fields["tool_choice"])
    if text := _text(options):
        fields["text"] = text
    if stream:
        fields["stream"] = True
    return fields


def _items(turns: Sequence[Turn]) -> list[dict[str, Any]]:
    """The turns as input items, in order. Tool calls and their results become items of their own."""
    items: list[dict[str, Any]] = []
    custom: set[object] = set()
    for turn in turns:
        extra: Mapping[str, Any] = turn.extra or {}
        content: Any = extra.get("content", turn.content)
        if turn.role == "tool":
            call_id = extra.get("tool_call_id", "")
            kind = "custom_tool_call_output" if call_id in custom else "function_call_output"
            output = _parts(content) if isinstance(content, list) else content or ""
            items.append({"type": kind, "call_id": call_id, "output": output})
            continue
        if turn.role == "assistant":
            if content:
                items.append({"role": "assistant", "content": _spoken(content)})
            for call in extra.get("tool_calls") or ():
                items.append(item := _call(call))
                if item["type"] == "custom_tool_call":
                    custom.add(item["call_id"])
            continue
        items.append({"role": turn.role, "content": _parts(content) if isinstance(content, list) else content})
    return items


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    """A tool call that an earlier answer made."""
    inner: Mapping[str, Any] = call.get("custom") or {}
    if inner:
        kind, said = "custom_tool_call", {"input": inner.get("input") or ""}
    else:
        inner = call.get("function") or {}
        kind, said = "function_call", {"arguments": inner.get("arguments") or "{}"}
    return {"type": kind, "call_id": call.get("id") or "", "name": inner.get("name") or "", **said}


def _spoken(content: Any) -> str:
    """What an assistant said, as one text: its parts are written otherwise than a user's."""
    if not isinstance(content, list):
        return str(content)
    return "".join(str(part.get("text") or part.get("refusal") or "") for part in content if isinstance(part, dict))


def _parts(content: list[Any]) -> list[Any]:
    """A user's or a tool's content parts. An unknown one goes through as it is: the provider says what is wrong."""
    return [_part(part) if isinstance(part, dict) else part for part in content]


def _part(part: dict[str, Any]) -> dict[str, Any]:
    match part:
        case {"type": "text", "text": text}:
            return {"type": "input_text", "text": text}
        case {"type": "image_url", "image_url": {"url": url, **more}}:
            return {"type": "input_image", "image_url": url, "detail": more.get("detail", "auto")}
        case {"type": "image_url", "image_url": str(url)}:
            return {"type": "input_image", "image_url": url, "detail": "auto"}
        case {"type": "file", "file": dict(file)}:
            return {"type": "input_file", **file}
        case _:
            return part


def _flat(tool: Any) -> Any:
    """`{"type": "function", "function": {...}}` with its inside beside its type; others as they are.

    `strict` is said: it is off unless asked for in chat completions, and on unless refused here.
    """
    match tool:
        case {"type": "function", "function": dict(inner)}:
            return {"type": "function", "strict": False, "parameters": {"type": "object", "properties": {}}, **inner}
        case {"type": "custom", "custom": {"format": {"type": "grammar", "grammar": dict(grammar)}, **inner}}:
            return {"type": "custom", **inner, "format": {"type": "grammar", **grammar}}
        case {"type": "custom", "custom": dict(inner)}:
            return {"type": "custom", **inner}
        case _:
            return tool


def _choice(choice: Any) -> Any:
    """`tool_choice`: the same flattening as the tools'."""
    match choice:
        case {"type": "function" | "custom" as kind, **more} if isinstance(inner := more.get(kind), dict):
            return {"type": kind, "name": inner.get("name")}
        case {"type": "allowed_tools", "allowed_tools": {"tools": list(tools), **more}}:
            return {"type": "allowed_tools", **more, "tools": [_choice(tool) for tool in tools]}
        case _:
            return choice


def _text(options: Mapping[str, Any]) -> dict[str, Any]:
    """`text`: how the answer is to be written, out of `response_format` and `verbosity`."""
    text: dict[str, Any] = {}
    match options.get("response_format"):
        case {"type": "json_schema", "json_schema": dict(schema)}:
            text["format"] = {"type": "json_schema", **schema}
        case {"type": "json_object" | "text" as kind}:
            text["format"] = {"type": kind}
        case _:
            pass
    if isinstance(verbosity := options.get("verbosity"), str):
        text["verbosity"] = verbosity
    return text
