"""Whether a question can be understood without what was said before it, so that its answer is the same for everybody
who asks it. Pure; called for each question before the semantic tier looks at it.

A first question has nothing before it: it only has to be a question, and not to point at the page that the visitor
sees. A later one must carry its own subject: no word that points back, no ellipsis, no reply to something asked.
Languages whose pointing words are not listed here are never clearly self-contained later on.
"""

import re

from chatwright.domain.detection import common_words, detect_language

LONGEST_CHARACTERS = 600
"""A longer text tells a story of its own: it is asked once."""
_MIN_OWN_WORDS_LATER = 2
_MIN_WORDS_FIRST = 3
_HOUSE = frozenset(["you", "your", "du", "dein", "deine", "tu", "vous", "tú", "usted", "você", "je", "jij", "jouw"])
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\u0e00-\u0eff]")

_SAYS_NOTHING_TEXT = (
    "yes yeah yep yup no nope nah ok okay k kk sure fine thanks thank thx ty please pls right correct exactly maybe "
    "perhaps hi hello hey bye goodbye cheers cool great good nice perfect alright alrighty done really true false "
    "agreed again more continue next back help hmm hm uh um oh ah lol wow ja nein doch bitte danke gut genau klar "
    "richtig hallo tschüss okey weiter mehr oui non merci bonjour sí si gracias hola vale grazie ciao sim não "
    "obrigado obrigada olá nee dank tak nie dzięki да нет спасибо"
)
_SAYS_NOTHING = frozenset(_SAYS_NOTHING_TEXT.split())
# What stands only on the visitor's page.
_ON_PAGE = re.compile(
    r"(?<!\w)(?:th(?:is|ese|at|ose)|diese[rsmn]?|ce(?:tte|t)?|ces|est[ea]|quest[oa]|dit|deze) "
    r"(?:page|article|product|products|item|items|post|site|website|screen|video|picture|image|photo|listing|link|form|section|paragraph|"
    r"seite|artikel|produkt|video|bild|formular|produit|página|producto|prodotto|pagina)(?!\w)"
    r"|(?<!\w)(?:shown|mentioned|listed|described|written|displayed) (?:here|above|below)(?!\w)"
    r"|(?<!\w)(?:the (?:one|text|link|button|message)|see|as|look) (?:above|below)(?!\w)|(?<!\w)(?:i am|i'm) looking at(?!\w)",
    re.IGNORECASE,
)
_POINTING = {
    "en": "it it's its itself that that's this these those they they're them their theirs he him his she her hers there here "
    "then former latter same other others another else instead again also too either neither both such said above previous "
    "earlier last one ones first second third more less cheaper better bigger smaller faster so mentioned you your",
    "de": "dies diese dieser dieses diesen diesem sie ihn ihm ihr ihre ihren deren dessen er es da dabei damit davon dafür dazu "
    "darin darauf daran darüber dagegen dahin solche derselbe dieselbe dasselbe andere anderen anderer anderes noch auch "
    "stattdessen wieder dort hier oben vorher erste zweite letzte mehr weniger billiger besser du dein deine",
    "fr": "il elle ils elles lui leur leurs cela ça ce cet cette ces celui celle ceux celles y en là ici même autre autres aussi "
    "encore plus moins tu vous",
    "es": "él ella ellos ellas lo la los las eso esto esa ese esos esas aquello aquel allí ahí aquí mismo otro otra otros también "
    "además más menos tú usted",
    "it": "lui lei loro lo la li le ci ne questo questa questi queste quello quella quelli esso essa lì qui stesso altro altra "
    "anche più meno tu",
    "pt": "ele ela eles elas isso isto aquilo esse essa este esta lá aqui mesmo outro outra também mais menos você",
    "nl": "het dit deze die dat zij ze hij hem haar hun daar er ervan ermee erover daarvoor hier zelfde andere ook nog meer "
    "minder je jij jouw",
}
_POINTS = {language: frozenset(text.split()) for language, text in _POINTING.items()}
# "you" of the house, and "more" of an amount, point nowhere in these.
_HARMLESS = re.compile(
    r"(?<!\w)(?:(?:do|can|will|would|could|did|are|have|should) you|you(?:'re)? (?:have|offer|sell|ship|accept|support|provide|"
    r"deliver|take|charge|guys)|your|is it (?:possible|ok|okay|safe|free|necessary|allowed|true|legal|mandatory|required)|does it "
    r"(?:take|cost)(?= to| for)|it (?:take|takes|cost|costs) (?:to|for)|it possible|is there(?: an?y?)?|are there(?: any)?|there (?:is|are)|"
    r"more than|less than|more about|the same day|each other|that i|so that|one day|one time|one of (?:my|the|your)|"
    r"the first time|first name|last name|gibt es|ist es möglich|kann man)(?!\w)",
    re.IGNORECASE,
)
_GOES_ON = re.compile(
    r"\s*(?:and|but|or|also|so|then|because|what about|how about|what if|und|aber|oder|auch|sondern|weil|was ist mit|wie ist es mit|"
    r"wie sieht es mit|et|mais|ou|y|pero|e|ma|en|maar|of|mas)(?=[\s,]|$)",
    re.IGNORECASE,
)
_ASKS = {
    "en": "what what's how how's why when where where's who who's whose which whom can could do does did is are am was were will "
    "would should may might must has have had don't doesn't isn't aren't can't tell show explain describe give list find i i'm "
    "i've i'd my we our need want looking please help",
    "de": "was wie wieso warum weshalb wann wo wohin woher wer wen wem wessen welche welcher welches welchen wieviel kann können "
    "könnt könnte darf dürfen muss müssen soll ist sind gibt habt haben hat habe bietet wird werden nennen erkläre zeig ich mein "
    "meine wir unser brauche möchte will",
    "fr": "que qu'est-ce qui quoi comment pourquoi quand où quel quelle quels quelles combien est-ce puis-je peut-on je j'ai mon ma "
    "mes avez-vous faut-il",
    "es": "qué que cómo como cuándo dónde quién cuál cuáles cuánto cuánta cuántos puedo puede hay tengo mi mis necesito quiero es",
    "it": "che cosa come quando dove chi quale quali quanto quanta quanti posso può c'è perché ho il mio mia vorrei è",
    "pt": "que como quando onde quem qual quais quanto quantos posso pode há tenho meu minha quero preciso é",
    "nl": "wat hoe waarom wanneer waar wie welke hoeveel kan kunnen mag moet is zijn heb heeft ik mijn wij onze wil",
}
_STARTS = {language: frozenset(text.split()) for language, text in _ASKS.items()}
_START_WITHIN = 4


