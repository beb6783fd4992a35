"""Starts and stops AWS on this machine: the account, the layer in front of it, its HTTP server, its memory."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from sandbox.aws import account, clock
from sandbox.aws.authentication import Credentials
from sandbox.aws.calls import CallLog
from sandbox.aws.control import ControlEndpoint
from sandbox.aws.gate import Gate
from sandbox.aws.http import HttpServer
from sandbox.aws.options import Options
from sandbox.aws.realism import Director
from sandbox.aws.state import StateKeeper

_one_per_process = threading.Lock()  # moto keeps the account in module globals


class AwsServer:
    """A running AWS. `notice` is what the operator should know of the start, for instance that the saved account
    could not be used; None if all is well."""

    def __init__(
        self,
        folder: Path,
        port: int,
        options: Options,
        root: Credentials,
        token: str | None,
        state_key: bytes | str | None,
    ) -> None:
        if not _one_per_process.acquire(blocking=False):
            raise RuntimeError("there is one AWS per process, and one is running already")
        try:
            for noisy in ("moto", "botocore", "boto3", "waitress"):
                logging.getLogger(noisy).setLevel(logging.WARNING)
            logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # a full queue is no news
            self._lock = threading.RLock()
            self._director = Director(options.realism)
            self._calls = CallLog(folder)
            self._state = StateKeeper(folder, state_key, self._lock) if state_key else None
            gate = Gate(root, options.quotas, self._director, self._calls, self._lock, self._changed)
            clock.install()
            account.reset()
            self.notice = self._state.load() if self._state else None
            account.warm_up()
            if token:
                gate.control = ControlEndpoint(
                    token,
                    get_realism=lambda: self._director.settings,
                    set_realism=self._director.change,
                    get_calls=self._calls.latest,
                    clear_calls=self._calls.clear,
                    reset=self.reset,
                    save=self.save,
                    forget_uses=self.forget_uses,
                )
            self._http = HttpServer(gate, port)
        except BaseException:
            _one_per_process.release()
            raise
        if self._state:
            self._state.start()

    @property
    def endpoint_url(self) -> str:
        """The address that AWS SDKs are pointed at: http://127.0.0.1:PORT."""
        return self._http.endpoint_url

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._http.port

    def reset(self) -> None:
        """Empty the account, in memory and on disk. Settings and call log stay."""
        with self._lock:
            account.reset()
            self._director.forget()
        self.save()

    def forget_uses(self, key_ids: list[str]) -> None:
        """Take these access keys for never used."""
        with self._lock:
            account.forget_uses(key_ids)
        self._changed()

    def save(self) -> None:
        """Write the account to disk now. Raises OSError where that fails."""
        if self._state:
            self._state.save()

    def _changed(self) -> None:
        if self._state:
            self._state.changed()

    def stop(self) -> None:
        """Answer what is under way, save the account, end. Raises OSError where it cannot be saved."""
        try:
            self._http.stop()
            if self._state:
                self._state.stop()
        finally:
            self._calls.close()
            clock.set_ahead(0)
            _one_per_process.release()


def start(
    folder: Path,
    port: int = 0,
    options: Options | None = None,
    *,
    root: Credentials,
    token: str | None = None,
    state_key: bytes | str | None = None,
) -> AwsServer:
    """Start AWS on loopback; it answers when this returns.

    `folder`: where the saved account and the call log lie; must exist. `port`: 0 for any free one. `root`: the
    account's root key. `token`: what the control endpoint asks for; without, there is no such endpoint. `state_key`:
    the Fernet key (44 characters of URL-safe base64) that the saved account is encrypted with; without, the account is
    not kept. Raises OSError where the port is taken, RuntimeError where this process runs an AWS already.
    """
    return AwsServer(folder, port, options or Options(), root, token, state_key)
