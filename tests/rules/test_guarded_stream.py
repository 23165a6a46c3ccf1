"""What a model thinks aloud passes the same filter as what it says, whole and in order, however the two are cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatwright.domain.providers import Delta, Finish
from chatwright.features.guard.output import MASK, filter_for
from chatwright.features.guard.policy import GuardPolicy
from chatwright.pipeline.filtering import Guarded
from chatwright.pipeline.grounding import Window

THOUGHT = "They ask who is cheaper: Gardenia Direct is, but I say nothing of it"
SAID = "We have fine roses, and Gardenia Direct has some, too"


def guarded(output: str) -> Guarded:
    policy = GuardPolicy.of({"output": output, "banned_terms": ["Gardenia Direct"], "refusal_text": "No."})
    return Guarded(Window(None, filter_for(policy)), Window(None, filter_for(policy)))


def cut(text: str, sizes: list[int]) -> list[str]:
    pieces: list[str] = []
    for size in sizes:
        pieces.append(text[:size])
        text = text[size:]
    return [*pieces, text]


SIZES = st.lists(st.integers(0, 12), max_size=12)


@given(thoughts=SIZES, words=SIZES)
def test_both_are_masked_and_nothing_of_either_is_lost(thoughts: list[int], words: list[int]) -> None:
    held = guarded("mask")
    deltas = [Delta(reasoning=piece) for piece in cut(THOUGHT, thoughts)]
    deltas += [Delta(text=piece) for piece in cut(SAID, words)]
    out = [held.through(delta) for delta in (*deltas, Delta(finish=Finish.STOP))]
    assert "".join(delta.reasoning for delta in out) == THOUGHT.replace("Gardenia Direct", MASK)
    assert "".join(delta.text for delta in out) == SAID.replace("Gardenia Direct", MASK)
    assert len(held.hits) == 2


@given(thoughts=SIZES)
def test_a_thought_is_out_before_the_first_word_is(thoughts: list[int]) -> None:
    held = guarded("mask")
    out = [held.through(Delta(reasoning=piece)) for piece in cut("I think of Gardenia", thoughts)]
    out.append(held.through(Delta(text="Well")))
    assert "".join(delta.reasoning for delta in out) == "I think of Gardenia"


@pytest.mark.parametrize("where", ["reasoning", "text"])
def test_a_hit_in_either_ends_the_answer(where: str) -> None:
    held = guarded("stop")
    pieces = [Delta(reasoning=piece) if where == "reasoning" else Delta(text=piece) for piece in cut(SAID, [5] * 9)]
    out: list[Delta] = []
    for delta in pieces:
        out.append(held.through(delta))
        if held.stopped:
            break
    assert out[-1].finish is Finish.CONTENT_FILTER
    assert len(out) < len(pieces)
    shown = "".join(delta.reasoning + delta.text for delta in out)
    assert "Gard" not in shown
    assert shown.endswith("No.")
