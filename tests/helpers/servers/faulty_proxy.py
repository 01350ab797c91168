"""A proxy between S3 clients and their server that fails as networks and services do, on request of a test."""

import http.client
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from tests.helpers.processes.waiting import PATIENCE

NO_ENTRIES = (
    '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    "<Name>{bucket}</Name><Prefix></Prefix><KeyCount>0</KeyCount><MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated>"
    "</ListBucketResult>"
)
ERROR = "<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code}</Code><Message>{message}</Message></Error>"


@dataclass
class Faults:
    """What goes wrong; a test changes it at any time."""

    # Seconds before each call.
    delay: float = 0.0
    # One call of so many is answered with 503; 0 is none.
    unavailable_every: int = 0
    # Uploads that are cut in the middle, of objects of at least so many bytes whose key ends so.
    cuts: int = 0
    cut_bytes: int = 0
    cut_suffix: str = ""
    # Uploads that arrive, and whose answer does not.
    lost_answers: int = 0
    # From that call on the token has expired; None is never.
    expired_from: int | None = None
    # Whether listings show nothing.
    lags: bool = False
    calls: int = 0
    # Methods and keys, in order.
    seen: list[tuple[str, str]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, method: str, key: str) -> int:
        with self.lock:
            self.calls += 1
            self.seen.append((method, key))
            return self.calls

    def takes(self, name: str) -> bool:
        """Use up one of a number of faults; False where none is left."""
        with self.lock:
            left: int = getattr(self, name)
            setattr(self, name, max(0, left - 1))
            return left > 0

    def expire_now(self) -> None:
        with self.lock:
            self.expired_from = self.calls


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_Server"

    def log_message(self, *_: object) -> None:
        pass

    def _handle(self) -> None:
        faults, split = self.server.faults, urlsplit(self.path)
        number = faults.count(self.command, split.path.lstrip("/"))
        length = int(self.headers.get("Content-Length") or 0)
        time.sleep(faults.delay)
        is_upload = self.command == "PUT" and length > 0
        wanted = length >= faults.cut_bytes and split.path.endswith(faults.cut_suffix)
        if is_upload and wanted and faults.takes("cuts"):
            self.rfile.read(length // 2)
            self._hang_up()
            return
        body = self.rfile.read(length)
        if faults.expired_from is not None and number > faults.expired_from:
            self._answer(403, ERROR.format(code="ExpiredToken", message="The provided token has expired.").encode())
        elif faults.unavailable_every and number % faults.unavailable_every == 0:
            self._answer(503, ERROR.format(code="SlowDown", message="Please reduce your request rate.").encode())
        elif faults.lags and self.command == "GET" and "list-type" in parse_qs(split.query):
            self._answer(200, NO_ENTRIES.format(bucket=split.path.strip("/")).encode())
        else:
            self._forward(body, lose=is_upload and faults.takes("lost_answers"))

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _handle  # noqa: N815

    def _forward(self, body: bytes, *, lose: bool) -> None:
        headers = {key: value for key, value in self.headers.items() if key.lower() not in ("connection", "expect")}
        with closing(http.client.HTTPConnection("127.0.0.1", self.server.target, timeout=PATIENCE)) as upstream:
            upstream.request(self.command, self.path, body or None, headers)
            answer = upstream.getresponse()
            content = answer.read()
        if lose:
            self._hang_up()
            return
        self.send_response(answer.status)
        for key, value in answer.getheaders():
            if key.lower() not in ("connection", "transfer-encoding", "date", "server", "content-length"):
                self.send_header(key, value)
        # Of a HEAD it is the object's own.
        size = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
        self.send_header("Content-Length", size or "0")
        self.end_headers()
        self.wfile.write(content)

    def _answer(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    faults: Faults
    target: int

    def handle_error(self, *_: object) -> None:
        # Clients that end, and connections that this cut itself.
        pass


@dataclass(frozen=True)
class FaultyProxy:
    url: str
    faults: Faults


@contextmanager
def faulty_proxy(target: int) -> Iterator[FaultyProxy]:
    """A proxy to a port of this machine, for the time of the block."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.faults, server.target = Faults(), target
    thread = threading.Thread(target=server.serve_forever, name="proxy", daemon=True)
    thread.start()
    try:
        yield FaultyProxy(f"http://127.0.0.1:{server.server_address[1]}", server.faults)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
