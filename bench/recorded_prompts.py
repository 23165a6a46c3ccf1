"""Recorded requests of any dialect as prompts of ours, beside the input tokens that their answers reported.

Reads the shared collection (`--recordings`, see `bench/tokens.py`). What chatwright never sends, or what nobody can count
from the request alone, is named as skipped: tools that the provider runs itself, conversations and files that it keeps.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from chatwright.domain.providers import Prompt, Role, Turn

APIS = ("chat.completions", "responses", "messages", "generateContent", "streamGenerateContent")
_KEPT_THERE = (
    "previous_response_id",
    "cachedContent",
    "cached_content",
    "file_id",
    "conversation",
    "encrypted_content",
)
_OWN_TOOLS = ("function", "custom", "tool")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedPrompt:
    """`input_tokens` is None where the answer says nothing, `skipped` says why a recording cannot be compared."""

    id: str
    provider: str
    api: str
    model: str
    prompt: Prompt
    input_tokens: int | None = None
    output_tokens: int = 0
    asked_output_tokens: int | None = None
    """The most that the request let the model write; None: it set no limit."""
    skipped: str = ""

    @property
    def held_out(self) -> bool:
        """Whether it belongs to the half that nothing was fitted on. Decided by its name's hash."""
        return hashlib.sha256(self.id.encode()).digest()[0] % 2 == 1


def read_recordings(folder: Path) -> Iterator[RecordedPrompt]:
    """All chats of a collection that were answered, in order of their names."""
    for path in sorted(folder.glob("*/*.json")):
        data = json.loads(path.read_text("utf-8"))
        body = data["request"]["body"]
        if data["api"] not in APIS or data["kind"].startswith("err") or not isinstance(body, dict):
            continue
        yield _recorded(data, cast("dict[str, Any]", body))


def _recorded(data: dict[str, Any], body: dict[str, Any]) -> RecordedPrompt:
    api: str = data["api"]
    of_path = re.search(r"models/([^:/?]+)", data["request"]["url"])
    of_deployment = re.search(r"deployments/([^/?]+)", data["request"]["url"])
    named = of_path or of_deployment
    events = list(_events(data["response"]["body"]))
    answered: str = next((str(event["model"]) for event in events if event.get("model")), "")
    model = str(body.get("model") or (named[1] if named else "") or answered)
    if "models" in body:
        model = answered  # OpenRouter's list of others to try
    prompt = _READERS[api](body)
    reported, output = _usage(events)
    limit = _limit(body)
    return RecordedPrompt(
        id=data["id"],
        provider="azure" if data["provider"] == "azure-openai" else data["provider"],
        api=api,
        model=answered if model.startswith("[") else model,
        prompt=prompt,
        input_tokens=reported,
        output_tokens=output,
        asked_output_tokens=limit,
        skipped=_why_not(body, prompt, reported),
    )


def _why_not(body: dict[str, Any], prompt: Prompt, reported: int | None) -> str:
    if reported is None:
        return "no usage reported"
    text = json.dumps(body)
    if any(re.search(rf'"{name}": *"?[^"n\s]', text) for name in _KEPT_THERE):
        return "the provider keeps a part of the prompt"
    tools: Any = body.get("tools")
    for tool in tools if isinstance(tools, list) else ():
        kind = tool.get("type", "function")
        google = set(tool) - {"functionDeclarations", "function_declarations"} if "type" not in tool else set()
        if (kind not in _OWN_TOOLS) or (google and "name" not in tool and "function" not in tool):
            return "tools that the provider runs"
    if any(name in body for name in ("web_search_options", "plugins", "mcp_servers", "search_parameters")):
        return "tools that the provider runs"
    if re.search(r'"citations": *{"enabled": *true', text):
        return "marks for citations"
    if not prompt.turns:
        return "no prompt"
    return ""


# Answers ---------------------------------------------------------------------------------------------------------------


def _events(body: str) -> Iterator[dict[str, Any]]:
    start = body.lstrip()
    if start.startswith(("data:", "event:", ":")):
        for line in body.replace("\r\n", "\n").split("\n"):
            if line.startswith("data:") and "[DONE]" not in line:
                try:
                    event = json.loads(line[5:])
                except ValueError:
                    continue
                if isinstance(event, dict):
                    yield cast("dict[str, Any]", event)
        return
    try:
        value = json.loads(body)
    except ValueError:
        return
    yield from value if isinstance(value, list) else [value]


