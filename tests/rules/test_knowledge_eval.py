"""Figures of a search: checked against values worked out by hand, and against their own bounds."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatwright.domain.errors import Unprocessable
from chatwright.pipeline.knowledge_eval import Found, Question, evaluate, judge, read_questions, summarise


def hit(name: str, score: float = 0.9, text: str = "") -> Found:
    return Found(document_id=f"id-{name}", title=name, text=text, score=score, source_key=f"docs/{name}.md")


HITS = [hit("a"), hit("a"), hit("b", 0.8), hit("c", 0.4, "It opens at half past six,\n  on Mondays.")]


def test_ranks_and_means_by_hand() -> None:
    first = judge(Question(text="q", expected=("b",)), HITS)
    assert (first.ranks, first.recall(1), first.recall(3), first.reciprocal_rank) == ((3,), 0.0, 1.0, 1 / 3)
    assert first.ndcg == pytest.approx(1 / math.log2(4))
    both = judge(Question(text="q", expected=("DOCS/a.md", "id-c", "nothing")), HITS)
    assert (both.ranks, both.recall(5)) == ((1, 4), pytest.approx(2 / 3))
    ideal = 1 + 1 / math.log2(3) + 1 / math.log2(4)
    assert both.ndcg == pytest.approx((1 + 1 / math.log2(5)) / ideal)
    said = judge(Question(text="q", answer="half past six on mondays"), HITS)
    assert said.ranks == (4,)
    none = judge(Question(text="q"), HITS)
    report = summarise([first, both, said, none], threshold=0.7)
    assert (report.questions, report.unanswerable, report.abstained) == (4, 1, 0.0)
    assert report.recall is not None
    assert report.recall[3] == pytest.approx((1 + 1 / 3 + 0) / 3)
    assert report.mrr == pytest.approx((1 / 3 + 1 + 1 / 4) / 3)
    assert report.kept == pytest.approx(2 / 3), "the answer's passage is found but below the threshold"
    assert summarise([judge(Question(text="q"), [hit("x", 0.2)])], threshold=0.7).abstained == 1.0


@given(
    st.lists(st.sampled_from("abcdefgh"), max_size=15),
    st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=4, unique=True),
)
def test_figures_stay_in_their_bounds(found: list[str], wanted: list[str]) -> None:
    verdict = judge(Question(text="q", expected=tuple(wanted)), [hit(name) for name in found])
    assert 0 <= verdict.recall(1) <= verdict.recall(3) <= verdict.recall(5) <= verdict.recall(10) <= 1
    assert 0 <= verdict.ndcg <= 1
    assert 0 <= verdict.reciprocal_rank <= 1
    assert (verdict.ndcg > 0) == (verdict.recall(10) > 0)
    if list(dict.fromkeys(found))[: len(wanted)] == found[: len(wanted)] and set(found[: len(wanted)]) == set(wanted):
        assert verdict.ndcg == pytest.approx(1)


async def test_questions_are_asked_a_few_at_a_time_and_kept_in_order() -> None:
    asked, told = [], []

    async def search(text: str) -> list[Found]:
        asked.append(text)
        return [hit(text)] if text != "c" else [hit("x")]

    questions = [Question(text=name, expected=(name,)) for name in "abc"]
    report = await evaluate(search, questions, threshold=0.5, at_once=2, tell=told.append)
    assert sorted(asked) == ["a", "b", "c"]
    assert told == [1, 1, 1]
    assert [miss.question.text for miss in report.misses] == ["c"]


def test_questions_are_read_from_csv() -> None:
    rows = [
        "\ufeffQuestion,Expected,Answer\n",
        '"When, exactly?",Hours | docs/a.md,\n',
        "\n",
        "Why?,,because\n",
        "Who?,,\n",
    ]
    assert read_questions(rows) == [
        Question(text="When, exactly?", expected=("Hours", "docs/a.md")),
        Question(text="Why?", answer="because"),
        Question(text="Who?"),
    ]
    for wrong in (
        [],
        ["question\n", "x\n"],
        ["expected\n", "x\n"],
        ["question,expected\n"],
        ["question,title\n", ",x\n"],
    ):
        with pytest.raises(Unprocessable):
            read_questions(wrong)
