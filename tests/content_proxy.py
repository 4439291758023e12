"""A proxy before the S3 server that does what a bucket's policy, a full disk or a bad line would do."""

from __future__ import annotations

import http.client
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

_ERROR = "<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message></Error>"


@dataclass
class Faults:
    """What the proxy does to requests; by method."""

    refuse: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Method to HTTP status and error code."""
    alter: set[str] = field(default_factory=set)
    """Methods whose answer has a bit changed."""
    cut: set[str] = field(default_factory=set)
    """Methods whose answer ends too early."""
    requests: list[str] = field(default_factory=list)


@contextmanager
def proxy_before(endpoint_url: str) -> Iterator[tuple[str, Faults]]:
    """Yields the proxy's URL and the faults it will show."""
    target, faults = urlsplit(endpoint_url), Faults()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            faults.requests.append(self.command)
            if self.command in faults.refuse:
                status, code = faults.refuse[self.command]
                return self.answer(status, {"Content-Type": "application/xml"}, _ERROR.format(code=code).encode())
            connection = http.client.HTTPConnection(str(target.hostname), target.port, timeout=30)
            connection.request(self.command, self.path, body, dict(self.headers))
            answer = connection.getresponse()
            content = answer.read()
            connection.close()
            headers = {name: value for name, value in answer.getheaders() if name.lower() not in _OURS}
            if self.command in faults.alter and content:
                middle = len(content) // 2
                content = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
            return self.answer(answer.status, headers, content, answer.getheader("Content-Length"))

        def answer(self, status: int, headers: dict[str, str], content: bytes, head_size: str | None = None) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            size = head_size if self.command == "HEAD" and head_size else str(len(content))
            self.send_header("Content-Length", size)
            self.end_headers()
            if self.command == "HEAD":
                return
            if self.command in faults.cut:
                content, self.close_connection = content[: len(content) // 2], True
            self.wfile.write(content)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any  # noqa: N815 - names of the standard library

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", faults
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


_OURS = {"content-length", "connection", "transfer-encoding", "date", "server"}
