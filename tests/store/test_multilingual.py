"""The multilingual embedder with its real engine: languages, prefixes, hostile texts, threads, order of service."""

import asyncio
import gc
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from chatwright.adapters.models import Embedder, LocalEmbedders, ModelUnavailable, multilingual, open_embedder
from chatwright.adapters.models.lanes import Lanes, Work
from chatwright.adapters.models.multilingual import MAX_TOKENS, MultilingualEmbedder

NAME = MultilingualEmbedder.name
PASSAGE = "The tenant sees every conversation with its answers and the sources used. " * 4


@asynccontextmanager
async def opened(threads: int = 2) -> AsyncGenerator[tuple[LocalEmbedders, Embedder]]:
    async with asyncio.timeout(60), open_embedder(threads) as embedders:
        found = embedders.get(NAME)
        assert found is not None
        yield embedders, found


async def test_a_question_finds_its_passage_in_other_languages() -> None:
    passages = [
        "Das Passwort wird unter Einstellungen, Konto geändert.",
        "Die Rechnung kommt am ersten Werktag des Monats.",
        "يمكنك إلغاء الاشتراك في أي وقت من صفحة الحساب.",
        "配送需要三到五个工作日。",
        "Возврат денег занимает до десяти дней.",
        "सहायता केंद्र सुबह नौ बजे खुलता है।",
    ]
    questions = ["How do I change my password?", "When do I get the invoice?", "How do I cancel my subscription?"]
    questions += ["How long does delivery take?", "How long does a refund take?", "When does the help desk open?"]
    async with opened() as (_, embedder):
        rows = await embedder.embed(passages, bulk=True)
        asked = await embedder.embed_queries(questions)
    assert list(np.argmax(asked @ rows.T, axis=1)) == list(range(6))


async def test_vectors_are_unit_rows_in_the_order_of_the_texts() -> None:
    texts = [PASSAGE, "cats", "", "   ", "\ud800 lone", "cats", "a\0b", PASSAGE * 20, "x" * 10**5]
    async with opened() as (_, embedder):
        rows = await embedder.embed(texts)
        assert rows.shape == (len(texts), embedder.dimension)
        assert rows.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
        np.testing.assert_array_equal(rows[1], rows[5])
        for text, row in zip(texts, rows, strict=True):
            np.testing.assert_allclose((await embedder.embed([text], bulk=True))[0], row, atol=1e-5)
        assert (await embedder.embed_queries([])).shape == (0, embedder.dimension)


async def test_questions_and_passages_are_told_apart() -> None:
    async with opened() as (_, embedder):
        both = await asyncio.gather(*(call([PASSAGE]) for call in (embedder.embed, embedder.embed_queries)))
        assert not np.allclose(both[0], both[1], atol=1e-3)
        # They wait for the same lanes, and each keeps its own prefix.
        texts = [f"question {n}" for n in range(12)]
        mixed = await asyncio.gather(
            *(call([text]) for text in texts for call in (embedder.embed, embedder.embed_queries))
        )
        passages, queries = await embedder.embed(texts), await embedder.embed_queries(texts)
    np.testing.assert_allclose(np.concatenate(mixed[0::2]), passages, atol=1e-5)
    np.testing.assert_allclose(np.concatenate(mixed[1::2]), queries, atol=1e-5)


async def test_a_text_goes_on_after_a_nul_and_is_cut_where_the_model_ends() -> None:
    async with opened() as (_, embedder):
        short, whole, cut = await embedder.embed(["pass", "pass word of the day", "pass\0word of the day"])
        np.testing.assert_allclose(cut, whole, atol=1e-5)
        assert not np.allclose(cut, short, atol=1e-3)
        start = "word " * (MAX_TOKENS - 1)
        assert embedder.count_tokens(start) <= MAX_TOKENS
        long, longer = await embedder.embed([start + "cats " * 500, start + "dogs " * 5000])
        assert long @ longer > 0.999, "what stands behind the model's end counts for nothing"


async def test_a_character_that_is_written_out_long_does_no_harm() -> None:
    """The engine replaces U+FDFA by 18 characters and sets memory aside for 12: thousands would write beyond it."""
    async with opened() as (_, embedder):
        assert embedder.count_tokens("\ufdfa" * 5_000) > 5_000
        rows = await embedder.embed(["\ufdfa" * 200, "صلى الله عليه وسلم" * 200])
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-5)


def test_no_other_character_is_written_out_longer_than_there_is_room() -> None:
    """Reads the table inside the weights: per character its replacement. Room is four for each byte of UTF-8."""
    from importlib.util import find_spec

    spec = find_spec(multilingual.PACKAGE)
    assert spec is not None
    assert spec.origin is not None
    data = (Path(spec.origin).parent / "e5-small-q4.bin").read_bytes()
    at = 8 + 7 * 4 + 4 + 4
    pieces = int.from_bytes(data[at : at + 4], "little")
    at += 5 * 4
    blob = int.from_bytes(data[at : at + 8], "little")
    at += 8 + 4 * (pieces + 1) + 4 * pieces + blob
    characters = int.from_bytes(data[at : at + 4], "little")
    at += 8
    too_long: list[str] = []
    for _ in range(characters):
        character, length = chr(int.from_bytes(data[at : at + 4], "little")), data[at + 4]
        at += 5 + 4 * length
        if length > 4 * len(character.encode("utf-8", "surrogatepass")):
            too_long.append(character)
    assert characters > 4_000
    assert too_long == ["\ufdfa"]