def _usage(events: Sequence[dict[str, Any]]) -> tuple[int | None, int]:
    """Input tokens (cached ones included) and output tokens (reasoning included), as the last report has them."""
    given: int | None = None
    said = 0
    for event in events:
        holders = (event, event.get("message"), event.get("response"), event.get("x_groq"))
        for holder in holders:
            usage = holder.get("usage") or holder.get("usageMetadata") if isinstance(holder, dict) else None
            if not isinstance(usage, dict):
                continue
            found = cast("dict[str, Any]", usage)
            if "promptTokenCount" in found:
                given = found["promptTokenCount"]
                said = (found.get("candidatesTokenCount") or 0) + (found.get("thoughtsTokenCount") or 0)
            elif found.get("prompt_tokens"):
                given, said = found["prompt_tokens"], found.get("completion_tokens") or 0
            elif "input_tokens" in found:
                cached = (found.get("cache_read_input_tokens") or 0) + (found.get("cache_creation_input_tokens") or 0)
                given = (found["input_tokens"] or 0) + cached or given
                said = found.get("output_tokens") or said
    return given or None, said


def _limit(body: dict[str, Any]) -> int | None:
    config = body.get("generationConfig") or {}
    for value in (
        body.get("max_tokens"),
        body.get("max_completion_tokens"),
        body.get("max_output_tokens"),
        config.get("maxOutputTokens"),
        config.get("max_output_tokens"),
    ):
        if isinstance(value, int):
            return value
    return None


# Requests --------------------------------------------------------------------------------------------------------------


def _of_chat(body: dict[str, Any]) -> Prompt:
    turns = [_chat_turn(message) for message in body.get("messages") or ()]
    return _prompt(turns, body.get("tools"), body.get("response_format"))


def _chat_turn(message: dict[str, Any]) -> Turn:
    content = message.get("content")
    extra: dict[str, Any] = {
        name: message[name] for name in ("tool_calls", "tool_call_id", "name") if message.get(name)
    }
    if isinstance(content, list):
        extra["content"] = content
        content = "\n".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    return Turn(_role(message.get("role")), content or "", extra or None)


def _of_messages(body: dict[str, Any]) -> Prompt:
    turns: list[Turn] = []
    system: Any = body.get("system")
    if system:
        turns.append(
            Turn("system", system if isinstance(system, str) else "\n".join(b.get("text", "") for b in system))
        )
    for message in body.get("messages") or ():
        blocks: Any = message["content"]
        if isinstance(blocks, str):
            blocks = [{"type": "text", "text": blocks}]
        turns += _block_turns(_role(message["role"]), blocks)
    tools = [
        _function(tool["name"], tool.get("description"), tool.get("input_schema"))
        for tool in body.get("tools") or ()
        if "name" in tool
    ]
    output = body.get("output_format") or (body.get("output_config") or {}).get("format") or {}
    return _prompt(turns, tools, _schema(output["schema"]) if output.get("schema") else None)


def _block_turns(role: Role, blocks: Sequence[dict[str, Any]]) -> list[Turn]:
    parts: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []
    results: list[Turn] = []
    for block in blocks:
        source: Any = block.get("source") or {}
        match block.get("type"):
            case "tool_use":
                calls.append(_call(block["id"], block["name"], block["input"]))
            case "tool_result":
                results.append(Turn("tool", _plain(block.get("content")), {"tool_call_id": block["tool_use_id"]}))
            case "image":
                parts.append({"type": "image_url", "image_url": {"url": _url(source)}})
            case "document" if source.get("type") != "text":
                parts.append({"type": "file", "file": {"file_data": _url(source)}})
            case _:
                parts.append({"type": "text", "text": _plain(block)})
    extra: dict[str, Any] = {"content": parts} if parts else {}
    if calls:
        extra["tool_calls"] = calls
    return [*results, *([Turn(role, "", extra)] if extra else [])]


def _of_contents(body: dict[str, Any]) -> Prompt:
    turns: list[Turn] = []
    system = body.get("systemInstruction") or body.get("system_instruction")
    if system:
        turns.append(Turn("system", _plain(system)))
    contents = body.get("contents") or ()
    for content in [contents] if isinstance(contents, dict) else contents:
        turns += _content_turns(content)
    tools = [
        _function(one["name"], one.get("description"), one.get("parameters") or one.get("parametersJsonSchema"))
        for tool in body.get("tools") or ()
        for one in tool.get("functionDeclarations") or tool.get("function_declarations") or ()
    ]
    config = body.get("generationConfig") or {}
    schema = config.get("responseSchema") or config.get("responseJsonSchema") or config.get("response_schema")
    return _prompt(turns, tools, _schema(schema) if schema else None)


