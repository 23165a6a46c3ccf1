"""What a chatbot's `suggestion_policy` may say. Pure.

`check_suggestion_policy` stands where a tenant writes it; `SuggestionPolicy.of` reads what is stored, for every answer.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from chatwright.domain.errors import Unprocessable
from chatwright.features.suggestions.links import is_web_address

Kind = Literal["reply", "link", "handoff", "form"]
KINDS: tuple[Kind, ...] = ("reply", "link", "handoff", "form")
MOST_LABEL_CHARS = 60
MOST_VALUE_CHARS = 500
MOST_REPLY_CHARS = 200
MOST_ACTIONS = 5
MOST_STATIC = 10
_MOST_INTENTS = 20
_MODES = ("on", "off")
_FIELDS = ("mode", "most", "kinds", "handoff", "form", "static")


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One thing to do next. `value`: a reply's text, a link's address, what a page makes of a handoff or a form."""

    label: str
    kind: Kind
    value: str

    @property
    def shown(self) -> dict[str, str]:
        """As it goes over the wire."""
        return {"label": self.label, "kind": self.kind, "value": self.value}


@dataclass(frozen=True, slots=True, kw_only=True)
class SuggestionPolicy:
    """`handoff` with an empty label is labelled in the visitor's language. `form_intents`: on which the form is offered,
    besides an answer that knows nothing."""

    is_on: bool = True
    most: int = 3
    kinds: frozenset[Kind] = frozenset(KINDS)
    handoff: Action = Action(label="", kind="handoff", value="handoff")
    form: Action | None = None
    form_intents: frozenset[str] = frozenset(("request", "complaint"))
    static: tuple[Action, ...] = ()

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> "SuggestionPolicy":
        """Read a stored policy. What cannot be meant is left at its default: no answer fails over it."""
        if not fields:
            return _DEFAULT
        known = {name: value for name, value in fields.items() if _fault(name, value) is None}
        named: dict[str, Any] = {}
        if "mode" in known:
            named["is_on"] = known["mode"] == "on"
        if "most" in known:
            named["most"] = known["most"]
        if "kinds" in known:
            named["kinds"] = frozenset(known["kinds"])
        if "handoff" in known:
            named["handoff"] = _action({"label": "", "value": "handoff", **known["handoff"], "kind": "handoff"})
        if "form" in known:
            named["form"] = _action({**known["form"], "kind": "form"})
            named["form_intents"] = frozenset(known["form"].get("intents", _DEFAULT.form_intents))
        if "static" in known:
            named["static"] = tuple(_action(action) for action in known["static"])
        return cls(**named)


_DEFAULT = SuggestionPolicy()


def check_suggestion_policy(fields: Mapping[str, Any]) -> None:
    """Raise Unprocessable, naming the field, for a policy that cannot be meant."""
    for name, value in fields.items():
        if (fault := _fault(name, value)) is not None:
            raise Unprocessable(fault[:300], param=f"suggestion_policy.{name}"[:100])


def _action(fields: Mapping[str, Any]) -> Action:
    return Action(label=fields["label"].strip(), kind=fields["kind"], value=fields["value"].strip())


def _fault(name: str, value: Any) -> str | None:
    match name:
        case "mode":
            return None if value in _MODES else f"mode is one of {', '.join(_MODES)}"
        case "most":
            is_whole = isinstance(value, int) and not isinstance(value, bool)
            return (
                None if is_whole and 1 <= value <= MOST_ACTIONS else f"most is a whole number from 1 to {MOST_ACTIONS}"
            )
        case "kinds":
            listed: list[Any] = cast("list[Any]", value) if isinstance(value, list) else [None]
            return None if all(kind in KINDS for kind in listed) else f"kinds is a list of {', '.join(KINDS)}"
        case "handoff":
            return _action_fault("handoff", value, kind="handoff", needs=())
        case "form":
            return _action_fault("form", value, kind="form", may=("intents",))
        case "static":
            actions: list[Any] = cast("list[Any]", value) if isinstance(value, list) else [None] * (MOST_STATIC + 1)
            if len(actions) > MOST_STATIC:
                return f"static is a list of up to {MOST_STATIC} actions"
            faults = (_action_fault(f"static[{at}]", action, may=("kind",)) for at, action in enumerate(actions))
            return next((fault for fault in faults if fault), None)
        case _:
            return f"no such field: {name!r}; there are {', '.join(_FIELDS)}"


def _action_fault(
    name: str,
    value: Any,
    *,
    kind: str | None = None,
    needs: tuple[str, ...] = ("label", "value"),
    may: tuple[str, ...] = (),
) -> str | None:
    """What is wrong with one action of an operator's. `kind` None: it must name its own."""
    if not isinstance(value, Mapping):
        return f"{name} is an object with {', '.join(('label', 'value', *may))}"
    fields = cast("Mapping[str, Any]", value)
    for key in fields:
        if key not in ("label", "value", *may):
            return f"{name} has no field {key!r}; it has {', '.join(('label', 'value', *may))}"
    chosen = kind or fields.get("kind")
    if chosen not in KINDS:
        return f"{name}.kind is one of {', '.join(KINDS)}"
    most = {"label": MOST_LABEL_CHARS, "value": MOST_REPLY_CHARS if chosen == "reply" else MOST_VALUE_CHARS}
    for key, at_most in most.items():
        if key not in fields and key not in needs:
            continue
        text = fields.get(key)
        if not isinstance(text, str) or not 0 < len(text.strip()) <= at_most or not text.isprintable():
            return f"{name}.{key} is a text of one line, 1 to {at_most} characters"
    if chosen == "link" and not is_web_address(fields["value"].strip()):
        return f"{name}.value is an address that begins with https:// or http://"
    intents: Any = fields.get("intents", [])
    if not isinstance(intents, list) or len(cast("list[Any]", intents)) > _MOST_INTENTS:
        return f"{name}.intents is a list of up to {_MOST_INTENTS} intents"
    if not all(
        isinstance(intent, str) and 0 < len(intent) <= MOST_LABEL_CHARS for intent in cast("list[Any]", intents)
    ):
        return f"{name}.intents is a list of names of intents"
    return None
