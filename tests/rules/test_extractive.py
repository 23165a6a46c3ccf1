"""The extractive provider: it quotes and cites, never invents, reads well, and says when it doesn't know."""

import asyncio
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatwright.adapters.providers.base import WireFormat, join
from chatwright.adapters.providers.extractive import MODEL, Extractive, answer, small_talk
from chatwright.adapters.providers.extractive_passages import passages_of
from chatwright.adapters.providers.quoting import MAX_WORDS, compose, select
from chatwright.domain.errors import ProviderError
from chatwright.domain.providers import Delta, Finish, Prompt, Route, Source, Turn

ROUTE = Route(provider="extractive", model="extractive")
NO_ANSWER = "Sorry, my documents don't say."


def source(n: int, text: str, *, title: str = "Manual", score: float = 0.9, document: str = "") -> Source:
    return Source(n=n, document_id=document or f"d{n}", title=title, url=None, score=score, quote=text[:80], text=text)


def asked(question: str, *sources: Source, max_tokens: int | None = None) -> Prompt:
    return Prompt(
        turns=(Turn("system", "You are kind."), Turn("user", question)),
        question=question,
        sources=sources,
        max_tokens=max_tokens,
        no_answer_text=NO_ANSWER,
    )


RETURNS = source(
    1,
    "Goods can be returned within 30 days. Keep the receipt, because it proves the day of purchase. "
    "Refunds go to the card that was used. The shop opens at nine.",
    title="Shop › Returns",
)
OPENING = source(
    2, "The shop opens at nine and closes at six. On Sundays it stays closed.", title="Shop › Opening hours"
)


def test_the_sentence_that_answers_is_quoted_with_its_citation() -> None:
    said = answer(asked("How many days do I have to return goods?", RETURNS, OPENING))
    assert said.startswith("Goods can be returned within 30 days.")
    assert "[1]" in said
    assert "[2]" not in said


def test_the_source_with_the_answer_wins_over_the_first_one() -> None:
    said = answer(asked("When do you close on Sundays?", RETURNS, OPENING))
    assert "On Sundays it stays closed." in said
    assert said.rstrip().endswith("[2]")


def test_without_a_source_the_answer_is_the_chatbots_own_words_for_it() -> None:
    assert answer(asked("What is the capital of France?")) == NO_ANSWER
    assert answer(asked("", source(1, ""))) == NO_ANSWER


def test_a_sentence_that_refers_back_brings_the_one_before() -> None:
    text = "A dead letter is a job that failed for good. It can be replayed from the console at any time."
    said = answer(asked("From where can it be replayed? The console?", source(1, text)))
    assert said == f"{text} [1]"


def test_a_list_comes_with_its_lead_and_code_with_its_sentence() -> None:
    listed = source(
        1, "The service accepts three formats:\n- plain text\n- Markdown\n- HTML\n\nOther files are refused."
    )
    assert answer(asked("Which formats does the service accept?", listed)).startswith(
        "The service accepts three formats: [1]\n- plain text\n- Markdown\n- HTML"
    )
    code = source(1, "Some words first.\n\nStart everything with one command:\n\n```sh\nmake up\n```\n\nThen wait.")
    assert "Start everything with one command: [1]\n\n```sh\nmake up\n```" in answer(
        asked("How do I start everything?", code)
    )


def test_a_table_row_is_readable_alone() -> None:
    two = source(
        1, "| code | meaning |\n| --- | --- |\n| `quota` | the quota is used up |\n| `gone` | the page is gone |"
    )
    assert answer(asked("What does the code quota mean?", two)) == "- `quota`: the quota is used up [1]"
    three = source(1, "| option | default | about |\n| --- | --- | --- |\n| `port` | 8080 | where it listens |")
    assert answer(asked("which port?", three)) == "- `port`: default: 8080; about: where it listens [1]"


def test_the_same_sentence_in_two_sources_is_quoted_once() -> None:
    one = source(1, "Backups run every night at two. They are kept for a week.")
    other = source(2, "Backups run every night at two. Restores need the key.")
    assert answer(asked("When do backups run every night?", one, other)).count("Backups run every night") == 1


