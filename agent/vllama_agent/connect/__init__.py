"""A server that asks for a key, for programs that send none: a proxy on this machine adds it."""

from vllama_agent.connect.main import run
from vllama_agent.connect.proxy import Proxy, Upstream

__all__ = ["Proxy", "Upstream", "run"]
