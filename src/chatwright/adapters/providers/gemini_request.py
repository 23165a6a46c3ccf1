"""From a prompt in OpenAI's words to a `generateContent` request. Pure.

System turns become `systemInstruction`, the rest alternating `contents`; the caller's options are mapped where Gemini
has the same thing and dropped otherwise, since it refuses names that it does not know. Used by `gemini.py` only.
"""

import mimetypes
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from chatwright.adapters.providers.failures import Failure
from chatwright.adapters.providers.gemini_schema import cleaned
from chatwright.domain.providers import Prompt, Turn

NO_CALL_IDS = "no_call_ids"
NO_PENALTIES = "no_penalties"
NO_SYSTEM = "no_system"
NO_THINKING = "no_thinking"
STAND_IN_SIGNATURES = "stand_in_signatures"

# Documented by Google for calls that another model made: newer models refuse a call of theirs without a signature.
STAND_IN_SIGNATURE = "skip_thought_signature_validator"
MAX_STOPS = 5
_THINKING_TOKENS = {"none": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24_576}
"""Google's own reading of OpenAI's `reasoning_effort`."""
_NUMBERS = (
    ("top_p", "topP"),
    ("top_k", "topK"),
    ("seed", "seed"),
    ("presence_penalty", "presencePenalty"),
    ("frequency_penalty", "frequencyPenalty"),
)
_MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY"}


def chat_fields(prompt: Prompt, quirks: frozenset[str]) -> dict[str, Any]:
    """The request as a JSON object. The prompt's own limits win over options of the same meaning."""
    system = [text for turn in prompt.turns if turn.role == "system" and (text := _text(turn))]
    contents = _contents(prompt.turns, quirks)
    if system and (NO_SYSTEM in quirks or not contents):
        _put_in_front(contents, system)
        system = []
    fields: dict[str, Any] = {"contents": contents}
    if system:
        fields["systemInstruction"] = {"parts": [{"text": text} for text in system]}
    config = _config(prompt, quirks)
    if config:
        fields["generationConfig"] = config
    declarations = _declarations(prompt.options.get("tools"))
    if declarations:
        fields["tools"] = [{"functionDeclarations": declarations}]
        choice = _choice(prompt.options.get("tool_choice"))
        if choice:
            fields["toolConfig"] = {"functionCallingConfig": choice}
    return fields


def quirk_of(failure: Failure, sent: dict[str, Any]) -> str | None:
    """What to change in a refused request so that this model takes it, or None."""
    words = failure.message.lower()
    config: dict[str, Any] = sent.get("generationConfig", {})
    if "thought_signature" in words or "thoughtsignature" in words:
        return STAND_IN_SIGNATURES
    if 'unknown name "id"' in words:
        return NO_CALL_IDS
    if "systemInstruction" in sent and ("developer instruction" in words or "system instruction" in words):
        return NO_SYSTEM
    if "thinkingConfig" in config and ("thinking" in words or "budget" in words):
        return NO_THINKING
    if "penalty" in words and ("presencePenalty" in config or "frequencyPenalty" in config):
        return NO_PENALTIES
    return None


def _config(prompt: Prompt, quirks: frozenset[str]) -> dict[str, Any]:
    options = prompt.options
    config: dict[str, Any] = {}
    temperature = prompt.temperature if prompt.temperature is not None else options.get("temperature")
    if temperature is not None:
        config["temperature"] = temperature
    max_tokens = prompt.max_tokens or options.get("max_completion_tokens") or options.get("max_tokens")
    if max_tokens is not None:
        config["maxOutputTokens"] = max_tokens
    for name, theirs in _NUMBERS:
        value = options.get(name)
        if isinstance(value, int | float) and not (name.endswith("penalty") and NO_PENALTIES in quirks):
            config[theirs] = value
    stops = options.get("stop")
    if stops:
        config["stopSequences"] = [stops] if isinstance(stops, str) else list(stops)[:MAX_STOPS]
    effort = options.get("reasoning_effort")
    if isinstance(effort, str) and effort in _THINKING_TOKENS and NO_THINKING not in quirks:
        config["thinkingConfig"] = {"thinkingBudget": _THINKING_TOKENS[effort]}
    wanted: Any = options.get("response_format")
    if isinstance(wanted, dict) and wanted.get("type") in ("json_object", "json_schema"):
        config["responseMimeType"] = "application/json"
        named: Any = wanted.get("json_schema")
        if isinstance(named, dict) and isinstance(named.get("schema"), dict):
            config["responseSchema"] = cleaned(named["schema"])
    return config


def _declarations(tools: object) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for tool in tools if isinstance(tools, list) else ():
        function: Any = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            continue
        declared: dict[str, Any] = {"name": function["name"]}
        if function.get("description"):
            declared["description"] = function["description"]
        parameters: Any = function.get("parameters")
        # Of a function without parameters older models want no schema at all.
        if isinstance(parameters, dict) and (schema := cleaned(parameters)).get("properties"):
            declared["parameters"] = schema
        found.append(declared)
    return found


def _choice(choice: object) -> dict[str, Any] | None:
    if isinstance(choice, str) and choice in _MODES:
        return {"mode": _MODES[choice]}
    function: Any = choice.get("function") if isinstance(choice, dict) else None
    if isinstance(function, dict) and isinstance(function.get("name"), str):
        return {"mode": "ANY", "allowedFunctionNames": [function["name"]]}
    return None


