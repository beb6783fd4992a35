"""An AWS in which chosen calls fail, or take their time."""

import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs


@contextmanager
def meddler(url: str, meddle: "Callable[[str], tuple[int, str, str] | None]") -> Generator[str]:
    """An address before ``url`` at which some IAM and STS calls fail.

    ``meddle`` gets the action (CreateUser...) and gives (HTTP status, AWS error code, message) to fail it, or None to
    pass it on. It may also just take its time.
    """
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            failure = meddle(parse_qs(body.decode()).get("Action", [""])[0])
            if failure is None:
                request = urllib.request.Request(url + self.path, body, dict(self.headers.items()))
                try:
                    with opener.open(request) as reply:
                        status, answer = reply.status, reply.read()
                except urllib.error.HTTPError as error:
                    status, answer = error.code, error.read()
            else:
                status, code, message = failure
                answer = (
                    f"<ErrorResponse><Error><Code>{code}</Code><Message>{message}</Message></Error>"
                    "<RequestId>1</RequestId></ErrorResponse>"
                ).encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/xml")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: Any) -> None:
            """Tests are quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
