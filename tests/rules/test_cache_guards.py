"""The guards of the semantic tier: which questions may share an answer, which stand alone, what is personal."""

import gzip
import hashlib
import json
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatwright.features.cache import personal, standalone, time_bound
from chatwright.features.cache.guards import ClassGuards, Guards, conflict

DATA = Path(__file__).parents[2].parent / "shared" / "data"

# --- what must not share an answer --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "phrasing", "why"),
    [
        ("How do I activate my card?", "How do I deactivate my card?", "direction"),
        ("how can I unblock my account", "how can I block my account", "direction"),
        ("Can I withdraw cash in the app?", "Can I deposit cash in the app?", "direction"),
        ("how do I log out", "how do I log in", "direction"),
        ("Is there a fee when I sell shares?", "Is there a fee when I buy shares?", "direction"),
        ("what was sent before Friday", "what was sent after Friday", "direction"),
        ("What is the maximum amount?", "What is the minimum amount?", "direction"),
        ("how do I turn off notifications", "how do I turn on notifications", "direction"),
        ("wie kann ich meine Karte entsperren", "wie kann ich meine Karte sperren", "direction"),
        ("comment désactiver ma carte", "comment activer ma carte", "direction"),
        ("how do I change EUR to USD", "how do I change USD to EUR", "route"),
        ("trains from Berlin to Paris", "trains from Paris to Berlin", "route"),
        ("Which cards are not accepted?", "Which cards are accepted?", "negation"),
        ("Can I travel without insurance?", "Can I travel with insurance?", "negation"),
        ("Kann ich ohne Anmeldung bestellen?", "Kann ich mit Anmeldung bestellen?", "negation"),
        ("Can I return it within 14 days?", "Can I return it within 30 days?", "numbers"),
        ("Do you have plans for five people?", "Do you have plans for 3 people?", "numbers"),
        ("what does 50 dollars cost me", "what does 50 euros cost me", "units"),
        ("Does it work with the X200?", "Does it work with the X300?", "numbers"),
        ("are you open on Sunday", "are you open on Saturday", "dates"),
        ("is delivery possible at 8 pm", "is delivery possible at 8 am", "dates"),
        ("What did you sell in June?", "What did you sell in July?", "dates"),
        ("Do you ship to Germany?", "Do you ship to France?", "names"),
        ("do you ship to germany", "do you ship to france", "names"),
        ("Does it run on Linux?", "Does it run on Windows?", "names"),
        ("Who founded Acme Widgets?", "Who founded Bolt Motors?", "names"),
        ('what does "void" mean', 'what does "null" mean', "quoted"),
        ("Wie ändere ich die PIN meiner Karte?", "How do I change the PIN of my card?", "language"),
        ("Как изменить PIN моей карты?", "How do I change the PIN of my card?", "language"),
        ("カードの暗証番号を変更するには？", "How do I change the PIN of my card?", "language"),
    ],
)
def test_questions_with_different_answers_conflict(asked: str, phrasing: str, why: str) -> None:
    assert conflict(Guards.of(asked), [Guards.of(phrasing)]) == why
    assert conflict(Guards.of(phrasing), [Guards.of(asked)]) == why


@pytest.mark.parametrize(
    ("asked", "phrasing"),
    [
        ("How do I activate my card?", "what do I do to get my new card activated"),
        ("I don't know how to pay", "how to pay"),
        ("My card doesn't work", "my card is broken"),
        ("Why can't I log in?", "I am unable to log in"),
        ("the transfer has not arrived", "my transfer is still pending"),
        ("Can I pay with PayPal?", "is paypal possible, can I pay with it"),
        ("Is delivery free above 50 €?", "is delivery free above 50 euros"),
        ("do I get 1,000 points", "do I get 1000 points"),
        ("I ordered 3 days ago and it has not come", "I ordered last week and it has not come"),
        ("what does 'void' mean", "what does void mean"),
        ("HOW DO I CHANGE MY PIN", "how do i change my pin"),
        ("How Do I Change My Pin?", "how do I change my PIN"),
        ("change pin", "how do I change my PIN"),
        ("can I move money from my account to another one", "can I transfer money to another account from mine"),
        ("Wie kann ich meine Rechnung bezahlen?", "wie bezahle ich meine Rechnung"),
        ("Should I turn it on or off?", "must it be off"),
    ],
)
def test_other_words_for_the_same_are_compatible(asked: str, phrasing: str) -> None:
    assert conflict(Guards.of(asked), [Guards.of(phrasing)]) is None
    assert conflict(Guards.of(phrasing), [Guards.of(asked)]) is None


