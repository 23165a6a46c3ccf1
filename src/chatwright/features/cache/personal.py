"""Whether a text tells who somebody is, or names something that is theirs alone. Pure.

A question with a name, an address or an order number in it has an answer for one visitor, so nothing of it may be
given to another. What is merely about oneself ("how do I change my PIN?") is asked by everybody and is not personal.
Formats (mails, numbers, accounts) are known in any language, statements ("my name is …") in the commonest.

Called for each question and each new answer, before either tier keeps anything. 10 to 60 µs for a usual question.
"""

import re
import unicodedata

from chatwright.domain.checksums import is_iban, is_luhn

_LONGEST = 20_000
"""Characters that are looked at; a longer text counts as personal, because nobody has read it to its end."""

# --- by format ----------------------------------------------------------------------------------------------------

_MAIL = re.compile(r"(?<![\w.+-])([\w.+-]{1,64})@([\w-]{1,63}(?:\.[\w-]{1,63}){1,8})")
# Addresses of a house, not of a person. Whoever writes "mail me at info@…" has said less than a name.
_ROLES_TEXT = (
    "support info contact help hello sales service services office team billing privacy security press jobs careers "
    "admin noreply no-reply donotreply legal abuse kontakt hilfe kundenservice datenschutz rechnung shop orders "
    "returns feedback enquiries inquiries mail post webmaster partners marketing hr accounts"
)
_ROLES = frozenset(_ROLES_TEXT.split())
_DIGITS = re.compile(r"(?<![\w.,])\+?\(?\d(?:[ \u00a0().\-/]{0,2}\d){6,24}(?!\w)")
_DATE = re.compile(
    r"(?:(?:19|20)\d\d)[-/. ]\d{1,2}[-/. ]\d{1,2}|\d{1,2}[-/. ]\d{1,2}[-/. ](?:19|20)\d\d|(?:19|20)\d\d ?[-/] ?(?:19|20)\d\d"
)
_TIME_SPAN = re.compile(r"\d{1,2}[.]\d\d ?[-/] ?\d{1,2}[.]\d\d")
# "1.000.000" and "10 000 000" are amounts, whatever stands beside them.
_AMOUNT = re.compile(r"\d{1,3}(?:([ \u00a0.,])\d{3})(?:\1\d{3})*")
_ROUND = re.compile(r"[1-9]\d{0,3}0{5,}")
_IBAN = re.compile(
    r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?(?![A-Za-z0-9])", re.IGNORECASE
)
_NUMBERED = re.compile(
    r"""
      (?<![\w-])\d{3}-\d{2}-\d{4}(?![\w-])                                  # social security
    | (?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.])                            # internet address
    | (?<![\w-])[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}(?![\w-])
    | (?<![\w-])(?=[a-z0-9_-]*\d[a-z0-9_-]*\d[a-z0-9_-]*\d)(?=[a-z0-9_-]*[a-z])[a-z0-9_-]{16,}(?![\w-])   # tokens and keys
    | (?<!\w)[a-z]{1,2}\d[a-z\d]?[ ]\d[a-z]{2}(?!\w)                        # a post code that names a street
    """,
    re.VERBOSE | re.IGNORECASE,
)
# What has a number, the words that may stand between, and the number: at least four digits, or any behind "#".
_THING = (
    r"order|orders|ticket|case|invoice|booking|reservation|customer|client|account|contract|policy|tracking|member|membership|"
    r"reference|ref|serial|confirmation|parcel|package|shipment|claim|transaction|purchase|subscription|user|licen[cs]e|"
    r"passport|ssn|patient|student|employee|delivery|receipt|card|sort\ code|"
    r"bestellung|auftrag|rechnung|vertrag|kunde|buchung|sendung|konto|police|mitglied|fall|"
    r"commande|facture|contrat|compte|réservation|colis|dossier|pedido|factura|contrato|cuenta|reserva|envío|"
    r"ordine|fattura|contratto|conto|prenotazione|spedizione|encomenda|fatura|conta|bestelling|factuur|zamówienie|заказ"
)
_OWN_NUMBER = re.compile(
    rf"""(?<!\w)(?:{_THING})s?[ -]?(?:number|num|no|nr|nº|n°|id|code|key|nummer|numéro|numero|número|номер)?[.:]?
         [ ]*(?:\#|is|ist|est|es|è|é|was|ending(?:[ ]in)?|with|mit|von|of)?[ ]*[:\#]?[ ]*
         (?P<mark>[A-Za-z]{{0,5}}[-/]?\d[\w/-]{{2,}})(?!\w)
      |  (?<!\w)(?:(?:bestell|auftrags|rechnungs|vertrags|kunden|buchungs|sendungs|konto|mitglieds|vorgangs|ticket|referenz|
         policen|serien|steuer|versicherungs)-?(?:nummer|nr)|(?:order|ticket|case|invoice|booking|customer|account|tracking|
         reference|serial|confirmation|member|policy|claim)[ -]?(?:number|no|nr|id|\#))[.:]?\s*(?:is|ist|lautet|:|\#)?\s*
         [\w-]*\d[\w-]*
      |  (?<!\w)(?:{_THING})s?[ ]*\#[ ]*\w*\d
    """,
    re.VERBOSE | re.IGNORECASE,
)
_YEAR = re.compile(r"(?:19|20)\d\d")
_SECRET = re.compile(
    r"(?<!\w)(?:pass(?:word|code)|pin|cvv|cvc|otp|tan|passwort|kennwort|mot de passe|contraseña|senha|hasło)"
    r" (?:is|was|ist|lautet|war|est|es|è|é|to) ?:? ?(?=\S*\d)\S{3,}",
    re.IGNORECASE,
)
_BIRTH = re.compile(
    r"(?<!\w)(?:i was born|i'm born|born on|date of birth|dob|birthday is|geboren am|geburtsdatum|né le|née le|nacido el|"
    r"nacida el|nato il|nata il|nascido em|geboren op)\b.{0,20}\d",
    re.IGNORECASE,
)

