"""Which words of a prompt speak to the model, and not to visitors: its role, how it is to answer, what it is to keep. Pure.

A shop's prompt holds its opening hours beside its orders, and an answer may say those word for word. So only words that
nobody would say to a visitor are taken for orders: "you are a …", "reply in …", "the user", "never reveal". What sounds like an
order and may be a fact ("never wash it above 30 degrees") is none. Read by `leaks.py`, once for a prompt.
"""

import re

from chatwright.domain.detection import detect_language

_SAY = "reveal|tell|share|mention|disclose|discuss|promise|give|say|answer|output|write|repeat|make up|invent|break|speak|talk|ask|print|show|state|claim|admit|quote"
_DO = "answer|respond|reply|be|greet|ask|say|offer|stay|speak|write|end|start|begin|cite|remember|refuse|decline|act|follow|remain|sound|keep"
_PEOPLE = "the |a |your |any )?(?:user|visitor|customer|client|caller|guest"
_ENGLISH = rf"""
    ^\W*(?:you\ are|you're|you\ will\ be|act\ as|pretend\ to\ be|imagine)\ (?:a|an|the|now|not|to|named|called|if|that|as|[a-z]+,)\b
  | ^\W*(?:from\ now\ on|answer|respond|reply|speak|greet|refuse|decline|ignore|stay|act|behave|roleplay|pretend|keep\ (?:your|all|answers?|repl\w+|responses?))\b
  | ^\W*be\ (?:polite|friendly|concise|brief|helpful|kind|honest|professional|formal|informal|warm|patient|precise|short|cheerful)
  | ^\W*use\ (?:a\ |an\ |only\ |no\ |the\ )?(?:\w+\ )?(?:tone|language|emojis?|markdown|bullets?|sentences?|words|passages)\b
  | \b(?:never|do\ not|don't|must\ not|may\ not|should\ not|shouldn't|not\ to)\ (?:ever\ )?(?:{_SAY})\b
  | \b(?:always|must|should|shall)\ (?:{_DO})\b
  | \bif\ you(?:\ are|'re)\ (?:asked|unsure|not\ sure|uncertain)\b | \bif\ you\ (?:do\ not|don't|cannot|can't)\ (?:know|find|answer)\b
  | \b(?:if|when|whenever|unless|until)\ (?:{_PEOPLE})s?\b | \bthe\ (?:user|visitor)(?:'s|s)?\b | \busers?\b
  | \b(?:ask|tell|help|greet|inform|address|connect|refer|redirect|guide|direct|advise|offer|assist|thank)\ (?:{_PEOPLE})s?\b
  | \b(?:your|this|these|the\ system|system)\ (?:answers?|responses?|repl(?:y|ies)|role|task|job|goal|purpose|instructions?|knowledge|personality|persona|tone|
      output|prompts?|rules)\b
  | \b(?:instructions|system\ prompt|persona|roleplay|language\ model|chatbot|as\ an\ ai|in\ character|confidential|secret|internal\ (?:mark|use|only)|the\ conversation)\b
"""
_OTHERS = r"""
    ^\W*(?:du\ bist|sie\ sind)\ (?:ein|eine|der|die|das|nun|jetzt|[a-zäöü]+,)\b | ^\W*(?:antworte|antworten\ sie|sprich|schreibe|verwende|nutze|begrüße|begruse)\b
  | \b(?:verrate|verraten\ sie|nenne|erwähne|sag|sage|gib)\ (?:nie|niemals|nicht|keine[nm]?)\b | \b(?:nie|niemals|nicht)\ (?:verraten|erwähnen|preisgeben|nennen|sagen)\b
  | \b(?:der|des|dem|den)\ (?:nutzers?|benutzers?|besuchers?)\b | \b(?:deine?[nrms]?|ihre)\ (?:antworten?|aufgabe|rolle|anweisungen|persönlichkeit|personlichkeit)\b
  | \b(?:vertraulich|geheim|anweisungen|systemprompt)\b
  | ^\W*(?:tu\ es|vous\ êtes|vous\ etes)\ (?:un|une|le|la|l'|[a-z]+,) | ^\W*(?:réponds|répondez|reponds|repondez|utilise|parle|salue)\b
  | \bne\ (?:révèle|revele|divulgue|dis|mentionne|donne|partage)\w*\b | \bl['’]utilisateur\b | \b(?:ton|votre)\ (?:rôle|role|tâche)\b | \b(?:tes|vos)\ réponses\b | \bconfidentiel
  | ^\W*(?:eres|usted\ es|você\ é|voce\ e|sei|tu\ sei)\ (?:un|una|um|uma|el|la|o|a|il|l')\b | ^\W*(?:responde|responda|rispondi|habla|saluda|usa|fale)\b
  | \b(?:nunca|não|nao|no|non|mai)\ (?:reveles|digas|menciones|compartas|revele|diga|mencione|compartilhe|rivelare|dire|menzionare|condividere)\b
  | \b(?:el|o|del|do)\ (?:usuario|usuário)\b | \b(?:l['’]utente|dell['’]utente)\b | \b(?:tus\ respuestas|suas\ respostas|tue\ risposte)\b | \b(?:confidencial|riservat[oi])\b
  | ^\W*(?:je\ bent|u\ bent|jesteś|jestes)\ | ^\W*(?:antwoord|odpowiadaj|spreek)\b | \bde\ gebruiker\b | \bużytkownik | \b(?:nooit|nigdy\ nie)\ (?:onthul|noem|vertel|ujawniaj|podawaj)
  | ^\W*(?:ты|вы)\ [—–-] | ^\W*(?:отвечай|отвечайте|говори|используй)\b | \b(?:никогда\ не|не)\ (?:раскрывай|сообщай|говори|упоминай|рассказывай) | \bпользовател | \bконфиденциальн
  | ^\W*sen\ (?:bir)?\b | \bkullanıcı | \basla\ (?:söyleme|açıklama|paylaşma) | \bgizli
  | 你是|您是|你的(?:角色|任务|回答)|请(?:用|以)|回答时|不要(?:透露|告诉|提及|泄露)|用户|保密|机密 | あなたは|ユーザー|答えてください|回答してください|明かさない|秘密|してはいけません
"""
_ORDER = re.compile(f"{_ENGLISH}|{_OTHERS}", re.VERBOSE | re.IGNORECASE)
_READ = frozenset("en de fr es pt it nl pl ru tr zh ja".split())  # noqa: SIM905 - shorter to read


def order_spans(sentence: str) -> list[tuple[int, int]]:
    """Where `sentence` speaks to the model."""
    return [match.span() for match in _ORDER.finditer(sentence)]


def can_be_read(prompt: str) -> bool:
    """Whether the orders of a prompt would be known: it is in a language that this module reads."""
    return detect_language(prompt) in _READ
