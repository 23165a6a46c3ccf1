"""Weak labels: which of the twelve intents a row of the public sets most likely has, by its set's own label and its form.

The rules follow training/labelled/README.md; they err now and then, a head trained on many rows less so. None means: not
sure enough to teach. Used by `training/intents.py` only.
"""

import re

from chatwright.domain.reading import Intent

_PERSON = re.compile(
    r"\b(speak|talk|chat|connect(ed)?|transferred) (to|with) (a |an |some|your |the |customer|my )?(human|person|real|live|agent|"
    r"rep|someone|somebody|one of|customer|support|manager|supervisor|team|staff|department|bank)"
    r"|\bwho(m)? (do|can|should|must|would|could|may) i (speak|talk|contact|call|ask|see|reach|get in touch|turn)"
    r"|\b(contact|reach|phone) (you|customer|support|the bank|my bank)\b|\bcall (customer|support|the bank|my bank)\b"
    r"|\bfrom (your|the) (customer )?(department|support|service)|\bhelp from someone|\bi need to (talk|speak) (to|with)\b|\b(who|whom) to (contact|call|ask)\b",
)
_GREETING = re.compile(
    r"^(hi|hello|hey|hiya|howdy|hola|aloha|yo|ahoy|greetings|good (morning|afternoon|evening|day)|nice to (see|meet))\b"
)
_HOW = re.compile(
    r"^(so |and |but |ok |okay |hi |hello |hey |please |[\w' ]{0,60}[,.!?-] ?)?(how (do|can|to|could|would|should|does|did|might)\b(?! i know (if|whether))|explain)"
    r"|\b(tell me|show me|know|explain|understand|figure out|find out|sure|learn|advise|idea|help)( to me)? (on |about |as to )?(how (do|can|to|i|you|the|my|it)|why)\b"
    r"|\b(what|which) (are the |is the |are |is |)?(steps?|procedures?|process|way|best way|safest way|easiest way|proper way)\b"
    r"|\bwhat (do|should|must|can|would|will) i (do|have to do|need to do)\b|\bwhat do i need to\b(?! (bring|show|know|pack|buy))"
    r"|\b(what does|meaning of|definition of|define)\b|\bhow .{0,40}\bwork\b|\bwhat happened\b|\bways? to\b|\bmean\b"
    r"|\bwhat('s| is) needed\b|\binstructions\b",
)
_WHY = re.compile(r"\bwhy\b|\breasons?\b|\bhow come\b|\bwhat (would|could|might) cause")
_ASK = re.compile(
    r"^(and |so |but |hi,? |hello,? |hey,? |ok,? |[\w' ]{0,80}[,.!?] ?)?(what|what's|whats|when|where|which|who|whose|is|are|am|do|does|did|will|has|have|should|"
    r"how (much|many|long|often|far|old|big|soon|late|good|busy|high|fast|hard|safe|expensive|tall|close|is|are|was|simple|easy)|"
    r"can i|can my|can the|can you tell|could you tell|can this|can we|could i|may i|would it|is it|are there|any)\b"
    r"|\b(tell me|let me know|want to know|like to know|need to know|wanna know|wondering|find out|give me|look up|inform me)\b|\?\s*$"
)
_WISH = re.compile(
    r"^(please|can you|could you|would you|will you|help|let's|mind)\b|^(i |i'd |i'll |i am |i'm |we )\b.{0,12}"
    r"\b(want|need|would like|like|gonna need|going to need|wish|looking to|trying to|will need)\b|\bplease\b|\bhelp me\b|"
    r"^(i'd|i would) (like|love)|^(can|could) (i|we) (get|have|please|order|change|make)\b.*\bplease\b|^please\b"
)
_COMMAND = re.compile(
    r"^(now |ok |okay |ai,? |hey |please )?(add|book|call|cancel|change|check|clear|connect|convert|create|decrease|delete|find|"
    r"flip|freeze|get|go|increase|locate|lower|make|move|order|pair|pay|play|put|read|remind|remove|rent|repeat|report|reserve|"
    r"reset|roll|schedule|send|set|share|show|skip|speak|start|stop|submit|switch|sync|take|talk|text|toss|transfer|turn|update|"
    r"use|whisper|activate|block|close|unblock|raise|replace|list|open|increase|adjust|translate|calculate|mark)\b"
)
_WRONG = re.compile(
    r"\b(not|n't|nt|never|no) (\w+ ){0,3}(work|working|worked|arrive|arrived|received|receive|come|let|showing|shown|show|updated|go|went|"
    r"through|recogni[sz]e|make|made|authori[sz]e|do|complete|process|processed|appeared|reached|here|gone)\b"
    r"|\b(declin|reject|fail|wrong|incorrect|charged|stuck|pending|missing|missed|swallow|ate|broken|block(ed)?|disput|fraud|unauthori|"
    r"twice|double|duplicate|extra|denied|refused|cancel+ed|revert|unable|error|issue|problem|less|short|disappear|weird|strange|still|"
    r"waiting|stole|damaged|bent|cracked|glitch|dissatisf|unhappy|upset|angry|poor|terrible|too (high|much)|frozen|froze)"
)
_HYPOTHETICAL = re.compile(
    r"^(what|how long|how much|how many|will|would|is there|are there|do you|does|if|when will|can i|could|how (can|do) i (prevent|avoid|"
    r"know|check|see|tell|get|dispute|request|cancel))\b"
)
_SERVICE = re.compile(
    r"\b(customer (services?|support|care)|refund|order(ed)?|deliver(y|ed)?|flights?|broken|apps?|service|package|internet|website|"
    r"booking|staff|airline|wifi|wi-fi|signal|update|crash(es|ed|ing)?|phone|call cent(re|er)s?|on hold|cancel+ed|trains?|bus|driver|"
    r"restaurant|hotel|store|shop|bill|queue|server|lag|account|ticket|product|company|engineers?|parcel|card|bank|password|download)\b"
)
_ANGRY = re.compile(
    r"\b(worst|terrible|awful|horrible|disgusting|appalling|shocking|fail|sucks?|rude|useless|broken|ridiculous|unacceptable|"
    r"disappointed|annoy(ed|ing)|fuming|angry|furious|joke|never|waiting|still no|hate|pathetic|poor|not work\w*|rage|down again|"
    r"doesn't work|won't|isn't working|keeps?)\b"
)
_SMALL = frozenset(
    [
        "what_is_your_name",
        "are_you_a_bot",
        "how_old_are_you",
        "tell_joke",
        "meaning_of_life",
        "where_are_you_from",
        "who_made_you",
        "who_do_you_work_for",
        "do_you_have_pets",
        "what_are_your_hobbies",
        "fun_fact",
    ]
)
_FIXED: dict[str, Intent] = {
    "yes": "confirmation", "no": "negation", "goodbye": "farewell", "thank_you": "thanks", "what_can_i_ask_you": "question",
}  # fmt: skip
_CLINC_WRONG = frozenset({"card_declined", "account_blocked", "damaged_card", "report_fraud"})
_CLINC_DO = frozenset(
    [
        "play_music",
        "alarm",
        "timer",
        "reminder_update",
        "book_flight",
        "book_hotel",
        "car_rental",
        "restaurant_reservation",
        "cancel_reservation",
        "shopping_list_update",
        "todo_list_update",
        "calendar_update",
        "make_call",
        "text",
        "uber",
        "smart_home",
        "change_volume",
        "change_speed",
        "change_accent",
        "change_language",
        "change_ai_name",
        "change_user_name",
        "whisper_mode",
        "reset_settings",
        "sync_device",
        "flip_coin",
        "roll_dice",
        "next_song",
        "update_playlist",
        "find_phone",
        "share_location",
        "freeze_account",
        "pin_change",
        "new_card",
        "order",
        "order_checks",
        "pay_bill",
        "transfer",
        "report_lost_card",
        "schedule_meeting",
        "schedule_maintenance",
        "travel_notification",
        "pto_request",
        "direct_deposit",
        "cancel",
        "repeat",
        "insurance_change",
        "credit_limit_change",
        "redeem_rewards",
        "rollover_401k",
        "lost_luggage",
        "reminder",
    ]
)
_BANK_WRONG = frozenset(
    [
        "card_payment_wrong_exchange_rate",
        "extra_charge_on_statement",
        "pending_cash_withdrawal",
        "card_not_working",
        "contactless_not_working",
        "pending_top_up",
        "wrong_amount_of_cash_received",
        "card_payment_fee_charged",
        "transfer_not_received_by_recipient",
        "top_up_reverted",
        "balance_not_updated_after_cheque_or_cash_deposit",
        "card_payment_not_recognised",
        "unable_to_verify_identity",
        "direct_debit_payment_not_recognised",
        "declined_cash_withdrawal",
        "pending_card_payment",
        "declined_transfer",
        "Refund_not_showing_up",
        "declined_card_payment",
        "pending_transfer",
        "card_swallowed",
        "transaction_charged_twice",
        "reverted_card_payment?",
        "beneficiary_not_allowed",
        "transfer_fee_charged",
        "failed_transfer",
        "virtual_card_not_working",
        "wrong_exchange_rate_for_cash_withdrawal",
        "top_up_failed",
        "balance_not_updated_after_bank_transfer",
        "cash_withdrawal_not_recognised",
        "card_arrival",
        "compromised_card",
        "top_up_by_card_charge",
        "cash_withdrawal_charge",
        "exchange_charge",
    ]
)