def standalone(question: str, *, first_turn: bool, language: str | None = None) -> bool:
    """Whether a question stands alone. `first_turn`: nothing was said before it. `language`: of the question where the
    caller knows it; it is detected otherwise. 5 to 60 µs."""
    if not question or len(question) > LONGEST_CHARACTERS:
        return False
    said = _WORD.findall(question.replace("’", "'").casefold())
    if _UNSPACED.search(question):
        return first_turn and len(question) >= 3 and _ON_PAGE.search(question) is None
    if all(word in _SAYS_NOTHING for word in said):
        return False
    if _ON_PAGE.search(question):
        return False
    language = language or detect_language(question)
    common = common_words(language)
    if first_turn:
        # "How much is it?" asks of nothing that we know; "What do you do?" asks of the house.
        points = _POINTS.get(language or "", frozenset[str]()) - _HOUSE
        if any(word not in common and word not in points and word not in _SAYS_NOTHING for word in said):
            return True
        starts = _STARTS.get(language or "", frozenset[str]())
        return len(said) >= _MIN_WORDS_FIRST and said[0] in starts and points.isdisjoint(said)
    return _clearly_alone(question, language, common)


def _clearly_alone(question: str, language: str | None, common: frozenset[str]) -> bool:
    points, starts = _POINTS.get(language or ""), _STARTS.get(language or "")
    if points is None or starts is None or _GOES_ON.match(question):
        return False
    said = _WORD.findall(_HARMLESS.sub(" ", question.replace("’", "'")).casefold())
    if not said or said[0] in _SAYS_NOTHING or not points.isdisjoint(said):
        return False
    own = {word for word in said if word not in common and word not in starts}
    if len(own) < _MIN_OWN_WORDS_LATER:
        return False
    asked = _WORD.findall(question.replace("’", "'").casefold())[:_START_WITHIN]
    return not starts.isdisjoint(asked)
