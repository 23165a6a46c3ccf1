"""Every SQL constant of the code: it prepares against the migrated schema, and it minds whose rows it touches."""

import ast
import re
from pathlib import Path

import asyncpg

SOURCE = Path(__file__).parents[2] / "src" / "chatwright"

TENANTS_TABLES = (
    "budgets",
    "budget_periods",
    "knowledge_bases",
    "documents",
    "chunks",
    "knowledge_terms",
    "staged_vectors",
    "crawls",
    "crawl_pages",
    "chatbots",
    "conversations",
    "imports",
    "import_units",
    "import_counts",
    "import_problems",
    "import_conversations",
    "import_presets",
    "conversation_summaries",
    "messages",
    "answers",
    "jobs",
    "idempotency_keys",
    "calls",
    "dead_letters",
    "audit_log",
    "api_keys",
    "provider_keys",
    "alerts",
    "key_usage",
    "webhooks",
    "alert_deliveries",
    "cache_classes",
    "cache_phrasings",
    "cache_answers",
    "cache_checks",
    "cache_routers",
    "custom_intents",
    "intent_models",
    "guard_events",
    "guard_allowed",
    "guard_policies",
    "feedback",
)

# Statements of the operators' role, which look past one tenant by design: module:constant and why.
OPERATORS: dict[str, str] = {
    "features/alerts/deliveries:COUNT_DELIVERIES": "a gauge of the platform",
    "features/alerts/deliveries:EXPIRE": "the sweeper ends by age",
    "features/alerts/deliveries:MARK_FAILED": "one process delivers for everybody, by id",
    "features/alerts/deliveries:MARK_SENT": "one process delivers for everybody, by id",
    "features/alerts/deliveries:TAKE_DUE": "one process delivers for everybody",
    "features/alerts/deliveries:TRIM_DELIVERIES": "the sweeper deletes by age",
    "features/alerts/store:LIST_ALERTS_OF_ALL": "the operator's list",
    "features/alerts/webhooks:COUNT_SECRETS": "which key-encryption keys are still needed, over all owners",
    "features/alerts/webhooks:RESEAL_SECRETS": "seals are renewed over all owners, by id and version",
    "features/alerts/webhooks:TAKE_SECRETS": "seals are renewed over all owners",
    "features/analysis/intent_store:LIST_DUE": "workers train whose model is due, over all owners",
    "features/budgets/store:NOTE_SAVED": "one process writes for everybody's calls, by id",
    "features/cache/router_store:LIST_DUE": "workers train whose router is due, over all owners",
    "features/credentials/store:FIND_BY_HASH": "who holds this key? The tenant is the answer",
    "features/credentials/store:MARK_USED": "one process notes its used keys at once, by id",
    "features/guard/store:LATELY_CHANGED": "every process learns whose rules changed",
    "features/guard/store:TRIM_EVENTS": "the sweeper deletes by age",
    "features/idempotency/store:PURGE": "the sweeper deletes by age",
    "features/jobs/dead_letters:LIST_ALL": "the operator's list",
    "features/jobs/dead_letters:GET_ANY": "the operator's look-up",
    "features/jobs/dead_letters:COUNT_OPEN": "a gauge of the platform",
    "features/jobs/store:LOST": "the sweeper looks for what BullMQ lost",
    "features/jobs/store:TRIM": "the sweeper deletes by age",
    "features/knowledge/embedder_store:LIST_NEXT_READY": "changes of embedder are ended, over all owners",
    "features/knowledge/indexes:LIST_BASES": "large bases get an index, over all owners",
    "features/knowledge/upkeep_store:LIST_DELETED": "deleted bases are taken apart, over all owners",
    "features/knowledge/upkeep_store:LIST_OUTDATED": "documents are indexed anew, over all owners",
    "features/provider_keys/store:COUNT_SEALED_BY": "which key-encryption keys are still needed, over all owners",
    "features/provider_keys/store:FORGET_ENDED": "the sweeper forgets by age",
    "features/provider_keys/store:LATELY_CHANGED": "one process learns what changed of whomever it holds keys",
    "features/provider_keys/store:MARK_USED": "one process notes its used keys at once, by id",
    "features/provider_keys/store:RESEAL": "seals are renewed over all owners, by id and version",
    "features/provider_keys/store:TAKE_TO_RESEAL": "seals are renewed over all owners",
    "features/provider_keys/usage:COMPARE": "the sweeper looks at every key, which may serve many tenants",
    "features/provider_keys/usage:TRIM": "the sweeper deletes by age",
    "features/tenancy/audit:LIST_AUDIT_OF_ALL": "the operator's list",
    "features/tenancy/store:FIND_WIDGET": "whose widget is this? The tenant is the answer",
    "features/tenancy/store:ORIGIN_KNOWN": "CORS comes before anybody is known",
}

