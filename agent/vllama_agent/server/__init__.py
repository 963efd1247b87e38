"""The HTTP side of the agent; the only package that imports aiohttp.web."""

from vllama_agent.server.app import make_app, make_service, running
from vllama_agent.server.main import run, serve

__all__ = ["make_app", "make_service", "run", "running", "serve"]
