"""The catalogue of models as users see it: REST and the command line, and the operator's file while it all runs."""

import json
import time
from typing import TYPE_CHECKING, Any

from tests.e2e.conftest import chatwright, clean_environment

if TYPE_CHECKING:
    from tests.e2e.conftest import Live

OWN_MODEL = """
[[model]]
provider = "openai"
model = "sim-1"
input_usd_per_million = "0.25"
output_usd_per_million = "1"
max_output_tokens = 4_096
"""


def ask(live: "Live", query: str, *, key: str = "tenant") -> dict[str, Any]:
    reply = live.http("GET", f"/api/v1/models?{query}", key=key)
    assert reply.status == 200, reply.body
    return reply.json


def cli(live: "Live", *arguments: str) -> tuple[int, str]:
    done = chatwright("models", *arguments, "--data-dir", str(live.data_dir), env=clean_environment())
    return done.returncode, done.stdout


def test_a_model_is_shown_with_decimal_strings(live: "Live") -> None:
    page = ask(live, "provider=openai&model=gpt-4.1-mini")
    assert page["prices"].startswith("genai-prices ")
    assert page["items"] == [
        {
            "provider": "openai",
            "model": "gpt-4.1-mini",
            "context_tokens": 1_000_000,
            "max_output_tokens": 32_768,
            "capabilities": ["json", "tools", "vision"],
            "cheap": True,
            "deprecated": False,
            "price_source": "book",
            "rates": [
                {
                    "above_input_tokens": 0,
                    "input_usd_per_million": "0.4",
                    "cached_usd_per_million": "0.1",
                    "cache_write_usd_per_million": None,
                    "output_usd_per_million": "1.6",
                    "request_usd": "0",
                }
            ],
        }
    ]
    tiers = ask(live, "provider=anthropic&model=claude-haiku-5-5")["items"][0]["rates"]
    assert [rates["above_input_tokens"] for rates in tiers] == [0, 100_000]
    unknown = ask(live, "provider=openai&model=no-such")["items"][0]
    assert (unknown["price_source"], unknown["rates"], unknown["context_tokens"]) == ("unknown", [], None)


def test_pages_join_to_the_whole_list(live: "Live") -> None:
    seen: list[str] = []
    cursor = ""
    while True:
        page = ask(live, f"provider=mistral&limit=20&cursor={cursor}")
        seen += [item["model"] for item in page["items"]]
        cursor = page["next_cursor"]
        if not cursor:
            break
    whole = ask(live, "provider=mistral&limit=200")
    assert seen == [item["model"] for item in whole["items"]]
    assert len(seen) == len(set(seen)) > 40
    first, second = ask(live, "limit=200"), ask(live, "limit=200&cursor=groq/zzz")
    assert first["items"][0]["provider"] == "anthropic"
    assert second["items"][0]["provider"] > "groq"


def test_wrong_questions_and_wrong_people_are_refused(live: "Live") -> None:
    assert live.http("GET", "/api/v1/models?model=gpt-4.1").status == 400
    assert live.http("GET", "/api/v1/models?limit=0").status == 400
    assert live.http("GET", "/api/v1/models", key=None).status == 401
    assert live.http("GET", "/api/v1/models?provider=nobody").json["items"] == []


def test_chatbots_without_a_price_are_named_until_the_file_gives_one(live: "Live") -> None:
    link = {"chatbot": live.llm_chatbot, "provider": "openai", "model": "sim-1"}
    for key in ("tenant", "admin"):
        found = live.http("GET", "/api/v1/models/unpriced", key=key).json["items"]
        assert [{name: one[name] for name in link} for one in found if one["chatbot"] == live.llm_chatbot] == [link]
        assert live.tenant_id in {one["tenant_id"] for one in found}
    code, told = cli(live, "check")
    assert code == 1
    assert f"no price: openai/sim-1 of chatbot {live.llm_chatbot}" in told

    file = live.data_dir / "models.toml"
    file.write_text(OWN_MODEL, "utf-8")
    try:
        give_up_at = time.monotonic() + 15
        while ask(live, "provider=openai&model=sim-1")["items"][0]["price_source"] != "override":
            assert time.monotonic() < give_up_at, "the file was not read"
            time.sleep(0.1)
        assert ask(live, "provider=openai&model=sim-1")["items"][0]["rates"][0]["input_usd_per_million"] == "0.25"
        assert "models.toml" in ask(live, "provider=openai&model=sim-1")["prices"]
        found = live.http("GET", "/api/v1/models/unpriced").json["items"]
        assert live.llm_chatbot not in [one["chatbot"] for one in found]
        _, told = cli(live, "check")
        assert f"{file}: 1 to override" in told
        assert live.llm_chatbot not in told
    finally:
        file.unlink()


def test_the_command_line_lists_and_shows(live: "Live") -> None:
    code, told = cli(live, "list", "--provider", "groq")
    assert code == 0
    row = next(line for line in told.splitlines() if line.startswith("groq/llama-3.1-8b-instant\t"))
    assert row.split("\t")[4:7] == ["0.05", "0.08", "book"]
    code, told = cli(live, "show", "anthropic/claude-haiku-4-5")
    assert code == 0
    assert "max_output_tokens  64000" in told
    assert "cache write  1.25" in told
    code, told = cli(live, "show", "openrouter/openai/gpt-4o", "--json")
    assert json.loads(told)["model"] == "openai/gpt-4o"
    assert cli(live, "show", "gpt-4o")[0] == 2
