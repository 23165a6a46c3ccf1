"""The drill that kills indexing workers: what it calls the same index, and what it notices."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bench.drill.index_kills import compare


def an_index() -> dict[str, Any]:
    chunk = {"title": "T", "ordinal": 0, "text": "a", "content_hash": b"1", "keywords": "{1:1}/9", "terms": 1}
    return {
        "chunks": [{**chunk, "ordinal": n, "embedding": np.array([1.0, n])} for n in range(3)],
        "counts": [(1, 3)],
        "wrong_counts": 0,
        "staged": 0,
        "sums": (3, 3),
        "states": {"indexed": 1},
    }


def test_the_same_index_has_no_difference_up_to_the_rounding_of_vectors() -> None:
    other = an_index()
    other["chunks"][1]["embedding"] = other["chunks"][1]["embedding"] + 1e-3
    assert compare(an_index(), other) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda index: index["chunks"].pop(),
        lambda index: index["chunks"].reverse(),
        lambda index: index["chunks"][2].update(text="b"),
        lambda index: index["chunks"][2].update(keywords="{2:1}/9"),
        lambda index: index["chunks"][0].update(embedding=np.array([0.9, 0.0])),
        lambda index: index.update(counts=[(1, 2)]),
        lambda index: index.update(wrong_counts=1),
        lambda index: index.update(staged=4),
        lambda index: index.update(sums=(3, 4)),
        lambda index: index.update(states={"indexed": 1, "failed": 1}),
    ],
)
def test_every_difference_is_noticed(change: Callable[[dict[str, Any]], object]) -> None:
    other = copy.deepcopy(an_index())
    change(other)
    assert compare(an_index(), other) != []


def test_what_both_do_wrong_is_noticed_too() -> None:
    wrong = {**an_index(), "staged": 2}
    assert compare(wrong, wrong) == ["staged must be 0: 2"]
