"""`/v1` through the official `openai` client."""

import json
import time
import uuid
from typing import TYPE_CHECKING, Any

import openai
import pytest
from openai import OpenAI

if TYPE_CHECKING:
    from tests.e2e.conftest import Live


@pytest.fixture
def client(live: "Live") -> OpenAI:
    return OpenAI(base_url=f"{live.base_url}/v1", api_key=live.tenant_key, max_retries=0, timeout=30)


def model_of(live: "Live", model: str, **fields: Any) -> str:
    slug = f"ai-{uuid.uuid4().hex[:10]}"
    body = {
        "name": slug,
        "slug": slug,
        "providers": [{"provider": "openai", "model": model}],
        "knowledge_enabled": False,
    }
    made = live.http("POST", "/api/v1/chatbots", body | fields)
    assert made.status == 201, made.body
    return slug


def ask(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


def test_a_completion(live: "Live", client: OpenAI) -> None:
    model = model_of(live, "sim:reply=Good%20morning,cached_tokens=3")
    raw = client.chat.completions.with_raw_response.create(model=model, messages=ask("Hi"), max_tokens=50)
    completion = raw.parse()
    assert completion.choices[0].message.content == "Good morning"
    assert completion.choices[0].message.role == "assistant"
    assert completion.choices[0].finish_reason == "stop"
    assert completion.model == model
    assert completion.object == "chat.completion"
    assert completion.usage is not None
    assert completion.usage.total_tokens == completion.usage.prompt_tokens + completion.usage.completion_tokens
    assert completion.usage.prompt_tokens > 0
    assert raw.headers["x-chatwright-cache"] in ("exact", "semantic", "miss", "bypass")
    assert raw.headers["x-chatwright-attempts"] == "1"
    assert raw.headers["x-request-id"]


def test_a_stream_is_the_completion_in_pieces(live: "Live", client: OpenAI) -> None:
    model = model_of(live, "sim:chunks=8,interval=5")
    whole = client.chat.completions.create(model=model, messages=ask("Count"))
    pieces = list(
        client.chat.completions.create(
            model=model, messages=ask("Count"), stream=True, stream_options={"include_usage": True}
        )
    )
    text = "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)
    assert text == whole.choices[0].message.content
    assert pieces[0].choices[0].delta.role == "assistant"
    assert [piece.choices[0].finish_reason for piece in pieces if piece.choices][-1] == "stop"
    assert pieces[-1].choices == []
    assert pieces[-1].usage is not None
    assert pieces[-1].usage.completion_tokens > 0
    assert all(piece.usage is None for piece in pieces[:-1])
    assert len({piece.id for piece in pieces}) == 1
    plain = list(client.chat.completions.create(model=model, messages=ask("Count"), stream=True))
    assert all(piece.usage is None and piece.choices for piece in plain)


def test_the_first_piece_does_not_wait_for_the_last(live: "Live", client: OpenAI) -> None:
    model = model_of(live, "sim:chunks=20,interval=100")
    started = time.monotonic()
    with client.chat.completions.create(model=model, messages=ask("Slowly"), stream=True) as stream:
        next(iter(stream))
        assert time.monotonic() - started < 1.0


def test_content_parts_and_the_developer_role(live: "Live", client: OpenAI) -> None:
    model = model_of(live, "sim:echo=1")
    completion = client.chat.completions.create(
        model=model,
        messages=[
            {"role": "developer", "content": "Be kind."},
            {"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]},
        ],
        extra_body={"a_field_of_next_year": {"x": 1}},
    )
    answer = completion.choices[0].message.content
    assert answer is not None
    assert "one" in answer
    assert "two" in answer


def test_tools_pass_through(live: "Live", client: OpenAI) -> None:
    model = model_of(live, "sim:tool=get_weather")
    tools: list[Any] = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}]
    completion = client.chat.completions.create(model=model, messages=ask("Weather?"), tools=tools)
    choice = completion.choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.tool_calls is not None
    call: Any = choice.message.tool_calls[0]
    assert call.function.name == "get_weather"
    json.loads(call.function.arguments)
    with client.chat.completions.stream(model=model, messages=ask("Weather?"), tools=tools) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.tool_calls is not None
    streamed: Any = final.choices[0].message.tool_calls[0]
    assert streamed.function.name == "get_weather"