# --- where somebody lives -----------------------------------------------------------------------------------------

_STREET = re.compile(
    r"""
      (?<![\w.,])\d{1,5}[a-z]?[ ](?:[NSEW]\.?[ ])?(?:[A-ZÄÖÜ][\w.'’-]+[ ]){1,4}
      (?:Street|St|Road|Rd|Avenue|Ave|Lane|Ln|Drive|Dr|Boulevard|Blvd|Court|Ct|Place|Pl|Square|Terrace|Way|Close|Crescent)(?!\w)
    | (?<!\w)[A-ZÄÖÜ][\wäöüß-]{2,30}[ ]?(?:[Ss]traße|[Ss]trasse|[Ss]tr\.|weg|platz|allee|gasse|damm|ufer|laan|straat|plein)[ ]\d{1,4}
    | (?<!\w)\d{1,4},?[ ](?:bis[ ])?(?:[Rr]ue|[Aa]venue|[Bb]oulevard|[Pp]lace|[Cc]hemin)[ ](?:d[eu]s?[ ]|de[ ]la[ ]|d['’])?[A-ZÉÈ]
    | (?<!\w)(?:[Cc]alle|[Aa]venida|[Vv]ia|[Vv]iale|[Pp]iazza|[Rr]ua|[Uu]l\.)[ ](?:[\w'’.]+[ ]){0,4}?[A-Z][\w'’-]+,?[ ](?:n\.?º?[ ]?)?\d{1,4}(?!\w)
    """,
    re.VERBOSE,
)
_LIVES = re.compile(
    r"(?<!\w)(?:(?:i|we) live (?:at|on)|(?:my|our) (?:home |postal |delivery |shipping |billing |street )?address is|"
    r"ich wohne (?:in der|am|an der)|meine adresse (?:ist|lautet)|j'habite (?:au|à) \d|mon adresse est|mi dirección es|"
    r"vivo en la calle|il mio indirizzo è|meu endereço é)\s+(?!not\b|nicht\b|wrong\b|falsch\b|outdated\b|incorrect\b)\S",
    re.IGNORECASE,
)

# --- names --------------------------------------------------------------------------------------------------------