def test_phrasings_with_several_values_prove_that_the_answer_does_not_depend_on_them() -> None:
    asked = Guards.of("my parcel has been missing for 9 days")
    days = [Guards.of(f"my parcel has been missing for {count} days") for count in (2, 3, 5)]
    assert conflict(asked, days[:2]) == "numbers"
    assert conflict(asked, days) is None
    places = [Guards.of(f"can I use it in {place}") for place in ("Spain", "Italy", "Peru")]
    assert conflict(Guards.of("can I use it in Norway"), places) is None
    assert conflict(Guards.of("can I not use it in Norway"), places) == "negation"


def test_one_phrasing_must_be_compatible_in_everything() -> None:
    phrasings = [Guards.of("can I buy 2 cards"), Guards.of("can I sell 3 cards")]
    assert conflict(Guards.of("can I sell 2 cards"), phrasings) == "direction"
    assert conflict(Guards.of("can I sell 3 cards"), phrasings) is None


def test_a_class_without_phrasings_serves_nobody() -> None:
    assert conflict(Guards.of("hello there"), []) == "empty"


_WORDS = st.lists(
    st.sampled_from(
        [
            "how",
            "do",
            "I",
            "not",
            "open",
            "close",
            "my",
            "card",
            "in",
            "June",
            "on",
            "Sunday",
            "3",
            "14",
            "50",
            "€",
            "Berlin",
            "Paris",
            "from",
            "to",
            "without",
            "before",
            "after",
            "'my",
            "bag'",
            "wie",
            "kann",
            "ich",
            "nicht",
            "Karte",
            "why",
            "isn't",
            "broken",
            "x200",
            "8:30",
            "please",
        ]
    ),
    min_size=1,
    max_size=12,
).map(" ".join)


@given(_WORDS, st.lists(_WORDS, max_size=4))
def test_a_question_never_conflicts_with_a_class_that_it_stands_in(asked: str, others: list[str]) -> None:
    own = Guards.of(asked)
    assert conflict(own, [*map(Guards.of, others), own]) is None


@given(_WORDS, _WORDS)
def test_two_questions_conflict_both_ways_or_not_at_all(left: str, right: str) -> None:
    one, other = Guards.of(left), Guards.of(right)
    assert (conflict(one, [other]) is None) == (conflict(other, [one]) is None)


@given(st.text(max_size=300), st.text(max_size=300))
def test_any_text_can_be_read(left: str, right: str) -> None:
    assert ClassGuards.of([Guards.of(left)]).conflict(Guards.of(left)) is None
    conflict(Guards.of(left), [Guards.of(right)])
    personal(left, known=right)
    standalone(left, first_turn=False)
    time_bound(left)


def test_long_texts_are_read_in_linear_time() -> None:
    for text in (
        "1 " * 5_000,
        "a-" * 5_000,
        "'" * 9_999,
        "from to " * 1_200,
        "+1-" * 3_000,
        "A " * 9_000,
        "x1" * 9_000,
    ):
        Guards.of(text)
        personal(text)
        standalone(text, first_turn=False)
        time_bound(text)


# --- not too careful ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["banking77", "clinc150"])
def test_few_questions_conflict_with_all_of_their_own_class(name: str) -> None:
    file = DATA / name / "train.jsonl.gz"
    if not file.exists():
        pytest.skip(f"no evaluation data at {file}")
    classes: defaultdict[str, list[Guards]] = defaultdict(list)
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            if hashlib.sha256(row["text"].encode()).digest()[0] % 3 == 0:  # the fold that rules may be made by
                classes[row["label"]].append(Guards.of(row["text"]))
    refused = total = 0
    for phrasings in classes.values():
        for place, asked in enumerate(phrasings if len(phrasings) > 10 else ()):
            total += 1
            refused += conflict(asked, [*phrasings[:place], *phrasings[place + 1 :]]) is not None
    assert total > 1_000
    assert refused / total < 0.02


