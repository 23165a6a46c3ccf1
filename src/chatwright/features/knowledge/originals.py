"""Where in the object store a document's original file lies. Pure; called by flows that store, read and delete them."""

from chatwright.domain.ids import KnowledgeBaseId, new_id
from chatwright.domain.scope import Scope


def original_key(scope: Scope, knowledge_base_id: KnowledgeBaseId) -> str:
    """A new key for a file in the object store: below its tenant and its base, so that they are deleted by prefix."""
    return f"{originals_of(scope, knowledge_base_id)}/{new_id()}"


def originals_of(scope: Scope, knowledge_base_id: KnowledgeBaseId) -> str:
    """The prefix of all of a base's originals."""
    return f"tenants/{scope.tenant_id}/knowledge/{knowledge_base_id}"
