"""The map of the code, kept true: sizes of modules, direction of imports, what no file may hold."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "chatwright"
LONGEST = 400

# Modules that may be longer, each with its reason.
LONG_MODULES: dict[str, str] = {}

# Addresses of package registries and words that look like real keys do not belong into a public repository.
# Put together here, so that this file holds none itself.
_HOSTS = {"pypi": "org", "pythonhosted": "org", "npmjs": "org", "deb.debian": "org"}
_REGISTRIES = re.compile(
    "|".join([*(re.escape(f"{name}.{ending}") for name, ending in _HOSTS.items()), "--(?:extra-)?index-url"])
)
_SECRETS = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----|\bAKIA[0-9A-Z]{16}\b|\bghp_[A-Za-z0-9]{36}\b|\bsk-(?:proj-|ant-)?[A-Za-z0-9_-]{32,}"
)
_LOCKED = re.compile(r"package-lock\.json$")


def tracked_files() -> list[Path]:
    """What git knows, or would know with the next commit."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).is_file()]


def modules() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def test_modules_are_short_enough_to_read() -> None:
    long = {
        str(file.relative_to(SOURCE)): lines
        for file in modules()
        if (lines := len(file.read_text("utf-8").splitlines())) > LONGEST
    }
    assert {name: lines for name, lines in long.items() if name not in LONG_MODULES} == {}
    assert set(LONG_MODULES) <= set(long), "an exception that is no longer needed"


def test_every_module_says_what_it_owns() -> None:
    silent = [
        str(file.relative_to(SOURCE))
        for file in modules()
        if (text := file.read_text("utf-8").lstrip()) and not text.startswith('"""')
    ]
    assert silent == []


def test_the_import_rules_hold() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_nothing_heavy_is_imported_for_help() -> None:
    asked = "import sys; import chatwright.app.cli; print(' '.join(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True).stdout.split()
    heavy = {
        "asyncpg",
        "aiohttp",
        "redis",
        "onnxruntime",
        "numpy",
        "uvicorn",
        "starlette",
        "rich",
        "structlog",
        "openai",
    }
    assert heavy.isdisjoint(loaded)


def test_no_registry_address_is_written_down() -> None:
    found = [
        f"{file.relative_to(ROOT)}: {match[0]}"
        for file in tracked_files()
        if file != Path(__file__) and not _LOCKED.search(file.name) and (match := _REGISTRIES.search(_text(file)))
    ]
    assert found == []


def test_nothing_that_looks_like_a_key_is_written_down() -> None:
    found = [
        f"{file.relative_to(ROOT)}: {match[0][:12]}…"
        for file in tracked_files()
        if file != Path(__file__) and (match := _SECRETS.search(_text(file)))
    ]
    assert found == []


def test_the_lock_files_carry_hashes_only() -> None:
    for file in sorted((ROOT / "requirements").glob("*.txt")):
        lines = [line for line in file.read_text().splitlines() if line and not line.startswith((" ", "#"))]
        assert lines
        assert all(re.match(r"[a-z0-9._-]+==", line) for line in lines), file
        assert file.read_text().count("--hash=sha256:") >= len(lines), file


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except UnicodeDecodeError:
        return ""
