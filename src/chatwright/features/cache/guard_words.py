"""The words that `guards.py` goes by: opposites, negations, numbers, days, units, names in small letters. Data only.

Each opposite is an axis with two sides; a word stands on one side of one axis. English first; other languages where a
word has one meaning.
"""

from collections.abc import Iterator, Mapping

# --- opposites ----------------------------------------------------------------------------------------------------

_VERBS = """
activate, reactivate | deactivate
enable | disable
open | close
lock | unlock
block | unblock
freeze | unfreeze
install | uninstall
subscribe | unsubscribe
link, connect | unlink, disconnect
hide | unhide, show
follow | unfollow
pin | unpin
mute | unmute
buy, purchase | sell
send | receive
lend | borrow
deposit, top up, load | withdraw
upload | download
import | export
upgrade | downgrade
increase, raise | decrease, reduce, lower
include | exclude
encrypt | decrypt
add | remove, delete
start, begin | stop, end, finish
arrive | depart
accept, approve | reject, decline, refuse
allow, permit | forbid, prohibit
hire | fire
gain | lose
zoom in | zoom out
log in, log into, sign in, sign into, log on | log out, log off, sign out, sign off
check in | check out
turn on, switch on | turn off, switch off
opt in | opt out
pick up | drop off
move in | move out
clock in | clock out
""".strip()
_WORDS = """
before | after
above, over | below, under
minimum, min, minimal, lowest, smallest | maximum, max, maximal, highest, largest, biggest
cheapest | priciest
fastest, quickest | slowest
shortest | longest
earliest | latest
youngest | oldest
best | worst
incoming, inbound | outgoing, outbound
sender | recipient, receiver, beneficiary
buyer | seller
physical | virtual
monthly | yearly, annual, annually
weekly | daily
domestic | international, abroad, overseas
indoor | outdoor, outdoors
online | offline
male | female
left | right
import duty | export duty
upper | lower
public | private
paid | unpaid, free
full-time | part-time
prepaid | postpaid
depart, departure | arrival
advantages, pros, benefits | disadvantages, cons, drawbacks
hot | cold
manual, manually | automatic, automatically
morning | evening
breakfast | dinner
aktivieren, aktiviere | deaktivieren, deaktiviere
sperren, sperre | entsperren, entsperre
kaufen, kaufe | verkaufen, verkaufe
senden, sende | empfangen, empfange
öffnen, öffne | schließen, schließe
einzahlen | auszahlen, abheben
anmelden | abmelden
hochladen | herunterladen
hinzufügen | entfernen, löschen
installieren | deinstallieren
erhöhen | senken, verringern
vorher | nachher
mindestens, minimal | höchstens
günstigste, billigste | teuerste
activer | désactiver
ouvrir | fermer
acheter | vendre
envoyer | recevoir
ajouter | supprimer
avant | après
déposer | retirer
activar | desactivar
abrir | cerrar
comprar | vender
enviar | recibir
depositar | retirar
antes | después
""".strip()
_IRREGULAR = {
    "buy": "bought", "sell": "sold", "send": "sent", "lend": "lent", "freeze": "froze frozen", "unfreeze": "unfroze unfrozen",
    "begin": "began begun", "hide": "hid hidden", "lose": "lost", "withdraw": "withdrew withdrawn", "forbid": "forbade forbidden",
    "unsubscribe": "unsubscribing", "deposit": "deposited", "show": "shown", "stop": "stopped stopping", "drop": "dropped dropping",
    "permit": "permitted permitting", "turn": "", "unpin": "unpinned unpinning", "pin": "",
}  # fmt: skip


def _forms(verb: str) -> Iterator[str]:
    """A verb as it is met: "open", "opens", "opened", "opening"; of two words the first one is bent."""
    first, space, rest = verb.partition(" ")
    tail = space + rest
    stem = first.removesuffix("e")
    yield verb
    yield f"{first}s{tail}"
    yield f"{stem}ed{tail}"
    yield f"{stem}ing{tail}"
    if first[-1] in "gpn" and len(first) <= 4:
        yield f"{first}{first[-1]}ed{tail}"
        yield f"{first}{first[-1]}ing{tail}"
    if first[-1] == "y":
        yield f"{first[:-1]}ied{tail}"
    for form in _IRREGULAR.get(first, "").split():
        yield form + tail
    if tail:
        yield first + rest  # "login", "checkout"
        yield f"{first}-{rest}"


