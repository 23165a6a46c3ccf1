"""Reads every option once, at the start of a command; `options.py` declares them.

An option comes from, strongest first: a command-line flag, the environment, the TOML file, the default. Names that
the whole field uses stay as they are (`DATABASE_URL`, `OPENAI_API_KEY` …); all others are `CHATWRIGHT_<NAME>`. In the
TOML file the key is the option's name. A name nobody knows is refused, because a misspelt limit is no limit.
"""

import difflib
import os
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import Field, dataclass, fields
from pathlib import Path
from types import UnionType
from typing import Any, Literal, cast, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit, urlunsplit

from chatwright.app.options import Settings, SettingsError

PREFIX = "CHATWRIGHT_"
CONFIG_FILE = "chatwright.toml"
CLIENT_NAMES = frozenset({"CHATWRIGHT_CONFIG", "CHATWRIGHT_URL", "CHATWRIGHT_KEY"})
"""Names the command line reads itself: the file to read, and the server and key of the administration verbs."""


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
