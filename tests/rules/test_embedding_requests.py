"""What is asked of a provider for vectors: bodies of Google's requests, facts of models, batches and cuts. Pure."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatwright.adapters.providers.embedding_models import EmbeddingModel, embedding_model, listed_embedding_models
from chatwright.adapters.providers.gemini_embeddings import MAX_BATCH, embedding_calls
from chatwright.pipeline.provider_embedder import batches, cut, estimate_tokens


def test_gemini_is_told_task_and_dimensions_with_each_text() -> None:
    ((method, body, texts),) = embedding_calls(
        "gemini-embedding-001", ["a", "b"], vertex=False, dimensions=768, task="query"
    )
    assert (method, texts) == ("batchEmbedContents", ["a", "b"])
    assert body["requests"][1] == {
        "model": "models/gemini-embedding-001",
        "content": {"parts": [{"text": "b"}]},
        "taskType": "RETRIEVAL_QUERY",
        "outputDimensionality": 768,
    }
    plain = embedding_calls("gemini-embedding-001", ["a"], vertex=False)[0][1]["requests"][0]
    assert set(plain) == {"model", "content"}


def test_vertex_has_two_ways_to_be_told() -> None:
    ((method, body, _),) = embedding_calls("text-embedding-005", ["a"], vertex=True, dimensions=256, task="passage")
    assert method == "predict"
    assert body == {
        "instances": [{"content": "a", "task_type": "RETRIEVAL_DOCUMENT"}],
        "parameters": {"outputDimensionality": 256},
    }
    calls = embedding_calls("gemini-embedding-001", ["a", "b"], vertex=True, dimensions=768, task="passage")
    assert [method for method, _, _ in calls] == ["embedContent"] * 2
    assert calls[1][1] == {
        "content": {"parts": [{"text": "b"}]},
        "embedContentConfig": {"taskType": "RETRIEVAL_DOCUMENT", "outputDimensionality": 768},
    }


@pytest.mark.parametrize("vertex", [False, True])
def test_no_request_holds_more_than_may_be_asked_for(vertex: bool) -> None:
    texts = [str(n) for n in range(2 * MAX_BATCH + 1)]
    calls = embedding_calls("text-embedding-005", texts, vertex=vertex)
    assert [text for _, _, part in calls for text in part] == texts
    assert max(len(part) for _, _, part in calls) == MAX_BATCH


@pytest.mark.parametrize(
    ("name", "query", "dimension"),
    [
        ("text-embedding-3-small", "", 1536),
        ("TEXT-EMBEDDING-3-LARGE", "", 3072),
        ("publisher/gemini-embedding-2-preview", "task: search result | query: ", 3072),
        ("intfloat/multilingual-e5-large", "query: ", None),
        ("multilingual-e5-large-instruct", "", None),
        ("nomic-embed-text:latest", "search_query: ", None),
        ("bge-m3", "", None),
        ("BAAI/bge-small-en-v1.5", "Represent this sentence for searching relevant passages: ", None),
        ("something-else", "", None),
    ],
)
def test_models_are_known_by_name(name: str, query: str, dimension: int | None) -> None:
    found = embedding_model(name)
    assert (found.query, found.dimension) == (query, dimension)


def test_what_is_listed_says_what_its_vectors_are() -> None:
    listed = listed_embedding_models()
    assert len({(provider, name) for provider, name, _ in listed}) == len(listed) > 5
    for _, name, facts in listed:
        assert facts.dimension
        assert facts.max_tokens
        assert embedding_model(name) is facts


TEXTS = st.lists(st.text(max_size=200), max_size=40)


@given(TEXTS, st.integers(1, 8), st.integers(1, 100))
def test_batches_hold_every_text_once_and_keep_to_their_bounds(texts: list[str], most: int, tokens: int) -> None:
    parts = list(batches(texts, EmbeddingModel(texts=most, tokens=tokens)))
    assert [place for start, end in parts for place in range(start, end)] == list(range(len(texts)))
    for start, end in parts:
        assert 1 <= end - start <= most
        assert end - start == 1 or sum(map(estimate_tokens, texts[start:end])) <= tokens


@given(st.text(max_size=3_000), st.integers(1, 300))
def test_a_cut_is_a_beginning_that_fits(text: str, most: int) -> None:
    short = cut(text, most)
    assert text.startswith(short)
    assert estimate_tokens(short) <= most
    if estimate_tokens(text) <= most:
        assert short == text
