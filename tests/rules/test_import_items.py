"""What a row of an export becomes: columns guessed, roles and times understood, ids that stay, an order that holds."""

import csv
import io
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatwright.domain.errors import Unprocessable
from chatwright.domain.ids import ChatbotId, TenantId, is_id, new_id
from chatwright.features.imports import (
    PRESETS,
    ColumnMap,
    Dialect,
    Item,
    ItemMaker,
    Planner,
    Record,
    check_map,
    guess,
    in_order,
    into_units,
    over_preset,
    problems_csv,
    read_enrichment,
    read_map,
    read_personal,
    without_twins,
)
from chatwright.features.imports.arranging import Tail, arrange, by_conversation
from chatwright.features.imports.times import read_time
from chatwright.pipeline.bulk import redactor

TENANT, CHATBOT = TenantId(new_id()), ChatbotId(new_id())
NAMES = ("conv", "id", "role", "text", "at")
MAP = ColumnMap(conversation="conv", message_id="id", role="role", text="text", time="at")
NOW = datetime(2025, 1, 1, tzinfo=UTC)


def maker(columns: ColumnMap = MAP, names: tuple[str, ...] = NAMES, **changes: Any) -> ItemMaker:
    given: dict[str, Any] = {"tenant_id": TENANT, "chatbot_id": CHATBOT, "source": "s", **changes}
    return ItemMaker(columns=columns, dialect=Dialect(columns=names), **given)


def record(*cells: str, number: int = 1) -> Record:
    return Record(number=number, cells=list(cells))


def made(*cells: str, columns: ColumnMap = MAP, **changes: Any) -> Item:
    (item,) = maker(columns, **changes).make([record(*cells)]).items
    return item


@given(st.text(max_size=20), st.text(max_size=20), st.text(min_size=1, max_size=50))
def test_ids_are_ids_and_stay_the_same(conversation: str, name: str, text: str) -> None:
    both = [maker().make([record(conversation, name, "user", text, "")]).items for _ in range(2)]
    assert both[0] == both[1]
    for item in both[0]:
        assert is_id(item.id)
        assert is_id(item.conversation_id)
        assert item.conversation_id < new_id()
        assert item.id != item.conversation_id


def test_ids_differ_by_everything_that_tells_messages_apart() -> None:
    base = ("c", "m", "user", "hello", "")
    ids = {
        made(*base).id,
        made("d", *base[1:]).id,
        made("c", "n", *base[2:]).id,
        made(*base, source="other").id,
        made(*base, tenant_id=TenantId(new_id())).id,
        made(*base, chatbot_id=ChatbotId(new_id())).id,
        made("c", "", *base[2:]).id,
        made("c", "", "user", "other words", "").id,
    }
    assert len(ids) == 8
    assert made(*base).id == made("c", "m", "user", "an edited text", "2024-01-01").id  # its name says who it is
    nameless = maker().make([record("c", "", "user", "ok", "", number=n) for n in (1, 2)]).items
    assert nameless[0].id != nameless[1].id


def test_rows_without_a_conversation_are_one_each() -> None:
    columns = ColumnMap(text="text", answer="role")
    items = maker(columns).make([record("", "", "Yes.", "Do you ship?", "", number=n) for n in (1, 2)]).items
    assert [(item.side, item.text) for item in items] == [("visitor", "Do you ship?"), ("agent", "Yes.")] * 2
    assert len({item.conversation_id for item in items}) == 2


@given(st.text(max_size=200))
def test_any_text_can_be_stored(text: str) -> None:
    for item in maker().make([record("c", "m", "user", text, "")]).items:
        item.text.encode()
        assert "\x00" not in item.text
        if text.isprintable():
            assert item.text == text


@pytest.mark.parametrize(
    ("word", "side"),
    [
        ("User", "visitor"), ("end-user", "visitor"), ("CUSTOMER", "visitor"), ("incoming", "visitor"), ("0", "visitor"),
        ("Agent", "agent"), ("assistant", "agent"), ("Admin", "agent"), ("bot", "agent"), ("outgoing", "agent"),
        ("note", None), ("system", None), ("Activity", None),
    ],
)  # fmt: skip
def test_roles_of_common_exports_are_known(word: str, side: str | None) -> None:
    read = maker().make([record("c", "m", word, "hello", "")])
    assert [item.side for item in read.items] == ([] if side is None else [side])
    assert read.problems == []
    assert read.skipped == ({"role": 1} if side is None else {})


def test_an_unknown_role_is_told_and_can_be_explained() -> None:
    read = maker().make([record("c", "m", "Berater", "hello", "")])
    assert "Berater" in read.problems[0].reason
    columns = ColumnMap(conversation="conv", role="role", text="text", roles={"Berater": "agent"})
    assert made("c", "m", "Berater", "hello", "", columns=columns).side == "agent"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("2024-05-06T07:08:09Z", datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)),
        ("2024-05-06 07:08:09+02:00", datetime(2024, 5, 6, 5, 8, 9, tzinfo=UTC)),
        ("2024-05-06", datetime(2024, 5, 6, tzinfo=UTC)),
        ("1714979289", datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)),
        ("1714979289000", datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)),
        ("05/06/2024 07:08", datetime(2024, 5, 6, 7, 8, tzinfo=UTC)),
        ("06.05.2024 07:08", datetime(2024, 5, 6, 7, 8, tzinfo=UTC)),
        ("Mon, 06 May 2024 07:08:09 +0000", datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)),
        ("yesterday", None), ("", None), ("1799-01-01", None), ("9" * 40, None), ("0001-01-01", None),
        ("9999-12-31T23:59:59-12:00", None),
    ],
)  # fmt: skip
def test_times_are_read(text: str, wanted: datetime | None) -> None:
    assert read_time(text) == wanted


