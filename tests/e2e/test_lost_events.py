"""A reader whose events are gone from Valkey is told of every message that it may have missed."""

import json
import uuid
from typing import TYPE_CHECKING

import redis
from websockets.sync.client import connect

from chatwright.app.embedded import find_running

if TYPE_CHECKING:
    from tests.e2e.conftest import Live


def test_all_recent_messages_are_replaced_after_a_loss(live: "Live") -> None:
    opened = live.http("POST", "/api/v1/conversations", {"chatbot": live.llm_chatbot})
    conversation = opened.json["id"]
    answers: dict[str, str] = {}
    for number in range(2):
        body = {"text": f"Question {number}", "client_message_id": uuid.uuid4().hex}
        told = live.http("POST", f"/api/v1/conversations/{conversation}/messages?wait=true", body)
        assert told.status == 200, told.body
        answers[told.json["message_id"]] = told.json["answer"]["text"]

    running = find_running(live.data_dir)
    assert running is not None
    log = f"cw:log:{{{live.tenant_id}:{conversation}}}"
    with redis.Redis.from_url(running.redis_url) as client:
        assert client.delete(log, f"{log}:meta") == 2

    address = live.base_url.replace("http", "ws", 1) + "/api/v1/ws"
    with connect(address, proxy=None, compression=None) as socket:
        socket.send(json.dumps({"type": "auth", "token": live.tenant_key}))
        assert json.loads(socket.recv(timeout=10))["type"] == "ready"
        socket.send(json.dumps({"type": "resume", "conversation_id": conversation, "after_seq": 3}))
        frames = [json.loads(socket.recv(timeout=10)) for _ in answers]
    assert [frame["type"] for frame in frames] == ["message_replace"] * 2
    assert {frame["message_id"]: frame["text"] for frame in frames} == answers
    assert list(answers) == [frame["message_id"] for frame in frames]
    assert all(frame["final"] and frame["state"] == "answered" for frame in frames)
