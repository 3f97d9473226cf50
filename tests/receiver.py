"""A real HTTP receiver for webhooks, which answers as it is told to and keeps what it got."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@dataclass(frozen=True)
class Request:
    """One request as it came."""

    headers: dict[str, str]
    body: bytes
    began_at: float
    ended_at: float

    @property
    def message_id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found

    @property
    def event(self) -> str:
        return str(self.document["type"])

    @property
    def job_ids(self) -> list[str]:
        return [job["job_id"] for job in self.document["data"].get("jobs", [])]


@dataclass
class Receiver:
    """Parameters of its behaviour may be changed while it runs: `status`, or a function of the request's number."""

    status: int | Callable[[int], int] = 204
    slow_seconds: float = 0.0
    drips: bool = False
    """Whether it answers a byte at a time, for ever."""
    requests: list[Request] = field(default_factory=list)
    url: str = ""
    port: int = 0

    def events(self) -> list[str]:
        return [request.event for request in self.requests]

    def of(self, event: str) -> list[Request]:
        return [request for request in list(self.requests) if request.event == event]


@contextlib.contextmanager
def receiving(port: int = 0, **behaviour: Any) -> Iterator[Receiver]:
    """A receiver on loopback, for as long as the block lasts."""
    receiver = Receiver(**behaviour)
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            began_at = time.monotonic()
            body = self.rfile.read(int(self.headers["content-length"]))
            number = len(receiver.requests)
            over.wait(receiver.slow_seconds)
            headers = {name.lower(): value for name, value in self.headers.items()}
            receiver.requests.append(Request(headers, body, began_at, time.monotonic()))
            with contextlib.suppress(OSError):
                if receiver.drips:
                    self.wfile.write(b"HTTP/1.1 200 OK\r\nx-drip: ")
                    while not over.wait(0.05):
                        self.wfile.write(b"x")
                status = receiver.status(number) if callable(receiver.status) else receiver.status
                self.send_response(status)
                if 300 <= status < 400:
                    self.send_header("location", "/elsewhere")
                self.end_headers()

        def log_message(self, *_: Any) -> None:
            return

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        allow_reuse_address = True
        request_queue_size = 64

        def handle_error(self, *_: Any) -> None:
            return  # whoever sends may go away

    with Server(("127.0.0.1", port), Handler) as server:
        receiver.port = server.server_address[1]
        receiver.url = f"http://127.0.0.1:{receiver.port}/hook?token=hidden"
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        serving.start()
        try:
            yield receiver
        finally:
            over.set()
            server.shutdown()
            serving.join(5)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
