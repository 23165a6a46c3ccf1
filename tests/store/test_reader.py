"""The reader over the real encoder, as the package ships it."""

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest

from chatwright.adapters.models import Encoded, open_embedder
from chatwright.adapters.models.minilm import FEATURES
from chatwright.domain.reading import Reading
from chatwright.features.analysis.reader import Reader

LONG = "The invoice for March shows a second fee that I do not know. " * 400


def _encode(texts: Sequence[str], *, bulk: bool = False) -> Encoded:
    async def scenario() -> Encoded:
        async with asyncio.timeout(60), open_embedder(1) as embedder:
            return await embedder.encode(texts, bulk=bulk)

    return asyncio.run(scenario())


@pytest.fixture(scope="module")
def reader() -> Reader:
    return Reader.load()


def _read(reader: Reader, *texts: str) -> list[Reading]:
    return reader.read(texts, _encode(texts))


def test_what_is_encoded_is_what_is_embedded_and_rows_stand_alone() -> None:
    texts = ["a longer text about the weather in Hamburg", "", "\ud800 lone", "cats", LONG]

    async def scenario() -> None:
        async with asyncio.timeout(60), open_embedder(1) as embedder:
            encoded = await embedder.encode(texts)
            assert encoded.vectors.shape == (len(texts), embedder.dimension)
            assert encoded.features.shape == (len(texts), FEATURES)
            assert encoded.features.dtype == encoded.vectors.dtype == np.float32
            np.testing.assert_allclose(encoded.vectors, await embedder.embed(texts), atol=1e-5)
            for row, text in enumerate(texts):
                alone = await embedder.encode([text], bulk=True)
                np.testing.assert_allclose(alone.features[0], encoded.features[row], atol=2e-3)
            last = encoded.features[:, 5 * 384 : 6 * 384]
            np.testing.assert_allclose(last / np.linalg.norm(last, axis=1, keepdims=True), encoded.vectors, atol=1e-5)
            assert len(await embedder.encode([])) == 0

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("text", "sentiment"),
    [
        ("Thank you so much, that was really helpful!", "positive"),
        ("I love the new version, it is so fast", "positive"),
        ("This is the worst service I have ever had.", "negative"),
        ("It is broken again and nobody answers my mails!!!", "negative"),
        ("How do I change my delivery address?", "neutral"),
        ("what are your opening hours", "neutral"),
        ("I need to cancel my subscription", "neutral"),
    ],
)
def test_plain_cases_are_read_with_a_probability(reader: Reader, text: str, sentiment: str) -> None:
    (reading,) = _read(reader, text)
    assert reading.sentiment == sentiment
    assert reading.by == "local"
    assert reading.sentiment_score is not None
    assert 1 / 3 <= reading.sentiment_score <= 1
    assert reading.emotion_score is not None
    assert 0 <= reading.emotion_score <= 1
    assert reading.intent_confidence is not None


def test_anger_is_told_from_joy_and_a_question_has_no_emotion(reader: Reader) -> None:
    angry, happy, plain = _read(
        reader,
        "I am so angry, this makes me furious!",
        "I am so happy today, what a joy!",
        "how much is the fee for a transfer",
    )
    assert (angry.emotion, happy.emotion, plain.emotion) == ("anger", "joy", "none")


def test_a_reading_does_not_depend_on_its_batch(reader: Reader) -> None:
    texts = ["I hate this", "ok", LONG, "", "thanks!", "🎉"]
    together = _read(reader, *texts)
    for text, reading in zip(texts, together, strict=True):
        (alone,) = _read(reader, text)
        assert (alone.sentiment, alone.intent, alone.emotion) == (reading.sentiment, reading.intent, reading.emotion)
        assert alone.sentiment_score == pytest.approx(reading.sentiment_score, abs=0.02)


def test_without_the_encoder_words_decide_and_no_probability_is_claimed(reader: Reader) -> None:
    good, bad = reader.read(["I love it", "this is awful"], None)
    assert (good.sentiment, bad.sentiment) == ("positive", "negative")
    assert good.by == "rules"
    assert good.sentiment_score is good.intent_confidence is good.emotion is None


def test_rows_and_texts_must_agree(reader: Reader) -> None:
    assert reader.read([], _encode([])) == []
    with pytest.raises(ValueError, match="rows"):
        reader.read(["a", "b"], _encode(["a"]))