def test_the_day_may_stand_first() -> None:
    assert read_time("03/04/2025", day_first=True) == datetime(2025, 4, 3, tzinfo=UTC)
    assert read_time("03/04/2025") == datetime(2025, 3, 4, tzinfo=UTC)


@given(st.text(max_size=70))
def test_no_text_breaks_the_reading_of_times(text: str) -> None:
    read_time(text)


# Columns -------------------------------------------------------------------------------------------------------------


def guessed(header: str, *rows: str, **given_fields: Any) -> ColumnMap:
    table = list(csv.reader(io.StringIO("\n".join([header, *rows]))))
    dialect = Dialect(columns=tuple(table[0]))
    return guess(read_map(given_fields), dialect, [record(*row, number=n) for n, row in enumerate(table[1:], 1)])


@pytest.mark.parametrize(
    ("header", "row", "wanted"),
    [
        (
            "Conversation ID,Part ID,Author type,Body,Created at,User ID", "7,1,user,hello there,2024-01-01,u1",
            {"conversation": "Conversation ID", "message_id": "Part ID", "role": "Author type", "text": "Body",
             "time": "Created at", "visitor": "User ID"},
        ),
        (
            "Ticket ID,Comment ID,Author role,Comment body,Comment created at", "7,1,end-user,hello there,2024-01-01",
            {"conversation": "Ticket ID", "message_id": "Comment ID", "role": "Author role", "text": "Comment body"},
        ),
        (
            "id,conversation_id,message_type,content,created_at,contact_id", "1,7,incoming,hello there,1714979289,3",
            {"conversation": "conversation_id", "message_id": "id", "role": "message_type", "text": "content",
             "time": "created_at", "visitor": "contact_id"},
        ),
        ("question,answer", "Do you ship abroad?,Yes we do.", {"text": "question", "answer": "answer"}),
        ("kategorie,nachricht", "x,Wo ist mein Paket geblieben?", {"text": "nachricht"}),
    ],
)  # fmt: skip
def test_columns_are_guessed(header: str, row: str, wanted: dict[str, str]) -> None:
    assert guessed(header, row).columns().items() >= wanted.items()


def test_what_is_said_wins_and_null_is_none() -> None:
    columns = guessed("text,body,conversation_id", "a b c,d e f,1", text="body", conversation=None)
    assert columns.columns() == {"text": "body"}


def test_a_preset_fills_what_the_file_has() -> None:
    dialect = Dialect(columns=("conversation_id", "content", "words"))
    columns = over_preset(read_map({"text": "words"}), PRESETS["chatwoot"], dialect)
    assert columns.columns() == {"conversation": "conversation_id", "text": "words"}


def test_a_map_that_names_no_column_of_the_file_is_refused() -> None:
    with pytest.raises(Unprocessable, match="no column 'b'"):
        check_map(ColumnMap(text="b"), Dialect(columns=("a",)))
    with pytest.raises(Unprocessable, match="which column holds the text"):
        check_map(ColumnMap(conversation="a"), Dialect(columns=("a",)))
    with pytest.raises(Unprocessable):
        read_map({"text": 3})


@given(st.dictionaries(st.text(max_size=12), st.one_of(st.none(), st.text(max_size=12), st.integers()), max_size=5))
def test_any_map_is_read_or_refused(given_fields: dict[str, Any]) -> None:
    with suppress(Unprocessable):
        assert isinstance(read_map(given_fields), ColumnMap)


def test_enrichment_is_read() -> None:
    default = read_enrichment(None)
    assert (default.sentiment, default.intent, default.summary) == (True, True, "local")
    assert read_enrichment("all").summary == "model"
    assert read_enrichment("true", summaries="local").summary == "local"
    assert read_enrichment("none") == read_enrichment("[]") == read_enrichment("false")
    assert read_enrichment('["sentiment"]').is_reading
    assert read_personal("all") == ("email", "phone", "card", "iban")
    assert read_personal("") == ()
    for wrong in (
        lambda: read_enrichment("x"),
        lambda: read_personal("name"),
        lambda: read_enrichment("all", summaries="x"),
    ):
        with pytest.raises(Unprocessable):
            wrong()


# Order ---------------------------------------------------------------------------------------------------------------


ITEMS = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from(["visitor", "agent"]), st.one_of(st.none(), st.integers(0, 5))),
    min_size=1,
    max_size=25,
)


