"""What a request asks for, whatever its dialect. Pure; called by `server.py`.

Read leniently but for what the real servers refuse at once: those refusals are `Unfit`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec


class Unfit(ValueError):
    """The provider would refuse this body with a 400; the message is what it would say."""


@dataclass(slots=True, kw_only=True)
class Asked:
    """One request. `last` is the last user message's text, `characters` the length of all texts together."""

    model: str
    last: str = ""
    characters: int = 0
    stream: bool = False
    usage: bool = True
    """Whether a stream shall report usage."""
    max_tokens: bool = False
    """Whether the field of that name was there."""
    schema: bool = False
    """Whether a form of the answer was asked for."""
    texts: Sequence[str] = ()
    """Of an embeddings request."""
    dimensions: int = 256
    base64: bool = False
    verb: str = ""
    """Of a Google embeddings path: `embedContent`, `batchEmbedContents` or `predict`."""


class _Part(msgspec.Struct):
    type: str = ""
    text: str = ""


class _Message(msgspec.Struct):
    role: str = ""
    content: str | list[_Part] | None = None


class _StreamOptions(msgspec.Struct):
    include_usage: bool = False


class _Chat(msgspec.Struct):
    model: str = "sim"
    messages: list[_Message] = []
    stream: bool | None = False
    stream_options: _StreamOptions | None = None
    max_tokens: int | None = None
    response_format: dict[str, Any] | None = None


class _Anthropic(msgspec.Struct):
    model: str
    max_tokens: int
    messages: list[_Message]
    system: str | list[_Part] = ""
    stream: bool | None = False


class _Counted(msgspec.Struct):
    model: str
    messages: list[_Message]
    system: str | list[_Part] = ""


class _Item(msgspec.Struct):
    type: str = "message"
    role: str = ""
    content: str | list[_Part] | None = None


class _Responses(msgspec.Struct):
    model: str = "sim"
    input: str | list[_Item] = ""
    instructions: str | None = None
    stream: bool | None = False


class _GooglePart(msgspec.Struct):
    text: str = ""


class _Content(msgspec.Struct):
    role: str = "user"
    parts: list[_GooglePart] = []


class _Generate(msgspec.Struct, rename="camel"):
    contents: list[_Content] = []
    system_instruction: _Content | None = None
    generate_content_request: "_Generate | None" = None
    """`countTokens` may wrap the whole request."""


class _Embeddings(msgspec.Struct):
    input: str | list[str]
    model: str = "sim-embed"
    dimensions: int | None = None
    encoding_format: str | None = None


class _EmbedOne(msgspec.Struct, rename="camel"):
    content: _Content
    output_dimensionality: int | None = None


class _EmbedBatch(msgspec.Struct):
    requests: list[_EmbedOne]


class _Instance(msgspec.Struct):
    content: str


class _PredictParameters(msgspec.Struct, rename="camel"):
    output_dimensionality: int | None = None


class _Predict(msgspec.Struct):
    instances: list[_Instance]
    parameters: _PredictParameters | None = None


_chat = msgspec.json.Decoder(_Chat).decode
_anthropic = msgspec.json.Decoder(_Anthropic).decode
_counted = msgspec.json.Decoder(_Counted).decode
_responses = msgspec.json.Decoder(_Responses).decode
_generate = msgspec.json.Decoder(_Generate).decode
_embeddings = msgspec.json.Decoder(_Embeddings).decode
_embed_one = msgspec.json.Decoder(_EmbedOne).decode
_embed_batch = msgspec.json.Decoder(_EmbedBatch).decode
_predict = msgspec.json.Decoder(_Predict).decode


def _joined(content: str | list[Any] | None) -> str:
    if isinstance(content, str):
        return content
    return "".join([part.text for part in content]) if content else ""


