"""A web service on loopback that takes messages, as those of chats do."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Webhook:
    """Keeps what it is sent; answers with a status, or not at all until it is released."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.status = 200
        self.received: list[dict[str, Any]] = []
        self.silent = False
        self.released = threading.Event()

    def address(self, secret: str = "hidden") -> str:
        """The address of a service of JSON, with a password and a path that are secrets."""
        return f"json://user:{secret}@127.0.0.1:{self.port}/{secret}"


@contextmanager
def serving() -> Iterator[Webhook]:
    """Serve on a free port of loopback while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            hook.received.append(json.loads(body))
            if hook.silent:
                hook.released.wait()
            self.send_response(hook.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Print nothing: it would be taken for output of the command."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hook = Webhook(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield hook
    finally:
        hook.released.set()
        server.shutdown()
        thread.join()
        server.server_close()
