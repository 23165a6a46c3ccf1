"""The semantic tier as a flow asks it: once for a question that stands alone, and told what its provider said.

Called by `answer.py` and, through `inquiry.py`, by `inline.py`.
"""

from dataclasses import dataclass

from chatwright.adapters.models import ModelUnavailable
from chatwright.features.cache import CachedAnswer
from chatwright.features.cache.store import Vector
from chatwright.pipeline import semantic
from chatwright.pipeline.caching import CachePlan, stands_alone
from chatwright.pipeline.semantic import SemanticHit
from chatwright.pipeline.services import Services


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """What asking by meaning came to. `vector` is the question's, by the local default embedder; None: it was not asked.
    `hit` is served unless the tier is shut."""

    vector: Vector | None = None
    hit: SemanticHit | None = None

    @property
    def served(self) -> CachedAnswer | None:
        return None if self.hit is None or not self.hit.serve else self.hit.entry

    @property
    def is_checked(self) -> bool:
        """Whether the provider is to be asked behind what is served."""
        return self.hit is not None and self.hit.serve and self.hit.check


NOT_ASKED = Meaning()


async def ask_by_meaning(app: Services, plan: CachePlan | None, vector: Vector | None = None) -> Meaning:
    """`vector`: the question's, if the caller has it. Never raises but CancelledError. Whether the question is private was
    looked at before."""
    if plan is None or not stands_alone(plan):
        return NOT_ASKED
    try:
        vector = (await app.embedder.embed_queries([plan.question]))[0] if vector is None else vector
    except ModelUnavailable:
        return NOT_ASKED
    hit = await semantic.find(app, plan, plan.question, vector) if plan.reads else None
    return Meaning(vector=vector, hit=hit)


async def teach(app: Services, plan: CachePlan, meaning: Meaning, entry: CachedAnswer | None) -> None:
    """Hand a provider's answer over to be learned from, if it is one to be kept. Returns at once."""
    if entry is not None and meaning.vector is not None:
        await semantic.learn(app, plan, plan.question, meaning.vector, entry, hit=meaning.hit)