@pytest.mark.parametrize("stream", [False, True])
def test_a_provider_that_fails_is_an_error_the_client_knows(live: "Live", client: OpenAI, stream: bool) -> None:
    model = model_of(live, "sim:status=400")
    with pytest.raises(openai.APIStatusError) as failed:
        client.chat.completions.create(model=model, messages=ask("Hi"), stream=stream)
    body: Any = failed.value.body
    assert (failed.value.status_code, body["code"], body["type"]) == (503, "provider_unavailable", "api_error")


def test_a_stream_that_breaks_in_the_middle_says_so(live: "Live", client: OpenAI) -> None:
    model = model_of(live, "sim:chunks=10,cut=4")
    stream = client.chat.completions.create(model=model, messages=ask("Break"), stream=True)
    assert next(stream).choices[0].delta.content
    with pytest.raises(openai.APIError):
        list(stream)


def test_a_client_that_leaves_stops_the_provider(live: "Live", client: OpenAI) -> None:
    model = model_of(live, "sim:chunks=300,interval=50")
    with client.chat.completions.create(model=model, messages=ask("Leave"), stream=True) as stream:
        next(iter(stream))
    deadline = time.monotonic() + 10
    while True:
        report = live.http("GET", "/api/v1/usage?group_by=model").json
        rows = [row for row in report["rows"] if row["model"] == "sim:chunks=300,interval=50"]
        if rows and _open_streams(live) == 0:
            break
        assert time.monotonic() < deadline, report
        time.sleep(0.1)
    assert rows[0]["calls"] == 1


def _open_streams(live: "Live") -> float:
    lines = live.http("GET", "/metrics", key=None).body.decode().splitlines()
    counts = [float(line.rpartition(" ")[2]) for line in lines if line.startswith("chatwright_open_sockets")]
    assert counts
    return sum(counts)


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"model": "no-such-chatbot"}, openai.NotFoundError),
        ({"messages": []}, openai.UnprocessableEntityError),
        ({"n": 2}, openai.BadRequestError),
        ({"temperature": 9}, openai.UnprocessableEntityError),
        ({"messages": [{"role": "wizard", "content": "x"}]}, openai.UnprocessableEntityError),
        ({"messages": [{"role": "user", "content": [{"text": "no type"}]}]}, openai.UnprocessableEntityError),
        ({"messages": [{"role": "user", "content": "a\0b"}]}, openai.BadRequestError),
    ],
)
def test_a_bad_request_is_the_clients_own_error(
    live: "Live", client: OpenAI, fields: dict[str, Any], kind: type[openai.APIStatusError]
) -> None:
    arguments: dict[str, Any] = {"model": live.llm_chatbot, "messages": ask("Hi")} | fields
    with pytest.raises(kind) as refused:
        client.chat.completions.create(**arguments)
    body: Any = refused.value.body
    assert body["code"]
    assert body["request_id"]


def test_a_wrong_key_is_refused(live: "Live") -> None:
    stranger = OpenAI(base_url=f"{live.base_url}/v1", api_key="cw_sk_nobody", max_retries=0)
    with pytest.raises(openai.AuthenticationError):
        stranger.models.list()


def test_chatbots_are_models(live: "Live", client: OpenAI) -> None:
    names = {model.id for model in client.models.list()}
    assert {live.chatbot, live.llm_chatbot, "chatwright-embed"} <= names
    assert client.models.retrieve(live.llm_chatbot).id == live.llm_chatbot
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nobody")


def test_embeddings_in_both_formats(client: OpenAI) -> None:
    texts = ["a cat sat on the mat", "a kitten rested on the rug", "quarterly tax returns"]
    floats = client.embeddings.create(model="chatwright-embed", input=texts, encoding_format="float")
    packed = client.embeddings.create(model="chatwright-embed", input=texts)  # the client asks for base64 by itself
    assert [item.index for item in floats.data] == [0, 1, 2]
    for left, right in zip(floats.data, packed.data, strict=True):
        assert len(left.embedding) == 384
        assert left.embedding == pytest.approx(right.embedding, abs=1e-6)
    cat, kitten, tax = (item.embedding for item in floats.data)
    assert _dot(cat, kitten) > _dot(cat, tax) + 0.2
    assert floats.usage.prompt_tokens > 0
    with pytest.raises(openai.BadRequestError):
        client.embeddings.create(model="chatwright-embed", input=[[1, 2, 3]])
    with pytest.raises(openai.UnprocessableEntityError):
        client.embeddings.create(model="chatwright-embed", input="a cat", user="v" * 201)


def _dot(left: list[float], right: list[float]) -> float:
    return sum(a * b for a, b in zip(left, right, strict=True))
