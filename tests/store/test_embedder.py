"""The embedder with its real model: vectors, order of service, cancellation, loop lag."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import numpy as np
import pytest

from chatwright.adapters.models import LocalEmbedders, ModelUnavailable, open_embedder
from chatwright.adapters.models.minilm import BATCH_TEXTS

PASSAGE = " ".join(["The tenant sees every conversation with its answers and the sources used."] * 13)


@asynccontextmanager
async def warm(threads: int = 1) -> AsyncGenerator[LocalEmbedders]:
    async with asyncio.timeout(20), open_embedder(threads) as embedder:
        await embedder.warm_up()
        yield embedder


def test_vectors_are_unit_rows_in_the_order_of_the_texts() -> None:
    texts = [
        "a much longer text about the weather in Hamburg",
        "cats",
        "",
        "\ud800 lone",
        "cats",
        PASSAGE * 20,
        "x" * 10**6,
    ]

    async def scenario() -> None:
        async with warm() as embedder:
            vectors = await embedder.embed(texts)
            assert vectors.shape == (len(texts), embedder.dimension)
            assert vectors.dtype == np.float32
            np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
            np.testing.assert_array_equal(vectors[1], vectors[4])
            for text, vector in zip(texts, vectors, strict=True):
                np.testing.assert_allclose((await embedder.embed([text], bulk=True))[0], vector, atol=1e-5)
            assert (await embedder.embed([])).shape == (0, embedder.dimension)

    asyncio.run(scenario())


def test_near_texts_are_nearer_than_far_ones() -> None:
    async def scenario() -> None:
        async with warm() as embedder:
            password, reset, weather = await embedder.embed(
                ["How do I change my password?", "Reset the password of your account", "It rains in Hamburg today"]
            )
            assert password @ reset > 0.6
            assert password @ weather < 0.2

    asyncio.run(scenario())


def test_tokens_are_counted_without_a_cut() -> None:
    async def scenario() -> None:
        async with open_embedder() as embedder:
            assert embedder.load_s is None  # counting needs the vocabulary only
            assert embedder.count_tokens("Hello, world") == 3
            assert embedder.count_tokens("word " * 1000) == 1000
            assert embedder.count_tokens("\ud800") >= 1
            assert embedder.count_tokens("") == 0

    asyncio.run(scenario())


def test_a_query_overtakes_a_document_in_progress() -> None:
    async def scenario() -> None:
        async with warm() as embedder:
            document = asyncio.create_task(embedder.embed([PASSAGE] * 40, bulk=True), name="document")
            await asyncio.sleep(0.05)
            started_s = time.perf_counter()
            await embedder.embed(["How do I change my password?"])
            took_s = time.perf_counter() - started_s
            assert not document.done()
            document.cancel()
            with pytest.raises(asyncio.CancelledError):
                await document
            assert took_s < 0.3  # 40 passages take over a second

    asyncio.run(scenario())


def test_documents_take_turns() -> None:
    async def scenario() -> None:
        async with warm() as embedder:
            large = asyncio.create_task(embedder.embed([PASSAGE] * 40, bulk=True), name="large")
            await asyncio.sleep(0)
            await embedder.embed([PASSAGE] * 2, bulk=True)
            assert not large.done()
            large.cancel()
            with pytest.raises(asyncio.CancelledError):
                await large

    asyncio.run(scenario())


def test_a_cancelled_call_gives_up_what_has_not_started() -> None:
    async def scenario() -> None:
        async with warm() as embedder:
            document = asyncio.create_task(embedder.embed([PASSAGE] * 400, bulk=True), name="document")
            await asyncio.sleep(0.01)
            document.cancel()
            with pytest.raises(asyncio.CancelledError):
                await document
            started_s = time.perf_counter()
            await embedder.embed(["next"], bulk=True)
            assert time.perf_counter() - started_s < 2  # 400 passages take over ten seconds

    asyncio.run(scenario())


def test_queries_that_arrive_together_are_all_answered_right() -> None:
    texts = [f"question number {n} about topic {n % 7}" for n in range(5 * BATCH_TEXTS)]

    async def scenario() -> None:
        async with warm(2) as embedder:
            alone = [(await embedder.embed([text]))[0] for text in texts]
            together = await asyncio.gather(*(embedder.embed([text]) for text in texts))
            for one, other in zip(alone, together, strict=True):
                np.testing.assert_allclose(other[0], one, atol=1e-5)

    asyncio.run(scenario())


def test_the_loop_keeps_turning_while_texts_are_embedded() -> None:
    async def scenario() -> float:
        lags_s: list[float] = []
        async with warm() as embedder:
            work = asyncio.gather(
                embedder.embed([PASSAGE] * 10, bulk=True), *(embedder.embed(["Hi there"]) for _ in range(20))
            )
            while not work.done():
                before_s = time.perf_counter()
                await asyncio.sleep(0.001)
                lags_s.append(time.perf_counter() - before_s - 0.001)
            await work
        assert len(lags_s) > 50
        return float(np.median(lags_s))

    assert asyncio.run(scenario()) < 0.005


def test_a_closed_embedder_says_so_and_fails_what_waits() -> None:
    async def scenario() -> None:
        async with open_embedder(1) as embedder:
            waiting = [asyncio.create_task(embedder.embed([PASSAGE] * 30, bulk=True), name=f"{n}") for n in range(2)]
            await asyncio.sleep(0.01)
        results = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 5)
        assert all(isinstance(result, ModelUnavailable) for result in results)
        with pytest.raises(ModelUnavailable):
            await embedder.embed(["late"])

    asyncio.run(scenario())