async def test_tokens_are_counted_by_its_own_vocabulary() -> None:
    async with opened() as (embedders, embedder):
        assert embedder.count_tokens("") == 0
        assert embedder.count_tokens("hello world") == 3
        assert embedder.count_tokens("word " * 3000) == pytest.approx(3000, abs=2)
        assert embedder.count_tokens("word " * 100_000) == pytest.approx(100_000, rel=0.001)
        german = "Donaudampfschifffahrtsgesellschaftskapitän " * 20
        assert embedder.count_tokens(german) < embedders.count_tokens(german)


async def test_many_tasks_at_once_get_their_own_vectors() -> None:
    texts = [f"frage nummer {n} zum thema {n % 7}" for n in range(40)]
    async with opened() as (embedders, embedder):
        alone = [(await embedder.embed_queries([text]))[0] for text in texts[:10]]
        english = [(await embedders.embed([text]))[0] for text in texts[:10]]
        together = await asyncio.gather(
            *(embedder.embed_queries([text]) for text in texts), *(embedders.embed([text]) for text in texts)
        )
    for n in range(10):
        np.testing.assert_allclose(together[n][0], alone[n], atol=1e-5)
        np.testing.assert_allclose(together[40 + n][0], english[n], atol=1e-5)


async def test_a_question_overtakes_a_document_and_a_cancelled_document_gives_up() -> None:
    async with opened(1) as (_, embedder):
        document = asyncio.create_task(embedder.embed([PASSAGE] * 400, bulk=True), name="document")
        await asyncio.sleep(0.05)
        await embedder.embed_queries(["Wie ändere ich mein Passwort?"])
        assert not document.done()
        document.cancel()
        with pytest.raises(asyncio.CancelledError):
            await document
        async with asyncio.timeout(20):  # 400 passages take far longer
            await embedder.embed(["next"], bulk=True)


async def test_closing_fails_what_waits_and_leaves_a_running_batch_its_weights() -> None:
    async with open_embedder(1, close_timeout_s=0.0) as embedders:
        embedder = embedders.get(NAME)
        assert embedder is not None
        waiting = [asyncio.create_task(embedder.embed([PASSAGE] * 30, bulk=True), name=f"{n}") for n in range(2)]
        await asyncio.sleep(0.05)
    gc.collect()
    results = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 5)
    assert all(isinstance(result, ModelUnavailable) for result in results)
    with pytest.raises(ModelUnavailable):
        await embedder.embed_queries(["late"])


async def test_works_take_turns_and_never_share_a_batch() -> None:
    seen: list[tuple[str, int]] = []

    def work(name: str) -> Work:
        def run(texts: list[str]) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
            seen.append((name, len(texts)))
            assert {text[0] for text in texts} == {name}
            return np.full((len(texts), 2), float(ord(name)), np.float32)

        return Work(run, 2, texts=4, characters=100)

    first, second = work("a"), work("b")
    lanes = Lanes(1)
    try:
        calls = [lanes.embed(first, ["a1", "a2", "a3"], bulk=True) for _ in range(4)]
        calls += [lanes.embed(second, ["b1"], bulk=True) for _ in range(3)]
        rows = await asyncio.gather(*calls)
    finally:
        await lanes.close()
    assert [row[0][0] for row in rows] == [97.0] * 4 + [98.0] * 3
    # The first request starts at once, alone; then full batches of one work, in turn with those of the other.
    assert seen == [("a", 3), ("a", 4), ("b", 3), ("a", 4), ("a", 1)]


async def test_what_is_not_installed_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multilingual, "PACKAGE", "not_there_at_all")
    async with open_embedder(1) as embedders:
        assert embedders.known()[0].why_not == ""
        assert "pip install 'chatwright[multilingual]'" in embedders.known()[1].why_not
        with pytest.raises(ModelUnavailable, match=r"chatwright\[multilingual\]"):
            embedders.get(NAME)
        assert embedders.get("nobody/knows") is None


async def test_a_processor_that_is_too_old_is_told_before_it_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multilingual, "NEEDED_OF_CPU", frozenset({"avx2", "quantum"}))
    assert multilingual.why_not_installed().endswith("needs a processor with quantum")
    async with open_embedder(1) as embedders:
        with pytest.raises(ModelUnavailable, match="quantum"):
            embedders.get(NAME)


async def test_an_engine_that_does_not_load_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = tmp_path / "broken_engine"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "_engine.so").write_bytes(b"not a library")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr(multilingual, "PACKAGE", "broken_engine")
    async with opened(1) as (_, embedder):
        with pytest.raises(ModelUnavailable, match="reinstall"):
            await embedder.embed_queries(["hello"])
        with pytest.raises(ModelUnavailable, match="reinstall"):
            embedder.count_tokens("hello")
