"""`python -m bench.knowledge_scale`: search in large knowledge bases, and in many small ones.

A base of `--chunks` chunks, one with a hundredth of that, one of 2,000, and `--bases` of 200 each, all in one table of
servers of its own. Vectors and texts are derived from real ones (corpus.py says how; so does the output). The bases are
written by COPY; their indexes are made by the product, which is also what searches. Searches run one after another over
one connection, with the tables in memory. Ends by itself; the servers' data lie in a temporary directory and go with it.
"""

import argparse
import asyncio
import json
import logging
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import structlog
from rich import box
from rich.console import Console
from rich.table import Table

from bench.knowledge_scale.corpus import Corpus, plant
from bench.knowledge_scale.load import Base, Loader
from bench.knowledge_scale.measure import Alternative, Searches, compare, measure, questions_of
from bench.machine import describe
from bench.report import RESULTS
from chatwright.adapters.postgres import open_database
from chatwright.adapters.postgres.migrate import migrate
from chatwright.app.addresses import Addresses
from chatwright.app.embedded import EmbeddedServers, run_embedded
from chatwright.app.options import Settings
from chatwright.app.services import open_services
from chatwright.features import knowledge
from chatwright.pipeline.knowledge_indexes import tend_indexes
from chatwright.pipeline.services import Services

SMALL = 200
MIDDLE = 2_000
SMALL_ASKED = 200
DATA = Path(__file__).parents[3] / "shared" / "data"
RELATIONS = """
SELECT relname AS name, pg_relation_size(oid) AS bytes FROM pg_class
 WHERE relkind IN ('r', 'i') AND (relname = 'chunks' OR relname LIKE 'chunks\\_%' OR relname LIKE 'knowledge\\_terms%')
 ORDER BY 2 DESC
"""
INSERT_AGAIN = """
INSERT INTO chunks (id, tenant_id, knowledge_base_id, document_id, ordinal, text, tokens, content_hash, language, term_count,
                    keywords, term_keys, embedding)
SELECT gen_random_uuid(), tenant_id, knowledge_base_id, document_id, ordinal, text, tokens, content_hash, language, term_count,
       keywords, term_keys, embedding
  FROM chunks WHERE knowledge_base_id = $1::text::uuid LIMIT $2
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    chunks: int
    bases: int
    questions: int
    memory_mib: int
    compare: bool
    many: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    large: Base
    hundredth: Base
    middle: Base
    small: Sequence[Base]


async def run(data_dir: Path, options: Options, tell: Callable[[str], None]) -> dict[str, Any]:
    async with run_embedded(data_dir) as servers:
        await migrate(servers.database_url)
        settings = Settings(data_dir=data_dir, index_memory_mib=options.memory_mib, embedder_threads=1)
        addresses = Addresses(database_url=servers.database_url, redis_url=servers.redis_url)
        async with open_services(settings, addresses) as app:
            return await _run(app, servers, options, tell, data_dir)


async def _run(
    app: Services, servers: EmbeddedServers, options: Options, tell: Callable[[str], None], data_dir: Path
) -> dict[str, Any]:
    tell("embedding the real passages")
    seeds = await plant(app.embedder, DATA)
    superuser: Any = await asyncpg.connect(servers.superuser_database_url)
    try:
        began_s = time.perf_counter()
        loader = Loader(superuser, Corpus(seeds, seed=1))
        await loader.begin()
        tell(f"loading {options.chunks:,} chunks, and {options.bases:,} bases of {SMALL}")
        loaded = Loaded(
            large=await loader.load(options.chunks, samples=options.questions, keep=True),
            hundredth=await loader.load(options.chunks // 100, samples=options.questions, keep=True),
            middle=await loader.load(MIDDLE, samples=options.questions, keep=True),
            small=[await loader.load(SMALL, samples=3, keep=number < SMALL_ASKED) for number in range(options.bases)],
        )
        table_s = await loader.end(memory_mib=options.memory_mib)
        tell(f"loaded in {time.perf_counter() - began_s:.0f} s; making the indexes of large bases")
        index_s = await _make_indexes(app)
        relations = {row["name"]: row["bytes"] for row in await superuser.fetch(RELATIONS)}
        insert_ms = await _inserts(superuser, loaded)
        searches = await _searches(app, servers, superuser, loaded, Corpus(seeds, seed=2), options, tell, data_dir)
        many = (
            await _many(app, servers, superuser, loaded, Corpus(seeds, seed=4), options, tell) if options.many else None
        )
        alternatives: list[Alternative] = []
        if options.compare:
            await superuser.execute(f"SET maintenance_work_mem = '{options.memory_mib}MB'")
            corpus = Corpus(seeds, seed=3)
            targets = [
                ("large", questions_of(corpus, [loaded.large], options.questions // 2)),
                ("a hundredth", questions_of(corpus, [loaded.hundredth], options.questions // 2)),
                ("small", questions_of(corpus, loaded.small[:SMALL_ASKED], options.questions // 2)),
            ]
            dimension = loaded.large.vectors.shape[1]
            alternatives = await compare(superuser, targets, dimension=dimension, tell=tell)
    finally:
        await superuser.close()
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": describe(),
        "options": asdict(options),
        "derived_from": f"{len(seeds.vectors):,} passages of {seeds.source}",
        "table_index_s": table_s,
        "base_index_s": index_s,
        "bytes": relations,
        "insert_ms_per_chunk": insert_ms,
        "many": many,
        "searches": [asdict(each) for each in searches],
        "alternatives": [asdict(each) for each in alternatives],
    }


async def _make_indexes(app: Services) -> dict[int, float]:
    """Seconds by the base's chunks; each pass of the upkeep makes those of at least `bound` that are missing."""
    async with app.db.operator() as db:
        sizes = sorted({size.chunk_count for size in await knowledge.list_sizes(db, [])}, reverse=True)
    took_s: dict[int, float] = {}
    for chunks in sizes:
        began_s = time.perf_counter()
        tended = await tend_indexes(app, bound=chunks)
        if tended.made != 1:
            raise RuntimeError(f"the index of {chunks:,} chunks was not made: {tended}")
        took_s[chunks] = time.perf_counter() - began_s
    return took_s


