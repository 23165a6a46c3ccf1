"""Whether a question asks for what is another thing soon. Pure; asked before a question is matched by meaning."""

import re

from chatwright.features.cache.guard_words import ALWAYS_LIVE, LIVE

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")
_TIME_BOUND = re.compile(
    r"""(?<!\w)(?:
        what(?:'?s|[ ]is)?[ ](?:the[ ])?(?:current[ ]|exact[ ]|local[ ])?(?:time|date|day)(?:[ ]is[ ]it|[ ]is[ ]today|[ ]of[ ]the[ ]week
        |[ ]today|[ ](?:right[ ])?now|[ ]currently|[ ]in[ ][\w ]{1,40})?\W*$
      | what[ ](?:time|day|date|year|month)[ ]is[ ]it | (?:tell|give)[ ]me[ ]the[ ](?:current[ ])?(?:time|date)\b
      | (?:current|today'?s)[ ](?:date|time|weather|news|price|rate|score|temperature)
      | wie[ ]spät[ ]ist | wie[ ]?viel[ ]uhr | welcher[ ]tag[ ]ist | quelle[ ]heure[ ]est | qué[ ]hora[ ]es | che[ ]ora[ ]è
      | que[ ]horas[ ]são | hoe[ ]laat[ ]is
    )""",
    re.VERBOSE,
)
_NOW = re.compile(
    r"(?<!\w)(?:now|right now|at the moment|at present|currently|current|today|todays|today's|tonight|tomorrow|this (?:morning|evening|week|"
    r"weekend|afternoon|month)|so far|live|latest|as of|up to date|jetzt|gerade|aktuell\w*|derzeit|momentan|heute|morgen|maintenant|"
    r"actuel\w*|aujourd'hui|demain|ahora|actual\w*|hoy|mañana|adesso|oggi|domani|agora|hoje|amanhã|vandaag)(?!\w)"
)


def time_bound(text: str) -> bool:
    """Whether the answer to a question is another one soon: the time, the weather, what is open today. Such a question
    is asked anew each time; one about prices or hours as such is not."""
    text = text.replace("’", "'").casefold()
    if _TIME_BOUND.search(text):
        return True
    said = frozenset(_WORD.findall(text))
    if not ALWAYS_LIVE.isdisjoint(said):
        return True
    return not LIVE.isdisjoint(said) and _NOW.search(text) is not None
