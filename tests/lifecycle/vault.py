"""An imitation of HashiCorp Vault, with which the engine encrypts secrets in most tests.

With a passphrase each command would spend 0.2 seconds of processor time to derive a key. Data keys are only in memory.
Source: https://developer.hashicorp.com/vault/api-docs/secret/transit
"""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

SECRETS_PROVIDER = "hashivault://tests"


class Vault:
    """Listens on the loopback interface for as long as the process lives."""

    def __init__(self) -> None:
        data_keys: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if self.path.startswith("/v1/transit/encrypt/"):
                    data_keys.append(asked["plaintext"])
                    found = {"ciphertext": f"vault:v1:{len(data_keys) - 1}"}
                else:
                    found = {"plaintext": data_keys[int(asked["ciphertext"].rpartition(":")[2])]}
                answer = json.dumps({"data": found}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        self.environment = {"VAULT_SERVER_URL": url, "VAULT_SERVER_TOKEN": "tests"}
