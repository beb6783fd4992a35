"""Starts and stops AWS on this machine: the account, the layer in front of it, its HTTP server, its memory."""

from __future__ import annotations

import logging
import threading
from dataclasses import asdict
from pathlib import Path

from pulumi_sandbox.aws import account, clock
from pulumi_sandbox.aws.authorization import PLAIN_HTTP
from pulumi_sandbox.aws.call_log import CallLog
from pulumi_sandbox.aws.control import Action, ControlEndpoint
from pulumi_sandbox.aws.faults import FaultInjector
from pulumi_sandbox.aws.gateway import Gateway
from pulumi_sandbox.aws.http_server import HttpServer
from pulumi_sandbox.aws.persistence import StateStore
from pulumi_sandbox.aws.settings import Faults, SettingError, Settings
from pulumi_sandbox.credentials import Credentials

_one_per_process = threading.Lock()  # moto keeps the account in module globals


class AwsEmulator:
    """A running AWS on loopback; it responds once it is made.

    `notice` is what the operator should know about the start, for instance that the saved account could not be used;
    None if all is well.
    """

    def __init__(
        self, folder: Path, port: int, settings: Settings, *, root: Credentials, token: str, state_key: bytes | str
    ) -> None:
        """`folder`: where the saved account and the call log are; must exist. `port`: 0 for any free one. `root`: the
        account's root key. `token`: what the control endpoint requires. `state_key`: the Fernet key (44 characters of
        URL-safe base64) that the saved account is encrypted with.

        Raises OSError where the port is taken, RuntimeError where this process runs an AWS already.
        """
        if not _one_per_process.acquire(blocking=False):
            raise RuntimeError("a process can run one AWS, and this one is running one already")
        try:
            for noisy in ("moto", "botocore", "boto3", "waitress"):
                logging.getLogger(noisy).setLevel(logging.WARNING)
            logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # a full queue is expected
            self._lock = threading.RLock()
            self._snapshots: dict[str, bytes] = {}
            self._faults = FaultInjector(settings.faults)
            self._calls = CallLog(folder)
            self._state = StateStore(folder, state_key, self._lock)
            control = ControlEndpoint(token, self._actions())
            gateway = Gateway(
                root, settings.quotas, self._faults, self._calls, control, self._lock, self._state.changed
            )
            clock.install()
            account.reset()
            self.notice = self._state.load()
            account.warm_up()
            self._http = HttpServer(gateway, port)
            self._plain_http = HttpServer(
                lambda environ, start_response: gateway(environ | {PLAIN_HTTP: True}, start_response), threads=4
            )
        except BaseException:
            _one_per_process.release()
            raise
        self._state.start()

    def _actions(self) -> dict[str, Action]:
        return {
            "GET faults": lambda _: self._faults.settings.to_json(),
            "PUT faults": lambda given: self._faults.change(Faults.from_json(given)),
            "GET held": lambda _: self._faults.held,
            "GET calls": lambda _: [asdict(call) for call in self._calls.latest()],
            "DELETE calls": lambda _: self._calls.clear(),
            "POST reset": lambda _: self.reset(),
            "POST save": lambda _: self._state.save(),
            "PUT snapshot": self.take_snapshot,
            "POST restore": self.restore_snapshot,
            "POST reset-last-used": self.reset_last_used,
        }

    @property
    def endpoint_url(self) -> str:
        """The address that AWS SDKs are pointed at: http://127.0.0.1:PORT."""
        return self._http.endpoint_url

    @property
    def plain_endpoint_url(self) -> str:
        """The same account, at an address whose calls count as plain HTTP; those at the other count as TLS."""
        return self._plain_http.endpoint_url

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._http.port

    def reset(self) -> None:
        """Empty the account, in memory and on disk. Settings and call log stay."""
        with self._lock:
            account.reset()
            self._faults.forget()
        self._state.save()

    def take_snapshot(self, name: str) -> None:
        """Remember the account as it is now, in memory."""
        self._snapshots[name] = self._state.dump()

    def restore_snapshot(self, name: str) -> None:
        """Bring the account back to where it was when a snapshot was taken."""
        if name not in self._snapshots:
            raise SettingError(f"there is no snapshot {name!r}; there are {', '.join(self._snapshots) or 'none'}")
        with self._lock:
            account.reset()
            self._faults.forget()
            self._state.restore(self._snapshots[name])
        self._state.changed()

    def reset_last_used(self, key_ids: list[str]) -> None:
        """Make these access keys count as never used."""
        with self._lock:
            account.reset_last_used(key_ids)
        self._state.changed()

    def stop(self) -> None:
        """Respond to what is under way, save the account, end. Raises OSError where it cannot be saved."""
        try:
            self._http.stop()
            self._plain_http.stop()
            self._state.stop()
        finally:
            self._calls.close()
            clock.set_ahead(0)
            _one_per_process.release()
