"""A receiver of notifications that believes only what is signed, and a job whose failure it is told of."""

import asyncio
import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer

from scheduler_core import ScheduleJob, SchedulerService, ScheduleType, load_settings

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # yours: whsec_$(openssl rand -base64 32)

told = threading.Event()
seen: set[str] = set()


def verify(headers: Mapping[str, str], body: bytes, secret: str) -> None:
    """Raise ValueError unless whoever knows the secret sent exactly this body within the last five minutes."""
    message_id, timestamp = headers["webhook-id"], headers["webhook-timestamp"]
    if abs(time.time() - int(timestamp)) > 300:
        raise ValueError("too old, or from the future")
    key = base64.b64decode(secret.removeprefix("whsec_"))
    content = f"{message_id}.{timestamp}.".encode() + body
    expected = base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
    given = [part.removeprefix("v1,") for part in headers["webhook-signature"].split()]
    if not any(hmac.compare_digest(expected, signature) for signature in given):
        raise ValueError("not signed with our secret")


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        try:
            verify({name.lower(): value for name, value in self.headers.items()}, body, SECRET)
        except (KeyError, ValueError) as error:
            self.send_error(400, str(error))
            return
        # Answer first, work later: who takes too long is asked again. The same message may come twice, with one id.
        self.send_response(204)
        self.end_headers()
        if self.headers["webhook-id"] not in seen:
            seen.add(self.headers["webhook-id"])
            message = json.loads(body)
            print(f"{message['type']}: {message['text']}", flush=True)
            if message["type"] == "failure":
                told.set()

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


def fail() -> None:
    raise ConnectionError("the warehouse does not answer")


async def main() -> None:
    server = HTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/"
    SchedulerService.init(settings=load_settings(webhook_url=url, webhook_secret=SECRET, alarm_interval=0.5))
    await SchedulerService.start()
    await SchedulerService.add_job(ScheduleJob("stock", "Stock", ScheduleType.ONCE, None, fail, max_retries=0))
    if not await asyncio.to_thread(told.wait, 30):
        raise SystemExit("nobody told us of the failure")
    await SchedulerService.shutdown()
    server.shutdown()


if __name__ == "__main__":
    asyncio.run(main())