def _sides() -> Iterator[tuple[str, str]]:
    for lines, bend in ((_VERBS, True), (_WORDS, False)):
        for line in lines.splitlines():
            axis = line.partition(",")[0].partition("|")[0].strip()
            for sign, side in zip("+-", line.split("|"), strict=True):
                for word in map(str.strip, side.split(",")):
                    for form in _forms(word) if bend else (word,):
                        yield form, sign + axis


SIDES: Mapping[str, str] = dict(_sides())
"""Word or two words -> the side of an axis that it stands on: "+open", "-open"."""

# --- negation -----------------------------------------------------------------------------------------------------

_NEGATIONS_TEXT = (
    "not no never none nothing nobody neither nor cannot without unable except nicht kein keine keinen keinem keiner "
    "keines nie niemals nichts ohne pas jamais rien aucun aucune sans nunca nada ningún ninguna sin non mai senza "
    "niente nessun nessuna não sem nenhum nenhuma niet geen nooit zonder не нет никогда без ikke inte aldrig nie bez "
    "değil yok"
)
NEGATIONS = frozenset(_NEGATIONS_TEXT.split())
"""Besides every word that ends in n't."""
HARMLESS_NEGATIONS = (
    r"(?<!\w)(?:(?:do|did|am|was)(?:n't| not|nt) (?:know|understand|remember|see how|sure)|(?:i'?m|am|was) not (?:sure|certain)|"
    r"not sure|no idea|or not|yes or no|if not|not only|no problem|no worries|no\. ?\d|non-|(?:can|could|would|will|do|is|are)n't "
    r"(?:you|i|we|there) (?:just|simply|please|also)|weiß nicht|nicht sicher|ob nicht|ne sais pas|no sé|non so|não sei|weet niet)"
)
"""Negations that turn nothing round: "I don't know how to pay" asks how to pay. Small letters."""
WHY_NOT = (
    r"(?<!\w)(?:why|how come|warum|wieso|pourquoi|perché)(?:,? \w+){0,4}? ?(?:n't|not|nicht|kein\w*|pas|non|no)(?!\w)"
)
"""Asks for the reason of a trouble."""
_TROUBLES_TEXT = (
    "broken missing failed fails fail failing failure declined declining rejected denied refused stuck pending "
    "blocked lost stolen wrong incorrect incorrectly error errors issue issues problem problems trouble delayed delay "
    "late still waiting disappeared vanished gone unknown unauthorized unauthorised unrecognized unrecognised "
    "suspicious strange weird fraud fraudulent mistake mistakenly disabled invalid expired cancelled canceled "
    "reverted returned refunded damaged defective faulty frozen locked impossible unless forgot forgotten stopped "
    "empty down crashed crashes trying yet kaputt defekt verloren gestohlen falsch fehler problem verspätet fehlt "
    "blockiert gesperrt abgelehnt vergessen immer perdu volé refusé bloqué erreur problème perdido robado rechazado "
    "bloqueado"
)
TROUBLES = frozenset(_TROUBLES_TEXT.split())
"""Words that say without a negation what others say with one: "it's broken", "it doesn't work"."""

# --- numbers, units, days -----------------------------------------------------------------------------------------

_NUMBERS = {
    0: "zero", 2: "two zwei deux", 3: "three drei trois tres", 4: "four vier quatre cuatro", 5: "five fünf cinq cinco",
    6: "six sechs seis", 7: "seven sieben siete", 8: "eight acht huit ocho", 9: "nine neun neuf nueve", 10: "ten zehn dix diez",
    11: "eleven", 12: "twelve dozen zwölf douze doce", 13: "thirteen", 14: "fourteen vierzehn", 15: "fifteen fünfzehn quinze quince",
    16: "sixteen", 17: "seventeen", 18: "eighteen achtzehn", 19: "nineteen", 20: "twenty zwanzig vingt veinte",
    30: "thirty dreißig trente treinta", 40: "forty vierzig", 50: "fifty fünfzig", 60: "sixty sechzig", 70: "seventy", 80: "eighty",
    90: "ninety", 100: "hundred hundert", 1000: "thousand tausend", 1_000_000: "million",
}  # fmt: skip
NUMBERS: Mapping[str, str] = {word: str(value) for value, words in _NUMBERS.items() for word in words.split()}
"""Not "one", which is a pronoun most of the time, nor words that mean something else in another language."""

