"""Which language a text is in, without a model: its script, and in Latin or Cyrillic letters its commonest words.

Pure; called when chunks are made and for each question. Good enough to choose a stemmer and to know what an embedder
cannot read; a name or a code alone has no language.
"""

import re
import unicodedata
from collections import Counter
from functools import lru_cache

_SAMPLE_CHARACTERS = 4_000
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")

# The commonest words of each language. A word counts for each language that has it, and more where few have it.
_COMMON = {
    "en": "the of and to in is that it was for on are as with his they be at from this have or by had not but what all "
    "were when we there can an your which their said if do will each about how up out them then she many some would "
    "these who did does where why you i my me could should much has been after during into than whom whose",
    "de": "der die und in den von zu das mit sich des auf für ist im dem nicht ein eine als auch es an werden aus er hat "
    "dass sie nach wird bei einer um am sind noch wie einem über einen so zum war haben nur oder aber vor zur bis mehr "
    "durch man sein wurde sei wer was wann wo warum welche welcher welches wieviel viele kann ich du ihr wir ihre seine "
    "diese dieser wurden gibt keine kein mein dein nicht welchem welchen wofür womit worauf",
    "fr": "de la le et les des en un du une que est pour qui dans a par plus pas au sur ne se ce il sont avec aux son "
    "cette ses mais comme ou si leur y dont elle été nous vous je tu être fait sans quel quelle quels quelles comment "
    "combien où quand pourquoi quoi on était ont lors selon c'est n'est d'un d'une qu'est mon ma mes votre",
    "es": "de la que el en y a los se del las un por con no una su para es al lo como más pero sus le ya o este sí porque "
    "esta entre cuando muy sin sobre también me hasta hay donde quien desde todo nos durante todos uno les ni contra "
    "otros fue qué cuál cuáles cómo cuándo cuánto cuántos cuántas dónde quién quiénes era han mi tu puedo está",
    "it": "di e il la che in a per un è del non le si una i da con della dei alla sono al come nel più ma gli delle ha lo "
    "anche o se ed dal loro quando sua suo chi cosa quale quali quanto quanti quante dove perché era stato questo questa "
    "nella dalla sul sulla degli agli posso mio mia il cui tra fra essere viene",
    "pt": "de a o que e do da em um para é com não uma os no se na por mais as dos como mas foi ao ele das tem à seu sua "
    "ou ser quando muito há nos já está eu também só pelo pela até isso ela entre era depois sem mesmo aos quem qual "
    "quais quanto quantos quantas onde porque você são meu minha posso às",
    "nl": "de van een het en in is dat op te zijn met voor niet aan er die om door als ook bij of uit maar dan naar wordt "
    "deze heeft over hij nog werd wat wie waar wanneer hoe hoeveel welke waarom kan worden tot was zij je ik mijn dit "
    "hebben geen meer had haar hun",
    "sv": "och i att det som en på är av för med till den har de inte om ett han men var jag sig från vi så kan man när "
    "nu där över vid hur vad vem vilken vilket vilka varför många mycket eller efter under också hade blev är ska min "
    "dessa detta",
    "da": "og i at det er en til på de som med den af for der ikke et har han var fra men om jeg sig kan blev efter over "
    "hvor hvad hvem hvornår hvordan hvilken hvilket hvilke hvorfor mange meget eller også ved skal havde min være bliver "
    "mellem dette",
    "no": "og i det er en til på som for med de av at ikke et har han var fra men om jeg seg kan ble etter over hvor hva "
    "hvem når hvordan hvilken hvilket hvilke hvorfor mange mye eller også ved skal hadde min være blir mellom dette",
    "fi": "ja on ei se että oli hän joka mutta ovat kun ole niin myös mitä kuka missä milloin miten kuinka miksi mikä "
    "monta tai sen ne voi olla olivat mukaan kuin jälkeen sekä vain sitä hänen minun tämä jonka joita",
    "pl": "w i na z do się nie jest o że to jak po za od dla jego jej są oraz przez co kto gdzie kiedy ile który która "
    "które jaki jaka jakie dlaczego czy był była było być może ma przy lub tym ich też tylko został mój pod",
    "cs": "a v se na je že s z do o to i ve pro jako za po od by které který která co kdo kde kdy kolik jak jaký jaká "
    "jaké proč byl byla bylo být jsou ale nebo podle také jeho její při není má můj mezi ke však",
    "sk": "a v sa na je že s z do o to aj vo pre ako za po od by ktoré ktorý ktorá čo kto kde kedy koľko aký aká aké "
    "prečo bol bola bolo byť sú ale alebo podľa tiež jeho jej pri nie má môj medzi",
    "ro": "de și în a la cu pe din că nu o este care un sunt mai ce pentru se au fost prin sau dar al ale lui cine unde "
    "când cât câți câte cum care este era după între lor această acest ca fi poate meu",
    "hu": "a az és hogy nem is egy van volt de meg csak már ez mint ki mi hol mikor hány hogyan melyik miért milyen vagy "
    "el még azt kell lehet után által voltak mely amely ezt amit pedig szerint",
    "tr": "ve bir bu da de için ile ne olarak daha çok en gibi olan kadar sonra kim nerede zaman nasıl kaç hangi neden "
    "niçin ama veya değil mi mı mu mü olduğu tarafından her ise var yok o göre nedir kimdir ilk iki üzerinde oldu bulunan "
    "hangisi ben benim",
    "id": "yang dan di dari untuk dengan pada ini adalah itu dalam tidak akan ke oleh sebagai juga atau ada bisa telah "
    "apa siapa mana kapan bagaimana berapa mengapa saya anda mereka dapat lebih kepada tersebut",
    "vi": "và của là có trong được cho các một không với những đã người này khi từ để đến như về ra vào tại bởi ai gì đâu "
    "nào bao nhiêu thế tôi hay năm theo cũng trên sau",
    "ru": "и в не на с что как по из а он к за от у его о для это но был то так же все до мы при вы было где когда кто "
    "сколько какой какая какие каким почему чем или после были была может их её ли бы я со во также который которая "
    "которые является между",
    "uk": "і в не на з що як по із а він до за від у його про для це але був та так же все ми при ви було де коли хто "
    "скільки який яка які чому чим або після були була може їх її чи я також та є між",
    "bg": "и в не на с че как по от а той за се са е да към до при къде кога кой колко какъв каква какви защо или след "
    "бил била били може му ги също който която които между",
    "sr": "и у не на с да што како по из а он за од се је су до при где када ко колико који која које зашто или после био "
    "била били може њихов такође између",
    "ar": "في من على إلى أن عن التي الذي ما مع هذا هذه كان هو هي لا أو كم متى أين كيف لماذا هل كانت بعد بين كل ذلك وقد تم قد",
    "fa": "و در به از که این را با است برای آن یک خود تا بر کرد شد می های بود چه چند کجا کی چگونه چرا آیا هم یا شده",
    "ur": "کے کی میں ہے اور سے کا کو پر نے یہ ہیں کہ کیا کون کب کہاں کتنے کیوں تھا تھی اس ایک نہیں",
    "hi": "के में की है और से का को पर ने यह हैं कि क्या कौन कब कहाँ कितने क्यों था थी इस एक नहीं लिए किस थे गया जो",
    "mr": "आहे आणि च्या या ते हे होते होता का काय कोण कधी कुठे किती आहेत असे त्या मध्ये",
    "ne": "छ र को मा ले हो का कि के कहाँ कति छन् थियो एक यो लागि",
}  # fmt: skip

