"""A conversation's summary and its boundary, as an outside program meets them."""

import time
from typing import TYPE_CHECKING, Any

from tests.e2e.test_rest import make_chatbot, open_conversation, unique

if TYPE_CHECKING:
    from tests.e2e.conftest import Live


def write(live: "Live", conversation: str, text: str) -> dict[str, Any]:
    reply = live.http("POST", f"/api/v1/conversations/{conversation}/messages?wait=true", {"text": text})
    assert reply.status == 200, reply.body
    return reply.json


def test_a_conversation_remembers_until_it_is_reset(live: "Live") -> None:
    chatbot = make_chatbot(live, cache_policy={"mode": "off"}, metadata_fields=["current_page"])
    assert chatbot["metadata_fields"] == ["current_page"]
    conversation = open_conversation(live, chatbot["slug"], visitor_id=unique("v"))
    path = f"/api/v1/conversations/{conversation}"
    assert live.http("GET", f"{path}/summary").json == {
        "conversation_id": conversation, "covers_upto": 0, "text": "", "made_by": "", "tokens": 0,
    }  # fmt: skip
    write(live, conversation, "My order number is 48213.")
    for number in range(2, 22):
        write(live, conversation, f"Please tell me about part {number}.")
    until = time.monotonic() + 15
    while (kept := live.http("GET", f"{path}/summary").json)["covers_upto"] == 0 and time.monotonic() < until:
        time.sleep(0.1)
    assert kept["covers_upto"] == 10
    assert "- My order number is 48213." in kept["text"]
    assert kept["tokens"] > 0

    assert live.http("POST", f"{path}/reset").json == {"conversation_id": conversation, "forgotten_upto": 21}
    assert live.http("GET", f"{path}/summary").json["text"] == ""
    assert len(live.http("GET", f"{path}/messages?limit=200").json["items"]) == 42


def test_only_its_own_visitor_and_tenant_may_reset_a_conversation(live: "Live") -> None:
    chatbot = make_chatbot(live)
    conversation = open_conversation(live, chatbot["slug"], visitor_id=unique("v"))
    stranger = live.http(
        "POST", "/api/v1/widget/token", {"widget_id": chatbot["widget_id"], "visitor_id": unique("w")}
    )  # fmt: skip
    assert stranger.status == 200, stranger.body
    for method, what in (("POST", "reset"), ("GET", "summary")):
        path = f"/api/v1/conversations/{conversation}/{what}"
        assert live.http(method, path, key=stranger.json["token"]).status == 404
        assert live.http(method, path, key=None).status == 401
        assert live.http(method, f"/api/v1/conversations/nothing/{what}").status == 404
        assert live.http(method, path).status == 200
