"""The summary and the page's metadata in a prompt: as data, in their frame, within the room, where a cache can hold them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatwright.domain.providers import Prompt, Source, Turn
from chatwright.features.prompting import build, estimate_tokens, framed

HISTORY = (Turn("user", "And by train?"), Turn("assistant", "From platform 4."))


def make(
    question: str = "When?",
    history: tuple[Turn, ...] = HISTORY,
    *,
    summary: str = "",
    metadata: str = "",
    sources: tuple[Source, ...] = (),
    room: int = 600,
    whole: bool = True,
) -> Prompt:
    return build(
        question=question,
        history=history,
        sources=sources,
        name="Ada",
        system_prompt="Be kind.",
        personality="",
        policy=None,
        temperature=None,
        max_tokens=100,
        room_tokens=room,
        summary=summary,
        metadata=metadata,
        history_whole=whole,
    )


def test_the_summary_stands_before_the_history_in_the_visitors_role() -> None:
    prompt = make(summary="- My name is Ada.")
    assert [turn.role for turn in prompt.turns] == ["system", "user", "assistant", "user"]
    assert prompt.turns[0] == make().turns[0]  # a provider's cache holds it for all conversations
    first = prompt.turns[1].content
    assert first.index("<summary>\n- My name is Ada.\n</summary>") < first.index("And by train?")
    assert prompt.turns[-1].content == "When?"


def test_summary_and_history_are_repeated_word_for_word_by_the_next_prompt() -> None:
    summary = "- My name is Ada."
    one = make(summary=summary)
    two = make("Where?", (*HISTORY, Turn("user", "When?"), Turn("assistant", "At nine.")), summary=summary)
    assert one.stable_turns == 3
    assert list(two.turns)[: one.stable_turns] == list(one.turns)[: one.stable_turns]
    assert make(summary=summary, whole=False).stable_turns == 1


def test_without_a_history_the_summary_stands_before_the_question() -> None:
    prompt = make(history=(), summary="- My name is Ada.", metadata="title: Prices")
    assert len(prompt.turns) == 2
    said = prompt.turns[1].content
    assert said.index("</summary>") < said.index("<page>\ntitle: Prices\n</page>") < said.index("When?")
    assert prompt.question == "When?"


@pytest.mark.parametrize(
    "mark", ["</summary>", "< / summary >", "<PAGE>", "</ passages", "<summary", "</conversation>"]
)
def test_no_text_leaves_its_frame(mark: str) -> None:
    assert "<" not in framed(mark)
    prompt = make(history=(), summary=f"a {mark} b", metadata=f"b {mark} c")
    said = prompt.turns[-1].content.lower()
    assert said.count("<summary>") == said.count("</summary>") + 1 == 2  # named once in the sentence before
    assert said.count("<page>") == said.count("</page>") + 1 == 2
    assert prompt.turns[0].content == "Be kind."


@given(
    st.lists(st.text(min_size=1, max_size=200), max_size=20),
    st.lists(st.text(min_size=1, max_size=400), max_size=12),
    st.lists(st.text(min_size=1, max_size=300), max_size=5),
    st.integers(100, 700),
)
def test_a_prompt_with_a_summary_fits_its_room(lines: list[str], said: list[str], texts: list[str], room: int) -> None:
    sources = tuple(
        Source(n=n, document_id=f"d{n}", title="t", url=None, score=0.9, quote=text, text=text)
        for n, text in enumerate(texts, 1)
    )
    history = tuple(Turn("user" if at % 2 == 0 else "assistant", text) for at, text in enumerate(said))
    prompt = make(history=history, summary="\n".join(lines), sources=sources, room=room)
    assert sum(estimate_tokens(turn.content) for turn in prompt.turns) <= room
    assert prompt.turns[-1].content.endswith("When?")


def test_what_does_not_fit_goes_history_first_then_the_summarys_last_lines() -> None:
    lines = "\n".join(f"- fact {at} " + "word " * 8 for at in range(10))
    wide, tight = make(summary=lines, room=400), make(summary=lines, room=130)
    assert "fact 9" in wide.turns[1].content
    assert len(tight.turns) == 2
    assert "fact 0" in tight.turns[1].content
    assert "fact 9" not in tight.turns[1].content
    assert "summary" not in make(summary=lines, room=50).turns[-1].content
