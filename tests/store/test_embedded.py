"""The bundled servers: started, kept, stopped; killed at any point and started again; on paths that are not nice."""

import asyncio
import contextlib
import fcntl
import json
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import asyncpg
import msgspec
import psutil
import pytest
import redis.asyncio

from chatwright.app.embedded import (
    AlreadyRunning,
    DiskFull,
    EmbeddedError,
    EmbeddedServers,
    find_running,
    run_embedded,
)
from chatwright.app.embedded import binaries as binaries_module
from chatwright.app.embedded import home as home_module
from chatwright.app.embedded import run as run_module
from chatwright.app.embedded.account import choose_account
from chatwright.app.embedded.binaries import Binaries, find_binaries
from chatwright.app.embedded.home import RunningProcess, RunningServers

IS_ROOT = os.geteuid() == 0

# Holds the servers until its input ends or it is killed; tells each step. With a user id it gives up root first.
HOLD = """
import asyncio, os, sys
from pathlib import Path
import asyncpg, encodings.idna, redis.asyncio
from chatwright.app.embedded import run_embedded
if len(sys.argv) > 2:
    os.setgroups([]); os.setgid(int(sys.argv[3])); os.setuid(int(sys.argv[2])); os.chdir("/")
tell = lambda line: print(line, flush=True)
async def main():
    async with run_embedded(Path(os.fsdecode(bytes.fromhex(sys.argv[1]))), on_progress=tell) as servers:
        database = await asyncpg.connect(servers.database_url)
        tell("user " + await database.fetchval("SELECT current_user"))
        await database.close()
        tell("ready")
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
try:
    asyncio.run(main())
except KeyboardInterrupt:
    tell("interrupted")
"""


@contextlib.contextmanager
def holder(data_dir: Path, *account: int) -> Generator[subprocess.Popen[str]]:
    argv = [sys.executable, "-c", HOLD, os.fsencode(data_dir).hex(), *map(str, account)]
    process = subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True, bufsize=1
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def read_until(process: subprocess.Popen[str], wanted: str) -> list[str]:
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line.strip())
        if line.startswith(wanted):
            return lines
    raise AssertionError(f"ended before {wanted!r}: {lines}")


def nobody_left(data_dir: Path) -> bool:
    """Every server inherits this lock: whoever gets it knows that none of them lives."""
    with (data_dir / "servers" / "children.lock").open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


@pytest.fixture(autouse=True)
def _no_process_outlives_its_test(tmp_data_dir: Path) -> Generator[None]:
    yield
    for lock in tmp_data_dir.rglob("children.lock"):
        assert nobody_left(lock.parents[1])


@contextlib.asynccontextmanager
async def clients(
    servers: EmbeddedServers | RunningServers,
) -> AsyncGenerator[tuple[asyncpg.Connection, redis.asyncio.Redis]]:
    database = await asyncpg.connect(servers.database_url, timeout=10)
    try:
        async with redis.asyncio.from_url(servers.redis_url, socket_timeout=10) as queue:
            yield database, queue
    finally:
        await database.close(timeout=5)


async def write(servers: EmbeddedServers | RunningServers, value: str) -> None:
    async with clients(servers) as (database, queue):
        await database.execute("CREATE TABLE IF NOT EXISTS kept (value text)")
        await database.execute("INSERT INTO kept VALUES ($1)", value)
        await queue.rpush("kept", value)


async def kept(servers: EmbeddedServers) -> tuple[list[str], list[str]]:
    async with clients(servers) as (database, queue):
        rows = await database.fetch("SELECT value FROM kept")
        return [row["value"] for row in rows], [
            value.decode() if isinstance(value, bytes) else value for value in await queue.lrange("kept", 0, -1)
        ]