# What may follow "my name is" without being a name.
_NO_NAME = (
    r"(?!(?:not|n't|wrong|mis\w*|incorrect\w*|missing|too|spel\w*|on|in|the|a|an|different|changed|changing|still|also|written|"
    r"printed|being|only|so|very|now|no|going|displayed|shown|showing|what|listed|out|same|already|never|nicht|falsch|auf|"
    r"im|in|zu|anders|noch|pas|mal|no|mal|está|sbagliato|errado|verkeerd)\b)"
)
_NAMED = re.compile(
    rf"""(?<!\w)(?:
        my[ ](?:full[ ]|first[ ]|last[ ]|sur|user[ ]?|maiden[ ])?name(?:[ ]is|['’]s)
      | call[ ]me(?=[ ](?!back|later|now|please|again|tomorrow|today|this|that|an?|by|something|when|at|if|the|on|in|for|soon|your|my)[^\W\d_]+[.!]?$)
      | mein[ ](?:voller[ ]|vor|nach)?name[ ](?:ist|lautet) | ich[ ]hei(?:ß|ss)e | mein[ ]name:
      | je[ ]m['’]appelle | mon[ ]nom[ ]est | me[ ]llamo | mi[ ]nombre[ ]es | mi[ ]chiamo | il[ ]mio[ ]nome[ ]è
      | (?:eu[ ])?me[ ]chamo | (?:o[ ])?meu[ ]nome[ ]é | ik[ ]heet | mijn[ ]naam[ ]is | nazywam[ ]się | mam[ ]na[ ]imię
      | jag[ ]heter | jeg[ ]hedder | jeg[ ]heter | minun[ ]nimeni[ ]on | меня[ ]зовут | моё[ ]имя | мое[ ]имя | мене[ ]звати
      | benim[ ]adım | adım | اسمي | मेरा[ ]नाम
    )[ :]+{_NO_NAME}[^\W\d_]{{2,}}
    | 我叫 | 我的名字[是叫] | 私の名前は | と申します | 제[ ]?이름은 | 저는[ ].{{2,8}}입니다
    """,
    re.VERBOSE | re.IGNORECASE,
)
_CAPITAL = r"[A-ZÀ-ÖØ-ÞĀŁŚŠŻŽČĆŘ][a-zà-öø-ÿāăąćčďęěłńňőřśšťůűźżž]+"
_FULL_NAME = rf"{_CAPITAL}(?:[ -]{_CAPITAL}){{1,3}}"
# Two words that are written large behind "I am", but no name.
_CALLED = re.compile(
    rf"""
      (?<!\w)(?:[Ii]['’]?[ ]?a?m|[Ii]['’]m|[Tt]his[ ]is|[Hh]ere[ ]is|[Ii]ch[ ]bin|[Hh]ier[ ]ist|[Hh]ier[ ]spricht|[Jj]e[ ]suis|
           [Ss]oy|[Ss]ono|[Ss]ou|[Ii]k[ ]ben|[Jj]estem)[ ](?P<said>{_FULL_NAME})(?!\w)
    | (?:^|[.!?,][ ])(?P<here>{_CAPITAL}(?:[ ]{_CAPITAL}){{0,2}})[ ](?:here|hier|speaking|ici)(?=[.,!:]|[ ](?:and|again|with|from)\b|$)
    | (?<!\w)(?:[Mm]r|[Mm]rs|[Mm]s|[Mm]iss|[Dd]r|[Hh]err|[Hh]errn|[Ff]rau|[Mm]onsieur|[Mm]adame|[Ss]eñora?|[Ss]ignora?)[.]?[ ](?P<titled>{_CAPITAL})(?!\w)
    | (?<!\w)(?:[Dd]ear|[Hh]i|[Hh]ello|[Ll]iebe[r]?|[Hh]allo|[Cc]her|[Cc]hère|[Hh]ola|[Cc]iao)[ ](?P<dear>{_CAPITAL}(?:[ ]{_CAPITAL})?)[ ]?[,!](?!\w)
    | (?<!\w)(?:[Mm]y|[Mm]eine?)[ ](?:wife|husband|son|daughter|mother|father|mom|dad|brother|sister|partner|boss|colleague|friend|
          girlfriend|boyfriend|frau|Frau|mann|Mann|sohn|Sohn|tochter|Tochter),?[ ](?P<kin>{_CAPITAL})(?!\w)
    | (?:[Rr]egards|[Cc]heers|[Ss]incerely|[Gg]rüße|[Gg]ruß|[Gg]russ|[Tt]hanks|[Tt]hank[ ]you|[Dd]anke)[,.!]?\s+(?P<signed>{_FULL_NAME})[.!]?\s*$
    | (?:[Rr]egards|[Cc]heers|[Ss]incerely|[Gg]rüße|[Gg]ruß|[Gg]russ),?\s*(?P<regards>{_CAPITAL})[.!]?\s*$
    """,
    re.VERBOSE,
)
# Words of greetings and of titles that are no person's: "Hello Support,", "Dear Team,", "I'm Prime Member".
_NOBODY_TEXT = (
    "team support sir madam all everyone everybody there again service customer customers bot assistant chatbot chat "
    "friend friends folks guys admin helpdesk world damen herren zusammen leute welt equipo todos tutti company bank "
    "premium prime gold silver platinum vip member user buyer seller business pro plus basic student president "
    "chairman please yes no thanks north south east west new old european american british german french spanish "
    "italian chinese indian english polish dutch irish scottish african asian canadian australian muslim christian "
    "catholic jewish one what how why when where"
)
_NOBODY = frozenset(_NOBODY_TEXT.split())