# --- standing alone -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "first", "later"),
    [
        ("How do I reset my PIN?", True, True),
        ("Is it possible to cancel an order?", True, True),
        ("Do you ship to Germany?", True, True),
        ("Welche Zahlungsarten bietet der Shop an?", True, True),
        ("What about refunds?", True, False),
        ("and in Germany?", True, False),
        ("When will it arrive?", True, False),
        ("Is the other one cheaper?", False, False),
        ("the premium plan", True, False),
        ("what do you do", True, False),
        ("how much is it?", False, False),
        ("why?", False, False),
        ("yes", False, False),
        ("ok thanks", False, False),
        ("ja bitte", False, False),
        ("", False, False),
        ("???", False, False),
        ("How much does this product cost?", False, False),
        ("was kostet dieser Artikel?", False, False),
        ("カードの暗証番号を変更するには？", True, False),
        ("wie " * 400, False, False),
    ],
)
def test_standing_alone(question: str, first: bool, later: bool) -> None:
    assert standalone(question, first_turn=True) is first
    assert standalone(question, first_turn=False) is later


@given(st.text(max_size=120))
def test_what_stands_alone_later_stands_alone_at_first(question: str) -> None:
    if standalone(question, first_turn=False):
        assert standalone(question, first_turn=True)


# --- what is another thing soon -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "soon"),
    [
        ("What time is it?", True),
        ("what's the date today", True),
        ("will it rain tomorrow, what is the forecast", True),
        ("Are you open today?", True),
        ("what is the current exchange rate", True),
        ("Wie spät ist es?", True),
        ("Habt ihr heute geöffnet?", True),
        ("What are your opening hours?", False),
        ("How is the exchange rate worked out?", False),
        ("My card does not work today", False),
        ("I have been waiting for days now", False),
        ("What time do you open?", False),
        ("how do I change the date of birth", False),
    ],
)
def test_time_bound(text: str, soon: bool) -> None:
    assert time_bound(text) is soon


# --- personal -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "my order 4711-22 is late",
        "Where is order 100234?",
        "order #12 never came",
        "Ticket-Nr. 55812",
        "my account number is 12345678",
        "tracking number 1Z999AA10123456784",
        "I'm Anna Schmidt",
        "Hi, this is Anna Smith",
        "my name is anna",
        "Ich heiße Jörg",
        "Me llamo Juan",
        "меня зовут Анна",
        "我叫小明",
        "Dear Ms. Miller",
        "can my wife Anna use it",
        "Regards, Anna",
        "anna.schmidt@example.com",
        "call +49 30 1234567",
        "(212) 555-0188 is my number",
        "IBAN DE89 3704 0044 0532 0130 00",
        "4111 1111 1111 1111 was declined",
        "my social security number is 078-05-1120",
        "221 Baker Street",
        "Ich wohne in der Hauptstraße 5",
        "I was born on 3 May 1980",
        "the password is hunter22",
        "my ip is 192.168.17.4",
        "user 550e8400-e29b-41d4-a716-446655440000",
    ],
)
def test_personal(text: str) -> None:
    assert personal(text)


@pytest.mark.parametrize(
    "text",
    [
        "how do I change my PIN",
        "what is the name on my card",
        "my name is misspelled on the card",
        "How do I change my address?",
        "my address is wrong",
        "what's my account number",
        "my order is 3 days late",
        "can I order in 2024",
        "order 2 pizzas",
        "can I get 100 checks",
        "is 2024-05-01 a holiday",
        "between 2019-2020",
        "pay 1.000.000 EUR",
        "I bought it for 5000000 yen",
        "Is the WH-1000XM5 in stock?",
        "my iPhone 12 does not charge",
        "I'm German",
        "I am in New York",
        "Hello Support,",
        "contact support@example.com",
        "How do I call the 24/7 line?",
        "opening 10-18",
        "call me back please",
        "ISBN 978-3-16-148410-0",
        "can my wife use it",
        "is the 192 bus running",
    ],
)
def test_not_personal(text: str) -> None:
    assert not personal(text)


def test_what_everybody_may_read_is_not_personal() -> None:
    answer = "Call +49 30 1234567 or write to anna.schmidt@example.com."
    assert personal(answer)
    assert not personal(answer, known="Our shop: +49 30 1234567, Anna.Schmidt@example.com")
    assert personal(answer, known="Our shop: +49 30 1234567")


def test_a_text_that_nobody_reads_to_its_end_is_personal() -> None:
    assert personal("fine " * 5_000)
