"""Which dialect a path speaks and what is asked for there. Pure; called by `server.py`."""

from typing import Literal, NamedTuple
from urllib.parse import unquote

from bench.simulator import requests
from bench.simulator.anthropic import Anthropic
from bench.simulator.dialects import Dialect
from bench.simulator.google import Gemini, GeminiArray, Vertex, VertexArray
from bench.simulator.head import Head
from bench.simulator.openai import Azure, OpenAi
from bench.simulator.requests import Asked, Unfit
from bench.simulator.responses import Responses

Kind = Literal["chat", "count", "embed"]
_EMBED = ("embedContent", "batchEmbedContents", "predict")


class Where(NamedTuple):
    """`model` and `verb` where the path names them. `stream` is True where the path asks for one."""

    dialect: type[Dialect]
    kind: Kind
    model: str = ""
    verb: str = ""
    stream: bool = False


_CHAT = Where(OpenAi, "chat")
_PLAIN = {
    "/v1/chat/completions": _CHAT,
    "/chat/completions": _CHAT,
    "/v1/embeddings": Where(OpenAi, "embed"),
    "/embeddings": Where(OpenAi, "embed"),
    "/v1/responses": Where(Responses, "chat"),
    "/responses": Where(Responses, "chat"),
    "/v1/messages": Where(Anthropic, "chat"),
    "/messages": Where(Anthropic, "chat"),
    "/v1/messages/count_tokens": Where(Anthropic, "count"),
    "/openai/v1/chat/completions": Where(Azure, "chat"),
    "/openai/v1/embeddings": Where(Azure, "embed"),
    "/openai/v1/responses": Where(Responses, "chat"),
    "/models/chat/completions": Where(Azure, "chat"),
    "/models/embeddings": Where(Azure, "embed"),
}


def find(path: str, query: str) -> Where | None:
    """The place of a POST, or None if nobody lives there."""
    place = _PLAIN.get(path)
    if place is not None:
        return place
    if path.startswith("/openai/deployments/"):
        deployment, _, rest = path.removeprefix("/openai/deployments/").partition("/")
        kinds: dict[str, Kind] = {"chat/completions": "chat", "embeddings": "embed"}
        kind = kinds.get(rest)
        # Without its version Azure answers 404.
        return None if kind is None or "api-version=" not in query else Where(Azure, kind, unquote(deployment))
    return _google(path, query)


def _google(path: str, query: str) -> Where | None:
    """`/{version}/models/{model}:{verb}`, or Vertex AI's long form of it."""
    version, _, rest = path[1:].partition("/")
    parts = rest.split("/")
    if version not in ("v1", "v1beta", "v1beta1"):
        return None
    # Ours may hold a slash in a value, theirs never does: the model is all that follows `models/`.
    if parts[0] == "models":
        vertex, name = False, "/".join(parts[1:])
    elif len(parts) > 7 and parts[0::2][:4] == ["projects", "locations", "publishers", "models"]:
        vertex, name = True, "/".join(parts[7:])
    else:
        return None
    model, colon, verb = unquote(name).rpartition(":")
    if not colon:
        return None
    if verb in _EMBED:
        return Where(Vertex if vertex else Gemini, "embed", model, verb)
    if verb == "countTokens":
        return Where(Vertex if vertex else Gemini, "count", model, verb)
    if verb == "generateContent" or (verb == "streamGenerateContent" and "alt=sse" in query):
        return Where(Vertex if vertex else Gemini, "chat", model, verb, stream=verb == "streamGenerateContent")
    if verb == "streamGenerateContent":
        return Where(VertexArray if vertex else GeminiArray, "chat", model, verb, stream=True)
    return None


def read(where: Where, head: Head, body: bytes) -> Asked:
    """The request in the words of every dialect. Raises msgspec.DecodeError, Unfit."""
    if issubclass(where.dialect, Anthropic):
        if not head.get(b"\r\nanthropic-version:"):
            raise Unfit("anthropic-version: header is required")
        return requests.read_messages(body, counting=where.kind == "count")
    if issubclass(where.dialect, Gemini):
        if where.kind == "embed":
            return requests.read_google_embeddings(body, where.model, where.verb)
        asked = requests.read_generate(body, where.model, stream=where.stream)
        asked.verb = where.verb
        return asked
    if where.kind == "embed":
        return requests.read_embeddings(body, where.model)
    if where.dialect is Responses:
        return requests.read_responses(body)
    return requests.read_chat(body, where.model)
