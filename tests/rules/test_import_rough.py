"""Exports that are odd or hostile: times that look like others, redaction of every cell, presets that say how files are
written, archives and answers made to cost much."""

import io
import subprocess
import sys
import zipfile
from collections.abc import AsyncGenerator
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatwright.domain.errors import Unprocessable
from chatwright.domain.ids import ChatbotId, TenantId, new_id
from chatwright.features.imports import (
    Arriving,
    ColumnMap,
    Dialect,
    ItemMaker,
    Record,
    open_records,
    read_map,
    read_personal,
)
from chatwright.features.imports.times import read_time
from chatwright.pipeline.bulk import redactor
from chatwright.pipeline.importing import settle_columns


@given(
    st.datetimes(min_value=datetime(2001, 9, 10), max_value=datetime(2099, 12, 31)),
    st.sampled_from([1, 1_000, 1_000_000]),
)
def test_every_unix_time_is_that_moment(moment: datetime, times: int) -> None:
    """Also 1712010212345, which as ISO 8601 would be in 1712."""
    wanted = moment.replace(tzinfo=UTC, microsecond=0)
    found = read_time(str(int(wanted.timestamp()) * times))
    assert found is not None
    assert abs((found - wanted).total_seconds()) < 0.001


def test_a_day_without_dashes_and_milliseconds_of_2024_are_times() -> None:
    assert read_time("20240131") == datetime(2024, 1, 31, tzinfo=UTC)
    assert read_time("1712010212345") == datetime(2024, 4, 1, 22, 23, 32, 345_000, tzinfo=UTC)


@pytest.mark.parametrize("line", [b"x,nul\x00led,too many\n", b'"\x00 never closed,1\n'])
def test_a_broken_row_is_shown_without_nul(line: bytes) -> None:
    (record,) = open_records(io.BytesIO(b"a,b\n" + line), Dialect(columns=("a", "b"))).read(5)
    assert record.problem
    assert record.raw
    assert "\x00" not in record.raw


def test_redaction_leaves_no_cell_out_and_makes_no_two_visitors_one() -> None:
    columns = ColumnMap(conversation="conv", text="text", visitor="who", metadata=["contact"])
    maker = ItemMaker(
        tenant_id=TenantId(new_id()),
        chatbot_id=ChatbotId(new_id()),
        source="s",
        columns=columns,
        dialect=Dialect(columns=("conv", "text", "who", "contact")),
        redact=redactor(read_personal("email")),
    )
    items = maker.make(
        [
            Record(number=1, cells=["1", "hi", "ann@example.com", "call ann@example.com"]),
            Record(number=2, cells=["2", "hi", "visitor 17", ""]),
        ]
    ).items
    assert items[0].metadata == {"contact": "call [email]"}
    assert [item.visitor for item in items] == ["", "visitor 17"]


def test_a_preset_says_how_files_are_written() -> None:
    head = "conv~text\n1~Zażółć gęślą jaźń\n2~Dzień dobry\n".encode("cp1250")
    preset = {"delimiter": "~", "encoding": "cp1250", "text": "text"}
    dialect, settled, sample = settle_columns(head, read_map({}), preset, is_all=True, is_rewritten=False)
    assert (dialect.delimiter, dialect.encoding, dialect.columns) == ("~", "cp1250", ("conv", "text"))
    assert sample[0].cells == ["1", "Zażółć gęślą jaźń"]
    assert settled.column("text") == "text"
    said = read_map({"encoding": "cp1252"})
    dialect, _, _ = settle_columns(head, said, preset, is_all=True, is_rewritten=False)
    assert dialect.encoding == "cp1252"


def test_a_wide_encoding_that_was_said_too_late_is_told() -> None:
    with pytest.raises(Unprocessable, match="before the file"):
        settle_columns(b"a,b\n1,2\n3,4\n", read_map({"encoding": "utf-16-le"}), {}, is_all=True, is_rewritten=False)


async def test_an_archive_of_very_many_files_is_refused_unread() -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("chats.csv", "text\nhello\n")
        for number in range(20_000):
            archive.writestr(f"{number:05d}" + "x" * 80, "")

    async def chunks() -> AsyncGenerator[bytes]:
        yield packed.getvalue()

    with pytest.raises(Unprocessable, match="list of contents"):
        async for _ in Arriving(chunks(), limit_bytes=1 << 30):
            pass


def test_an_answer_of_spaces_costs_no_minutes() -> None:
    """In another process, since an expression cannot be stopped; without bounds this takes minutes."""
    program = (
        "from chatwright.features.imports.faq import Drafter\n"
        "drafter = Drafter(is_personal=lambda text: False, at_most=5)\n"
        "for _ in range(8):\n"
        "    drafter.add('How do I reset my password?', 'order' + ' ' * 1900 + 'x', conversation_id='c', message_id='m')\n"
        "assert drafter.drafts()[0].asked == 8\n"
        "drafter.add('What is this about?', 'It is about order number: AB1234, as I said.' + ' yes' * 9,"
        " conversation_id='c', message_id='m')\n"
        "assert len(drafter.drafts()) == 1\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=90)
