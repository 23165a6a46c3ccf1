"""The twelve intents by the head that ships, and the messages that it is measured by."""

from collections import Counter
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from chatwright.adapters.models import hash_grams, open_embedder
from chatwright.domain.reading import Intent
from chatwright.features.analysis.intents import LEAST, IntentHead
from training.intents import f1, letters, macro_f1, read_labelled
from training.intents_templates import PATTERNS, phrasings
from training.intents_weak import by_form, weak_intent

DATA = Path(__file__).parents[2].parent / "shared" / "data"
INTENTS: tuple[Intent, ...] = get_args(Intent)
PLAIN: dict[str, Intent] = {
    "hello there": "greeting",
    "good morning!": "greeting",
    "bye, see you tomorrow": "farewell",
    "thank you very much for your help": "thanks",
    "do you deliver to Iceland?": "question",
    "what are your opening hours": "question",
    "how do I change my password": "explanation",
    "the parcel arrived broken and nobody answers my mails": "complaint",
    "why was I charged twice?": "complaint",
    "please cancel my subscription": "request",
    "yes, that's right": "confirmation",
    "no, that's not what I meant": "negation",
    "I want to talk to a human": "handoff",
    "are you a robot?": "small_talk",
    "tell me a joke": "small_talk",
}


def need_data() -> None:
    if not DATA.is_dir():
        pytest.skip(f"the evaluation data are not at {DATA}")


async def test_plain_messages_are_read_as_what_they_are() -> None:
    head = IntentHead.load()
    async with open_embedder(threads=1) as embedder:
        encoded = await embedder.encode(list(PLAIN))
    read = head.read(encoded.features, hash_grams(list(PLAIN)))
    assert {text: intent for text, (intent, _) in zip(PLAIN, read, strict=True)} == PLAIN
    assert all(0.0 < probability <= 1.0 for _, probability in read)


async def test_what_it_is_not_sure_of_is_other() -> None:
    head = IntentHead.load()
    async with open_embedder(threads=1) as embedder:
        encoded = await embedder.encode(list(PLAIN))
    grams = hash_grams(list(PLAIN))
    flat = IntentHead(
        head=type(head.head)(
            classes=head.head.classes,
            dense=head.head.dense,
            grams=head.head.grams,
            gram_step=head.head.gram_step,
            bias=head.head.bias,
            temperature=1e6,
        )
    )
    assert {intent for intent, _ in flat.read(encoded.features, grams)} == {"other"}
    assert all(probability < LEAST for _, probability in flat.read(encoded.features, grams))


def test_the_labelled_messages_are_those_that_were_labelled() -> None:
    need_data()
    labelled = read_labelled(DATA)
    counts = Counter(one.intent for one in labelled)
    assert len(labelled) >= 600
    assert len({letters(one.text) for one in labelled}) == len(labelled)
    assert min(counts[intent] for intent in INTENTS) >= 30
    assert 0.25 < np.mean([one.chooses for one in labelled]) < 0.42


def test_own_phrasings_are_many_the_same_each_time_and_none_of_the_labelled() -> None:
    for intent in INTENTS:
        sentences = phrasings(intent, 300)
        assert sentences == phrasings(intent, 300)
        assert len(set(sentences)) == len(sentences) >= len(PATTERNS[intent])
        assert not any("{" in sentence for sentence in sentences)


@pytest.mark.parametrize(
    ("name", "label", "text", "intent"),
    [
        ("banking77/train", "declined_transfer", "My transfer was declined", "complaint"),
        ("banking77/train", "pending_transfer", "How long does a transfer take?", "question"),
        ("banking77/train", "change_pin", "How do I change my PIN?", "explanation"),
        ("banking77/train", "cancel_transfer", "Who do I talk to about a transfer?", "handoff"),
        ("clinc150/train", "yes", "that is right", "confirmation"),
        ("clinc150/train", "greeting", "how are you", "small_talk"),
        ("clinc150/train", "greeting", "hello, how are you", "greeting"),
        ("clinc150/train", "timer", "set a timer for ten minutes", "request"),
        ("clinc150/train", "maybe", "could be", None),
        ("hutto_sentiment/tweets", 2.0, "What a match, what a night", "other"),
    ],
)
def test_weak_labels_follow_the_rules(name: str, label: object, text: str, intent: Intent | None) -> None:
    assert weak_intent(name, label, text) == intent


def test_form_alone_tells_requests_from_questions() -> None:
    assert by_form("can you send me a new card") == "request"
    assert by_form("can you tell me the price") == "question"
    assert by_form("i want to close my account. can i do it online?") == "question"


def test_f1_counts_what_is_missed_and_what_is_wrongly_named() -> None:
    assert f1(["thanks", "thanks", "other"], ["thanks", "other", "thanks"], "thanks") == 0.5
    assert macro_f1(list(INTENTS), list(INTENTS)) == 1.0
