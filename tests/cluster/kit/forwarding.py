"""From a port of the host to the same one in a cluster's network namespace: the API server's."""

from __future__ import annotations

import contextlib
import socket
import threading


def forward(listener: socket.socket, port: int) -> None:
    """For ever: join each connection that the listener, which was made outside, takes, to a port in here."""
    while True:
        outside, _ = listener.accept()
        try:
            inside = socket.create_connection(("127.0.0.1", port))
        except OSError:  # nobody listens yet; who connected tries again
            outside.close()
            continue
        for source, target in ((outside, inside), (inside, outside)):
            threading.Thread(target=_copy, args=(source, target), daemon=True).start()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the other side has gone, which ends this one too
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
