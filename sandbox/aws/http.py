"""The HTTP server in front of the account: waitress, on loopback, in threads of this process."""

from __future__ import annotations

import logging
import re
import sys
import threading
from typing import Any

from waitress import wasyncore
from waitress.channel import ClientDisconnected, HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.server import create_server
from waitress.task import ErrorTask, WSGITask

from sandbox.aws import account

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
THREADS = 48
MAX_CONNECTIONS = 1200
MAX_BODY = 256 * 1024 * 1024  # bytes; AWS takes 5 GB in one S3 PUT, this machine's memory need not

# A thread that wants to compute waits so many seconds at most for the one that does. With Python's own 5 ms the thread
# that watches the connections holds up every answer several times over: a thousand calls at once took 30 s, now 2.
SWITCH_INTERVAL = 0.0002

# An application raises this to close the connection without an answer.
DropConnection = ClientDisconnected


class HttpServer:
    """Serves a WSGI application on HOST until `stop()`. Raises OSError where the port is taken."""

    def __init__(self, application: account.WsgiApplication, port: int = 0) -> None:
        self._server: Any = create_server(
            application,
            host=HOST,
            port=port,
            threads=THREADS,
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
        """Answer what is under way, close all connections, give the port back."""
        self._server.task_dispatcher.shutdown()
        sockets = self._server._map
        self._server.trigger.pull_trigger(lambda: wasyncore.close_all(sockets))
        self._thread.join(timeout=5)


# S3 metadata may have underscores in its header names. waitress drops such headers, because WSGI cannot tell them from
# those with dashes; here they are kept under the names that moto looks for.
_METADATA = re.compile(rb"(?im)^(x-amz-meta-[^:\s]*_[^:\s]*)[ \t]*:[ \t]*([^\r\n]*)")

_AMAZON = re.compile(rb"(?m)^X-Amz-[^:\r\n]+")


class _Parser(HTTPRequestParser):
    underscored: dict[str, str]

    def parse_header(self, header_plus: bytes) -> None:
        super().parse_header(header_plus)
        if self.body_rcv is None:
            # waitress would wait for ever for the body of a call that expects to be told to go on and has none.
            self.expect_continue = False
        found = _METADATA.findall(header_plus)
        self.underscored = {name.decode("latin-1"): value.decode("latin-1").rstrip() for name, value in found}


class _Task(WSGITask):
    def get_environment(self) -> dict[str, Any]:
        environ: dict[str, Any] = super().get_environment()
        names: dict[str, str] = {}
        underscored: dict[str, str] = getattr(self.request, "underscored", {})
        for name, value in underscored.items():
            key = "HTTP_" + name.upper().replace("-", "_")
            if key not in environ:
                environ[key], names[key] = value, name
        environ["moto.preserved_header_names"] = names
        return environ

    def build_response_header(self) -> bytes:
        """waitress writes names with capitals; SDKs read S3's metadata keys out of them, which AWS sends in small."""
        header: bytes = super().build_response_header()
        return _AMAZON.sub(lambda name: name[0].lower(), header)


class _ErrorTask(ErrorTask):
    def execute(self) -> None:
        # Not the words of the error: they can hold what the client sent.
        error: Any = vars(self.request)["error"]
        log.warning("refused what is no HTTP request: %s %s", error.code, error.reason)
        super().execute()


class _Channel(HTTPChannel):
    parser_class = _Parser
    task_class = _Task
    error_task_class = _ErrorTask
