"""`python -m vllama_agent`."""

import sys

from vllama_agent.cli import main

if __name__ == "__main__":
    sys.exit(main())