def test_a_verdict_is_lent_only_to_the_same_question() -> None:
    text = "Yes. The tool works without an account, because all data stay local."
    same = source(1, text, title="Manual › Does the tool work without an account?")
    assert answer(asked("Does the tool work without an account?", same)).startswith("Yes. The tool works")
    assert answer(asked("Does the tool need an account to work?", same)).startswith("The tool works without")


def test_a_definition_is_preferred_for_what_is() -> None:
    text = (
        "The sweeper puts a dead letter back when told so. Every dead letter has a reason. "
        "A dead letter is a job that failed for good."
    )
    assert "A dead letter is a job that failed for good." in answer(asked("What is a dead letter?", source(1, text)))


def test_links_into_the_documentation_become_text_and_others_stay() -> None:
    text = "Read [the guide](../how-to/guide.md) or [the site](https://example.org/) for more about guides."
    assert answer(asked("Where is the guide?", source(1, text))) == (
        "Read the guide or [the site](https://example.org/) for more about guides. [1]"
    )


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("Hi!", "What would you like to know"),
        ("hello there", "What would you like to know"),
        ("Guten Morgen", "What would you like to know"),
        ("Thank you very much!", "You're welcome"),
        ("ok thanks, bye", "You're welcome"),
        ("Goodbye", "Goodbye"),
        ("What can you do?", "I answer questions"),
        ("", ""),
        ("hi, how do I change my password?", ""),
        ("thanks for nothing, where is my refund", ""),
        ("good", ""),
    ],
)
def test_small_talk_is_answered_and_nothing_else(text: str, part: str) -> None:
    reply = small_talk(text)
    assert (part in reply) if part else (reply == "")


async def _stream(prompt: Prompt) -> list[Delta]:
    return [delta async for delta in Extractive().stream(ROUTE, prompt)]


def test_the_stream_and_the_whole_answer_are_the_same_and_end_as_they_should() -> None:
    wire: WireFormat = Extractive()
    prompt = asked("How many days do I have to return goods?", RETURNS, OPENING)
    deltas = asyncio.run(_stream(prompt))
    assert len(deltas) > 2
    assert all(delta.finish is None for delta in deltas[:-1])
    assert deltas[-1].finish is Finish.STOP
    assert deltas[0].model == deltas[-1].model == MODEL
    assert join(deltas).text == answer(prompt)
    whole = asyncio.run(wire.complete(ROUTE, prompt))
    assert whole == join(deltas)
    assert whole.usage is not None
    assert whole.usage.input_tokens == 12
    assert whole.usage.output_tokens == len(answer(prompt).split())
    assert whole.usage.estimated is False


def test_the_bound_on_output_is_kept_and_said() -> None:
    deltas = asyncio.run(_stream(asked("How many days do I have to return goods?", RETURNS, max_tokens=3)))
    assert join(deltas).text == "Goods can be"
    assert deltas[-1].finish is Finish.LENGTH


def test_it_makes_no_embeddings() -> None:
    with pytest.raises(ProviderError):
        asyncio.run(Extractive().embed(ROUTE, ["text"]))


vocabulary = st.sampled_from(
    [
        "tenant",
        "budget",
        "answer",
        "worker",
        "queue",
        "visitor",
        "is",
        "are",
        "the",
        "a",
        "of",
        "stops",
        "12",
        "`up`",
        "not",
    ]
)
sentence = st.lists(vocabulary, min_size=1, max_size=14).map(lambda words: " ".join(words).capitalize() + ".")
line = st.one_of(
    sentence,
    st.lists(sentence, min_size=2, max_size=4).map(" ".join),
    sentence.map(lambda text: f"- {text}"),
    sentence.map(lambda text: f"{text[:-1]}:"),
    st.sampled_from(["", "```", "```py", "| a | b |", "| --- | --- |", "# heading", "1. first", "Yes."]),
    st.text(max_size=40),
)
texts = st.lists(line, max_size=12).map("\n".join)


