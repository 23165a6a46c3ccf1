"""What an answer owes its sources: citations that exist, addresses that are known, content that stands in them."""

from chatwright.features.grounding.outgoing import Outgoing
from chatwright.features.grounding.rules import cited_numbers, known_hosts, support

__all__ = ["Outgoing", "cited_numbers", "known_hosts", "support"]