async def test_addresses_work_and_data_survive_a_restart(tmp_data_dir: Path) -> None:
    async with run_embedded(tmp_data_dir) as servers:
        pids = servers.postgres_pid, servers.valkey_pid
        assert nobody_left(tmp_data_dir) is False
        async with clients(servers) as (database, queue):
            role = await database.fetchrow(
                "SELECT rolsuper, rolcreaterole, rolbypassrls, current_database() AS database, "
                "pg_get_userbyid(datdba) AS owner FROM pg_roles, pg_database "
                "WHERE rolname = current_user AND datname = current_database()"
            )
            assert role is not None
            assert dict(role) == {
                "rolsuper": False,
                "rolcreaterole": True,
                "rolbypassrls": False,
                "database": "chatwright",
                "owner": "chatwright",
            }
            assert await database.fetchval("SELECT '[1,2,3]'::vector(3) <-> '[1,2,5]'") == 2.0
            for setting, value in {"fsync": "on", "synchronous_commit": "on", "TimeZone": "UTC", "jit": "off"}.items():
                assert await database.fetchval("SELECT current_setting($1)", setting) == value
            config = await queue.config_get("*")
            expected = {"appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction"}
            expected |= {"hz": "100", "save": "", "port": "0", "databases": "64"}
            assert {name: config[name] for name in expected} == expected
        superuser = await asyncpg.connect(servers.superuser_database_url)
        assert await superuser.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
        await superuser.close()
        await write(servers, "first")
    assert nobody_left(tmp_data_dir)
    assert not any(psutil.pid_exists(pid) for pid in pids if pid)
    async with run_embedded(tmp_data_dir) as servers:
        assert await kept(servers) == (["first"], ["first"])


async def test_a_wrong_password_is_refused(tmp_data_dir: Path) -> None:
    async with run_embedded(tmp_data_dir, durable=False) as servers:
        password = json.loads((tmp_data_dir / "secrets.json").read_text())
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(servers.database_url.replace(password["application"], "guess"))
        async with redis.asyncio.from_url(servers.redis_url.replace(password["valkey"], "guess")) as queue:
            with pytest.raises(redis.ConnectionError, match="invalid username-password"):
                await queue.ping()


async def test_files_with_addresses_are_private_and_the_note_goes_at_the_end(tmp_data_dir: Path) -> None:
    assert find_running(tmp_data_dir) is None
    async with run_embedded(tmp_data_dir, durable=False) as servers:
        for name in ("secrets.json", "servers.json", "lock"):
            assert stat.S_IMODE((tmp_data_dir / name).stat().st_mode) == 0o600
        for path in (tmp_data_dir / "servers").iterdir():
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 in ({0, 0o010} if IS_ROOT else {0})
        note = find_running(tmp_data_dir)
        assert note is not None
        assert (note.database_url, note.redis_url) == (servers.database_url, servers.redis_url)
        assert note.postgres is not None
        assert note.postgres.pid == servers.postgres_pid
        assert servers.database_url not in repr(servers)
    assert find_running(tmp_data_dir) is None
    assert not (tmp_data_dir / "servers.json").exists()
    assert not Path(note.runtime_dir).exists()


async def test_one_server_alone(tmp_data_dir: Path) -> None:
    async with run_embedded(tmp_data_dir, postgres=False) as servers:
        assert (servers.database_url, servers.postgres_pid) == ("", None)
        async with redis.asyncio.from_url(servers.redis_url) as queue:
            assert await queue.ping()


async def test_a_second_start_is_refused_and_names_the_first(tmp_data_dir: Path) -> None:
    async with run_embedded(tmp_data_dir, durable=False) as servers:
        with pytest.raises(AlreadyRunning, match=str(os.getpid())) as refused:
            async with run_embedded(tmp_data_dir):
                pass
        assert refused.value.pid == os.getpid()
        assert refused.value.data_dir == tmp_data_dir
        assert str(tmp_data_dir) in refused.value.message
        await write(servers, "still here")


