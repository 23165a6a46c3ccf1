"""What the probes of the caches ask: groups of questions with one answer each, a context, and people who name themselves."""

GROUPS: tuple[tuple[str, ...], ...] = (
    (
        "when will my parcel arrive?", "how long does delivery take?", "what is the delivery time?",
        "how many days until the parcel is here?", "when is my parcel delivered?", "wie lange dauert die Lieferung?",
    ),
    (
        "how do I return a parcel?", "can I send things back?", "what is your return policy?",
        "how does sending something back work?", "I want to return what I bought, how?", "wie schicke ich ein Paket zurück?",
    ),
    (
        "which payment methods do you accept?", "how can I pay?", "what ways of paying are there?",
        "do you take credit cards?", "can I pay by card in the shop?", "welche Zahlungsarten gibt es im Laden?",
    ),
    (
        "how do I change my password?", "where can I set a new password?", "I want another password for my account",
        "changing the password, how does it work?", "steps to reset the password?", "wie ändere ich mein Passwort?",
    ),
    (
        "how do I delete my account?", "can you close my account for good?", "removing my account, how?",
        "I want my account deleted", "where do I delete the account?", "wie lösche ich mein Konto?",
    ),
    (
        "what does shipping cost?", "how much are the shipping fees?", "is shipping free of charge?",
        "what do you charge for shipping?", "shipping costs?", "was kostet der Versand von Paketen?",
    ),
    (
        "do you ship to Norway?", "is delivery to Norway possible?", "can you send a parcel to Norway?",
    ),
    (
        "do you ship to Peru?", "is delivery to Peru possible?", "can you send a parcel to Peru?",
    ),
    (
        "how do I activate my gift card?", "activating a gift card, how?", "where can I activate a gift card?",
    ),
    (
        "how do I deactivate my gift card?", "deactivating a gift card, how?", "where can I deactivate a gift card?",
    ),
    ("is the warranty valid for 2 years?", "do I have 2 years of warranty?"),
    ("is the warranty valid for 3 years?", "do I have 3 years of warranty?"),
)  # fmt: skip

CONTEXT = (
    "I have a question about your shop.",
    "Of course, go ahead.",
    "I bought a lamp and a chair last month.",
    "Thank you for buying with us.",
    "The lamp is fine, the chair is for a friend.",
    "Good to hear.",
    "I may buy a table as well.",
    "We have several of them.",
    "Let me ask something else first.",
)
PEOPLE = (
    "My name is Anna Schmidt.",
    "My name is Bruno Keller.",
    "My order is 4711-2298.",
    "My order is 4711-2299.",
    "You can write to anna.schmidt@example.com.",
)