def weak_intent(name: str, label: object, text: str) -> Intent | None:
    """The likely intent of a row of the set `name` (its path in the data folder), None if the rules are not sure."""
    lowered = " ".join(text.lower().replace("’", "'").split())
    if name.startswith("banking77"):
        return _bank(str(label), lowered)
    if name.startswith("clinc150"):
        return _assistant(str(label), lowered)
    if name.startswith(("tweeteval", "hutto")):
        score = label if isinstance(label, float) else 0.0
        return _tweet(lowered, angry=(name.startswith("tweeteval_emotion") and label == 0) or score < -1.5)
    return by_form(lowered)


def by_form(lowered: str) -> Intent | None:
    """By sentence shape alone: for a message that reports nothing gone wrong."""
    if _PERSON.search(lowered):
        return "handoff"
    if re.search(r"\bwhy\b.*(n't|\bnot\b|\bnever\b|\bcharged\b|\bdeclined\b|\bfailed\b)", lowered):
        return "complaint"
    if _HOW.search(lowered) or _WHY.search(lowered):
        return "explanation"
    last = re.split(r"[.!,] ", lowered)[-1]
    if last != lowered and last.endswith("?") and "please" not in lowered:  # a wish, then what it comes down to
        return by_form(last)
    if re.match(
        r"^(can|could|would|will) you (please )?(?!tell|give|let me know|explain|advise)", lowered
    ) and not re.match(
        r"^(can|could|would|will) you (accept|support|take|ship|charge|also|still|make exchanges)", lowered
    ):
        return "request"
    if _WISH.search(lowered) and not re.search(r"\b(tell me|let me know|know|find out)\b", lowered):
        return "request"
    if _ASK.search(lowered):
        return "question"
    if _COMMAND.search(lowered):
        return "request"
    return "request" if _WISH.search(lowered) else None