_UNITS = {
    "usd": "$ usd dollar dollars bucks us$", "eur": "€ eur euro euros", "gbp": "£ gbp pound pounds quid sterling", "jpy": "¥ jpy yen",
    "inr": "₹ inr rupee rupees", "chf": "chf franken", "percent": "% percent prozent pct", "second": "seconds sec secs sekunden",
    "minute": "minute minutes min mins minuten", "hour": "hour hours hr hrs h stunde stunden heures horas",
    "day": "day days tag tage tagen jours días dias", "week": "week weeks woche wochen semaines semanas",
    "month": "month months monat monate monaten mois meses", "year": "year years yr yrs jahr jahre jahren ans años",
    "kg": "kg kilo kilos kilogram kilograms", "g": "g gram grams gramm", "lb": "lb lbs", "oz": "oz ounce ounces",
    "km": "km kilometer kilometers kilometres", "mile": "mile miles mi meilen", "m": "m meter meters metres", "cm": "cm", "mm": "mm",
    "inch": "inch inches zoll", "foot": "foot feet ft", "l": "l liter liters litre litres", "ml": "ml", "gallon": "gallon gallons",
    "cup": "cup cups", "mb": "mb", "gb": "gb", "tb": "tb", "mbps": "mbps", "watt": "w watt watts kw", "volt": "v volt volts",
    "celsius": "°c celsius", "fahrenheit": "°f fahrenheit", "person": "people persons guests adults personen",
}  # fmt: skip
UNITS: Mapping[str, str] = {word: unit for unit, words in _UNITS.items() for word in words.split()}
"""A word or sign beside a number -> its unit."""

_DATES = {
    "mon": "monday mondays montag montags lundi lunes", "tue": "tuesday tuesdays dienstag mardi martes",
    "wed": "wednesday wednesdays mittwoch mercredi miércoles", "thu": "thursday thursdays donnerstag jeudi jueves",
    "fri": "friday fridays freitag vendredi viernes", "sat": "saturday saturdays samstag samstags samedi sábado",
    "sun": "sunday sundays sonntag sonntags dimanche domingo", "weekend": "weekend weekends wochenende wochenenden",
    "weekday": "weekday weekdays werktag werktags werktagen", "jan": "january januar janvier enero",
    "feb": "february februar février febrero", "mar": "märz mars", "apr": "april avril abril", "jun": "june juni juin junio",
    "jul": "july juli juillet julio", "aug": "august août agosto", "sep": "september septembre septiembre",
    "oct": "october oktober octobre octubre", "nov": "november novembre noviembre", "dec": "december dezember décembre diciembre",
    "today": "today tonight heute aujourd'hui hoy oggi hoje vandaag", "yesterday": "yesterday gestern hier ayer ieri ontem gisteren",
    "tomorrow": "tomorrow demain mañana domani amanhã", "christmas": "christmas xmas weihnachten noël navidad",
    "easter": "easter ostern pâques", "new year": "silvester", "holiday": "thanksgiving",
}  # fmt: skip
DATES: Mapping[str, str] = {word: day for day, words in _DATES.items() for word in words.split()} | {
    f"{which} {span}": f"{which} {span}"
    for which in ("last", "this", "next")
    for span in (
        "week",
        "month",
        "year",
        "monday",
        "tuesday",
        "wednesday",
        "thursday",
        "friday",
        "saturday",
        "sunday",
        "weekend",
    )
}
"""Word or two words -> the day, month or stretch of time meant. Not "may" and "march", which are verbs too."""

# --- names in small letters ---------------------------------------------------------------------------------------

