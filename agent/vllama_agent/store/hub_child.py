"""Runs the hub's own downloader, as the agent's child: it can be neither cancelled nor watched, but it can be killed.

Started by path with our own Python: ``python -I hub_child.py SETTINGS FD``. SETTINGS is JSON: repo, path, commit, folder. The endpoint and
the token are in the environment, where other users cannot read them. FD is a socket; on it goes one line of JSON: ``{"t": "done", "path"}``
or ``{"t": "failed", "message"}``. No message has an address in it: that of the bytes is signed.
"""

import json
import os
import socket
import sys
from typing import Any


def fetched(settings: "dict[str, Any]") -> "dict[str, Any]":
    """Download one file, with whatever means the library has; what is told of it."""
    from huggingface_hub import errors, hf_hub_download

    try:
        path = hf_hub_download(
            settings["repo"], settings["path"], revision=settings["commit"], cache_dir=settings["folder"],
            token=os.environ.get("HF_TOKEN") or False, library_name="vllama",
        )  # fmt: skip
    except errors.HfHubHTTPError as error:
        return {"t": "failed", "message": f"HTTP {error.response.status_code}" if error.response is not None else type(error).__name__}
    except Exception as error:  # whatever ends the download is told, and nothing else can be
        return {"t": "failed", "message": type(error).__name__}
    return {"t": "done", "path": os.path.realpath(path)}


def main() -> int:
    settings = json.loads(sys.argv[1])
    told = fetched(settings)
    with socket.socket(fileno=int(sys.argv[2])) as link:
        link.sendall(json.dumps(told).encode() + b"\n")
    return 0 if told["t"] == "done" else 1


if __name__ == "__main__":
    sys.exit(main())