async def _inserts(superuser: Any, loaded: Loaded) -> dict[str, float]:
    """Milliseconds to insert a chunk, in transactions of 200, rolled back: with a base's index, and without one."""
    took_ms: dict[str, float] = {}
    for name, base in (("with an index of its base", loaded.large), ("without", loaded.middle)):
        times: list[float] = []
        for _ in range(3):
            transaction = superuser.transaction()
            await transaction.start()
            began_s = time.perf_counter()
            await superuser.execute(INSERT_AGAIN, base.id, 200)
            times.append((time.perf_counter() - began_s) / 200 * 1000)
            await transaction.rollback()
        took_ms[name] = sorted(times)[1]
    return took_ms


async def _many(
    app: Services,
    servers: EmbeddedServers,
    superuser: Any,
    loaded: Loaded,
    corpus: Corpus,
    options: Options,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """What `options.many` indexes more cost everybody: searches in a base of 200, and inserts. Leaves them in place."""
    asked = [base for base in loaded.small[options.many :] if len(base.vectors)][:SMALL_ASKED]
    if not asked:
        raise RuntimeError("--many has to leave some of the first 200 small bases without an index")
    tell(f"making {options.many:,} indexes more")
    async with app.db.maintenance() as db:
        for base in loaded.small[: options.many]:
            await knowledge.make_index(
                db, knowledge.Size(id=base.id, dimension=base.vectors.shape[1], chunk_count=SMALL)
            )
    questions = questions_of(corpus, asked, options.questions)
    async with open_database(servers.database_url, min_connections=1, max_connections=1) as db:
        searched = await measure(db, superuser, "200 chunks", questions, chunks=SMALL)
    return {
        "indexes": options.many,
        "searches": asdict(searched),
        "insert_ms_per_chunk": (await _inserts(superuser, loaded))["without"],
    }


async def _searches(
    app: Services,
    servers: EmbeddedServers,
    superuser: Any,
    loaded: Loaded,
    corpus: Corpus,
    options: Options,
    tell: Callable[[str], None],
    data_dir: Path,
) -> list[Searches]:
    bases = (
        ("large", [loaded.large], options.chunks),
        ("a hundredth", [loaded.hundredth], options.chunks // 100),
        ("2,000 chunks", [loaded.middle], MIDDLE),
        ("200 chunks", list(loaded.small[:SMALL_ASKED]), SMALL),
    )
    found: list[Searches] = []
    async with open_database(servers.database_url, max_connections=2, command_timeout_s=60) as db:
        for name, group, chunks in bases:
            if not group:
                continue
            questions = questions_of(corpus, group, options.questions)
            tell(f"searching: {name}")
            await asyncio.to_thread(_warm, data_dir)
            found.append(await measure(db, superuser, name, questions, chunks=chunks))
            if knowledge.is_large(chunks):
                found.append(await measure(db, superuser, name, questions, chunks=chunks, large=False))
            found.append(
                await measure(db, superuser, name, questions, chunks=chunks, embedder=app.embedder, exact=False)
            )
    return found


def _warm(data_dir: Path) -> None:
    """Read the tables once, so that the operating system has them: what was just loaded may have been pushed out."""
    for file in (data_dir / "servers" / "postgres" / "base").rglob("*"):
        if file.is_file() and file.stat().st_size > 2**20:
            with file.open("rb", buffering=0) as stream:
                while stream.read(2**22):
                    pass


def show(console: Console, found: dict[str, Any]) -> None:
    console.print(f"Vectors and texts are derived from {found['derived_from']}: mixtures with noise, no real base.")
    table = Table(box=box.SIMPLE_HEAD, title="Searches, both halves")
    for column in ("base", "way", "questions", "p50 ms", "p95 ms", "nearest 5", "nearest 20", "best 5", "foreign"):
        table.add_column(column, justify="left" if column in {"base", "way"} else "right")
    for each in found["searches"]:
        shares = [_percent(each[name]) for name in ("near_5", "near_20", "best_5")]
        times = [f"{each[name] * 1000:.1f}" for name in ("p50_s", "p95_s")]
        table.add_row(each["name"], each["way"], str(each["questions"]), *times, *shares, str(each["foreign"]))
    console.print(table)
    if found["alternatives"]:
        table = Table(box=box.SIMPLE_HEAD, title="Vectors alone, other strategies")
        for column in ("strategy", "base", "build s", "MiB", "p50 ms", "p95 ms", "nearest 5"):
            table.add_column(column, justify="left" if column in {"strategy", "base"} else "right")
        for each in found["alternatives"]:
            size = f"{each['index_bytes'] / 2**20:.0f}"
            times = [f"{each[name] * 1000:.1f}" for name in ("p50_s", "p95_s")]
            table.add_row(
                each["strategy"], each["name"], f"{each['build_s']:.0f}", size, *times, _percent(each["near_5"])
            )
        console.print(table)
    if found["many"]:
        each = found["many"]["searches"]
        console.print(
            f"with {found['many']['indexes']} indexes more: search in 200 chunks {each['p50_s'] * 1000:.1f} ms (p95 "
            f"{each['p95_s'] * 1000:.1f}), insert {found['many']['insert_ms_per_chunk']:.2f} ms a chunk"
        )
    for chunks, took_s in found["base_index_s"].items():
        console.print(f"index of {int(chunks):,} chunks: {took_s:.0f} s")
    for name, took_s in found["table_index_s"].items():
        console.print(f"{name}, made anew over all: {took_s:.0f} s")
    for name, size in found["bytes"].items():
        console.print(f"{name}: {size / 2**20:,.0f} MiB")
    for name, took_ms in found["insert_ms_per_chunk"].items():
        console.print(f"inserting a chunk {name}: {took_ms:.2f} ms")


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share * 100:.1f} %"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.knowledge_scale", description=__doc__)
    parser.add_argument("--chunks", type=int, default=50_000, help="of the large base; the record has 1,000,000")
    parser.add_argument("--bases", type=int, default=100, help="small bases of 200 chunks; the record has 2,000")
    parser.add_argument("--questions", type=int, default=300, help="for each kind of base")
    parser.add_argument("--memory-mib", type=int, default=2048, help="setting index_memory_mib")
    parser.add_argument(
        "--compare", action="store_true", help="also other strategies: two more indexes over everything"
    )
    parser.add_argument("--many", type=int, default=0, help="then make so many indexes more, and search again")
    given = parser.parse_args()
    console = Console()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    options = Options(
        chunks=given.chunks,
        bases=given.bases,
        questions=given.questions,
        memory_mib=given.memory_mib,
        compare=given.compare,
        many=given.many,
    )
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # servers and data go with us
    data_dir = Path(tempfile.mkdtemp(prefix="cw-bench-"))
    data_dir.chmod(0o755)  # under root the servers run as another user, who has to pass
    try:
        found = asyncio.run(run(data_dir, options, console.print))
    finally:
        shutil.rmtree(data_dir, ignore_errors=True)
    show(console, found)
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"knowledge-scale-{datetime.now(UTC):%Y%m%d-%H%M%S}.json"
    file.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    console.print(f"written to {file}")


if __name__ == "__main__":
    main()
