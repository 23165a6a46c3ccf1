"""The `chatwright` command: finds the verb, runs it, turns errors into one line and an exit code.

Exit codes: 0 done, 1 it failed, 2 it was called wrongly, 3 a server could not be reached. Verbs live in
`app/commands/`; each module is imported only when one of its verbs is asked for, so that `--help` stays quick.
"""

import difflib
import importlib
import json
import keyword
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from chatwright import __version__
from chatwright.domain.errors import ChatwrightError, Unavailable

# Before anything imports numpy: its threads would take every core from the answers while a router is trained.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

FAILED, USAGE, UNREACHABLE = 1, 2, 3

_VERBS: dict[str, tuple[str, str]] = {
    # verb: (module, the line shown in --help); in the order of --help
    "up": ("serving", "Start everything on this machine: servers, API, worker, demo chatbot."),
    "api": ("serving", "Run only the API, against external servers."),
    "worker": ("serving", "Run only a worker, against external servers."),
    "migrate": ("serving", "Bring the database schema up to date."),
    "seed": ("serving", ""),
    "doctor": ("inspecting", "Look at each part and say how to mend what is broken."),
    "config": ("inspecting", "Show the effective settings and where each came from."),
    "tenant": ("tenants", "Create, list and show tenants (admin key)."),
    "chatbot": ("tenants", "Create, list, show and change chatbots."),
    "key": ("tenants", "Create, list and revoke API keys."),
    "provider": ("providers", "Which providers are set up, and whether they answer."),
    "provider-key": ("provider_keys", "Add, rotate and revoke keys for providers; renew their seals."),
    "webhook": ("webhooks", "Have alerts delivered: signed webhooks, Slack, e-mail."),
    "kb": ("knowledge", "Add knowledge from files, search it with scores, list and remove it."),
    "import": ("imports", "Import conversations from files: plan, run, follow, resume."),
    "intent": ("intents", "A chatbot's own intents: examples, quality, a try."),
    "feedback": ("feedback", "What visitors say of answers: thumbs up and down, comments."),
    "cache": ("cache", "See, purge and warm what is answered from the caches."),
    "guard": ("guard", "See what looked like an attack, what of it was none; try a text."),
    "chat": ("chatting", "Chat with a chatbot in the terminal, streamed."),
    "models": ("models", "Models: context, capabilities, prices; check models.toml."),
    "queue": ("operating", "Queue numbers; pause and resume the workers."),
    "dlq": ("operating", "List, show, replay and discard dead letters."),
    "usage": ("usage", "What was used and what it cost, with a chart; CSV."),
    "budget": ("budgets", "Set, list and remove budgets; prove them against the ledger."),
    "bench": ("inspecting", "Run the benchmark suite (from a checkout)."),
    "version": ("inspecting", "Print the version."),
}

# \b keeps click from filling the lines.
_EXAMPLES = """\b
Examples:
  chatwright up                        start everything here, with a demo chatbot
  chatwright chat demo                 talk to it in this terminal
  chatwright kb add demo ./handbook    teach it a folder of documents
  chatwright doctor                    what is wrong, and how to mend it
"""


class _Verbs(click.Group):
    """Imports a verb's module when the verb is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in _VERBS:
            return None
        module = importlib.import_module(f"chatwright.app.commands.{_VERBS[cmd_name][0]}")
        name = cmd_name.replace("-", "_")
        return getattr(module, f"{name}_" if keyword.iskeyword(name) else name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in _VERBS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], list(_VERBS), n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise click.UsageError(f"There is no command {args[0]!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(verb, line) for verb, (_, line) in _VERBS.items() if line])


@click.command(
    cls=_Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=_EXAMPLES,
)
@click.version_option(__version__, message="chatwright %(version)s")
def cli() -> None:
    """Self-hosted, multi-tenant AI chat pipeline. Each command has its own --help with examples."""


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run one command and leave with its exit code. No traceback for anything that can be expected."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    as_json = "--json" in arguments
    try:
        code = cli.main(args=arguments, prog_name="chatwright", standalone_mode=False)
    except click.exceptions.Exit as left:
        sys.exit(left.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except click.ClickException as error:
        if as_json:
            _fail("usage", error.format_message(), error.exit_code, as_json=True)
        error.show()
        sys.exit(error.exit_code)
    except ChatwrightError as error:
        unreachable = isinstance(error, Unavailable)
        _fail(error.code, error.message, UNREACHABLE if unreachable else FAILED, as_json=as_json)
    except BrokenPipeError:  # `chatwright … | head`
        sys.stderr.close()
        sys.exit(0)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(code: str, message: str, exit_code: int, *, as_json: bool) -> NoReturn:
    if as_json:
        click.echo(json.dumps({"error": {"code": code, "message": message}}, ensure_ascii=False))
    else:
        click.secho("error: ", fg="red", bold=True, nl=False, err=True)
        click.echo(message, err=True)
    sys.exit(exit_code)
