"""Sentences of customers, our own, labelled: what tweets lack. Made from patterns, the same ones at every run.

Used by `training.sentiment`. Tweets say little about products and services, and nothing about the
plain questions that most visitors ask: these lines do.
"""

import random
from collections.abc import Iterator, Sequence

Line = tuple[str, str]
"""A text and its sentiment: positive, neutral, negative."""

_THINGS = (
    "app", "website", "phone", "charger", "headset", "camera", "screen", "battery", "keyboard", "laptop", "delivery",
    "customer service", "support", "checkout", "return process", "hotel", "room", "breakfast", "food", "waiter", "flight",
    "seat", "booking", "subscription", "update", "new version", "login", "payment page", "refund", "price", "packaging",
    "jacket", "fabric", "size", "colour", "sound", "fan", "mattress", "book", "story", "film", "course", "teacher", "plan",
    "installation", "manual", "coffee machine", "vacuum cleaner", "toy", "bag", "printer", "router", "connection", "driver",
)  # fmt: skip
_GOOD = (
    "great", "excellent", "really good", "fantastic", "very fast", "easy to use", "comfortable", "worth every penny",
    "better than expected", "flawless", "beautiful", "reliable", "wonderful", "super helpful", "spot on", "a pleasure to use",
    "delicious", "friendly", "top quality", "well made", "just perfect", "exactly what I needed", "brilliant", "amazing",
    "smooth", "the best I have had", "quick and painless", "solid", "lovely", "impressive", "not bad at all",
)  # fmt: skip
_BAD = (
    "terrible", "awful", "really bad", "useless", "far too slow", "broken again", "uncomfortable", "a waste of money",
    "worse than before", "full of bugs", "ugly", "unreliable", "horrible", "no help at all", "way overpriced", "a nightmare",
    "disgusting", "rude", "poor quality", "badly made", "a joke", "nothing like the pictures", "disappointing", "a disgrace",
    "defective", "the worst I have had", "slow and confusing", "flimsy", "unacceptable", "a rip-off", "not good at all",
    "not worth the price", "not what I paid for",
)  # fmt: skip
_PLAIN = (
    "black", "two metres long", "the blue one", "in the basket", "from last year", "the standard model", "made of cotton",
    "on the second floor", "for two persons", "open on Sundays", "the one with the long cable", "billed monthly",
    "in my account", "the medium size", "ordered on Monday", "from the Berlin shop", "under the name Miller",
)  # fmt: skip
_GOOD_LINES = (
    "The {t} is {g}.", "the {t} is {g}", "Your {t} is {g}!", "I love the {t}, it is {g}.", "The {t} turned out to be {g}",
    "Honestly the {t} is {g}, thank you", "Very happy with the {t}.", "I am really pleased with my {t}, {g}!",
    "Bought the {t} two weeks ago and it is {g}.", "I would recommend the {t} to anyone.", "The {t} works like a charm.",
    "No complaints about the {t}, {g}.", "Five stars for the {t}!", "I was sceptical, but the {t} is {g}.",
    "The {t} exceeded my expectations", "Can't fault the {t}.", "It took a while, but the {t} is {g} now.",
    "My kids love the {t}.", "I could not be happier with the {t}.", "Thanks for fixing the {t} so quickly!",
    "What a {g} {t}!", "wow, {g} {t}", "The old one was {b}, this {t} is {g}.", "Not a single problem with the {t} so far.",
)  # fmt: skip
_BAD_LINES = (
    "The {t} is {b}.", "the {t} is {b}", "Your {t} is {b}!", "I hate the {t}, it is {b}.", "The {t} turned out to be {b}",
    "Honestly the {t} is {b}", "Very unhappy with the {t}.", "I am really disappointed with my {t}, {b}!",
    "Bought the {t} two weeks ago and it is {b}.", "I would not recommend the {t} to anyone.", "The {t} still does not work.",
    "Nothing but trouble with the {t}.", "One star for the {t}, and that is generous.", "It looks nice, but the {t} is {b}.",
    "The {t} fell far short of what was promised", "Do not buy the {t}.", "It used to be {g}, now the {t} is {b}.",
    "The {t} stopped working after a week.", "I have had enough of this {t}.", "Third time I write about the {t} and nobody answers.",
    "What a {b} {t}!", "ugh, {b} {t} again", "How can the {t} be {b}, I paid good money!", "I want my money back, the {t} is {b}.",
    "Why is the {t} {b}? This is ridiculous.", "Your {t} charged me twice and nobody cares.", "Still waiting for the {t}. Unacceptable.",
    "I thought the {t} would be {g}, but it isn't.", "The {t} is not {g}.", "Don't expect a {g} {t} here.",
)  # fmt: skip
_PLAIN_LINES = (
    "The {t} is {p}.", "Is the {t} {p}?", "my {t} is {p}", "How do I change the {t}?", "Where can I find the {t}?",
    "I would like to know more about the {t}.", "Can you tell me the price of the {t}?", "Does the {t} come with a warranty?",
    "I need to cancel the {t}", "Please send me the invoice for the {t}.", "When will the {t} be available?",
    "What are the opening hours for the {t}?", "I am looking for a {t}, {p}", "Could you check the status of my {t}?",
    "I ordered a {t}, {p}.", "What is the difference between this {t} and the other one?", "i want to change my {t}",
    "Who do I contact about the {t}?", "The {t} arrived on Tuesday.", "My {t} has not arrived yet, can you check?",
    "I have a question about my {t}", "Do you ship the {t} abroad?", "How long does the {t} take?", "I lost the receipt of my {t}.",
    "My question is about the {t}, {p}", "Is it possible to return the {t}?", "I forgot the password for the {t}",
    "The {t} shows error 403, what should I do?", "How do I set up the {t}?", "show me the {t}", "What does the {t} cost?",
    "I was charged for the {t} on the 3rd, which plan is that?", "The {t} is okay.", "The {t} is average, neither good nor bad.",
)  # fmt: skip
_GOOD_SHORT = (
    "thanks!", "thank you so much", "Thank you, that solved it.", "great, thanks", "perfect!", "awesome", "you're the best",
    "That was quick, thank you!", "brilliant, it works now", "love it", "this is exactly what I was looking for",
    "You have been very helpful.", "ok great", "wonderful news!", "much appreciated", "thx a lot", "cheers mate, sorted",
    "Excellent service as always.", "yay it works", "so happy with this", "I appreciate your help", "nice one",
    "Danke, das hat super geklappt!", "Vielen Dank für die schnelle Hilfe.", "¡Muchas gracias, funciona perfecto!",
    "Estoy muy contento con el servicio.", "Merci beaucoup, c'est parfait !", "Je suis très satisfait du service.",
    "👍", "❤️ thank you", "works perfectly now 🎉", ":)", "really good bot, thanks",
)  # fmt: skip
_BAD_SHORT = (
    "this is useless", "you are not helping", "that's not what I asked", "wrong answer again", "I am so frustrated right now",
    "worst support ever", "this is a scam", "I've been waiting for three weeks!!!", "nobody replies to my emails",
    "I want to complain", "give me my money back NOW", "your bot is stupid", "fed up with this", "this makes me so angry",
    "I'm very disappointed.", "are you kidding me", "unbelievable. still broken.", "I will never order here again",
    "what a waste of time", "it broke after one day", "you lost my parcel and don't care", "ridiculous", "terrible experience",
    "Das ist eine Frechheit, ich warte seit Wochen!", "Sehr schlechter Service, ich bin enttäuscht.", "Nichts funktioniert.",
    "Esto es una vergüenza, el servicio es pésimo.", "Estoy muy decepcionado, no funciona nada.",
    "C'est inadmissible, le service est nul.", "Je suis très déçu, rien ne marche.", "👎", "😡 still not working", ":(",
    "great, another error", "oh wonderful, it crashed again", "thanks for nothing",
)  # fmt: skip
_PLAIN_SHORT = (
    "hello", "hi there", "good morning", "ok", "yes", "no", "maybe", "yes please", "no thank you", "I see", "one moment",
    "what is your name?", "are you a bot?", "can I talk to a human?", "my order number is 48213", "John Miller",
    "it's the second one", "what time is it?", "how does it work", "bye", "see you later", "next week", "in Berlin",
    "what can you do", "please repeat that", "I don't know", "not sure", "test", "continue", "tell me more",
    "Wie kann ich mein Passwort ändern?", "Wo ist meine Bestellung?", "Wann haben Sie geöffnet?", "Guten Tag",
    "¿Cómo puedo cambiar mi contraseña?", "¿Dónde está mi pedido?", "Hola", "Quiero cancelar mi suscripción",
    "Comment changer mon mot de passe ?", "Où est ma commande ?", "Bonjour", "Je voudrais annuler mon abonnement",
    "I need help with my account", "how can I cancel my subscription", "is there a fee for transfers abroad",
    "please change my address", "I need a refund for order 3312", "my card was declined, what now?", "how do I report a lost card",
    "what happens if I miss a payment", "can I pay by card?", "is this item in stock", "What is your return policy?",
)  # fmt: skip


def write_lines(each: int, seed: int = 5) -> list[Line]:
    """Some `each` of every sentiment from the patterns, and all the short ones; no line twice."""
    dice = random.Random(seed)  # a draw of sentences, nothing secret
    lines: dict[str, str] = {}
    for texts, label in ((_GOOD_SHORT, "positive"), (_BAD_SHORT, "negative"), (_PLAIN_SHORT, "neutral")):
        lines.update(dict.fromkeys(texts, label))
    for patterns, label in ((_GOOD_LINES, "positive"), (_BAD_LINES, "negative"), (_PLAIN_LINES, "neutral")):
        lines.update((text, label) for text in _fill(patterns, each, dice))
    return list(lines.items())


def _fill(patterns: Sequence[str], count: int, dice: random.Random) -> Iterator[str]:
    for number in range(count):
        yield patterns[number % len(patterns)].format(
            t=dice.choice(_THINGS), g=dice.choice(_GOOD), b=dice.choice(_BAD), p=dice.choice(_PLAIN)
        )