async def test_a_start_waits_for_what_a_killed_one_had_just_forked(tmp_data_dir: Path) -> None:
    forks = (
        "import os, signal, sys, time; from pathlib import Path; from chatwright.app.embedded.home import hold_data_dir\n"
        "with hold_data_dir(Path(sys.argv[1])):\n"
        "    if os.fork() == 0: time.sleep(0.7); os._exit(0)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", forks, tmp_data_dir], timeout=30, check=False)
    assert killed.returncode == -signal.SIGKILL
    async with (
        run_embedded(tmp_data_dir, postgres=False) as servers,
        redis.asyncio.from_url(servers.redis_url) as queue,
    ):
        assert await queue.ping()


@pytest.mark.parametrize(
    "name",
    [
        "with space 'and' \"quotes\" $HOME `x` \\ ; # % & ? Grüße 你好 🙂",
        "deep/" + "a name that is quite long in itself/" * 5 + "ünd länger",
    ],
)
async def test_odd_and_long_paths(tmp_data_dir: Path, name: str) -> None:
    data_dir = tmp_data_dir / name
    data_dir.mkdir(parents=True)
    note = None
    for _ in range(2):
        async with run_embedded(data_dir) as servers:
            await write(servers, "x")
            note = find_running(data_dir)
    assert nobody_left(data_dir)
    assert note is not None
    assert not Path(note.runtime_dir).exists()


async def test_a_killed_owner_leaves_nothing_that_hurts(tmp_data_dir: Path) -> None:
    with holder(tmp_data_dir) as process:
        read_until(process, "ready")
        note = find_running(tmp_data_dir)
        assert note is not None
        await write(note, "before the kill")
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    assert nobody_left(tmp_data_dir) is False
    assert find_running(tmp_data_dir) is None
    assert note.postgres is not None
    assert note.valkey is not None
    async with run_embedded(tmp_data_dir) as servers:
        assert note.postgres.find() is None
        assert note.valkey.find() is None
        assert await kept(servers) == (["before the kill"], ["before the kill"])
    assert nobody_left(tmp_data_dir)


async def test_orphans_are_found_without_the_note(tmp_data_dir: Path) -> None:
    with holder(tmp_data_dir) as process:
        read_until(process, "ready")
        process.send_signal(signal.SIGKILL)
    (tmp_data_dir / "servers.json").write_text("{cut sh")
    async with run_embedded(tmp_data_dir) as servers:
        await write(servers, "x")


async def test_killed_again_and_again_while_starting(tmp_data_dir: Path) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    moments = random.Random(seed)
    for _ in range(4):  # during the first set-up, which begins anew each time until one gets through
        with holder(tmp_data_dir) as process:
            read_until(process, "setting up" if not (tmp_data_dir / "servers" / "postgres").exists() else "starting")
            time.sleep(moments.uniform(0, 0.5))
            process.send_signal(signal.SIGKILL)
    async with run_embedded(tmp_data_dir) as servers:
        await write(servers, "x")
        assert list((tmp_data_dir / "servers").glob("postgres.new-*")) == []
    for _ in range(2):
        with holder(tmp_data_dir) as process:
            read_until(process, "starting")
            time.sleep(moments.uniform(0, 0.1))
            process.send_signal(signal.SIGKILL)
    async with run_embedded(tmp_data_dir) as servers:
        assert await kept(servers) == (["x"], ["x"])
    assert nobody_left(tmp_data_dir)


@pytest.mark.alone
@pytest.mark.parametrize("delay_s", [0.0, 0.05, 0.2, 0.4])
async def test_cancelled_while_starting_leaves_nothing(tmp_data_dir: Path, delay_s: float) -> None:
    async def hold() -> None:
        async with run_embedded(tmp_data_dir, durable=False):
            await asyncio.sleep(60)

    task = asyncio.create_task(hold())
    await asyncio.sleep(delay_s)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not (tmp_data_dir / "servers").exists() or nobody_left(tmp_data_dir)
    async with run_embedded(tmp_data_dir, durable=False) as servers:
        await write(servers, "x")