# Statements with a gap that is filled at run time from a fixed list, and one way to fill it.
GAPS: dict[str, dict[str, str]] = {
    "features/budgets/reports:USAGE": dict.fromkeys(("groups", "names", "columns", "grouping", "ordering"), ""),
    "features/budgets/reports:USAGE_OF_ALL": dict.fromkeys(("groups", "names", "columns", "grouping", "ordering"), ""),
    "features/tenancy/store:PATCH_CHATBOT": {"assignments": "name = $3", "columns": "id"},
}

_STATEMENT = re.compile(r"\s*(?:--[^\n]*\n\s*)*(?:SELECT|INSERT|UPDATE|DELETE|WITH|MERGE)\b", re.IGNORECASE)
_TABLE = re.compile(rf"\b(?:FROM|JOIN|INTO|UPDATE)\s+(?:ONLY\s+)?({'|'.join(TENANTS_TABLES)})\b", re.IGNORECASE)


def sql_constants() -> dict[str, str]:
    """Every module-level text that is an SQL statement, by `module:NAME`."""
    found: dict[str, str] = {}
    for file in sorted(SOURCE.rglob("*.py")):
        tree = ast.parse(file.read_text("utf-8"))
        names: dict[str, str] = {}
        for node in tree.body:
            target = node.targets[0] if isinstance(node, ast.Assign) and len(node.targets) == 1 else None
            target = node.target if isinstance(node, ast.AnnAssign) else target
            if not isinstance(target, ast.Name) or getattr(node, "value", None) is None:
                continue
            text = _fold(node.value, names)  # type: ignore[attr-defined]
            if text is None:
                continue
            names[target.id] = text
            if _STATEMENT.match(text):
                found[f"{file.relative_to(SOURCE).with_suffix('')}:{target.id}"] = text
    return found


def _fold(node: ast.expr, names: dict[str, str]) -> str | None:
    """The value of a text made of literals, earlier constants, `+` and f-strings; None if it is anything else."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = _fold(node.left, names), _fold(node.right, names)
        return None if left is None or right is None else left + right
    if isinstance(node, ast.JoinedStr):
        parts = [_fold(part.value if isinstance(part, ast.FormattedValue) else part, names) for part in node.values]
        return None if any(part is None for part in parts) else "".join(part or "" for part in parts)
    return None


def test_statements_are_found() -> None:
    assert len(sql_constants()) > 40


async def test_every_statement_prepares(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    broken: dict[str, str] = {}
    try:
        for name, statement in sql_constants().items():
            try:
                await connection.prepare(statement.format(**GAPS[name]) if name in GAPS else statement)
            except asyncpg.PostgresError as error:
                broken[name] = str(error)
    finally:
        await connection.close()
    assert broken == {}


def test_every_statement_on_a_tenants_table_minds_the_tenant() -> None:
    careless = sorted(name for name, statement in sql_constants().items() if not _minds(statement))
    assert careless == sorted(OPERATORS)


def _minds(statement: str) -> bool:
    """Whether a statement compares `tenant_id`, or writes it into the rows it inserts."""
    if not _TABLE.search(statement):
        return True
    inserts = re.search(r"\bINSERT\s+INTO\s+\w+\s*\(([^)]*)\)", statement, re.IGNORECASE)
    if inserts is not None:
        return "tenant_id" in inserts[1]
    return re.search(r"\btenant_id\s*=|\btenant_id IS NOT DISTINCT FROM \$1", statement) is not None


def test_the_gaps_are_still_there() -> None:
    known = sql_constants()
    assert [name for name in GAPS if name not in known] == []