@given(
    question=st.one_of(st.lists(vocabulary, max_size=8).map(" ".join), st.text(max_size=60)),
    bodies=st.lists(texts, max_size=4),
)
def test_every_word_of_an_answer_stands_in_a_source_it_cites(question: str, bodies: list[str]) -> None:
    sources = [source(n, body, score=1 - n / 10) for n, body in enumerate(bodies, start=1)]
    chosen = select(question, sources)
    said = compose(chosen)
    assert bool(said) == bool(chosen)
    cited = {int(number) for number in re.findall(r"\[([1-4])\]", said)}
    for passage in chosen:
        assert passage.source.n in cited
        if passage.kind == "prose":
            assert "".join(passage.text.split()) in "".join(passage.source.text.split())
    orders = [(passage.source.n, passage.order) for passage in chosen]
    assert len(set(orders)) == len(orders)
    assert len(chosen) <= 1 or sum(len(passage.text.split()) for passage in chosen) <= 2 * MAX_WORDS


@given(body=texts)
def test_passages_stand_in_reading_order_and_none_is_empty(body: str) -> None:
    passages = passages_of(source(1, body))
    assert [passage.order for passage in passages] == list(range(len(passages)))
    assert all(passage.text.strip() for passage in passages)
    assert all(passage.lead is None or passage.lead < passage.order for passage in passages)


def test_the_kind_of_answer_that_is_asked_for_wins() -> None:
    text = (
        "The harbour of Lisbon handles ships from all over the world. The harbour was extended with a second basin in 1887. "
        "The harbour basin is open to ships of every size."
    )
    assert "1887" in answer(asked("When was the harbour basin extended?", source(1, text)))
    people = "The tower was planned for many years by the city. The tower was designed by the architect Gustave Renard."
    assert "Gustave Renard" in answer(asked("Who planned the design of the tower?", source(1, people)))
    amount = "The museum counts visitors at the door. The museum had 12,500 visitors last year, more than ever."
    assert "12,500" in answer(asked("How many visitors does the museum count?", source(1, amount)))


def test_german_is_stemmed_as_german_and_refers_back() -> None:
    text = (
        "Unsere Werkstatt liegt am Hafen. Rückgaben sind innerhalb von 30 Tagen möglich. Sie werden kostenlos abgeholt. "
        "Wir freuen uns über jeden Besuch."
    )
    said = answer(asked("Wie viele Tage habe ich für eine Rückgabe?", source(1, text)))
    assert "innerhalb von 30 Tagen" in said
    assert "Werkstatt" not in said
    back = answer(asked("Wer holt kostenlos ab, wenn etwas abgeholt wird?", source(1, text)))
    assert "Rückgaben sind innerhalb von 30 Tagen möglich. Sie werden kostenlos abgeholt." in back


def test_chinese_is_quoted_by_the_sentence_and_streamed_in_pieces() -> None:
    text = "本店位于港口附近。商品可以在三十天内退货。退款将退回到原来的银行卡。周日不营业。"
    prompt = asked("商品可以在多少天内退货？", source(1, text), max_tokens=4)
    said = answer(prompt)
    assert "商品可以在三十天内退货。" in said
    assert "。 " not in said.replace("。 [1]", "")
    assert len(said) < len(text)
    deltas = asyncio.run(_stream(prompt))
    assert deltas[-1].finish is Finish.LENGTH
    assert join(deltas).text == said[:8]


FAQ = source(1, "Do you ship to Norway?\nYes, in 5 working days. Duties are paid by us.", title="faq")
MANY = source(
    1,
    "Can I pay by card?\nYes, with Visa and Mastercard.\n\nDo you ship to Norway?\nYes, in 5 working days.\n\n"
    "Where are you?\nIn Porto.",
    title="faq",
)


@pytest.mark.parametrize("faq", [FAQ, MANY])
@pytest.mark.parametrize("question", ["Do you ship to Norway?", "Norway shipping", "do you deliver to Norway"])
def test_a_question_of_the_source_is_never_quoted_without_its_answer(faq: Source, question: str) -> None:
    said = answer(asked(question, faq))
    assert "Yes, in 5 working days." in said
    assert "card" not in said
    assert "Porto" not in said


def test_a_question_that_was_just_asked_is_not_said_again() -> None:
    assert answer(asked("Do you ship to Norway?", FAQ)) == "Yes, in 5 working days. Duties are paid by us. [1]"
    other = answer(asked("Do you not ship to Norway?", FAQ))
    assert other.startswith("Do you ship to Norway? Yes,")  # the "Yes" is that question's, not the visitor's