async def test_an_interrupt_at_the_terminal_stops_in_order(tmp_data_dir: Path) -> None:
    with holder(tmp_data_dir) as process:
        read_until(process, "ready")
        note = find_running(tmp_data_dir)
        assert note is not None
        assert note.postgres is not None
        assert note.valkey is not None
        sessions = {os.getsid(note.postgres.pid), os.getsid(note.valkey.pid), os.getsid(process.pid)}
        assert len(sessions) == 3
        os.killpg(process.pid, signal.SIGINT)
        assert process.stdin is not None
        process.stdin.close()  # ends the thread that reads it
        read_until(process, "interrupted")
        assert process.wait(20) == 0
    assert nobody_left(tmp_data_dir)
    log = (tmp_data_dir / "servers" / "logs" / "postgres.log").read_text()
    assert "database system is shut down" in log
    assert "Valkey is now ready to exit, bye bye" in (tmp_data_dir / "servers" / "logs" / "valkey.log").read_text()


@pytest.mark.parametrize("kind", ["stranger", "zombie"])
async def test_pid_files_that_name_a_stranger_or_a_zombie(tmp_data_dir: Path, kind: str) -> None:
    async with run_embedded(tmp_data_dir) as servers:
        await write(servers, "x")
        note = find_running(tmp_data_dir)
        assert note is not None
    account = choose_account(tmp_data_dir)
    argv = ["sleep", "60"] if kind == "stranger" else ["true"]
    process = subprocess.Popen(argv, **account.popen_arguments())
    try:
        while kind == "zombie" and psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
            await asyncio.sleep(0.01)
        pid_file = tmp_data_dir / "servers" / "postgres" / "postmaster.pid"
        pid_file.write_text(f"{process.pid}\n{pid_file.parent}\n1\n5432\n/tmp\n\n  0 0\nready   \n")
        account.give(pid_file)
        recycled = RunningProcess(pid=process.pid, started_s=1.0)
        changed = msgspec.structs.replace(note, owner=recycled, postgres=recycled, valkey=recycled)
        home_module.write_private(tmp_data_dir / "servers.json", msgspec.json.encode(changed))
        assert find_running(tmp_data_dir) is None
        async with run_embedded(tmp_data_dir) as servers:
            assert await kept(servers) == (["x"], ["x"])
        assert kind == "zombie" or process.poll() is None
    finally:
        process.kill()
        process.wait()


async def test_a_server_that_dies_is_started_again_at_the_same_address(tmp_data_dir: Path) -> None:
    async with run_embedded(tmp_data_dir) as servers:
        await write(servers, "x")
        await asyncio.sleep(1.1)  # Valkey writes to disk each second
        for _ in range(2):
            before = servers.postgres_pid, servers.valkey_pid
            for pid in before:
                assert pid is not None
                os.kill(pid, signal.SIGKILL)
            async with asyncio.timeout(20):
                while True:
                    note = find_running(tmp_data_dir)
                    assert note is not None
                    now = (note.postgres and note.postgres.pid, note.valkey and note.valkey.pid)
                    if None not in now and not set(now) & set(before):
                        break
                    await asyncio.sleep(0.02)
                while True:
                    with contextlib.suppress(asyncpg.PostgresError, OSError, redis.RedisError):
                        assert await kept(servers) == (["x"], ["x"])
                        break
                    await asyncio.sleep(0.02)
            assert now == (servers.postgres_pid, servers.valkey_pid)
    assert nobody_left(tmp_data_dir)


async def test_a_postgres_asked_to_end_by_others_is_back_although_clients_stay(tmp_data_dir: Path) -> None:
    async with run_embedded(tmp_data_dir) as servers, clients(servers) as (database, _):
        before = servers.postgres_pid
        assert before is not None
        await database.fetchval("SELECT 1")
        os.kill(before, signal.SIGTERM)  # "smart" shutdown: it would wait for `database` to leave
        async with asyncio.timeout(15):
            while servers.postgres_pid in (before, None):
                await asyncio.sleep(0.05)
            while True:
                with contextlib.suppress(OSError, asyncpg.PostgresError):
                    again = await asyncpg.connect(servers.database_url)
                    break
                await asyncio.sleep(0.05)
        await again.close()


