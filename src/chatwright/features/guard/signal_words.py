"""The rules' words and patterns, as data: what an attack says, in the languages that it is usually said in. Pure.

Patterns are written for `folding.fold`: lower case, no accents, "’" as "'". Everything in them is bounded, so that no text
makes them slow. A rule is tried only where one of its `stems` (the first five letters of a word) or `signs` occurs.
Called by `signals.py`; the scores were set by hand and are what the rules-only line of the quality page is measured with.
"""

import re
from dataclasses import dataclass
from functools import cache

_SIGN = r"[\s,.;:!'\"“”*_()\[\]/-]{1,4}"
_GAP = rf"(?:{_SIGN}[\w']{{1,24}}){{0,5}}?{_SIGN}"
_NEAR = rf"(?:{_SIGN}[\w']{{1,24}}){{0,3}}?{_SIGN}"

_IGNORE = (
    r"(?:ignor(?:e|es|ed|ing|en)?|disregard(?:s|ed|ing)?|forget(?:s|ting)?|overrid(?:e|es|ing)|overrule|bypass(?:es|ing)?"
    r"|neglect|discard|erase|unlearn|abandon|(?:do not|don't|dont|stop|no longer|never)\s(?:follow|obey|listen|adhere|comply)\w{0,3}"
    r"|circumvent|ignorem?|remove|drop|delete|skip|deviat\w{1,4}|contrary|instead of|abweichend|ignorier\w{0,3}|vergis+|vergessen sie|missacht\w{1,3}|verwirf|uberspring\w{0,3}"
    r"|ignora\w{0,5}|olvid[ae]\w{0,5}|omit[ea]|oubli\w{1,4}|dimentic\w{1,5}|esque[cs]\w{1,4}|desconsider\w{1,3}|negeer|vergeet|zignoruj|zapomnij|zaboravi|unut"
    r"|lassen sie|streichen)"
)
_PRIOR = (
    r"(?:previous|prior|above|earlier|preceding|preceeding|past|former|initial|original|existing|foregoing|precedent|your|these|those"
    r"|all|any|every|given|before|system|current|last|openai|developer|vorherig\w{0,2}|bisherig\w{0,2}|obig\w{0,2}|vorangegangen\w{0,2}|vorigen?"
    r"|alle[rn]?|dein\w{0,2}|ihre[rn]?|sus?|tus?|todas?|todos?|anterior\w{0,3}|previas?|previos?|precedent\w{0,3}|toutes?|tous|tes|vos|tutt[eio]|tue|prima|suas?|vorige|eerdere"
    r"|poprzednie|prethodne|sve|onceki)"
)
_ORDERS = (
    r"(?:instruct(?:ion|ions|ed)?|instuctions?|intructions?|prompts?|rules?|guidelines?|directions?|directives?|commands?|constraints?|restrictions?|programming"
    r"|training|safeguards?|guardrails?|limitations?|filters?|protocols?|parameters|anweisung(?:en)?|instruktion(?:en)?|instruktionen|vorgaben|regeln|befehle?n?|auftrage|aufgaben|richtlinien"
    r"|instrucciones|instruccion|reglas|directrices|indicaciones|consignes?|regles|directives|istruzioni|regole|direttive|instrucoes|instrucao|regras|diretrizes"
    r"|instructies|regels|instrukcje|polecenia|instrukcije|talimatlar\w{0,3})"
)
_SHOW = (
    r"(?:show|reveal|print|repeat|tell|output|display|give|list|write|recite|share|disclose|leak|expose|summari[sz]e|translate|encode|spell|state|copy|echo|return"
    r"|provide|read|dump|explain|describe|paraphrase|rephrase|divulge|send|respond with|reply with|say|what (?:is|are|was|were)|what's|whats|zeige?n?|nenne?n?|verrate?n?|gib|wiederhole?n?|wie lauten"
    r"|muestra\w{0,3}|revela\w{0,3}|dime|repite\w{0,3}|imprim\w{1,3}|montre\w{0,4}|revele\w{0,2}|affiche\w{0,2}|donne\w{0,5}|repete\w{0,2}|mostra\w{0,3}|rivela\w{0,3}|ripeti|stampa|dimmi|diga|mostre|toon|onthul|pokaz|ispisi|goster)"
)
_AI = r"(?:ai|a\.i\.|assistant|chatbot|chat bot|bot|language model|large language model|llm|gpt|chatgpt|claude|gemini|model|agent|copilot|ki|ia)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """`name`: the family, as it stands in the guard log. `score`: how surely a hit is an attack, in 0..1."""

    name: str
    score: float
    pattern: re.Pattern[str]
    stems: frozenset[str] = frozenset()
    signs: tuple[str, ...] = ()


def _rule(name: str, score: float, stems: str, pattern: str, *signs: str) -> Rule:
    return Rule(name=name, score=score, stems=frozenset(stems.split()), pattern=re.compile(pattern), signs=signs)


_IGNORE_STEMS = (
    "ignor disre forge overr bypas negle disca erase unlea aband follo obey liste adher compl circu remov drop delet skip devia contr inste abwei vergi"
    " verge missa verwi ubers olvid omita omite oubli dimen esque desco negee zigno zapom zabor unut lasse strei"
)
_SHOW_STEMS = (
    "show revea print repea tell outpu displ give list write recit share discl leak expos summa trans encod spell state copy echo retur provi read"
    " dump expla descr parap rephr divul send respo reply say what whats zeig zeige nenn nenne verra gib wiede laute muest revel dime repit impri montr"
    " affic donne repet mostr rivel ripet stamp dimmi diga toon onthu pokaz ispis goste"
)


@cache
def load_rules() -> tuple[Rule, ...]:
    """Every rule, compiled once a process."""
    return (
        _rule("override", 0.95, _IGNORE_STEMS,
              rf"\b(?!delet|eras|remov|drop|skip){_IGNORE}{_NEAR}(?:{_PRIOR}{_NEAR}){{1,2}}{_ORDERS}\b(?! (?:manual|leaflet|booklet|sheet))"
              rf"|\b{_IGNORE}{_NEAR}{_ORDERS}{_NEAR}(?:above|before|previously|earlier|you (?:were|have been|got)|given|anteriores|precedent\w{{0,3}}|precedentes|davor|zuvor)\b"
              rf"|\b(?:pretend|act|imagine){_NEAR}(?:forg[eo]t\w{{0,5}}|lost|no){_NEAR}{_ORDERS}\b"),
        _rule("override", 0.6, _IGNORE_STEMS,
              rf"\b{_IGNORE}{_NEAR}{_ORDERS}\b(?! (?:manual|leaflet|booklet|sheet))"),
        _rule("override", 0.7, _IGNORE_STEMS,
              rf"\b(?!delet|eras|remov|drop|skip){_IGNORE}{_NEAR}(?:everything|anything|all|what|todo|tout|tutto|tudo|alles|alle){_NEAR}"
              r"(?:above|before|prior|previous|previously|earlier|said|told|know|learned|learnt|so far|until now|here|dicho|digo|antes|dit|detto|davor|zuvor|gesagte|vorher\w{0,3}|bisher\w{0,3}|anterior|wissen|infos|informationen)\b"
              rf"|\b(?:vergis+|vergessen sie|ignoriere?n?|olvid[ae]\w{{0,3}}|oubliez?|dimentica){_NEAR}(?:alles|davor|todo|tout|tutto|obige|alle)\b"
              rf"|\b(?:disregard|ignore|forget)\s(?:the )?(?:above|all (?:of )?(?:the )?above)\b"),
        _rule("new_task", 0.6, "new updat chang neuen neue neuer nueva nouve nuova nova repla your below follo real actua inste focus",
              rf"\b(?:change|replace|update|rewrite|modify) your {_ORDERS}\b"
              rf"|\b(?:your|the|here are|these are|with) (?:new|real|actual|true|updated|only) (?:{_ORDERS}|task|goal|objective|job|role|purpose|mission)\b"
              rf"|\b(?:new|updated|real) {_ORDERS}\s?:"
              r"|\b(?:new|next) task\s?:|\bneuen? (?:aufgabe|auftrag|anweisung(?:en)?)\b|\bnuevas? (?:instruccion\w{0,2}|tarea)|\bnouvelles? (?:instructions|tache)|\bnuov[aei] (?:istruzioni|compito)|\bnov[ao]s? (?:instrucoes|tarefa)"
              r"|\b(?:concentrate|focus)(?: now)? on (?:your|the) new task"),
        _rule("new_task", 0.55, "now hence begin ab von parti desor ahora ora agora toute",
              r"\b(?:from now on|from this point|henceforth|starting now|from here on)\b[\s,]{1,3}(?:you|your|only|always|respond|answer|act|ignore|every|all|i want|speak|reply|refer|call|we|any)\b"
              r"|\bab (?:jetzt|sofort|nun)\b[\s,]{1,3}(?:bist|antworte|sprich|du|sind|antworten|wirst|sollst)|\bvon nun an (?:bist|sind|du)|\ba partir de (?:ahora|agora)[\s,]{1,3}(?:eres|responde|tu|voce|ser|vas)|\b(?:a partir de maintenant|desormais)[\s,]{1,3}(?:tu|vous|reponds)"
              r"|\bd'ora in poi[\s,]{1,3}(?:sei|rispond|tu)"),
        _rule("prompt_leak", 0.85, _SHOW_STEMS + " promp",
              rf"\b{_SHOW}{_NEAR}(?:your|the|its|all|full|entire|exact|initial|original|hidden|previous|above|preceding|dein\w{{0,2}}|ihre?n?|gesamten?|tus?|su|tes?|ton|votre|tuo|il|seu|el|le|o|system){_NEAR}"
              r"(?:system ?prompts?|(?:initial|original|hidden|secret|starting|base|developer|internal|full|pre|prior|previous|above|preceding|custom|exact)[- ]?(?:prompts?|instructions?|messages?|rules|directives|guidelines)|systemprompts?|prompt[- ]?texte?|systemanweisung\w{0,2}|prompt (?:del|de|di|du|do) (?:sistema|systeme)|instrucciones (?:iniciales|del sistema|secretas)|instructions (?:initiales|systeme|secretes)|istruzioni (?:iniziali|di sistema|segrete)|prompt (?:initial|systeme|inicial|iniziale))\b"),
        _rule("prompt_leak", 0.7, _SHOW_STEMS + " instr promp rules guide direc told given",
              rf"\b(?:show|reveal|print|repeat|output|display|recite|disclose|leak|expose|dump|echo|what (?:are|were|is|was)|what's|whats|paraphrase|summari[sz]e|divulge|zeige?n?|verrate?n?|wiederhole?n?|wie lauten|muestra\w{{0,3}}|revela\w{{0,3}}|montre\w{{0,4}}|affiche\w{{0,2}}|mostra\w{{0,3}}|rivela\w{{0,3}}|tell (?:me|us)|give (?:me|us)|list|write|share|copy|say|translate|encode)(?:{_SIGN}(?:me|us|out|verbatim|exactly|back|all|of|the|to|mir|uns|nous|moi|first|word|for|in)){{0,4}}{_SIGN}(?:your|dein\w{{0,2}}|ihre|tus|tes|vos|tue|suas)(?:{_SIGN}\w{{1,16}}){{0,2}}?{_SIGN}"
              rf"(?:prompts?|instructions?|directives?|guidelines|programming|configuration|rules|anweisungen|instruktionen|regeln|vorgaben|instrucciones|reglas|consignes|istruzioni|regole|instrucoes|regras)\b(?! (?:for|on|about|fur|para|pour|per)\b)"
              rf"|\b(?:repeat|print|copy|output|display|write|show|translate|summari[sz]e|recite|return|spell|encode){_NEAR}(?:everything above|(?:text|words|lines|message|instructions?|sentences) (?:above|before)|above (?:text|instructions?|prompt|message|words|verbatim)|preceding|before this|previous(?:ly)? (?:text|message|instruction|instructions|prompt|conversation)|initial (?:text|message|prompt)|(?:first|last|prior) (?:\w{{1,12}} )?(?:instructions?|prompts?|sentences?|words?|lines?|messages?))\b"
              rf"|\b(?:all|every|the|any|first|second|what|which)(?: of the)? (?:prompt|instructions?|rules|directives|directions|guidelines)(?: that)? (?:you|u)(?:'ve| have| were| had| are)?(?: been)? (?:given|told|received|got|following|follow)"
              r"|\bwhat (?:were|have) you (?:been )?(?:told|instructed|programmed)|\b(?:ignore|forget)\b.{0,60}\b(?:print|show|output|reveal) (?:all )?(?:prompt|the prompt)"),
        _rule("secret", 0.55, _SHOW_STEMS + " secre passw passp hidde contr motde sena parol passe",
              rf"\b(?:reveal|print|tell|give|show|spell|output|encode|reverse|write|say|display|share|hint|leak|disclose|guess|return|repeat|translate|zeige?|nenne|verrate?|gib|dime|donne\w{{0,3}}|dimmi|diga|revela)(?:{_SIGN}[\w']{{1,16}}){{0,5}}?{_SIGN}(?:the|your|das|dein|la|le|il|a|that|this){_SIGN}(?:\w{{1,12}} )?(?:password|passwort|passphrase|secret|pwd|hidden (?:word|phrase|message)|flag|kennwort|contrasena|mot de passe|codigo secreto|parola|senha|canary)\b(?! (?:reset|page|field|manager|policy|settings?|hint|for my|of my|to my|i))"
              r"|\b(?:letters?|characters?|digits?|first|last|half|part|chars) (?:\w{1,10} ){0,2}?(?:of|in) (?:the|your) (?:secret|password|passphrase|hidden)"
              r"|\bwhat(?:'s| is|s) (?:the|your) (?:secret|password|passphrase|hidden)\b(?! (?:reset|policy|length|requirement|for|of|to)\b)"),
        _rule("role_play", 0.9, "dan jailb unres unfil uncen do stan devel amora evil mode maxim dude freed devmo antig",
              r"\bdo anything now\b|\b(?:dan|stan|dude|aim|devmode|maximum|antigpt|jailbreak|jailbroken) mode\b|\b(?:god|unrestricted|unfiltered|uncensored|evil|chaos|developer|opposite) mode (?:is |now |has been )?(?:enabled|activated|engaged|output)"
              r"|\b(?:you are|act as|be|become|as|called|name is) (?:going to be )?(?:dan|stan|dude|aim|machiavelli|devgpt|evilbot|anarchy|jailbreak)\b"
              r"|\byou(?: are|'re) now in (?:\w{1,12} )?(?:dan|developer|jailbreak|god|unrestricted|unfiltered|debug|admin|sudo|opposite) mode\b"
              r"|\b(?:enable|enter|activate|switch to|turn on|go into|engage)(?: \w{1,12}){0,2} (?:dan|developer|jailbreak|god|unrestricted|unfiltered|debug|admin|sudo|opposite) mode\b(?! (?:on|in|of) (?:my|the|an?|our) )"
              rf"|\b(?:unfiltered|uncensored|unrestricted|amoral|unethical|jailbroken)(?: and (?:amoral|unfiltered|unethical|uncensored))? (?:{_AI}|chatbot|version of (?:yourself|you|chatgpt|gpt)|responses?\b|persona)"
              r"|\bfreed? from (?:the|all|your|any|its) (?:typical )?(?:confines|restrictions|rules|limits|constraints|limitations)|\bbroken free (?:of|from)"
              rf"|\b(?:no|without|any|free of|beyond)(?: any| ethical| moral| legal| content){{0,3}} (?:restrictions|filters|limitations|guidelines|boundaries|censorship|constraints|morals|ethics)\b.{{0,60}}\b(?:answer|respond|reply|{_AI}|do anything|comply|character)\b"),
        _rule("role_play", 0.5, "act prete imagi behav simul rolep pose imper",
              r"\b(?:i want you to|you will|you should|you must|please|now|going to|can you|need you to|let's|lets) (?:(?:act|behave|pose) (?:as|like)|pretend|roleplay|role-play|role play|simulate|impersonate)\b"
              r"|(?:^\W{0,3}|[.!?:]\s)(?:act as|pretend|imagine (?:you|that you)(?:'re| are)|roleplay|simulate|behave as)\b"),
        _rule("role_play", 0.5, "now longe going role part perso chara hypot theor playi playa plays",
              r"\byou are (?:now|no longer) (?!(?:able|connected|in|on|at|free to|eligible|logged|offering|being|charging|selling|open|available))\w|\bnow you are\b|\byou(?:'re| are) going to (?:act|be|play|pretend)|\bplay(?:ing)? the (?:role|part) of"
              r"|\brole-?playing as\b|\btake on the (?:role|persona)|\bstay in character|\bhypothetical\w{0,2} (?:world|scenario|story)|\btheoretical world"),
        _rule("role_play", 0.5, "bist jetzt sie tu eres ahora actua agis fais sei ora fai agisc finja baja agora",
              r"\b(?:du bist|sie sind) (?:jetzt|nun|ab)\b|\bjetzt bist du\b|\bdass (?:du|sie) als\b.{0,60}\b(?:fungier|agier|handel|auftr)|\btu du\b|\b(?:eres|seras) (?:ahora|un)\b|\bactua como|\bahora eres|\bagis comme|\btu es (?:maintenant|desormais)"
              r"|\bfais comme si|\bsei ora\b|\bora sei\b|\bfai finta|\bagisci come|\bfinja|\baja como|\bvoce agora e"),
        _rule("delimiter", 0.9, "", r"<\|(?:im_start|im_end|system|user|assistant|endoftext|eot_id|start_header_id)\|?>?|\[/?inst\]|<</?sys>>|</?(?:system|assistant|instructions?|system_prompt|human)>|\{{1,2}\s?#?\s?(?:system|assistant)[:~}\s]"
              r"|(?:^|\n)\s{0,4}(?:#{1,6}\s{0,2}|\*{1,3}|\[|-{2,6}\s?|={2,6}\s?|%{2,6}\s?)(?:new |updated )?(?:system|assistant|instructions?|developer|admin(?:istrator)?|end (?:of )?(?:user|system|prompt|context|document|input)|begin (?:system|new|admin))[^\n]{0,40}"
              r"|%{3}\s?end|-{3,8}\s?end (?:of )?(?:user|prompt|context|input|document|conversation|email|text)|\bend of (?:user|system) (?:input|prompt|message|query)\b",
              "<|", "[inst", "[/inst", "<<", "</", "<sys", "<ass", "<ins", "<hum", "{", "system", "assistant", "###", "instruction", "%%%", "---", "end of", "admin", "developer"),
        _rule("delimiter", 0.6, "syste", r"(?:^|\n)\s{0,4}system(?: (?:message|prompt|override|notice|instruction|update|note))?\s?:\s"),
        _rule("exfiltration", 0.85, "",
              r"!\[[^\]\n]{0,120}\]\(\s?https?://[^)\s]{1,300}[?&/=][^)\s]{0,200}(?:\{|\[|%7b|<|\$|data|secret|token|prompt|history|chat|conversation|info|summary|password|email)[^)\n]{0,200}\)?"
              r"|https?://[^\s)]{1,200}[?&][\w-]{1,30}=(?:\{{1,2}|\[|<|\$\{)[\w -]{1,40}", "http"),
        _rule("exfiltration", 0.7, "send forwa post uploa appen email trans exfil leak inclu submi encod",
              r"\b(?:send|forward|post|upload|append|email|transmit|exfiltrate|leak|submit|report)(?: me| us)?(?:[\s,]{1,2}[\w']{1,20}){0,7}?[\s,]{1,2}(?:conversation|chat|history|password|passwords|credentials|data|secrets?|token|tokens|messages|prompt|instructions|emails?|details|contents?|keys?|information)(?:[\s,]{1,2}[\w']{1,20}){0,5}?\s(?:to|at|via)\s(?:the )?(?:https?://|www\.|[\w.-]{1,40}@|[\w-]{1,30}\.(?:com|net|org|io|xyz|ru|evil)\b|this (?:url|address|server|webhook|link)|(?:url|webhook|server))"
              r"|\b(?:encode|append|put|embed|include)(?:[\s,]{1,2}[\w']{1,20}){0,6}?[\s,]{1,2}(?:conversation|history|prompt|data|answer|secrets?|password)(?:[\s,]{1,2}[\w']{1,20}){0,4}?\s(?:in|into|to|as)(?: the| an?)? (?:url|link|query|image|markdown|parameter)"),
        _rule("tool_command", 0.6, "execu run termi inter shell subpr os sudo curl wget rm call invok exec eval impor drop",
              r"\b(?:execute|run|call|invoke|eval)(?: the| this| these| following| a| an| your| my| below| all){0,4} (?:following |shell |system |sql |python |bash )?(?:commands?|code|script|function|tool|query|program|payload)\b"
              r"|\b(?:act|behave|respond|simulate|be)(?: as| like)? (?:an? |the )?(?:linux|unix|bash|python|sql|javascript|ubuntu|windows)? ?(?:terminal|interpreter|shell|console|compiler)"
              r"|\brm -rf\b|\bos\.system\(|\bsubprocess\.(?:call|run|popen)|\b(?:curl|wget) (?:-\w{1,4} )?https?://|\bdrop table\b|\bsudo \w|\beval\(|\bexec\("
              , "os.", "rm -", "subprocess", "eval(", "exec("),
        _rule("code_insertion", 0.6, "code snipp",
              r"\b(?:include|incorporat\w{1,3}|insert|integrat\w{1,3}|embed\w{0,4}|append|add|use|utiliz\w{1,3}|meld|weav\w{1,3}|interweave|render|plac\w{1,3}|put|merg\w{1,3}|ensur\w{1,3}|mak\w{1,3}|modify|infus\w{1,3}|blend)\b(?:[\s,]{1,2}[\w']{1,20}){0,9}?\s(?:code|snippet)\b(?:[\s,]{1,2}[\w']{1,20}){0,9}?(?:\s(?:your|the) (?:\w{1,14} ){0,2}?(?:solution|response|answer|reply|code|codebase|implementation|explanation|elucidation|algorithm|output|program|logic|script)|:)"),
        _rule("secrecy", 0.75, "tell menti infor let user discl acknow hide hidde secre sagen diga",
              r"\b(?:do not|don't|dont|never|without|must not|avoid)(?: ever)? (?:tell|tells|telling|mention|mentioning|reveal|revealing|inform|informing|let|letting|disclose|disclosing|notify|notifying|alert|alerting|show|showing)(?:[\s,]{1,2}[\w']{1,16}){0,6}?[\s,]{1,2}(?:the |this to the |any )?(?:users?|anyone|reader|human|customer|visitor|recipient)\b"
              r"|\b(?:hide|conceal|keep)(?: this| it| that| these){1,2}(?: \w{1,14}){0,3} (?:from (?:the )?(?:user|reader|human|customer)|secret from)"
              r"|\b(?:do not|don't|never) (?:mention|reveal|acknowledge|repeat|disclose|refer to) (?:this|these|that you|the) (?:instructions?|prompt|message|rules|text|note|have|received)"),
        _rule("false_authority", 0.7, "devel creat admin progr openai opena anthr engin owner debug maint overr autho sudo syste lakera laker super root",
              r"\b(?:i am|i'm|im|this is|as) (?:the |your |an? |one of (?:the|your) )?(?:\w{1,14} )?(?:developer|creator|administrator|admin|programmer|maker|superuser|root user|prompt engineer|system operator)\b(?: (?:of|who|and|here|at|from|from now|speaking|mode|override|that|with|so|,))"
              r"|\bi(?:'m| am) (?:an? |the |your )?(?:\w{1,14} ){0,2}?(?:engineer|employee|developer|researcher|staff|tester) (?:at|from|of|with) (?:openai|anthropic|google|lakera|microsoft|meta|deepmind)"
              r"|\b(?:approved|authorized|authorised|sponsored|sanctioned|requested|required) (?:explicitly )?by (?:explicitly )?(?:openai|anthropic|the developers?|the admin|your creators?)"
              r"|\b(?:admin|administrator|developer|debug|maintenance|root|sudo|god|system|security|emergency) (?:override|access granted|mode (?:on|enabled|activated|engaged))"
              r"|\b(?:system|admin|security|developer|priority) (?:directive|command|instruction)\s?[:=-]"
              r"|\byour (?:developers?|creators?|makers?|programmers?) (?:told|want|has|have|asked|said|gave|allow|authori)"),
        _rule("refusal_suppression", 0.75, "refus apolo decli warn discl moral ethic answe respo start begin comply obey never regar reply censo ok saying dont",
              r"\b(?:never|do not|don't|dont|cannot|can't|must not|not allowed to|without|no|avoid|stop|always) (?:ever |be |just |even )?(?:refus\w{1,3}|apologi\w{1,4}|declin\w{1,3}|moraliz\w{1,4}|moralis\w{1,4}|censor\w{0,4}|lectur\w{1,3})\b(?! (?:my|to pay|the (?:refund|card|payment|charge)))"
              r"|\b(?:never|do not|don't|dont) (?:say|respond|reply|answer|use)(?: with| the| that| phrases?| like){0,4} [\"'“]?(?:i can't|i cannot|i'm sorry|sorry|as an ai|i am unable|you can't|that you can)"
              r"|\b(?:no|without|skip|omit|leave out|don't (?:add|include|give))(?: any| the| all| moral| ethical| safety){0,3} (?:disclaimers?|warnings?|caveats|moralizing|ethical considerations|safety (?:notes|checks|warnings))\b"
              r"|\b(?:start|begin|preface|prefix|open)(?: every| your| each| all){1,2} (?:answer|response|reply|message|output|sentence|confirmation)s? with\b|\b(?:respond|reply|answer|start|begin) with [\"'“](?:sure|ok|yes|absolutely|of course|access|i )"
              r"|\byou (?:must|have to|will|shall) (?:always |never |now )?(?:obey|comply|do everything|do whatever|answer (?:any|every|all))\b|\bregardless of (?:how |any |whether )?(?:\w{1,12} ){0,3}?(?:legal|illegal|ethic|moral|unethical|immoral|consequence|harm|rule|polic|offens)"
              r"|\b(?:say|answer|respond|reply) (?:only |just )?(?:with )?[\"'“]?(?:yes|ok)[\"'”]?(?:\.|!|$)|\bconfirm (?:by saying|with|that you (?:understand|will))"),
        _rule("indirect", 0.6, "ai assis chatb llm gpt chatg claud gemin model agent langu bot summa readi proce kuenst ki",
              rf"\b(?:dear|attention|note (?:to|for)|hey|hello|hi|message (?:to|for)|instructions? (?:to|for)|to|achtung|hinweis (?:an|fur)|attention a|nota para|nota per)[\s,:]{{1,3}}(?:the |any |all |an? |die |l')?(?:{_AI})(?: (?:assistant|model|system|agent|reading|that|who|processing)s?)?\s?[,:!.-]"
              rf"|\b(?:if|when|since|as) (?:you|you're|you are)(?: are)? (?:an? |the )?(?:{_AI})\b|\b(?:any|all|every) (?:ai|llm|language model|automated|assistant)s? (?:assistants?|systems?|models?|agents?|reading|processing|must|should)"
              r"|\b(?:when|while|before|after) (?:summari[sz]ing|answering|processing|reading|translating|reviewing|analy[sz]ing|responding to)(?: questions about)? (?:this|the|these) (?:document|email|e-mail|page|text|message|article|content|file|review|ticket)s?\b"),
        _rule("indirect", 0.5, "your respo reply answe outpu",
              r"\b(?:add|include|insert|append|mention|integrate|incorporate|embed|modify|enhance|augment|end|finish|conclude|begin|translate|rewrite|format|convert|replace|substitute|write|provide|give|introduce|misspell|remove|use|place|put|suggest|weave|inject|supplement)\b[^.\n?]{0,140}?\b(?:in|to|into|with|of|within|throughout|from|for) (?:each |every |all )?your (?:\w{1,12} )?(?:response|reply|answer|output|message|summary|words|responses)\b"
              r"|\b(?:in|within|throughout|to|at the end of|with) your (?:next |final )?(?:response|reply|answer|output|summary)[\s,]{1,2}(?:\w{1,12} )?(?:add|include|insert|append|mention|suggest|recommend|use|say|claim|promote|invite|urge|advise|tell|write|replace)\b"
              r"|\b(?:modify|enhance|augment|translate|rewrite|supplement|alter|scramble|encode|reverse|convert|format) your (?:response|reply|answer|output|message)\b"),
        _rule("payload_split", 0.65, "conca combi join merge assem varia strin",
              r"\b(?:concatenate|combine|join|merge|assemble|put together)(?: the| these| both| all| variables?| strings?| parts?| \w{1,8}){0,6}?(?: and| then|,){1,2}(?: then)? (?:execute|follow|answer|do|obey|respond|perform|run|print|output|act)\b"
              r"|\b(?:let|set|define)? ?[a-z]\w{0,8}\s?=\s?[\"'][^\"'\n]{2,120}[\"'][^\n]{0,200}\b(?:execute|follow|answer|print|say|respond|output|do)\b.{0,30}\b[a-z]\w{0,8}\s?\+\s?[a-z]", " + ", "+"),
        _rule("encoded", 0.6, "base decod rot caesa cipher ciphe binar morse hex rever leets crypt",
              r"\b(?:decode|decipher|decrypt|unscramble)\b.{0,80}\b(?:follow|execute|obey|do (?:it|what|as)|answer|respond|comply|perform)\b"
              r"|\b(?:base ?64|rot ?13|caesar|morse|hexadecimal|binary|leetspeak|pig latin)\b.{0,60}\b(?:instruction|follow|execute|prompt|password|secret|obey|answer)|\b(?:instruction|prompt|password|secret|answer|respond|reply)\w{0,4}\b.{0,60}\b(?:base ?64|rot ?13|caesar|morse code|leetspeak|pig latin)\b"),
        _rule("override", 0.9, "",
              r"(?:игнорир\w{1,5}|проигнорир\w{1,5}|забудь\w{0,2}|не обращай внимания|отбрось).{0,40}?(?:инструкци\w{1,3}|правил\w{0,3}|указани\w{1,3}|промпт\w{0,2}|команд\w{0,2}|предыдущ\w{1,3}|все,? что)"
              r"|(?:忽略|无视|無視|忘记|忘掉|忘記|不要理会|不理会|抛开|忽視).{0,14}?(?:指令|指示|说明|規則|规则|提示|设定|設定|要求|之前|以上|上面|先前)"
              r"|(?:以前|これまで|上記|前|すべて|全て).{0,8}(?:指示|命令|プロンプト|ルール).{0,8}(?:無視|忘れ)|(?:이전|위의|지금까지|모든).{0,10}(?:지시|명령|프롬프트|지침|규칙).{0,8}(?:무시|잊)"
              r"|(?:تجاهل|انس|انسى).{0,30}(?:التعليمات|الأوامر|السابقة|القواعد)|(?:पिछले|सभी|ऊपर).{0,16}(?:निर्देश|आदेश|नियम).{0,14}(?:अनदेखा|भूल|नज़रअंदाज़)",
              "гнор", "абуд", "обращ", "отбр", "忽", "无视", "無視", "忘", "理会", "抛开", "무시", "잊", "تجاهل", "انس", "अनदेखा", "भूल"),
        _rule("prompt_leak", 0.85, "",
              r"(?:покажи\w{0,2}|выведи\w{0,2}|раскрой\w{0,2}|повтори\w{0,2}|назови\w{0,2}|напиши\w{0,2}|скажи\w{0,2}).{0,40}?(?:системн\w{1,4} (?:промпт|инструкци|сообщени)\w{0,2}|тво[иейю]{1,3} (?:инструкци|промпт|правил)\w{0,2}|сво[иейю]{1,3} (?:инструкци|промпт)\w{0,2}|секретн\w{1,4} \w{1,12})"
              r"|(?:显示|告诉|输出|打印|重复|泄露|透露|给我|說出|说出|列出|写出).{0,12}?(?:系统提示|系統提示|提示词|提示詞|你的指令|初始指令|初始提示|你的规则|秘密|密码是)"
              r"|(?:システムプロンプト|初期指示|あなたの指示).{0,12}(?:教え|表示|出力|見せ|繰り返)|(?:시스템 ?프롬프트|너의 지시|초기 지시).{0,12}(?:알려|보여|출력|말해)|(?:اعرض|أظهر|اكشف|اطبع).{0,24}(?:تعليماتك|موجه النظام|كلمة السر)",
              "покаж", "вывед", "раскр", "повто", "назов", "напиш", "скаж", "提示", "指令", "规则", "秘密", "密码是", "指示", "プロンプト", "프롬프트", "지시", "تعليم", "النظام", "السر"),
        _rule("role_play", 0.5, "", r"\bты (?:теперь|больше не)\b|\bпритворись|\bпредставь,? что ты|\bдействуй как|你现在是|从现在开始,?你|从现在起|假装你|扮演|あなたは今から|ふりをして|지금부터 너는|인 척|أنت الآن|تظاهر",
              "теперь", "больше", "притвор", "представ", "действуй", "你现在", "从现在", "假装", "扮演", "あなたは", "ふり", "지금부터", "척", "أنت", "تظاهر"),
    )  # fmt: skip


# What remains of the usual overrides once the spaces are gone.
SQUEEZED = re.compile(
    r"(?:ignore|disregard|forget|bypass|override)(?:all|any|the|of|your|my|these|those){0,3}(?:previous|prior|above|earlier|preceding|your|all|system|safety)"
    r"(?:instructions?|prompts?|rules|guidelines|directions|orders|filters?|messages?)"
    r"|(?:reveal|print|show|repeat|output|tellme|giveme|say|write)(?:me|us|all)?(?:the|your|all)(?:hidden|secret|full|initial|system)?(?:systemprompt|prompt|instructions|password|secret)"
)

FAMILIES = (
    "override", "new_task", "prompt_leak", "secret", "role_play", "delimiter", "exfiltration", "tool_command", "code_insertion",
    "secrecy", "false_authority", "refusal_suppression", "indirect", "payload_split", "encoded", "hidden",
)  # fmt: skip
