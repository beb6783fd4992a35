"""The HTTP server in front of the account: waitress, on loopback, in threads of this process."""

from __future__ import annotations

import threading
from typing import Any

from waitress import wasyncore
from waitress.server import create_server

from sandbox.aws import account

HOST = "127.0.0.1"
THREADS = 48
MAX_CONNECTIONS = 1200
MAX_BODY = 256 * 1024 * 1024  # bytes; AWS takes 5 GB in one S3 PUT, this machine's memory need not


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
            clear_untrusted_proxy_headers=True,
        )
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
