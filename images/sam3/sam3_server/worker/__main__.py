"""A worker in a new Python process, on the socket that it inherits from its server."""

import socket
import sys

from sam3_server.worker.protocol import Setup
from sam3_server.worker.session import run_worker


def main() -> None:
    """Serve the server; the arguments are the socket's descriptor, the server's process id, a `Setup` in JSON."""
    descriptor, server, setup = sys.argv[1:]
    run_worker(socket.socket(fileno=int(descriptor)), int(server), Setup.model_validate_json(setup))


if __name__ == "__main__":
    main()