def _bank(label: str, lowered: str) -> Intent | None:
    if _PERSON.search(lowered):
        return "handoff"
    wrong = _WRONG.search(lowered)
    if label in _BANK_WRONG:
        if _HYPOTHETICAL.search(lowered) and not re.search(r"\b(my|was|hasn't|i've|did|been|didn't)\b", lowered):
            return by_form(lowered)
        if wrong or not lowered.endswith("?"):
            return "complaint"
        return "complaint" if re.search(r"\b(was|did|my|i've|been|am|is)\b", lowered) else by_form(lowered)
    if wrong and re.search(
        r"\b(n't|not|isn't|won't|failed|declined|error|problem|still|never|dissatisf|poor|unhappy)\b", lowered
    ):
        return "complaint" if not lowered.endswith("?") or "why" in lowered else None
    found = by_form(lowered)
    return found or ("request" if re.match(r"^(i|my)\b", lowered) else None)


def _assistant(label: str, lowered: str) -> Intent | None:
    if label == "thank_you" and re.search(r"\b(that's all|that is all|bye|later|that'll be all)\b", lowered):
        return "farewell"
    if label in _FIXED:
        return _FIXED[label]
    if label == "greeting":
        return "greeting" if _GREETING.search(lowered) else "small_talk"
    if label in _SMALL:
        return "small_talk"
    if _PERSON.search(lowered) and label not in (
        "change_language",
        "change_user_name",
        "user_name",
        "text",
        "make_call",
    ):
        return "handoff"
    if label == "make_call":
        return "request"
    if label == "maybe":
        return None
    if label in _CLINC_WRONG:
        if _HOW.search(lowered) and label != "card_declined":
            return "explanation"
        return "complaint" if not _COMMAND.search(lowered) else "request"
    found = by_form(lowered)
    if label in _CLINC_DO and found in (None, "question"):
        return (
            "question"
            if found == "question" and re.match(r"^(is|are|do|does|what|when|which|who|how)\b", lowered)
            else "request"
        )
    if label == "definition":
        return "explanation" if "mean" in lowered or "defin" in lowered else found
    return found or "question"


def _tweet(lowered: str, *, angry: bool) -> Intent | None:
    if _SERVICE.search(lowered):
        return "complaint" if _ANGRY.search(lowered) and (angry or "@user" in lowered) else None
    if angry and "@user" in lowered:
        return None  # at somebody, or at a company: the words alone do not tell
    if "?" in lowered or re.search(r"\b(thanks|thank you|hello|goodbye|bye|please|good morning|good night)\b", lowered):
        return None
    return "other"