async def test_stopped_servers_can_be_ended(tmp_data_dir: Path) -> None:
    async with run_embedded(tmp_data_dir, durable=False) as servers:
        for pid in (servers.postgres_pid, servers.valkey_pid):
            assert pid is not None
            os.kill(pid, signal.SIGSTOP)
        begun_s = time.monotonic()
    assert time.monotonic() - begun_s < 5
    assert nobody_left(tmp_data_dir)


async def test_an_error_of_the_caller_comes_out_unchanged(tmp_data_dir: Path) -> None:
    with pytest.raises(OSError, match="mine"):
        async with run_embedded(tmp_data_dir, postgres=False):
            raise OSError("mine")
    assert nobody_left(tmp_data_dir)


async def test_lost_passwords_are_renewed(tmp_data_dir: Path) -> None:
    async with run_embedded(tmp_data_dir) as servers:
        await write(servers, "x")
        old = servers.database_url
    (tmp_data_dir / "secrets.json").unlink()
    async with run_embedded(tmp_data_dir) as servers:
        assert servers.database_url != old
        assert await kept(servers) == (["x"], ["x"])


async def test_a_damaged_append_only_file_is_set_aside(tmp_data_dir: Path) -> None:
    async with run_embedded(tmp_data_dir) as servers:
        await write(servers, "x")
    files = tmp_data_dir / "servers" / "valkey" / "appendonlydir"
    log = next(files.glob("*.incr.aof"))
    log.write_bytes(b"garbage\r\n" + log.read_bytes())
    async with run_embedded(tmp_data_dir) as servers:
        rows, queued = await kept(servers)
        assert (rows, queued) == (["x"], [])
    assert len(list(files.parent.glob("appendonlydir.damaged-*"))) == 1


