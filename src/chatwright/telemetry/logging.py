"""Logs, set up once per process: JSON lines, or colour on a terminal. Called by `app/` only.

Everything goes to standard error, also what uvicorn, asyncio and other libraries say through `logging`. Keys and
bearer tokens are cut out of every line, whoever wrote it; visitors' words and prompts are never logged to begin with.
"""

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor

_SECRETS = re.compile(
    r"cw_(?:sk|admin|pub|vt)_[A-Za-z0-9_\-]{4,}"  # our own keys and widget ids
    r"|\bsk-[A-Za-z0-9_\-]{8,}"  # OpenAI's and Anthropic's
    r"|\bAIza[A-Za-z0-9_\-]{20,}"  # Google's
    r"|(?<=[Bb]earer )[A-Za-z0-9._~+/=\-]{8,}"
    r"|(?<=://)[^/@\s:]*:[^/@\s]+(?=@)"  # user:password of a URL
)
_SECRET_NAMES = frozenset({"authorization", "api_key", "secret", "password", "token", "x-api-key", "cookie"})
_CUT = "[cut]"
_NOISY = {
    "asyncio": logging.WARNING,
    "httpx": logging.WARNING,
    "markdown_it": logging.WARNING,
    "uvicorn.error": logging.WARNING,
    "uvicorn.access": logging.CRITICAL,
}


def scrub(text: str) -> str:
    """The text with everything that looks like a key, token or password in a URL cut out."""
    return _SECRETS.sub(_CUT, text)


def set_up_logging(
    *,
    level: Literal["debug", "info", "warning", "error"] = "info",
    style: Literal["auto", "json", "console"] = "auto",
    stream: TextIO | None = None,
    **context: str,
) -> None:
    """Set up structlog and `logging` for this process; `context` (e.g. role="worker") stands in every line."""
    out = stream or sys.stderr
    number = getattr(logging, level.upper())
    console = style == "console" or (style == "auto" and out.isatty())

    def add_context(_logger: Any, _method: str, event: EventDict) -> EventDict:
        for name, value in context.items():
            event.setdefault(name, value)
        return event

    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        add_context,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    # Exceptions become text before the scrubbing, or a traceback would carry a key past it.
    renderer = structlog.dev.ConsoleRenderer(colors=out.isatty()) if console else structlog.processors.JSONRenderer()
    last: list[Processor] = [structlog.processors.format_exc_info, _scrub, renderer]
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=True,
    )

    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(number)
    for name, floor in _NOISY.items():
        logging.getLogger(name).setLevel(max(number, floor))
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True


def _scrub(_logger: Any, _method: str, event: EventDict) -> EventDict:
    for name, value in event.items():
        event[name] = _clean(name, value, depth=0)
    return event


def _clean(name: str, value: Any, *, depth: int) -> Any:
    if name.lower() in _SECRET_NAMES and value:
        return _CUT
    match value:
        case str():
            return scrub(value)
        case bytes():
            return scrub(value.decode("utf-8", "replace"))
        case None | bool() | int() | float():
            return value
        case MutableMapping() | Mapping() if depth < 4:  # deeper than a log line ever needs
            return {str(key): _clean(str(key), inner, depth=depth + 1) for key, inner in value.items()}
        case list() | tuple() | set() | frozenset() if depth < 4:
            return [_clean("", inner, depth=depth + 1) for inner in value]
        case _:
            return scrub(repr(value))