_SCRIPTS = (
    (0x0370, 0x03FF, "greek"), (0x1F00, 0x1FFF, "greek"), (0x0400, 0x052F, "cyrillic"), (0x0530, 0x058F, "hy"),
    (0x0590, 0x05FF, "he"), (0x0600, 0x077F, "arabic"), (0x08A0, 0x08FF, "arabic"), (0x0900, 0x097F, "devanagari"),
    (0x0980, 0x09FF, "bn"), (0x0A00, 0x0A7F, "pa"), (0x0A80, 0x0AFF, "gu"), (0x0B00, 0x0B7F, "or"),
    (0x0B80, 0x0BFF, "ta"), (0x0C00, 0x0C7F, "te"), (0x0C80, 0x0CFF, "kn"), (0x0D00, 0x0D7F, "ml"),
    (0x0D80, 0x0DFF, "si"), (0x0E00, 0x0E7F, "th"), (0x0E80, 0x0EFF, "lo"), (0x1000, 0x109F, "my"),
    (0x10A0, 0x10FF, "ka"), (0x1100, 0x11FF, "ko"), (0x1200, 0x137F, "am"), (0x1780, 0x17FF, "km"),
    (0x3040, 0x30FF, "kana"), (0x31F0, 0x31FF, "kana"), (0x3400, 0x9FFF, "han"), (0xAC00, 0xD7AF, "ko"),
    (0xF900, 0xFAFF, "han"), (0x20000, 0x323AF, "han"),
)  # fmt: skip
_OF_SCRIPT = {
    "latin": ("en", "de", "fr", "es", "it", "pt", "nl", "sv", "da", "no", "fi", "pl", "cs", "sk", "ro", "hu", "tr", "id", "vi"),
    "cyrillic": ("ru", "uk", "bg", "sr"),
    "arabic": ("ar", "fa", "ur"),
    "devanagari": ("hi", "mr", "ne"),
}  # fmt: skip
# Without a common word the script's widest language is the best guess, but Latin letters could be anything.
_FALLBACK = {"cyrillic": "ru", "arabic": "ar", "devanagari": "hi", "greek": "el"}
# Letters that tell where words are too few.
_TELLING = {
    "ß": "de", "ñ": "es", "¿": "es", "¡": "es", "ğ": "tr", "ı": "tr", "ş": "tr", "ã": "pt", "õ": "pt", "ł": "pl", "ą": "pl", "ę": "pl",
    "ř": "cs", "ě": "cs", "ů": "cs", "ő": "hu", "ű": "hu", "ț": "ro", "ș": "ro", "ă": "ro", "ø": "da", "œ": "fr",
    "є": "uk", "ї": "uk", "і": "uk", "ґ": "uk", "ы": "ru", "э": "ru", "ј": "sr", "љ": "sr", "њ": "sr", "ћ": "sr",
    "پ": "fa", "چ": "fa", "گ": "fa", "ٹ": "ur", "ڈ": "ur", "ے": "ur", "ھ": "ur", "ں": "ur", "ळ": "mr",
}  # fmt: skip


