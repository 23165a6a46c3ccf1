"""What a visitor is offered: nothing that no source or operator holds, nothing twice, in short words."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatwright.domain.errors import Unprocessable
from chatwright.domain.language import content_words
from chatwright.features.suggestions import (
    KINDS,
    Action,
    Occasion,
    SuggestionPolicy,
    Topic,
    check_suggestion_policy,
    choose,
    follow_ups,
    is_address,
    is_web_address,
    knows_nothing,
    label_of,
    links_in,
)
from chatwright.features.suggestions.rules import _HANDOFF_LABELS  # pyright: ignore[reportPrivateUsage]
from chatwright.features.suggestions.topics import _ASK_FOR  # pyright: ignore[reportPrivateUsage]

texts = st.text(max_size=90)
topics = st.builds(
    Topic,
    heading=texts,
    question=st.none() | texts,
    language=st.sampled_from([None, "en", "de"]),
    likeness=st.floats(-1, 1),
    follows=st.booleans(),
)
actions = st.builds(Action, label=st.text(min_size=1, max_size=60), kind=st.sampled_from(KINDS), value=texts)
FORM: dict[str, Any] = {"label": "Write to us", "value": "contact-form"}


def topic(heading: str = "", question: str | None = None, likeness: float = 0.5, **given: Any) -> Topic:
    return Topic(
        heading=heading,
        question=question,
        likeness=likeness,
        language=given.get("language", "en"),
        follows=given.get("follows", True),
    )


def reply(text: str) -> Action:
    return Action(label=text, kind="reply", value=text)


# --- follow-up questions ------------------------------------------------------------------------------------------------


def test_questions_are_asked_as_they_stand_and_headings_in_words_that_no_search_counts() -> None:
    found = follow_ups(
        [
            topic("Guide › Sending shoes back", likeness=0.4),
            topic("FAQ", "How do I pay?", likeness=0.3),
            topic("2. Opening hours", likeness=0.2),
        ],
        language="en",
    )
    assert [(action.label, action.value) for action in found] == [
        ("Sending shoes back", "Tell me more about Sending shoes back."),
        ("How do I pay?", "How do I pay?"),
        ("Opening hours", "Tell me more about Opening hours."),
    ]
    for action in found:
        assert action.kind == "reply"


def test_the_words_around_a_heading_are_no_words_of_a_search() -> None:
    for template in _ASK_FOR.values():
        assert content_words(template.format("Rückgabe")) == content_words("Rückgabe")


@pytest.mark.parametrize(
    "heading",
    [
        "Introduction", "FAQ", "3.2", "POST /api/v1/chatbots", "`limit_nano`", "a=b", "https://shop.test", "Step 2",
        "A heading with far too many words to be said by anybody at all", "two\nlines", "",
    ],
)  # fmt: skip
def test_what_nobody_would_say_is_not_offered(heading: str) -> None:
    assert follow_ups([topic(heading)], language="en") == []


def test_another_language_is_not_offered_and_equal_questions_once() -> None:
    found = follow_ups(
        [
            topic(question="How do I return shoes?", likeness=0.9),
            topic(question="How can I return my shoes?", likeness=0.8),
            topic(question="Wie bezahle ich?", language="de", likeness=0.7),
            topic(question="Do you ship to Mars?", likeness=0.05),
        ],
        language="en",
    )
    assert [action.value for action in found] == ["How do I return shoes?"]
    assert follow_ups([topic("Opening hours")], language="en", headings=False) == []


@given(st.lists(topics, max_size=12), st.sampled_from([None, "en", "de"]))
def test_a_follow_up_says_what_its_topic_says(given_topics: list[Topic], language: str | None) -> None:
    held = [f"{topic.heading} {topic.question or ''}" for topic in given_topics]
    for action in follow_ups(given_topics, language=language):
        assert 0 < len(action.label) <= 60
        assert action.label.isprintable()
        asked = set(content_words(action.value))
        assert any(asked <= set(content_words(text)) for text in held), "no word of a search that no source holds"


# --- links --------------------------------------------------------------------------------------------------------------


def test_links_of_a_text() -> None:
    text = "See [our form](https://shop.test/form), ![x](https://evil.test/p.png) or https://shop.test/help. (http://a.test/x)"
    assert links_in(text) == [
        ("our form", "https://shop.test/form"),
        ("shop.test", "https://shop.test/help"),
    ]


@pytest.mark.parametrize(
    "address",
    [
        "javascript:alert(1)", "data:text/html,x", "//evil.test/x", "ftp://shop.test", "https://", "https://user@shop.test",
        "https://shop.test/a b", "https://shop.test/\u202e", "mailto:a@b.test", "", "/a", "https://[x", "https:\\\\shop.test",
    ],
)  # fmt: skip
def test_what_is_no_web_address(address: str) -> None:
    assert not is_web_address(address)


def test_a_path_of_this_site_is_an_address_but_no_other_host() -> None:
    assert is_address("/guide/how-to#x")
    for other in ("//evil.test", "/\\evil.test", "guide", "/a b", "javascript:x"):
        assert not is_address(other)


@given(st.text(max_size=300))
def test_every_link_stands_in_its_text(text: str) -> None:
    for _, address in links_in(text):
        assert address in text
        assert is_web_address(address)


# --- which of them ------------------------------------------------------------------------------------------------------


def test_replies_then_a_link() -> None:
    found = choose(
        SuggestionPolicy(),
        Occasion(said=["How long can I return shoes?"]),
        replies=[reply("How do I pay?"), reply("How long may I return my shoes?"), reply("Who pays?"), reply("Why?")],
        links=[Action(label="Returns", kind="link", value="https://shop.test/returns")] * 2,
    )
    assert [action.label for action in found] == ["How do I pay?", "Who pays?", "Returns"]


def test_what_was_asked_before_is_not_offered_again() -> None:
    occasion = Occasion(said=["How do I pay?", "and when do you open?"])
    found = choose(
        SuggestionPolicy(), occasion, replies=[reply("How do I pay?")], openings=["When do you open?", "Why?"]
    )
    assert [action.value for action in found] == ["Why?"]


@pytest.mark.parametrize(
    ("occasion", "kinds"),
    [
        (Occasion(said=["x"], intent="handoff"), ["handoff"]),
        (Occasion(said=["x"], abstained=True), []),
        (Occasion(said=["x"], abstained=True, abstained_before=True), ["handoff"]),
        (Occasion(said=["x"], abstained_before=True), []),
        (Occasion(said=["x"], intent="question"), []),
    ],
)
def test_a_person_is_offered_on_request_and_after_two_answers_that_knew_nothing(
    occasion: Occasion, kinds: list[str]
) -> None:
    assert [action.kind for action in choose(SuggestionPolicy(), occasion)] == kinds
    without = SuggestionPolicy.of({"kinds": ["reply", "link", "form"]})
    assert choose(without, occasion) == ()


def test_a_person_is_offered_in_the_visitors_language_or_the_operators_words() -> None:
    asked = Occasion(said=["Mensch bitte"], intent="handoff", language="de")
    (found,) = choose(SuggestionPolicy(), asked)
    assert (found.label, found.value) == ("Mit einem Menschen sprechen", "handoff")
    own = SuggestionPolicy.of({"handoff": {"label": "Ruf uns an", "value": "tel:+43123456"}})
    assert [action.shown for action in choose(own, asked)] == [
        {"label": "Ruf uns an", "kind": "handoff", "value": "tel:+43123456"}
    ]
    assert all(0 < len(label) <= 60 for label in _HANDOFF_LABELS.values())


def test_a_form_is_offered_only_if_there_is_one_and_it_fits() -> None:
    complaint = Occasion(said=["x"], intent="complaint")
    assert choose(SuggestionPolicy(), complaint) == ()
    policy = SuggestionPolicy.of({"form": FORM})
    assert [action.kind for action in choose(policy, complaint)] == ["form"]
    assert choose(policy, Occasion(said=["x"], intent="question")) == ()
    policy = SuggestionPolicy.of({"form": {**FORM, "intents": ["refund"]}})
    assert choose(policy, complaint) == ()
    assert [action.kind for action in choose(policy, Occasion(said=["x"], custom_intent="refund"))] == ["form"]


def test_the_operators_own_actions_fill_up() -> None:
    static = [{"label": "Shop", "kind": "link", "value": "https://shop.test"}, {**FORM, "kind": "form"}]
    policy = SuggestionPolicy.of({"static": static, "most": 2})
    found = choose(policy, Occasion(said=["x"]), replies=[reply("How do I pay?")])
    assert [action.kind for action in found] == ["reply", "link"]
    assert choose(SuggestionPolicy.of({"static": static, "mode": "off"}), Occasion(said=["x"])) == ()


def test_whoever_leaves_is_not_asked_on() -> None:
    farewell = Occasion(said=["bye"], intent="farewell")
    assert choose(SuggestionPolicy(), farewell, replies=[reply("Why?")], openings=["When?"]) == ()


@given(
    st.lists(actions, max_size=6),
    st.lists(actions, max_size=4),
    st.lists(texts, max_size=3),
    st.lists(texts, min_size=1, max_size=4),
    st.lists(st.sampled_from(KINDS), max_size=4),
    st.integers(1, 5),
    st.sampled_from([None, "handoff", "farewell", "question", "complaint"]),
    st.tuples(st.booleans(), st.booleans()),
)
def test_nothing_is_made_up(
    replies: list[Action],
    links: list[Action],
    openings: list[str],
    said: list[str],
    kinds: list[str],
    most: int,
    intent: str | None,
    abstained: tuple[bool, bool],
) -> None:
    policy = SuggestionPolicy.of({"kinds": kinds, "most": most, "form": FORM})
    occasion = Occasion(said=said, intent=intent, abstained=abstained[0], abstained_before=abstained[1])
    replies = [Action(label=action.label, kind="reply", value=action.value) for action in replies]
    links = [Action(label=action.label, kind="link", value=action.value) for action in links]
    found = choose(policy, occasion, replies=replies, links=links, openings=openings)
    assert len(found) <= most
    assert len({action.value for action in found}) == len(found)
    asked = {" ".join(text.split()) for text in openings}
    for action in found:
        assert action.kind in kinds
        assert len(action.label) <= 60
        match action.kind:
            case "reply":
                assert action in replies or action.value in asked
            case "link":
                assert action in links
            case "handoff":
                assert action.value == "handoff"
            case "form":
                assert action.value == "contact-form"
    assert found == choose(policy, occasion, replies=replies, links=links, openings=openings)


@given(st.text(max_size=300))
def test_a_label_is_short_and_of_one_line(text: str) -> None:
    label = label_of(text)
    assert len(label) <= 60
    assert "\n" not in label


def test_a_long_label_is_cut_at_a_word() -> None:
    assert label_of("word " * 30) == "word word word word word word word word word word word…"


@pytest.mark.parametrize(
    ("text", "nothing"),
    [
        ("I don't know. My knowledge base has nothing that answers this.", True),
        ("I'm sorry, but I do not have information about that.", True),
        ("That is not mentioned in the passages.", True),
        ("Dazu habe ich keine Informationen.", True),
        ("Delivery takes four days [1].", False),
        ("You do not know the password? Reset it. " * 12, False),
        ("", False),
    ],
)
def test_an_answer_that_knows_nothing(text: str, nothing: bool) -> None:
    assert knows_nothing(text) is nothing


# --- the policy ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"modus": "on"}, "suggestion_policy.modus"),
        ({"mode": True}, "suggestion_policy.mode"),
        ({"most": 0}, "suggestion_policy.most"),
        ({"most": True}, "suggestion_policy.most"),
        ({"most": 6}, "suggestion_policy.most"),
        ({"kinds": ["reply", "call"]}, "suggestion_policy.kinds"),
        ({"kinds": "reply"}, "suggestion_policy.kinds"),
        ({"handoff": "tel:1"}, "suggestion_policy.handoff"),
        ({"handoff": {"value": ""}}, "suggestion_policy.handoff"),
        ({"handoff": {"value": "x", "kind": "link"}}, "suggestion_policy.handoff"),
        ({"form": {"label": "x"}}, "suggestion_policy.form"),
        ({"form": {**FORM, "intents": "all"}}, "suggestion_policy.form"),
        ({"form": {**FORM, "label": "x" * 61}}, "suggestion_policy.form"),
        ({"form": {**FORM, "label": "two\nlines"}}, "suggestion_policy.form"),
        ({"static": {}}, "suggestion_policy.static"),
        ({"static": [{"label": "x", "value": "y"}]}, "suggestion_policy.static"),
        ({"static": [{"label": "x", "kind": "link", "value": "javascript:alert(1)"}]}, "suggestion_policy.static"),
        ({"static": [{"label": "x", "kind": "link", "value": "https://a@b.test"}]}, "suggestion_policy.static"),
        ({"static": [{**FORM, "kind": "form"}] * 11}, "suggestion_policy.static"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(Unprocessable) as refused:
        check_suggestion_policy(fields)
    assert refused.value.param == param
    assert SuggestionPolicy.of(fields) == SuggestionPolicy(), "and no answer fails over it"


def test_what_can_be_meant_is_taken() -> None:
    fields: dict[str, Any] = {
        "mode": "on",
        "most": 5,
        "kinds": ["reply", "handoff"],
        "handoff": {"value": "mailto:help@shop.test"},
        "form": FORM,
        "static": [{"label": "Shop", "kind": "link", "value": "https://shop.test"}],
    }
    check_suggestion_policy(fields)
    policy = SuggestionPolicy.of(fields)
    assert (policy.most, policy.kinds, policy.handoff.label) == (5, {"reply", "handoff"}, "")
    assert policy.static[0].shown == fields["static"][0]


@given(
    st.dictionaries(
        st.sampled_from(["mode", "most", "kinds", "handoff", "form", "static"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=4),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from(["label", "value", "kind", "intents"]), inner, max_size=4)
            ),
            max_leaves=6,
        ),
    )
)
def test_reading_a_stored_policy_never_fails(fields: dict[str, Any]) -> None:
    policy = SuggestionPolicy.of(fields)
    assert choose(policy, Occasion(said=["x"], intent="handoff")) is not None
