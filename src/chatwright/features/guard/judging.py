"""Findings and a score become a verdict, by the chatbot's policy and by what its visitor tried before. Pure.

Called at accept with what the rules found (no score yet), and in the worker with the model's score.
"""

import math
from collections.abc import Sequence

from chatwright.domain.guard import CLEAN, Finding, Verdict
from chatwright.features.guard.policy import GuardPolicy
from chatwright.features.guard.signals import combine, find_signals

OWN_THRESHOLD = 0.5
"""Where the model's scores are cut unless the policy says otherwise: training puts one honest message in a hundred here."""
RULES_ALONE = 0.9
"""Findings that come to this need no model. On the chats of the reported fold they come to it for none."""
WORTH_A_NOTE = 0.5
_EASE = 0.7
"""Log-odds that one recent attempt adds to a message's suspicion. A plain question stays one after any number of them."""


def judge(findings: Sequence[Finding], score: float | None, policy: GuardPolicy, attempts: float = 0.0) -> Verdict:
    """`score`: the model's, None where it has not read the text; `attempts`: what `attempts.weigh` gives.

    At or above the threshold the policy's action holds. Without a score only what rules are sure of is acted on; what
    they merely suspect is flagged.
    """
    if policy.input == "off":
        return CLEAN
    suspicion = suspect(findings, score, attempts)
    found = tuple(findings)
    threshold = OWN_THRESHOLD if policy.threshold is None else policy.threshold
    if score is None:
        threshold = max(threshold, RULES_ALONE)
    if suspicion >= threshold:
        return Verdict(action=policy.input, score=score, findings=found)
    noted = score is None and suspicion >= WORTH_A_NOTE
    return Verdict(action="flag" if noted else "allow", score=score, findings=found)


def suspect(findings: Sequence[Finding], score: float | None, attempts: float = 0.0) -> float:
    """How probable an attack is, in 0..1: the model's word, or the rules' where they are sure or stand alone; recent
    attempts weigh in where there is something to weigh."""
    rules = combine(findings)
    base = rules if score is None else max(score, rules if rules >= RULES_ALONE else 0.0)
    lift = math.exp(_EASE * attempts)
    return base * lift / (base * lift + 1.0 - base)


def is_order(sentence: str) -> bool:
    """Whether a sentence reads like an order to a model. Such a one has no place in a summary, which later prompts hold."""
    return combine(find_signals(sentence)) >= WORTH_A_NOTE
