"""A chatbot's guard policy: what may be written, and what is read of what was."""

from typing import Any

import pytest

from chatwright.domain.errors import Unprocessable
from chatwright.features.guard.policy import MAX_TERMS, GuardPolicy, check_policy


@pytest.mark.parametrize(
    "policy",
    [
        {},
        {"link_hosts": ["pay.example.com", "*.example.org", "*", "localhost:8080"]},
        {"input": "off", "threshold": 0.5, "refusal_text": "No."},
        {"threshold": None, "output": "mask", "after_stop": "keep", "banned_terms": ["bad", "*worse*", "\u574f"]},
        {"categories": ["profanity", "slurs"], "redact": ["email", "iban"], "spaced_letters": False, "leaks": False},
        {"scan_metadata": False, "scan_documents": True, "banned_terms": ["x"] * MAX_TERMS},
    ],
)
def test_what_may_be_written(policy: dict[str, Any]) -> None:
    check_policy(policy)
    read = GuardPolicy.of(policy)
    for name, value in policy.items():
        assert getattr(read, name) == (tuple(value) if isinstance(value, list) else value)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("input", "deny"), ("input", None), ("threshold", 0), ("threshold", 1.5), ("threshold", True), ("threshold", "0.5"), ("refusal_text", 5),
        ("refusal_text", "x" * 1_001), ("output", "block"), ("after_stop", "drop"), ("banned_terms", "bad"), ("banned_terms", [""]), ("banned_terms", ["  "]),
        ("banned_terms", [1]), ("banned_terms", ["***"]), ("banned_terms", ["a*b"]), ("banned_terms", ["*ab*"]), ("banned_terms", ["!?"]),
        ("banned_terms", ["x" * 101]), ("banned_terms", ["x"] * (MAX_TERMS + 1)), ("categories", ["politics"]), ("categories", "profanity"), ("redact", ["name"]),
        ("leaks", 1), ("spaced_letters", "yes"), ("scan_metadata", None), ("link_hosts", "*"), ("link_hosts", ["https://x.test/"]), ("nothing", 1),
    ],
)  # fmt: skip
def test_what_cannot_be_meant(field: str, value: object) -> None:
    with pytest.raises(Unprocessable) as refused:
        check_policy({field: value})
    assert refused.value.param == f"guard_policy.{field}"
    read = GuardPolicy.of({field: value, "redact": ["phone"]} if field != "redact" else {field: value})
    assert read.output == "stop"  # no answer fails over what is stored


def test_a_refusal_is_in_the_visitors_language_unless_the_chatbot_has_its_own() -> None:
    assert GuardPolicy().refusal("de").startswith("Diese Antwort")
    assert GuardPolicy().refusal(None) == GuardPolicy().refusal("en") == GuardPolicy().refusal("xx")
    assert GuardPolicy(refusal_text=" No. ").refusal("de") == "No."