def items_of(drawn: list[tuple[int, Any, int | None]]) -> list[Item]:
    return [
        made(f"c{conversation}", f"m{number}", side, f"text {number}", "" if at is None else f"2024-01-01T00:0{at}:00Z")
        for number, (conversation, side, at) in enumerate(drawn)
    ]


@given(ITEMS, st.integers(1, 6))
def test_every_message_is_one_line_in_the_order_of_the_times(
    drawn: list[tuple[int, Any, int | None]], size: int
) -> None:
    items = items_of(drawn)
    units = into_units(in_order(items), size)
    assert sorted(item.id for unit in units for item in unit) == sorted(item.id for item in items)
    seen: set[str] = set()
    for unit in units:
        own = {item.conversation_id for item in unit}
        assert not own & seen
        seen |= own
        for group in by_conversation(unit):
            arranged = arrange(group, Tail(), NOW)
            assert [row.ordinal for row in arranged.messages] == list(range(1, arranged.next_ordinal))
            answers = {answer.message_id: answer for answer in arranged.answers}
            assert len(answers) == len(arranged.answers)
            lines: list[str] = []
            for row in arranged.messages:
                lines += [row.item.id] if row.item else []
                lines += [answers[row.id].item.id] if row.id in answers else []
                assert (row.state == "answered") == (row.id in answers)
            assert lines == [item.id for item in group]
            if all(item.at for item in group):
                times = [item.at for item in group if item.at]
                assert times == sorted(times)


@settings(max_examples=50)
@given(ITEMS, st.integers(0, 25))
def test_a_conversation_written_in_two_parts_is_the_same(drawn: list[tuple[int, Any, int | None]], cut: int) -> None:
    items = in_order(items_of([(0, side, None) for _, side, _ in drawn]))
    whole = arrange(items, Tail(), NOW)
    first, second = items[:cut], items[cut:]
    if not first or not second:
        return
    one = arrange(first, Tail(), NOW)
    open_id = one.messages[-1].id if one.messages[-1].state != "answered" else None
    two = arrange(second, Tail(next_ordinal=one.next_ordinal, open_message_id=open_id, last_at=one.last_at), NOW)
    assert [row.id for row in [*one.messages, *two.messages]] == [row.id for row in whole.messages]
    assert [(a.message_id, a.item.id) for a in [*one.answers, *two.answers]] == [
        (a.message_id, a.item.id) for a in whole.answers
    ]
    assert not two.is_unordered


def test_what_is_older_than_what_is_there_is_marked() -> None:
    later = [made("c", "m", "user", "hello", "2024-01-01")]
    tail = Tail(next_ordinal=5, last_at=datetime(2024, 6, 1, tzinfo=UTC))
    assert arrange(later, tail, NOW).is_unordered
    assert not arrange(later, Tail(next_ordinal=5, last_at=datetime(2023, 6, 1, tzinfo=UTC)), NOW).is_unordered


def test_the_first_of_two_twins_stays() -> None:
    twins = maker().make([record("c", "m", "user", text, "") for text in ("first", "second")]).items
    assert [item.text for item in without_twins(twins)] == ["first"]


# What leaves -----------------------------------------------------------------------------------------------------------


def test_personal_data_is_taken_out() -> None:
    redact = redactor(read_personal("all"))
    assert redact is not None
    said = redact(
        "I am ann@example.com, card 4111 1111 1111 1111, not 4111 1111 1111 1112, DE89 3704 0044 0532 0130 00."
    )
    assert "ann@" not in said
    assert "[email]" in said
    assert "4111 1111 1111 1111" not in said
    assert "[card]" in said
    assert "[iban]" in said
    assert redactor(()) is None
    item = maker(redact=redact).make([record("c", "m", "user", "mail ann@example.com", "")]).items[0]
    assert item.text == "mail [email]"


@given(st.text(max_size=40), st.text(max_size=40))
def test_no_cell_of_the_errors_is_a_formula(reason: str, raw: str) -> None:
    page = problems_csv([(1, reason, raw)], with_header=True).decode()
    _, row = csv.reader(io.StringIO(page, newline=""))
    assert not row[1].startswith(("=", "+", "-", "@", "\t", "\r"))
    assert not row[2].startswith(("=", "+", "-", "@", "\t", "\r"))


def test_a_plan_counts_what_an_import_would_store() -> None:
    planner = Planner(maker())
    rows = [
        record("c1", "1", "user", "hi", ""),
        record("c1", "2", "agent", "hello", ""),
        record("c2", "1", "?", "x", ""),
    ]
    rows.append(record("c2", "2", "user", " ", ""))
    planner.add(rows)
    plan = planner.plan(size_bytes=10, is_whole=True)
    assert (plan.rows, plan.failed, plan.skipped, plan.conversations, plan.messages) == (4, 1, {"empty": 1}, 1, 2)
    assert plan.visitor_messages == 1


def test_numbers_that_begin_anew_in_each_conversation_are_ids() -> None:
    rows = [f"c{conversation},{number},hello number {number}" for conversation in range(9) for number in range(4)]
    assert guessed("conversation_id,id,text", *rows).column("message_id") == "id"
    assert guessed("conversation_id,id,text", *["c1,1,hello there"] * 9).column("message_id") is None