def read_chat(body: bytes, model: str) -> Asked:
    """OpenAI's chat completions; `model` is an Azure deployment's, else "". Raises msgspec.DecodeError."""
    request = _chat(body)
    asked = Asked(
        model=model or request.model,
        stream=bool(request.stream),
        usage=not request.stream or bool(request.stream_options and request.stream_options.include_usage),
        max_tokens=request.max_tokens is not None,
        schema=request.response_format is not None,
    )
    for message in request.messages:
        text = _joined(message.content)
        asked.characters += len(text)
        if message.role == "user":
            asked.last = text
    return asked


def read_messages(body: bytes, *, counting: bool = False) -> Asked:
    """Anthropic's messages. Raises msgspec.DecodeError, Unfit."""
    request = _counted(body) if counting else _anthropic(body)
    asked = Asked(model=request.model, stream=isinstance(request, _Anthropic) and bool(request.stream))
    asked.characters = len(_joined(request.system))
    if not request.messages:
        raise Unfit("messages: at least one message is required")
    for place, message in enumerate(request.messages):
        if message.role not in ("user", "assistant"):
            raise Unfit(
                f'messages.{place}.role: Unexpected role "{message.role}". The Messages API accepts `system` on top.'
            )
        text = _joined(message.content)
        if not message.content and not (message.role == "assistant" and place == len(request.messages) - 1):
            raise Unfit(f"messages.{place}: all messages must have non-empty content")
        if isinstance(message.content, list) and any(part.type == "text" and not part.text for part in message.content):
            raise Unfit("messages: text content blocks must be non-empty")
        asked.characters += len(text)
        if message.role == "user" and text:
            asked.last = text
    return asked


def read_responses(body: bytes) -> Asked:
    """OpenAI's Responses. Raises msgspec.DecodeError."""
    request = _responses(body)
    asked = Asked(model=request.model, stream=bool(request.stream), characters=len(request.instructions or ""))
    if isinstance(request.input, str):
        asked.last = request.input
        asked.characters += len(request.input)
        return asked
    for item in request.input:
        text = _joined(item.content)
        asked.characters += len(text)
        if item.role == "user":
            asked.last = text
    return asked


def read_generate(body: bytes, model: str, *, stream: bool = False) -> Asked:
    """Google's contents; the model and whether it is a stream stand in the path. Raises msgspec.DecodeError, Unfit."""
    request = _generate(body)
    request = request.generate_content_request or request
    asked = Asked(model=model, stream=stream)
    if not request.contents:
        raise Unfit("* GenerateContentRequest.contents: contents is not specified")
    if request.system_instruction is not None:
        asked.characters = len(_joined(request.system_instruction.parts))
    for content in request.contents:
        if content.role not in ("user", "model", "function"):
            raise Unfit("Please use a valid role: user, model.")
        text = _joined(content.parts)
        asked.characters += len(text)
        if content.role == "user" and text:
            asked.last = text
    return asked


def read_embeddings(body: bytes, model: str) -> Asked:
    """OpenAI's embeddings. Raises msgspec.DecodeError."""
    request = _embeddings(body)
    texts = [request.input] if isinstance(request.input, str) else request.input
    return _embedding(model or request.model, texts, request.dimensions, base64=request.encoding_format == "base64")


def read_google_embeddings(body: bytes, model: str, verb: str) -> Asked:
    """Google's `embedContent`, `batchEmbedContents` and Vertex AI's `predict`. Raises msgspec.DecodeError."""
    if verb == "predict":
        request = _predict(body)
        size = None if request.parameters is None else request.parameters.output_dimensionality
        return _embedding(model, [instance.content for instance in request.instances], size, verb=verb)
    ones = _embed_batch(body).requests if verb == "batchEmbedContents" else [_embed_one(body)]
    size = ones[0].output_dimensionality if ones else None
    return _embedding(model, [_joined(one.content.parts) for one in ones], size, verb=verb)


def _embedding(model: str, texts: list[str], size: int | None, *, base64: bool = False, verb: str = "") -> Asked:
    return Asked(
        model=model,
        last=texts[-1] if texts else "",
        characters=sum(map(len, texts)),
        texts=texts,
        dimensions=size or 256,
        base64=base64,
        verb=verb,
    )
