"""Valkey: the client, Lua scripts, the numbered event log of each conversation and its live fan-out."""

from chatwright.adapters.valkey.channel import Channel, open_channel
from chatwright.adapters.valkey.client import Valkey, open_valkey, translate
from chatwright.adapters.valkey.follower import Followed, Follower, Lost
from chatwright.adapters.valkey.link import Link, LinkLost, open_link
from chatwright.adapters.valkey.log import LogPage, StreamLog, with_seq
from chatwright.adapters.valkey.scripts import Script

__all__ = [
    "Channel",
    "Followed",
    "Follower",
    "Link",
    "LinkLost",
    "LogPage",
    "Lost",
    "Script",
    "StreamLog",
    "Valkey",
    "open_channel",
    "open_link",
    "open_valkey",
    "translate",
    "with_seq",
]
