"""A chatbot's own intents over REST and on the command line, on a running installation."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Live

BODY = {
    "intents": [
        {
            "name": "returns",
            "examples": [
                "I want to send this back", "how do I return my order", "can I give these shoes back",
                "where is the return label",
            ],
        },
        {
            "name": "delivery",
            "examples": [
                "where is my parcel", "when will my order arrive", "my package has not come", "track my delivery",
            ],
        },
    ]
}  # fmt: skip


def _trained(live: Live, path: str) -> dict[str, Any]:
    deadline_s = time.monotonic() + 60
    while time.monotonic() < deadline_s:
        shown = live.http("GET", path).json
        if shown["state"] == "trained":
            return shown
        time.sleep(0.1)
    pytest.fail("the intents were not trained within a minute")


def _command(live: Live, *arguments: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "chatwright", "intent", *arguments, "--json", "--data-dir", str(live.data_dir)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return json.loads(done.stdout)


def test_intents_are_set_trained_tried_and_removed(live: Live) -> None:
    path = f"/api/v1/chatbots/{live.llm_chatbot}/intents"
    assert live.http("GET", path).json["state"] == "none"
    assert live.http("POST", path + "/test", {"texts": ["x"]}).status == 404
    put = live.http("PUT", path, BODY)
    assert put.status == 200, put.body
    shown = _trained(live, path)
    assert [one["name"] for one in shown["intents"]] == ["delivery", "returns"]
    assert shown["quality"]["examples"] == 8
    tried = live.http(
        "POST", path + "/test", {"texts": ["how can I return an order", "the moon is made of cheese"]}
    ).json
    assert tried["results"][0]["intent"] == "returns"
    assert tried["results"][1]["intent"] is None
    assert live.http("PUT", path + "/No!", {"examples": ["a"]}).status == 422
    assert live.http("PUT", path + "/refund", {"examples": []}).status == 422
    assert live.http("DELETE", path + "/unknown").status == 404
    assert live.http("GET", path, key=None).status == 401
    gone = live.http("DELETE", path)
    assert gone.json["intents"] == []


def test_the_command_line_does_the_same(live: Live, tmp_path: Path) -> None:
    bot = live.llm_chatbot
    file = tmp_path / "intents.csv"
    rows = [f'{one["name"]},"{example}"' for one in BODY["intents"] for example in one["examples"]]
    file.write_text("intent,example\n" + "\n".join(rows) + "\n", "utf-8")
    assert len(_command(live, "import", bot, str(file), "--yes")["intents"]) == 2
    _trained(live, f"/api/v1/chatbots/{bot}/intents")
    assert _command(live, "test", bot, "my parcel is not here")["results"][0]["likeliest"] == "delivery"
    assert len(_command(live, "set", bot, "invoice", "I need an invoice", "send me the bill")["intents"]) == 3
    assert len(_command(live, "remove", bot, "invoice")["intents"]) == 2
    assert _command(live, "remove", bot, "--all", "--yes")["state"] in ("training", "none")
