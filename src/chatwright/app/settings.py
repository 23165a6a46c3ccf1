"""Every option: name, type, unit, default, meaning and how to switch it off. Read once, at the start of a command.

An option comes from, strongest first: a command-line flag, the environment, the TOML file, the default. Names that
the whole field uses stay as they are (`DATABASE_URL`, `OPENAI_API_KEY` …); all others are `CHATWRIGHT_<NAME>`. In the
TOML file the key is the option's name. A name nobody knows is refused, because a misspelt limit is no limit.
"""

# ruff: noqa: RUF009 - `option` only calls dataclasses.field

import difflib
import os
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from types import UnionType
from typing import Any, Literal, cast, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit, urlunsplit

from chatwright.domain.errors import ChatwrightError

PREFIX = "CHATWRIGHT_"
CONFIG_FILE = "chatwright.toml"
CLIENT_NAMES = frozenset({"CHATWRIGHT_CONFIG", "CHATWRIGHT_URL", "CHATWRIGHT_KEY"})
"""Names the command line reads itself: the file to read, and the server and key of the administration verbs."""

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["auto", "json", "console"]


class SettingsError(ChatwrightError):
    """An option is unknown or its value cannot be meant; the message names the option and the mend."""

    code = "settings"


def option(
    default: Any = MISSING,
    *,
    about: str,
    env: str | None = None,
    unit: str = "",
    mask: Literal["no", "all", "url"] = "no",
    minimum: float | None = None,
    maximum: float | None = None,
) -> Any:
    """Declare one option. `mask` "all" hides the value, "url" hides the password inside it."""
    metadata = {"about": about, "env": env, "unit": unit, "mask": mask, "minimum": minimum, "maximum": maximum}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The effective options of one process."""

    # Where things are ---------------------------------------------------------------------------------------------
    data_dir: Path = option(
        Path(".chatwright"), about="Folder of the embedded servers, credentials.json, chatwright.toml and stored files."
    )
    database_url: str = option(
        "",
        env="DATABASE_URL",
        mask="url",
        about="PostgreSQL 16 or newer with pgvector. Empty: `up` starts the embedded server.",
    )
    redis_url: str = option(
        "",
        env="REDIS_URL",
        mask="url",
        about="Valkey or Redis 7 or newer, maxmemory-policy noeviction. Empty: `up` starts the embedded server.",
    )
    s3_url: str = option(
        "", env="S3_URL", mask="url", about="Object storage for files; reserved, no part of this version reads it."
    )

    # The API ------------------------------------------------------------------------------------------------------
    host: str = option("127.0.0.1", about="Address the API listens on; 0.0.0.0 for every interface.")
    port: int = option(8080, minimum=0, maximum=65535, about="Port of the API; 0 takes any free one (printed).")
    public_url: str = option("", about="Address under which visitors reach the API. Empty: http://<host>:<port>.")
    backlog: int = option(1024, minimum=16, about="Connections that may wait to be accepted.")
    ws_ping_s: float = option(
        20.0, unit="s", minimum=1, about="Interval of WebSocket pings; a peer silent for two of them is dropped."
    )
    ws_max_kib: int = option(64, unit="KiB", minimum=4, about="Largest WebSocket frame a client may send.")
    body_timeout_s: float = option(30.0, unit="s", minimum=1, about="For a request's whole body to come in.")
    send_timeout_s: float = option(
        10.0, unit="s", minimum=0.5, about="A reader of a stream that takes nothing for so long is cut off."
    )
    drain_s: float = option(
        8.0, unit="s", minimum=0, maximum=60, about="How long a stopping process waits for running answers."
    )

    # The worker ---------------------------------------------------------------------------------------------------
    worker_name: str = option("", about="Name in health and metrics. Empty: <host>-<pid>.")
    worker_concurrency: int = option(32, minimum=1, maximum=1000, about="Jobs one worker process runs at once.")
    worker_high_reserve: int = option(8, minimum=0, about="Slots of these that only urgent chat messages may take.")
    tenant_in_flight: int = option(
        16, minimum=0, about="Jobs of one tenant that one worker runs at once. 0: no cap (one tenant may take all)."
    )

    # Pools and time-outs ------------------------------------------------------------------------------------------
    postgres_min_connections: int = option(2, minimum=0, about="Connections per pool kept open; two pools a process.")
    postgres_max_connections: int = option(12, minimum=1, about="Connections per pool at most; two pools a process.")
    postgres_command_timeout_s: float = option(10.0, unit="s", minimum=0.1, about="Longest statement.")
    postgres_acquire_timeout_s: float = option(5.0, unit="s", minimum=0.1, about="Longest wait for a connection.")
    provider_connect_timeout_s: float = option(5.0, unit="s", minimum=0.1, about="Connecting to a provider.")
    provider_first_byte_timeout_s: float = option(
        30.0, unit="s", minimum=0.1, about="From the request's end to the provider's first byte."
    )
    provider_idle_timeout_s: float = option(
        20.0, unit="s", minimum=0.1, about="Longest silence inside a provider's stream."
    )

    # Answers ------------------------------------------------------------------------------------------------------
    answer_deadline_s: float = option(
        60.0, unit="s", minimum=1, about="One answer in all: attempts, providers and restarts together."
    )
    max_provider_calls: int = option(3, minimum=1, maximum=20, about="Provider calls one answer may cost in all.")
    max_text_chars: int = option(32_000, minimum=1, about="Longest visitor message, in characters.")
    context_messages: int = option(10, minimum=0, about="Earlier messages sent along. 0: none.")
    coalesce_ms: int = option(
        30, unit="ms", minimum=0, maximum=1000, about="Deltas that arrive within this time share a frame. 0: off."
    )
    stream_cap: int = option(4096, minimum=64, about="Events kept per conversation for clients that resume.")
    stream_lifetime_s: int = option(900, unit="s", minimum=30, about="How long these are kept after the last one.")
    wait_timeout_s: float = option(75.0, unit="s", minimum=1, about="Longest `?wait=true`.")
    lease_s: float = option(
        5.0, unit="s", minimum=1, about="A job whose worker shows no life this long is given to another."
    )
    idempotency_hours: int = option(24, unit="h", minimum=24, about="How long idempotency keys are remembered.")

    # Knowledge ----------------------------------------------------------------------------------------------------
    room_tokens: int = option(
        6_000, unit="tokens", minimum=500, about="Room of one prompt for persona, history, knowledge and question."
    )
    knowledge_top_k: int = option(5, minimum=1, maximum=50, about="Passages given to a provider at most.")
    relevance_threshold: float = option(
        0.7, minimum=0, maximum=1, about="Relevance below which a passage is no source. 0: every passage counts."
    )
    embedder_threads: int = option(
        0, minimum=0, maximum=64, about="Threads of the local embedder. 0: one per processor, at most two."
    )

    # Providers ----------------------------------------------------------------------------------------------------
    openai_api_key: str = option(
        "", env="OPENAI_API_KEY", mask="all", about="The platform's key for `openai`. Empty with no base URL: off."
    )
    openai_base_url: str = option(
        "",
        env="OPENAI_BASE_URL",
        about="Any OpenAI-compatible server, with its /v1 (Ollama, vLLM, llama.cpp …). Empty: OpenAI itself.",
    )
    openai_model: str = option("gpt-4o-mini", about="Model of `openai` where a chatbot names none (the demo's).")
    anthropic_api_key: str = option(
        "", env="ANTHROPIC_API_KEY", mask="all", about="Reserved for the provider `anthropic`; not read yet."
    )
    anthropic_base_url: str = option(
        "", env="ANTHROPIC_BASE_URL", about="Reserved for the provider `anthropic`; not read yet."
    )
    google_cloud_project: str = option(
        "", env="GOOGLE_CLOUD_PROJECT", about="Reserved for the provider `vertex`; not read yet."
    )
    google_cloud_location: str = option(
        "", env="GOOGLE_CLOUD_LOCATION", about="Reserved for the provider `vertex`; not read yet."
    )
    google_application_credentials: str = option(
        "", env="GOOGLE_APPLICATION_CREDENTIALS", about="Reserved for the provider `vertex`; not read yet."
    )
    vertex_base_url: str = option("", env="VERTEX_BASE_URL", about="Reserved for the provider `vertex`; not read yet.")
    allowed_addresses: tuple[str, ...] = option(
        (),
        about="Host names, addresses and networks that tenants' provider URLs may reach although they are private, "
        "e.g. ollama.lan,10.1.0.0/16. Empty: public addresses only.",
    )

    # Everything else ----------------------------------------------------------------------------------------------
    demo: bool = option(True, about="Whether `up` makes the demo tenant and chatbot. `--no-demo` switches it off.")
    log_level: LogLevel = option("info", about="Least loud line that is written.")
    log_format: LogFormat = option("auto", about="json, console (coloured), or auto: console on a terminal, else json.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """Settings and where each came from: `default`, `flag`, an environment name, or `<file>`."""

    settings: Settings
    sources: Mapping[str, str]
    config_file: Path | None


def all_options() -> tuple[Field[Any], ...]:
    """The declared options in order; their metadata hold `about`, `env`, `unit` and `mask`."""
    return fields(Settings)


def env_name(declared: Field[Any]) -> str:
    """The environment variable of an option."""
    return cast("str | None", declared.metadata["env"]) or PREFIX + declared.name.upper()


def load_settings(
    environ: Mapping[str, str] | None = None,
    *,
    config_file: Path | None = None,
    flags: Mapping[str, Any] | None = None,
) -> Loaded:
    """Read every option once. `flags` are values given on the command line (None: not given).

    Raises SettingsError for an unknown name, a value of the wrong kind, or a named file that is not there.
    """
    environ = os.environ if environ is None else environ
    given = {name: value for name, value in (flags or {}).items() if value is not None}
    _refuse_unknown_environment(environ)
    named = config_file or (Path(environ["CHATWRIGHT_CONFIG"]) if environ.get("CHATWRIGHT_CONFIG") else None)
    data_dir = given.get("data_dir") or environ.get("CHATWRIGHT_DATA_DIR") or _default("data_dir")
    file = named or Path(data_dir) / CONFIG_FILE
    if named is not None and not named.is_file():
        raise SettingsError(f"there is no file {named}; make it or correct --config / CHATWRIGHT_CONFIG")
    from_file = _read_toml(file) if file.is_file() else {}

    kinds = get_type_hints(Settings)
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for declared in all_options():
        name, variable = declared.name, env_name(declared)
        raw: Any
        if name in given:
            raw, source = given[name], "flag"
        elif variable in environ and environ[variable] != "":
            raw, source = environ[variable], variable
        elif name in from_file:
            raw, source = from_file[name], str(file)
        else:
            sources[name] = "default"
            continue
        values[name] = _convert(declared, kinds[name], raw, variable if source == variable else f"{name} ({source})")
        sources[name] = source
    return Loaded(settings=Settings(**values), sources=sources, config_file=file if file.is_file() else None)


def to_environment(settings: Settings, names: Collection[str]) -> dict[str, str]:
    """The named options as environment variables, for a child process."""
    found: dict[str, str] = {}
    for declared in all_options():
        if declared.name in names:
            value = getattr(settings, declared.name)
            found[env_name(declared)] = ",".join(value) if isinstance(value, tuple) else _plain(value)
    return found


def masked(declared: Field[Any], value: Any) -> str:
    """A value as it may be shown."""
    text = ",".join(cast("tuple[str, ...]", value)) if isinstance(value, tuple) else _plain(value)
    match declared.metadata["mask"]:
        case "all":
            return f"{text[:3]}…{text[-4:]}" if len(text) > 12 else "…" if text else ""
        case "url":
            return mask_url(text)
        case _:
            return text


def mask_url(url: str) -> str:
    """The URL without the password in it."""
    try:
        parts = urlsplit(url)
        if parts.password is None:
            return url
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return "…"
    return urlunsplit(parts._replace(netloc=f"{parts.username or ''}:…@{host}"))


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _default(name: str) -> Any:
    return next(declared.default for declared in all_options() if declared.name == name)


def _refuse_unknown_environment(environ: Mapping[str, str]) -> None:
    known = {env_name(declared) for declared in all_options()} | CLIENT_NAMES
    for name in sorted(environ):
        if name.startswith(PREFIX) and name not in known:
            raise SettingsError(f"{name} is no option of chatwright{_did_you_mean(name, known)}; unset or correct it")


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        found = tomllib.loads(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{file} cannot be read: {error}") from error
    known = {declared.name for declared in all_options()} - {"data_dir"}
    for key in found:
        if key == "data_dir":
            raise SettingsError(f"{file}: data_dir is set by --data-dir or CHATWRIGHT_DATA_DIR, not in the file")
        if key not in known:
            raise SettingsError(f"{file}: {key} is no option of chatwright{_did_you_mean(key, known)}")
    return found


def _did_you_mean(name: str, known: set[str]) -> str:
    near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""


def _convert(declared: Field[Any], kind: Any, raw: Any, where: str) -> Any:
    """Turn a flag, an environment text or a TOML value into the option's type, within its bounds."""
    if get_origin(kind) is Literal:
        choices = get_args(kind)
        text = str(raw).strip().lower()
        if text not in choices:
            raise SettingsError(f"{where}: {raw!r} is none of {', '.join(choices)}")
        return text
    if get_origin(kind) is tuple:
        if isinstance(raw, str):
            return tuple(part.strip() for part in raw.split(",") if part.strip())
        if isinstance(raw, list | tuple):
            parts = cast("list[Any]", raw)
            if all(isinstance(part, str) for part in parts):
                return tuple(cast("list[str]", parts))
        raise SettingsError(f"{where}: expected a list of texts")
    try:
        value = _scalar(kind, raw)
    except ValueError as error:
        raise SettingsError(f"{where}: {error}") from None
    minimum, maximum = declared.metadata["minimum"], declared.metadata["maximum"]
    if minimum is not None and value < minimum:
        raise SettingsError(f"{where}: {value} is below {minimum}")
    if maximum is not None and value > maximum:
        raise SettingsError(f"{where}: {value} is above {maximum}")
    return value


def _scalar(kind: type | UnionType, raw: Any) -> Any:
    if kind is bool:
        if isinstance(raw, bool):
            return raw
        word = str(raw).strip().lower()
        if word in {"1", "true", "yes", "on"}:
            return True
        if word in {"0", "false", "no", "off"}:
            return False
        raise ValueError(f"{raw!r} is neither true nor false")
    if isinstance(raw, bool | list | dict):
        raise ValueError(f"{raw!r} is not what is expected here")  # noqa: TRY004 - one kind of error for a bad value
    if kind is int:
        if isinstance(raw, float):
            raise ValueError(f"{raw!r} is no whole number")
        try:
            return int(str(raw).replace("_", ""))
        except ValueError:
            raise ValueError(f"{raw!r} is no whole number") from None
    if kind is float:
        try:
            value = float(raw)
        except ValueError:
            raise ValueError(f"{raw!r} is no number") from None
        if value != value or value in {float("inf"), float("-inf")}:  # noqa: PLR0124 - NaN alone differs from itself
            raise ValueError(f"{raw!r} is no finite number")
        return value
    if kind is Path:
        return Path(str(raw)).expanduser()
    return str(raw)
