"""The HTTP server in front of the account: waitress, on loopback, in threads of this process."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any

from waitress import wasyncore
from waitress.channel import ClientDisconnected, HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.server import create_server
from waitress.task import ErrorTask, Task, WSGITask

HOST = "127.0.0.1"
THREADS = 48
MAX_CONNECTIONS = 1200
MAX_BODY = 256 * 1024 * 1024  # bytes; AWS takes 5 GB in one S3 PUT, this machine's memory need not

# A thread that wants to compute waits so many seconds at most for the one that does. With Python's own 5 ms the thread
# that watches the connections holds up every response several times over: a thousand calls at once took 30 s, now 2.
SWITCH_INTERVAL = 0.0002

# An application raises this to close the connection without a response.
DropConnection = ClientDisconnected

_AMAZON_HEADER = re.compile(rb"(?m)^X-Amz-[^:\r\n]+")

WsgiApplication = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class HttpServer:
    """Serves a WSGI application on HOST until `stop()`. Raises OSError where the port is taken."""

    def __init__(self, application: WsgiApplication, port: int = 0, threads: int = THREADS) -> None:
        self._server: Any = create_server(
            application,
            host=HOST,
            port=port,
            threads=threads,
            ident="sandbox",
            backlog=1024,
            connection_limit=MAX_CONNECTIONS,
            asyncore_use_poll=True,  # select() stops at 1,024 file descriptors
            max_request_body_size=MAX_BODY,
            inbuf_overflow=MAX_BODY,  # bodies stay in memory: nothing of them is written to disk
            outbuf_overflow=MAX_BODY,
            clear_untrusted_proxy_headers=True,
        )
        self._server.channel_class = _Channel
        sys.setswitchinterval(SWITCH_INTERVAL)
        self.port = int(self._server.effective_port)
        self._thread = threading.Thread(target=self._server.run, name="sandbox-aws", daemon=True)
        self._thread.start()

    @property
    def endpoint_url(self) -> str:
        """The address that AWS SDKs are pointed at."""
        return f"http://{HOST}:{self.port}"

    def stop(self) -> None:
        """Respond to what is under way, close all connections, give the port back."""
        self._server.task_dispatcher.shutdown()
        sockets, trigger = self._server._map, self._server.trigger
        with trigger.lock:  # or the server's thread, woken by a response, closes the trigger before it is pulled
            trigger.thunks.append(lambda: wasyncore.close_all(sockets))
            trigger.pull_trigger()
        self._thread.join(timeout=5)


class _OneSend(Task):
    """Sends header and body at once.

    waitress sends the header first, in a send of its own. The AWS SDK for Go takes a header that comes before it has
    finished its request for a broken connection, loses the body and repeats a request that was carried out.
    """

    def write(self, data: bytes) -> None:
        # waitress capitalizes header names; SDKs read the keys of S3's metadata out of them as they are.
        header = _AMAZON_HEADER.sub(lambda name: name[0].lower(), self.build_response_header())
        self.wrote_header = True
        self.content_bytes_written = len(data)
        self.channel.write_soon(header + (data if self.has_body else b""))


class _Task(_OneSend, WSGITask): ...


class _ErrorTask(_OneSend, ErrorTask): ...


class _Parser(HTTPRequestParser):
    def parse_header(self, header_plus: bytes) -> None:
        super().parse_header(header_plus)
        if self.body_rcv is None:
            self.expect_continue = False  # or waitress waits for the body of an empty upload, which never comes


class _Channel(HTTPChannel):
    parser_class = _Parser
    task_class = _Task
    error_task_class = _ErrorTask