def _content_turns(content: dict[str, Any]) -> list[Turn]:
    parts: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []
    results: list[Turn] = []
    for part in content.get("parts") or ():
        if part.get("thought"):
            continue
        if call := part.get("functionCall") or part.get("function_call"):
            calls.append(_call(call.get("id", ""), call["name"], call.get("args")))
        elif answer := part.get("functionResponse") or part.get("function_response"):
            results.append(Turn("tool", json.dumps(answer.get("response")), {"name": answer["name"]}))
        elif data := part.get("inlineData") or part.get("inline_data"):
            kind = data.get("mimeType") or data.get("mime_type") or ""
            url = f"data:{kind};base64,{data['data']}"
            parts.append(
                {"type": "image_url", "image_url": {"url": url}}
                if kind.startswith("image/")
                else {"type": "file", "file": {"file_data": url}}
            )
        elif link := part.get("fileData") or part.get("file_data"):
            parts.append({"type": "file", "file": {"file_data": link.get("fileUri") or link.get("file_uri")}})
        else:
            parts.append({"type": "text", "text": _plain(part)})
    extra: dict[str, Any] = {"content": parts} if parts else {}
    if calls:
        extra["tool_calls"] = calls
    return [*results, *([Turn(_role(content.get("role", "user")), "", extra)] if extra else [])]


def _of_responses(body: dict[str, Any]) -> Prompt:
    turns: list[Turn] = [Turn("system", body["instructions"])] if body.get("instructions") else []
    given: Any = body.get("input")
    for item in [{"role": "user", "content": given}] if isinstance(given, str) else given or ():
        match item.get("type", "message"):
            case "function_call":
                call = _call(item.get("call_id", ""), item["name"], item.get("arguments"))
                turns.append(Turn("assistant", "", {"tool_calls": [call]}))
            case "function_call_output":
                turns.append(Turn("tool", _plain(item.get("output")), {"tool_call_id": item.get("call_id", "")}))
            case "message":
                turns.append(_message_turn(item))
            case _:
                turns.append(Turn("assistant", _plain(item)))
    tools = [
        _function(tool["name"], tool.get("description"), tool.get("parameters"))
        for tool in body.get("tools") or ()
        if tool.get("type") in _OWN_TOOLS and "name" in tool
    ]
    form = (body.get("text") or {}).get("format") or {}
    return _prompt(turns, tools, _schema(form["schema"]) if form.get("schema") else None)


def _message_turn(item: dict[str, Any]) -> Turn:
    content: Any = item.get("content")
    if not isinstance(content, list):
        return Turn(_role(item.get("role")), content or "")
    parts: list[dict[str, Any]] = []
    for part in content:
        match part.get("type"):
            case "input_image":
                parts.append({"type": "image_url", "image_url": {"url": part.get("image_url") or ""}})
            case "input_file":
                parts.append({"type": "file", "file": {"file_data": part.get("file_data") or part.get("file_url")}})
            case _:
                parts.append({"type": "text", "text": _plain(part)})
    return Turn(_role(item.get("role")), "", {"content": parts})


_READERS = {
    "chat.completions": _of_chat,
    "messages": _of_messages,
    "generateContent": _of_contents,
    "streamGenerateContent": _of_contents,
    "responses": _of_responses,
}


def _prompt(turns: Sequence[Turn], tools: Any, form: Any) -> Prompt:
    options: dict[str, Any] = {}
    if tools:
        options["tools"] = tools
    if form:
        options["response_format"] = form
    return Prompt(turns=tuple(turns), options=options)


def _role(name: Any) -> Role:
    roles: dict[Any, Role] = {"developer": "system", "model": "assistant", "function": "tool"}
    return roles.get(name) or cast("Role", name or "user")


def _function(name: str, description: str | None, parameters: Any) -> dict[str, Any]:
    function: dict[str, Any] = {"name": name}
    if description:
        function["description"] = description
    return {"type": "function", "function": {**function, "parameters": parameters or {}}}


def _schema(schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


def _call(call_id: str, name: str, arguments: Any) -> dict[str, Any]:
    text = arguments if isinstance(arguments, str) else json.dumps(arguments or {}, ensure_ascii=False)
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": text}}


def _plain(value: Any) -> str:
    """All text inside a block, in order, whatever its shape."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "\n".join(_plain(item) for item in value)
    if not isinstance(value, dict):
        return "" if value is None else json.dumps(value)
    found = cast("dict[str, Any]", value)
    known = [
        name
        for name in ("text", "thinking", "title", "context", "content", "parts", "source", "data")
        if found.get(name)
    ]
    return "\n".join(_plain(found[name]) for name in known) if known else json.dumps(found, ensure_ascii=False)


def _url(source: dict[str, Any]) -> str:
    return source.get("url") or f"data:{source.get('media_type', '')};base64,{source.get('data', '')}"
