"""Which actions go with an answer. Pure.

Nothing here makes up an address or a promise: replies ask what the knowledge base or the operator put into words, links
are handed in by the caller, who found them in a cited source, a handoff or a form is what the operator configured.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from chatwright.features.suggestions.policy import Action, SuggestionPolicy
from chatwright.features.suggestions.topics import label_of, unasked

_HANDOFF_LABELS = {
    "ar": "التحدث إلى موظف",
    "cs": "Mluvit s člověkem",
    "da": "Tal med en medarbejder",
    "de": "Mit einem Menschen sprechen",
    "en": "Talk to a person",
    "es": "Hablar con una persona",
    "fr": "Parler à une personne",
    "hi": "किसी व्यक्ति से बात करें",
    "it": "Parla con una persona",
    "ja": "担当者と話す",
    "ko": "상담원과 대화하기",
    "nl": "Met een medewerker praten",
    "pl": "Porozmawiaj z człowiekiem",
    "pt": "Falar com uma pessoa",
    "ru": "Поговорить с человеком",
    "sv": "Prata med en person",
    "tr": "Bir kişiyle görüş",
    "uk": "Поговорити з людиною",
    "zh": "与人工客服交谈",
}
_NOT_KNOWING = re.compile(
    r"\b(?:i (?:do not|don'?t|cannot|can'?t) (?:know|have|find|see)\b|i'?m (?:not sure|unable)|i am (?:not sure|unable)"
    r"|no information|not (?:mentioned|covered|stated|specified) in|(?:passages?|sources?|knowledge base) (?:do|does)(?: not|n'?t)"
    r"|weiß ich (?:leider )?nicht|keine (?:informationen|angaben|auskunft)|je ne sais pas|aucune information"
    r"|no lo sé|no (?:tengo|dispongo de|hay) información|non lo so|non ho informazioni|não sei|não tenho informaç"
    r"|weet ik niet|geen informatie)",
    re.IGNORECASE,
)
_SHORT_ANSWER_CHARS = 400
_PARTING = frozenset(("farewell", "handoff"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Occasion:
    """What has just been said. `said`: the visitor's texts of this conversation, the question among them. `abstained`: the
    answer knew nothing; `abstained_before`: so did the one before it."""

    said: Sequence[str]
    language: str | None = None
    intent: str | None = None
    custom_intent: str | None = None
    abstained: bool = False
    abstained_before: bool = False


def choose(
    policy: SuggestionPolicy,
    occasion: Occasion,
    *,
    replies: Sequence[Action] = (),
    links: Sequence[Action] = (),
    openings: Sequence[str] = (),
) -> tuple[Action, ...]:
    """The actions to show, the most useful first, at most `policy.most`.

    `replies` and `links` come from the answer's sources, best first; `openings` are the chatbot's own first questions, for
    answers that have none.
    """
    if not policy.is_on or not policy.kinds:
        return ()
    intents = {occasion.intent, occasion.custom_intent}
    offered: list[Action] = []
    if "handoff" in intents or (occasion.abstained and occasion.abstained_before):
        label = policy.handoff.label or _HANDOFF_LABELS.get(occasion.language or "", _HANDOFF_LABELS["en"])
        offered.append(Action(label=label, kind="handoff", value=policy.handoff.value))
    if policy.form is not None and (occasion.abstained or intents & policy.form_intents):
        offered.append(policy.form)
    asking = unasked(replies, occasion.said)
    if not asking and not intents & _PARTING:
        mine = [
            Action(label=label_of(text), kind="reply", value=" ".join(text.split()))
            for text in openings
            if text.strip()
        ]
        asking = unasked(mine, occasion.said)
    link = [action for action in links if action.kind in policy.kinds][:1]
    room = policy.most - len([action for action in offered if action.kind in policy.kinds]) - len(link)
    if not intents & _PARTING:
        offered += asking[: max(0, room)] if "reply" in policy.kinds else []
        offered += link
    offered += unasked(policy.static, occasion.said)
    shown: dict[str, Action] = {}
    for action in offered:
        if action.kind in policy.kinds and not any(action.value == other.value for other in shown.values()):
            shown.setdefault(action.label.casefold(), action)
    return tuple(shown.values())[: policy.most]


def knows_nothing(text: str) -> bool:
    """Whether a model's short answer says, in its own words, that it does not know."""
    return 0 < len(text) <= _SHORT_ANSWER_CHARS and _NOT_KNOWING.search(text) is not None