async def test_a_missing_program_is_named(tmp_data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def empty(name: str) -> Path:
        return tmp_data_dir / name

    monkeypatch.setattr(binaries_module, "_package", empty)
    with pytest.raises(EmbeddedError, match=r"initdb is missing\. Install chatwright again"):
        async with run_embedded(tmp_data_dir):
            pass


async def test_data_of_another_version_are_not_touched(tmp_data_dir: Path) -> None:
    directory = tmp_data_dir / "servers" / "postgres"
    directory.mkdir(parents=True)
    (directory / "PG_VERSION").write_text("17\n")
    with pytest.raises(EmbeddedError, match="made by PostgreSQL 17"):
        async with run_embedded(tmp_data_dir):
            pass
    (directory / "PG_VERSION").unlink()
    with pytest.raises(EmbeddedError, match="PG_VERSION is missing"):
        async with run_embedded(tmp_data_dir):
            pass
    assert nobody_left(tmp_data_dir)


async def test_a_start_that_fails_shows_the_last_words(tmp_data_dir: Path) -> None:
    async with run_embedded(tmp_data_dir) as servers:
        await write(servers, "x")
    control = tmp_data_dir / "servers" / "postgres" / "global" / "pg_control"
    control.rename(control.with_name("aside"))
    with pytest.raises(EmbeddedError, match=r"PostgreSQL ended while starting(.|\n)*pg_control"):
        async with run_embedded(tmp_data_dir):
            pass
    assert nobody_left(tmp_data_dir)
    control.with_name("aside").rename(control)
    async with run_embedded(tmp_data_dir) as servers:
        assert await kept(servers) == (["x"], ["x"])


async def test_programs_in_an_odd_or_closed_place_are_copied(
    tmp_data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = find_binaries()
    package = found.postgres.parents[2]
    closed = tmp_data_dir / 'closed "$HOME" `x`'
    shutil.copytree(package / "pginstall18", closed / package.name / "pginstall18")
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, closed / libraries.name)
    closed.chmod(0o700)
    programs = closed / package.name / "pginstall18" / "bin"
    odd = Binaries(initdb=programs / "initdb", postgres=programs / "postgres", valkey=found.valkey)
    monkeypatch.setattr(run_module, "find_binaries", lambda: odd)
    for _ in range(2):
        async with run_embedded(tmp_data_dir / "data", durable=False) as servers:
            await write(servers, "x")


async def test_a_directory_that_cannot_be_made_is_an_error_with_a_mend(tmp_data_dir: Path) -> None:
    (tmp_data_dir / "file").write_text("")
    with pytest.raises(EmbeddedError, match="choose another --data-dir"):
        async with run_embedded(tmp_data_dir / "file" / "data"):
            pass
    with pytest.raises(EmbeddedError, match="control character"):
        async with run_embedded(tmp_data_dir / "two\nlines"):
            pass


@pytest.mark.skipif(not IS_ROOT, reason="only root can mount a small disk")
async def test_a_full_disk_is_named(tmp_data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = tmp_data_dir / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("this machine does not let root mount")
    try:
        with pytest.raises(DiskFull, match="Free some disk space"):
            async with run_embedded(disk / "data"):
                pass
        monkeypatch.setattr(run_module, "_FIRST_START_BYTES", 0)
        with pytest.raises(DiskFull, match=r"No space left on device(.|\n)*Free some disk space"):
            async with run_embedded(disk / "data"):
                pass
        assert nobody_left(disk / "data")
        subprocess.run(["mount", "-o", "remount,size=300m", disk], check=True)
        async with run_embedded(disk / "data") as servers:
            await write(servers, "x")
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


@pytest.mark.skipif(not IS_ROOT, reason="a normal user's servers run as that user")
async def test_root_runs_the_servers_as_somebody_else(tmp_data_dir: Path) -> None:
    async with run_embedded(tmp_data_dir, durable=False) as servers:
        for pid in (servers.postgres_pid, servers.valkey_pid):
            assert psutil.Process(pid).uids().effective != 0
            assert set(psutil.Process(pid).gids()) == {choose_account(tmp_data_dir).gid}


@pytest.mark.skipif(not IS_ROOT, reason="only root starts servers as another user")
async def test_root_moves_the_data_out_of_a_closed_place(tmp_data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(home_module, "RELOCATED", tmp_data_dir / "var")
    closed = tmp_data_dir / "closed"
    closed.mkdir(mode=0o700)
    told: list[str] = []
    async with run_embedded(closed / "data", on_progress=told.append) as servers:
        await write(servers, "x")
    place = (closed / "data" / "servers").readlink()
    assert place.parent == tmp_data_dir / "var"
    assert any(str(place) in line for line in told)
    async with run_embedded(closed / "data") as servers:
        assert await kept(servers) == (["x"], ["x"])
    assert len(list((tmp_data_dir / "var").iterdir())) == 1
    shutil.rmtree(place)
    with pytest.raises(EmbeddedError, match="which is gone"):
        async with run_embedded(closed / "data"):
            pass
    closed.chmod(0o755)
    (closed / "data" / "servers").unlink()
    async with run_embedded(closed / "data", durable=False):
        pass
    closed.chmod(0o700)
    with pytest.raises(EmbeddedError, match="cannot pass through"):
        async with run_embedded(closed / "data"):
            pass


@pytest.mark.skipif(not IS_ROOT, reason="only root can become another user")
async def test_a_normal_user_runs_the_servers(tmp_data_dir: Path) -> None:
    account = choose_account(tmp_data_dir)
    account.give(tmp_data_dir)
    with holder(tmp_data_dir, account.uid, account.gid) as process:
        assert "user chatwright" in read_until(process, "ready")
        note = find_running(tmp_data_dir)
        assert note is not None
        await write(note, "by a user")
        process.send_signal(signal.SIGKILL)
    with holder(tmp_data_dir, account.uid, account.gid) as process:
        read_until(process, "ready")
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(20) == 0
    assert nobody_left(tmp_data_dir)
    # Root may work on the user's data, and the user go on after that.
    async with run_embedded(tmp_data_dir) as servers:
        assert await kept(servers) == (["by a user"], ["by a user"])
    with holder(tmp_data_dir, account.uid, account.gid) as process:
        read_until(process, "ready")
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(20) == 0
