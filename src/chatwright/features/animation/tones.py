"""What a sentence of a reply does: it greets, apologises, celebrates, asks, agrees, counts steps. Pure, by its words.

English first, with the commonest openings of German, French, Spanish, Italian, Portuguese and Dutch. Only openings and
question marks count: a sentence is judged while it is still being written, and what it turns out to be may come too late.
"""

import re
from typing import Literal

Tone = Literal["greeting", "farewell", "apology", "celebration", "question", "agreement", "list", "plain"]

_OPENERS: tuple[tuple[Tone, str, str], ...] = (
    # (tone, words that open a sentence, the same in scripts without spaces)
    (
        "apology",
        (
            r"(?:i'?m|i am|we'?re|we are) (?:so |very |really |truly |terribly )?(?:sorry|afraid)|sorry|(?:my |our )?apologies"
            r"|(?:i|we) (?:sincerely |do )?(?:apologi[sz]e|regret)|unfortunately|regrettably|i (?:don'?t|do not) (?:know|have)"
            r"|(?:es )?tut (?:mir|uns) (?:sehr |wirklich )?leid|leider|entschuldig\w+|verzeih\w+|das weiß ich (?:leider )?nicht"
            r"|(?:je suis |nous sommes )?(?:vraiment )?désolée?s?|malheureusement|excusez|je ne sais pas"
            r"|lo (?:siento|lamento)|lo sentimos|perdón|disculp\w+|lamentablemente|desafortunadamente|no lo sé"
            r"|mi dispiace|ci dispiace|scus\w+|purtroppo|non lo so|desculp\w+|lamento|lamentamos|infelizmente|não sei"
            r"|het spijt (?:me|ons)|helaas|dat weet ik niet|excuses"
        ),
        "申し訳|すみません|残念|抱歉|对不起|很遗憾|죄송",
    ),
    (
        "celebration",
        (
            r"congratulations|congrats|well done|hooray|hurray|happy birthday|(?:great|good|wonderful|fantastic) news"
            r"|(?:awesome|fantastic|wonderful|excellent|perfect|amazing|brilliant|great|hurra|wunderbar|großartig|fantastisch"
            r"|ausgezeichnet|parfait|génial|formidable|bravo|perfecto|genial|estupendo|perfetto|ottimo|fantastico|perfeito"
            r"|ótimo|geweldig|prima)(?=\s*[!,.🎉👍])|(?:herzlichen )?glückwunsch|gratul\w+|gute (?:nachricht|neuigkeit)\w*"
            r"|félicitations|bonne nouvelle|felicidades|enhorabuena|buenas noticias|congratulazioni|complimenti|buone notizie"
            r"|parabéns|boas notícias|gefeliciteerd|goed nieuws"
        ),
        "おめでとう|恭喜|祝贺|축하",
    ),
    (
        "farewell",
        (
            r"good ?bye|bye|see you|take care|until next time"
            r"|have an? (?:great|nice|good|lovely|wonderful|pleasant) (?:day|evening|night|weekend|time|trip|one)"
            r"|auf wiedersehen|tschüss|bis (?:bald|dann|später)|(?:einen )?schönen (?:tag|abend)|au revoir|à bientôt"
            r"|bonne (?:journée|soirée)|adiós|hasta (?:luego|pronto)|arrivederci|buona (?:giornata|serata)|até (?:logo|breve)"
            r"|tot ziens|fijne (?:dag|avond)"
        ),
        "さようなら|再见|再見|안녕히",
    ),
    (
        "greeting",
        (
            r"hello|hi|hey|hiya|welcome|greetings|good (?:morning|afternoon|evening)|hallo|guten (?:tag|morgen|abend)|servus"
            r"|moin|willkommen|bonjour|bonsoir|salut|bienvenue|hola|buenos días|buenas (?:tardes|noches)|bienvenid[oa]s?|ciao"
            r"|buongiorno|buonasera|benvenut[aeio]|olá|bom dia|boa (?:tarde|noite)|bem-vind[ao]s?|hoi"
            r"|goede(?:morgen|middag|navond)|welkom"
        ),
        "こんにちは|おはよう|こんばんは|你好|您好|안녕하세요|नमस्ते|مرحبا",
    ),
    (
        "question",
        (
            r"(?:would|could|can|do|did|have|are|will) you|(?:may|shall|should|can|could) (?:i|we)|which (?:one|of)"
            r"|möchte(?:n sie|st du)|könn(?:en sie|test du|ten sie)|kannst du|ha(?:ben sie|st du)|soll(?:en)? (?:ich|wir)"
            r"|welche[rsnm]?|voulez-vous|souhaitez-vous|avez-vous|pouvez-vous|puis-je|vuole|vuoi|gostaria|wilt u"
            r"|kunt u|heeft u"
        ),
        "¿",
    ),
    (
        "agreement",
        (
            r"yes|yeah|yep|sure|certainly|of course|absolutely|exactly|that'?s (?:right|correct)|correct|right,|indeed"
            r"|(?:you'?re|you are) (?:very |most )?welcome|my pleasure|no problem|ja|natürlich|selbstverständlich|klar|genau"
            r"|gerne?|richtig|oui|bien sûr|exactement|de rien|sí|claro|por supuesto|exacto|de nada|certo|certamente|sì"
            r"|esatto|prego|sim|com certeza|zeker|natuurlijk|precies"
        ),
        "はい|是的|当然|네,",
    ),
    (
        "list",
        (
            r"first(?:ly)?,|second(?:ly)?,|third(?:ly)?,|next,|then,|finally,|lastly,|step \d+|to (?:begin|start)(?: with)?,"
            r"|here(?:'s how| are the steps| is how)|follow these|zuerst|zunächst|danach|anschließend|schließlich|schritt \d+"
            r"|d'abord|ensuite|enfin|étape \d+|primero|luego|después,|por último|paso \d+|prima di tutto|poi,|infine|passo \d+"
            r"|primeiro|depois,|por fim|ten eerste|daarna|stap \d+"
        ),
        "まず|首先|然后|最后|먼저",
    ),
)
_OPENING = re.compile(
    r"[^\w¿#]*(?:" + "|".join(f"(?P<{tone}>(?:{words})(?!\\w)|{wide})" for tone, words, wide in _OPENERS) + ")",
    re.IGNORECASE,
)
_ITEM = re.compile(r"\s*(?:[-*+•‣◦]\s+|\(?(?:\d{1,2}|[a-h])[.)]\s+|#{1,6}\s|\|)\S?")
_ASKS = re.compile(r"[?？؟][\"'»”’)\]*_`！!\s]*\Z")
_PARTY = re.compile("[🎉🎊🥳🎂🏆]")


def tone_of(sentence: str, *, whole: bool = True) -> Tone:
    """The tone of one sentence, with the mark of its list if it is an item. `whole`: its end has come."""
    opening = _OPENING.match(sentence)
    tone = "plain" if opening is None else opening.lastgroup
    if tone in ("apology", "celebration", "farewell", "greeting"):
        return tone
    if whole and _ASKS.search(sentence):
        return "question"
    if _PARTY.search(sentence):
        return "celebration"
    if _ITEM.match(sentence):
        return "list"
    match tone:
        case "question" | "agreement" | "list":
            return tone
        case _:
            return "plain"
