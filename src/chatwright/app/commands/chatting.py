"""`chat`: a conversation in the terminal, streamed over the same event stream that every other client reads."""

import sys
import uuid
from typing import Any

import click

from chatwright.app.commands.base import examples, run
from chatwright.app.commands.rest import Api, Target, open_api, server_options
from chatwright.domain.errors import ChatwrightError


class AnswerFailed(ChatwrightError):
    """The server could not answer; the message is its own."""

    code = "answer_failed"


@click.command(
    "chat",
    epilog=examples(
        "chatwright chat demo",
        "chatwright chat demo -m 'How do I add knowledge?'",
        "echo 'How do I add knowledge?' | chatwright chat demo --json",
    ),
)
@click.argument("chatbot_ref", metavar="CHATBOT")
@click.option("-m", "--message", "messages", multiple=True, help="Ask this and leave; repeat it to go on asking.")
@server_options
def chat(chatbot_ref: str, messages: tuple[str, ...], target: Target) -> None:
    """Chat with a chatbot. On a terminal until Ctrl-D; else every line of standard input is one message."""

    async def work() -> None:
        async with open_api(target) as api:
            body = {"chatbot": chatbot_ref, "metadata": {"channel": "terminal"}}
            conversation = await api.post("/api/v1/conversations", body)
            talk = _Talk(api, conversation["id"], as_json=target.as_json)
            if messages:
                for text in messages:
                    await talk.ask(text)
                return
            interactive = sys.stdin.isatty() and not target.as_json
            if interactive:
                click.secho(f"Talking to {chatbot_ref}. Ctrl-D leaves.", dim=True)
            while (text := _read_line(interactive=interactive)) is not None:
                if text:
                    await talk.ask(text)

    run(work())


class _Talk:
    """One conversation; remembers how far its event stream was read."""

    def __init__(self, api: Api, conversation_id: str, *, as_json: bool) -> None:
        self._api = api
        self._path = f"/api/v1/conversations/{conversation_id}"
        self._as_json = as_json
        self._after = 0

    async def ask(self, text: str) -> None:
        body = {"text": text, "client_message_id": str(uuid.uuid4()), "priority": 8}
        sent = await self._api.post(f"{self._path}/messages", body)
        shown = ""
        async for event in self._api.events(f"{self._path}/events", after=self._after):
            self._after = max(self._after, int(event.get("seq") or 0))
            if event.get("message_id") != sent["message_id"]:
                continue
            match event["type"]:
                case "stream_chunk":
                    shown += event["chunk"]
                    if not self._as_json:
                        click.echo(event["chunk"], nl=False)
                case "stream_reset":
                    shown = ""
                    if not self._as_json:
                        click.secho("\n(starting over)", dim=True)
                case "message_replace":
                    shown = str(event.get("text", ""))
                    if not self._as_json:
                        click.echo(f"\n{shown}", nl=False)
                case "stream_complete":
                    self._finish(shown, event)
                    return
                case "stream_error":
                    if not self._as_json:
                        click.echo()
                    raise AnswerFailed(f"{event['message']} ({event['code']})")
                case _:
                    pass
        raise AnswerFailed("the stream ended before the answer did; ask again")

    def _finish(self, text: str, event: dict[str, Any]) -> None:
        if self._as_json:
            import json

            kept = {
                name: event.get(name) for name in ("message_id", "sources", "sentiment", "intent", "usage", "cached")
            }
            click.echo(json.dumps({"text": text, **kept}, ensure_ascii=False))
            return
        click.echo()
        for source in event.get("sources") or []:
            where = f"  {source['url']}" if source.get("url") else ""
            click.secho(f"  [{source['n']}] {source['title']}{where}", dim=True)
        click.echo()


def _read_line(*, interactive: bool) -> str | None:
    """The next message, or None at the end of the input."""
    if interactive:
        try:
            return input("you> ").strip()
        except (EOFError, KeyboardInterrupt):
            click.echo()
            return None
    line = sys.stdin.readline()
    return line.strip() if line else None