# --- what may be there at all ---------------------------------------------------------------------------------------
# Most texts hold none of the words that a pattern needs: then it is not run. All casefolded.

_DIGIT = re.compile(r"\d")
_WORD = re.compile(r"\w+")
_NAMED_TEXT = (
    "name surname firstname lastname username call mein heisse appelle nom llamo nombre chiamo nome chamo heet naam "
    "nazywam heter hedder nimeni vorname nachname"
)
_NAMED_WORDS = frozenset(_NAMED_TEXT.split())
"""Of `_NAMED`, for texts in ASCII; it is run on all others."""
_LIVES_TEXT = "live address wohne adresse habite dirección vivo indirizzo endereço"
_LIVES_WORDS = frozenset(_LIVES_TEXT.split())
_CALLED_TEXT = (
    "i im am m this here hier ich je soy sono sou ik jestem speaking ici mr mrs ms miss dr herr herrn frau monsieur madame "
    "señor señora signor signora dear hi hello liebe lieber hallo cher chère hola ciao my mein meine regards cheers "
    "sincerely grüsse gruss thanks thank danke"
)
_CALLED_WORDS = frozenset(_CALLED_TEXT.split())
_STREET_HINTS = (
    "street", " st", "road", " rd", "aven", " ave", "lane", " ln", "drive", " dr", "boulevard", "blvd", "court", " ct", "plac", " pl",
    "platz", "stra",     "square", "terrace", "way", "close", "crescent", "str.", "weg", "allee", "gasse", "damm", "ufer", "laan", "rue", "chemin",
    "calle", "avenida", "via", "piazza", "rua", "ul.",
)  # fmt: skip


def personal(text: str, *, known: str = "") -> bool:
    """Whether `text` holds personal data. `known`: text that everybody may read (an answer's sources, the chatbot's own
    prompt): numbers, names and addresses that stand in it are nobody's secret.

    Errs towards True where a number could be somebody's: what is personal by mistake is answered anew, no more.
    """
    if len(text) > _LONGEST:
        return True
    text = unicodedata.normalize("NFKC", text)
    known = unicodedata.normalize("NFKC", known).casefold() if known else ""
    if "@" in text and any(
        match[1].casefold() not in _ROLES and match[0].casefold().rstrip(".") not in known
        for match in _MAIL.finditer(text)
    ):
        return True
    folded = text.casefold()
    return (_DIGIT.search(text) is not None and _numbers(text, known, folded)) or _names(text, known, folded)


def _numbers(text: str, known: str, folded: str) -> bool:
    for match in _DIGITS.finditer(text):
        if _identifies(match[0].strip(" ()./-\u00a0")) and match[0].strip().casefold() not in known:
            return True
    for match in _OWN_NUMBER.finditer(text):
        mark = match["mark"]
        if mark is not None and (sum(map(str.isdigit, mark)) < 4 or _YEAR.fullmatch(mark) or mark[0] == "-"):
            continue
        if match[0].casefold() not in known:
            return True
    street = (_STREET,) if any(hint in folded for hint in _STREET_HINTS) else ()
    for pattern in (_NUMBERED, _SECRET, _BIRTH, *street):
        if any(match[0].casefold() not in known for match in pattern.finditer(text)):
            return True
    return any(is_iban(match[0]) and match[0].casefold() not in known for match in _IBAN.finditer(text))


def _identifies(run: str) -> bool:
    """Whether a run of digits (with the marks people write between) is a telephone, card or other number of somebody."""
    if _DATE.fullmatch(run) or _TIME_SPAN.fullmatch(run) or _AMOUNT.fullmatch(run) or _ROUND.fullmatch(run):
        return False
    digits = "".join(character for character in run if character.isdigit())
    if len(digits) < 7:
        return False
    is_book = len(digits) == 13 and digits[:3] in ("978", "979") and not is_luhn(digits)
    return not is_book


def _names(text: str, known: str, folded: str) -> bool:
    words = set(_WORD.findall(folded))
    may_be_named = not folded.isascii() or not words.isdisjoint(_NAMED_WORDS)
    if may_be_named and any(match[0].casefold() not in known for match in _NAMED.finditer(text)):
        return True
    if not words.isdisjoint(_LIVES_WORDS) and any(match[0].casefold() not in known for match in _LIVES.finditer(text)):
        return True
    if words.isdisjoint(_CALLED_WORDS):
        return False
    for match in _CALLED.finditer(text):
        name = match[match.lastgroup or 0].casefold()
        if name not in known and not any(word in _NOBODY for word in name.replace("-", " ").split()):
            return True
    return False