def detect_language(text: str) -> str | None:
    """The language that most of `text` is in (ISO 639-1), None if nothing tells: no letters, or names alone.

    Looks at the first 4,000 characters. Linear; 20 to 200 µs.
    """
    return next(iter(likely_languages(text)), None)


def likely_languages(text: str) -> tuple[str, ...]:
    """`detect_language` with all languages that `text` speaks for equally: "Was bedeutet Plastid?" has one telling word,
    which is English, German and Dutch. Empty if nothing tells."""
    text = unicodedata.normalize("NFC", text[:_SAMPLE_CHARACTERS]).lower()
    script = script_of(text)
    match script:
        case None:
            return ()
        case "greek":
            return ("el",)
        case "kana":
            return ("ja",)
        case "han":
            return ("zh",)
        case "latin" | "cyrillic" | "arabic" | "devanagari":
            return _by_words(text, script)
        case _:
            return (script,)


@lru_cache(maxsize=64)
def common_words(language: str | None) -> frozenset[str]:
    """The commonest words of a language, which say what is asked rather than of what; empty if it is not known."""
    return frozenset(_COMMON.get(language or "", "").split())


def script_of(text: str) -> str | None:
    """The script of most letters of `text`: "latin", "han", …, or the language of a script that only one has."""
    counts: Counter[str] = Counter()
    for character, count in Counter(text).items():
        if character.isalpha():
            counts[_script(character)] += count
    if not counts:
        return None
    if counts["kana"] and counts["kana"] * 10 >= counts["han"]:
        counts["kana"] += counts["han"]  # Japanese is written in both
    # A Chinese character says as much as a word of Latin letters: names and codes do not outweigh the sentence.
    for dense in ("han", "kana", "ko"):
        counts[dense] *= 5
    return counts.most_common(1)[0][0]


@lru_cache(maxsize=4_096)
def _script(character: str) -> str:
    code = ord(character)
    if code < 0x0370:
        return "latin"
    return next((name for first, last, name in _SCRIPTS if first <= code <= last), "latin")


def _by_words(text: str, script: str) -> tuple[str, ...]:
    points: Counter[str] = Counter()
    candidates = _OF_SCRIPT[script]
    weights = _weights(script)
    for word in _WORD.findall(text):
        for language, weight in weights.get(word.replace("’", "'"), ()):
            points[language] += weight  # type: ignore[assignment]  # a counter of floats
    for letter, language in _TELLING.items():
        if language in candidates and letter in text:
            points[language] += 1
    best = points.most_common()
    if not best or best[0][1] <= 0:
        return (_FALLBACK[script],) if script in _FALLBACK else ()
    return tuple(language for language, found in best if found == best[0][1])


@lru_cache(maxsize=8)
def _weights(script: str) -> dict[str, list[tuple[str, float]]]:
    owners: dict[str, list[str]] = {}
    for language in _OF_SCRIPT[script]:
        for word in set(_COMMON[language].split()):
            owners.setdefault(word, []).append(language)
    return {word: [(language, 1 / len(having)) for language in having] for word, having in owners.items()}