_NAMES = (
    # Countries, peoples and what they speak.
    "afghanistan albania albanian algeria argentina argentinian armenia australia australian austria austrian azerbaijan bahrain "
    "bangladesh belarus belgium belgian bolivia bosnia brazil brazilian britain british bulgaria bulgarian cambodia cameroon canada "
    "canadian chile china chinese mandarin cantonese colombia congo croatia croatian cuba cyprus czech czechia denmark danish "
    "ecuador egypt egyptian england english estonia estonian ethiopia finland finnish france french georgia germany german ghana "
    "greece greek guatemala haiti honduras hungary hungarian iceland india indian hindi indonesia indonesian iran iraq ireland irish "
    "israel hebrew italy italian jamaica japan japanese jordan kazakhstan kenya korea korean kuwait latvia latvian lebanon libya "
    "lithuania lithuanian luxembourg malaysia malta mexico mexican moldova mongolia morocco nepal netherlands dutch nicaragua nigeria "
    "norway norwegian oman pakistan panama paraguay peru philippines poland portugal portuguese qatar romania romanian "
    "russia russian rwanda scotland scottish senegal serbia singapore slovakia slovenia somalia spain spanish sudan sweden "
    "swedish switzerland swiss syria taiwan tanzania thailand thai tunisia turkish uganda ukraine ukrainian uruguay usa uk eu "
    "venezuela vietnam vietnamese wales welsh yemen zambia zimbabwe africa african asia asian europe european arabic latin swahili "
    "deutschland österreich schweiz frankreich italien spanien polen niederlande belgien england deutsch englisch französisch "
    # Places.
    "amsterdam athens atlanta austin bali bangkok barcelona beijing berlin boston brooklyn brussels budapest california chicago "
    "cologne copenhagen dallas delhi denver detroit dubai dublin florida frankfurt geneva hamburg hawaii helsinki houston istanbul "
    "köln lisbon london madrid manchester melbourne miami milan minneapolis montreal moscow mumbai munich münchen nashville oslo "
    "oregon paris philadelphia phoenix portland prague san seattle seoul shanghai stockholm sydney texas tokyo toronto vancouver "
    "vienna warsaw washington wien zürich zurich "
    # Money and ways to pay.
    "dollar dollars euro euros eur usd gbp sterling yen rupee rupees franc francs peso pesos chf aud cad jpy inr pln sek nok "
    "bitcoin ethereum visa mastercard amex maestro paypal klarna stripe venmo zelle sepa sofort "
    # Makers, systems, programs.
    "android ios iphone ipad mac macos windows linux ubuntu chromebook google apple microsoft amazon samsung huawei sony facebook "
    "instagram whatsapp telegram twitter youtube netflix spotify slack discord outlook gmail chrome firefox safari "
    "alexa siri wordpress shopify magento salesforce python java javascript docker kubernetes postgresql mysql "
    "fedex usps dhl hermes walmart costco uber lyft airbnb xbox playstation nintendo"
)  # fmt: skip
NAMES = frozenset(_NAMES.split())
"""Names that are recognised without a capital. Others are known by theirs."""
_COMMON_CAPITALS_TEXT = (
    "i i'm i've i'd i'll ok okay pin pins atm atms faq id ids sms app apps tv pdf url vip ceo asap hi hello hey dear "
    "please thanks help mr mrs ms dr am pm a an the and or wifi wi-fi internet bluetooth usb gps qr e-mail email mail "
    "monday tuesday wednesday thursday friday saturday sunday january february march april may june july august "
    "september october november december"
)
COMMON_CAPITALS = frozenset(_COMMON_CAPITALS_TEXT.split())
"""Written large often enough without being a name."""

# --- what is another thing soon -----------------------------------------------------------------------------------

_LIVE = (
    "weather forecast temperature rain raining snow snowing humidity traffic stock stocks price prices rate rates news score scores headline "
    "headlines open opened closed close closing hours opening available availability outage status queue discount discounts sale deals "
    "schedule flight flights departures match game delivery wetter regen temperatur stau kurs preis preise nachrichten geöffnet offen "
    "geschlossen verfügbar störung angebot angebote météo ouvert fermé prix tiempo abierto cerrado precio meteo aperto chiuso prezzo"
)
LIVE = frozenset(_LIVE.split())
"""What changes from day to day: with a word for now, the question is asked anew each time."""
ALWAYS_LIVE = frozenset(["weather", "forecast", "raining", "snowing", "wetter", "météo", "meteo", "headlines"])
"""What is asked of this moment without saying so."""
