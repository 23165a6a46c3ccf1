"""Which indexes of large knowledge bases are made and dropped."""

from dataclasses import replace

import pytest

from chatwright.domain.ids import KnowledgeBaseId, new_id
from chatwright.features.knowledge import Index, Plan, Size, drop_index, make_index, plan


def a_base(chunks: int, dimension: int = 384) -> Size:
    return Size(id=KnowledgeBaseId(new_id()), dimension=dimension, chunk_count=chunks)


def its_index(base: Size, *, valid: bool = True) -> Index:
    return Index(name=base.index_name, valid=valid)


def test_large_bases_get_one_the_largest_first() -> None:
    small, large, larger = a_base(99), a_base(100), a_base(101)
    assert plan([small, large, larger], [], bound=100) == Plan(drop=(), make=(larger, large))


def test_a_base_about_the_bound_does_not_flicker() -> None:
    for chunks in (50, 99, 100, 5000):
        base = a_base(chunks)
        assert plan([base], [its_index(base)], bound=100) == Plan(drop=(), make=()), chunks
    shrunk = a_base(49)
    assert plan([shrunk], [its_index(shrunk)], bound=100) == Plan(drop=(shrunk.index_name,), make=())


def test_what_a_crash_left_is_made_again() -> None:
    base = a_base(100)
    assert plan([base], [its_index(base, valid=False)], bound=100) == Plan(drop=(base.index_name,), make=(base,))


def test_a_base_that_is_gone_loses_its_index() -> None:
    gone = a_base(1000)
    assert plan([], [its_index(gone)], bound=100) == Plan(drop=(gone.index_name,), make=())


def test_another_dimension_needs_another_index() -> None:
    before = a_base(1000, dimension=384)
    now = Size(id=before.id, dimension=768, chunk_count=1000)
    assert plan([now], [its_index(before)], bound=100) == Plan(drop=(before.index_name,), make=(now,))


def test_the_largest_have_the_few_there_may_be() -> None:
    bases = [a_base(1000 + number) for number in range(10)]
    largest = tuple(reversed(bases))
    assert plan(bases, [], bound=100, most=4) == Plan(drop=(), make=largest[:4])
    its = [its_index(base) for base in bases]
    assert plan(bases, its, bound=100, most=4) == Plan(drop=tuple(base.index_name for base in bases[:5]), make=()), (
        "one more than that may stay, so that two bases of like size do not take turns"
    )


def test_none_is_made_while_the_vectors_are_exchanged() -> None:
    base = replace(a_base(1000), changes=True)
    assert plan([base], [], bound=100) == Plan(drop=(), make=())
    assert plan([base], [its_index(base)], bound=100) == Plan(drop=(), make=()), "it serves until they are"


def test_an_index_names_its_base_within_what_postgresql_allows() -> None:
    base = a_base(1, dimension=4000)
    assert its_index(base).base_id == base.id
    assert len(base.index_name) < 64


async def test_nothing_but_ids_becomes_part_of_a_statement() -> None:
    with pytest.raises(ValueError, match="not an id"):
        await make_index(None, Size(id=KnowledgeBaseId("x' OR true --"), dimension=384, chunk_count=1))  # type: ignore[arg-type]
    for name in ("chunks_pkey", "chunks_near_384_0; DROP TABLE chunks", "chunks_near_é"):
        with pytest.raises(ValueError, match="not one of our indexes"):
            await drop_index(None, name)  # type: ignore[arg-type]