def _contents(turns: Sequence[Turn], quirks: frozenset[str]) -> list[dict[str, Any]]:
    """The turns but system ones, neighbours of one role joined, beginning with the user."""
    contents: list[dict[str, Any]] = []
    names: dict[str, str] = {}
    for turn in turns:
        if turn.role == "system":
            continue
        if turn.role == "tool":
            role, parts = "user", [_response(turn, names, quirks)]
        elif turn.extra is None:
            role, parts = ("model" if turn.role == "assistant" else "user"), _text_part(turn.content)
        else:
            role, parts = ("model" if turn.role == "assistant" else "user"), _parts(turn)
            parts += _calls(turn.extra.get("tool_calls"), names, quirks)
        if not parts:
            continue
        if contents and contents[-1]["role"] == role:
            contents[-1]["parts"] += parts
        else:
            contents.append({"role": role, "parts": parts})
    if contents and contents[0]["role"] == "model":
        # A cut history may begin with an answer; a function call in particular must follow a user's words.
        contents.insert(0, {"role": "user", "parts": [{"text": " "}]})
    return contents


def _put_in_front(contents: list[dict[str, Any]], system: Iterable[str]) -> None:
    """Give the system's words as the user's: for models that know no others."""
    parts = [{"text": text} for text in system]
    if contents and contents[0]["role"] == "user":
        contents[0]["parts"][:0] = parts
    else:
        contents.insert(0, {"role": "user", "parts": parts})


def _text_part(text: str) -> list[dict[str, Any]]:
    """Empty text is refused, so it is no part."""
    return [{"text": text}] if text else []


def _text(turn: Turn) -> str:
    """The text of a turn, whichever form its content has."""
    content: object = turn.extra.get("content") if turn.extra is not None else None
    if not isinstance(content, list):
        return content if isinstance(content, str) else turn.content
    return "\n".join(str(part["text"]) for part in content if isinstance(part, dict) and part.get("text"))


def _parts(turn: Turn) -> list[dict[str, Any]]:
    content: object = turn.extra.get("content") if turn.extra is not None else None
    if not isinstance(content, list):
        return _text_part(content if isinstance(content, str) else turn.content)
    parts: list[dict[str, Any]] = []
    for item in content:
        if isinstance(item, str):
            parts += _text_part(item)
        elif isinstance(item, dict):
            part = _part(item)
            if part is not None:
                parts.append(part)
    return parts


def _part(item: dict[str, Any]) -> dict[str, Any] | None:
    """One content part of OpenAI's; None for what Gemini has no word for."""
    match item:
        case {"type": "text" | "input_text", "text": str(text)} if text:
            return {"text": text}
        case {"type": "image_url", "image_url": {"url": str(url)}} | {"type": "image_url", "image_url": str(url)}:
            return _data_or_link(url)
        case {"type": "input_audio", "input_audio": {"data": str(data), "format": str(kind)}}:
            return {"inlineData": {"mimeType": f"audio/{kind}", "data": data}}
        case {"type": "file", "file": {"file_data": str(url)}}:
            return _data_or_link(url)
        case _:
            return None


def _data_or_link(url: str) -> dict[str, Any]:
    if url.startswith("data:"):
        kind, _, data = url[5:].partition(",")
        return {"inlineData": {"mimeType": kind.partition(";")[0] or "image/png", "data": data}}
    guessed, _ = mimetypes.guess_type(url.partition("?")[0])
    return {"fileData": {"fileUri": url, "mimeType": guessed or "image/jpeg"}}


def _calls(calls: object, names: dict[str, str], quirks: frozenset[str]) -> list[dict[str, Any]]:
    """Tool calls of an assistant's turn; `names` learns which function each was of."""
    parts: list[dict[str, Any]] = []
    for call in calls if isinstance(calls, list) else ():
        function: Any = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            continue
        made: dict[str, Any] = {"name": function["name"], "args": _object(function.get("arguments"))}
        call_id: object = call.get("id")
        if isinstance(call_id, str) and call_id:
            names[call_id] = function["name"]
            if NO_CALL_IDS not in quirks:
                made["id"] = call_id
        part: dict[str, Any] = {"functionCall": made}
        signature = _signature(call)
        # Of parallel calls only the first is signed.
        if signature is None and STAND_IN_SIGNATURES in quirks and not parts:
            signature = STAND_IN_SIGNATURE
        if signature is not None:
            part["thoughtSignature"] = signature
        parts.append(part)
    return parts


def _signature(call: dict[str, Any]) -> str | None:
    """Where the caller gives a signature back: as we and Google's compatible endpoint name it, or beside the id."""
    match call:
        case {"extra_content": {"google": {"thought_signature": str(signature)}}} if signature:
            return signature
        case {"thought_signature": str(signature)} if signature:
            return signature
        case _:
            return None


def _response(turn: Turn, names: dict[str, str], quirks: frozenset[str]) -> dict[str, Any]:
    """A tool's turn; its function is the one of the call that it answers."""
    extra = turn.extra or {}
    call_id: object = extra.get("tool_call_id")
    named: object = extra.get("name")
    name = names.get(call_id) if isinstance(call_id, str) else None
    text = _text(turn)
    try:
        value: object = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError):
        value = text
    made: dict[str, Any] = {
        "name": name or (named if isinstance(named, str) and named else "tool"),
        "response": value if isinstance(value, dict) else {"output": value},
    }
    if isinstance(call_id, str) and call_id and NO_CALL_IDS not in quirks:
        made["id"] = call_id
    return {"functionResponse": made}


def _object(arguments: object) -> dict[str, Any]:
    """A call's arguments, which Gemini takes as an object and OpenAI gives as text."""
    if isinstance(arguments, str):
        try:
            arguments = msgspec.json.decode(arguments)
        except (msgspec.DecodeError, UnicodeError):
            return {"arguments": arguments}
    return arguments if isinstance(arguments, dict) else {}
