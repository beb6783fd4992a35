"""The control endpoint: how tests and the command line steer a running sandbox. And its client, `Control`.

It is under /_sandbox/ (no bucket can be named so) of the AWS endpoint and requires the sandbox's token.
"""

from __future__ import annotations

import hmac
import json
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from pulumi_sandbox.aws.call_log import LoggedCall
from pulumi_sandbox.aws.response import ApiResponse
from pulumi_sandbox.aws.settings import Failure, Faults, SettingError

PREFIX = "/_sandbox/"
TIMEOUT = 30  # seconds

Action = Callable[[Any], Any]
"""Takes the parsed JSON of a request's body, None where it has none; returns what is sent back as JSON."""


class ControlEndpoint:
    """Responds to control requests; `actions` are what there is to do, by method and name (`PUT faults`)."""

    def __init__(self, token: str, actions: dict[str, Action]) -> None:
        self._token, self._actions = token.encode(), actions

    def respond(self, method: str, path: str, authorization: str, body: bytes) -> ApiResponse:
        """401 without the token; 404, 400 and 500 with the reason as JSON."""
        name = f"{method} {path.removeprefix(PREFIX).partition('?')[0]}"
        if not hmac.compare_digest(authorization.encode(), b"Bearer " + self._token):
            return _json(401, {"error": "the sandbox's token is required: Authorization: Bearer TOKEN"})
        if name not in self._actions:
            return _json(404, {"error": f"there is no {name}; there are {', '.join(self._actions)}"})
        try:
            return _json(200, self._actions[name](json.loads(body) if body else None))
        except (SettingError, ValueError) as error:
            return _json(400, {"error": str(error)})
        except OSError as error:
            return _json(500, {"error": f"cannot write: {error.strerror}"})


def _json(status: int, content: Any) -> ApiResponse:
    return ApiResponse(status, [("Content-Type", "application/json")], json.dumps(content).encode())


class ControlError(Exception):
    """The sandbox refused a control request, or did not respond."""


class Control:
    """A client of the control endpoint of a running sandbox."""

    def __init__(self, endpoint_url: str, token: str) -> None:
        self._url = endpoint_url.rstrip("/") + PREFIX
        self._token = token
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback: never by a proxy

    def faults(self) -> Faults:
        """The current settings."""
        return Faults.from_json(self._request("GET", "faults"))

    def set_faults(self, settings: Faults) -> None:
        """Use these settings from now on."""
        self._request("PUT", "faults", settings.to_json())

    def change_faults(self, **changes: Any) -> None:
        """Change some settings, keep the others: `change_faults(key_delay=5)`."""
        self.set_faults(replace(self.faults(), **changes))

    def fail(self, action: str, code: str, call: int = 1, times: int = 1, message: str | None = None) -> None:
        """Add a failure: the `call`-th call of `action` from now on, and those up to `times`, fail with `code`."""
        self.change_faults(failures=(*self.faults().failures, Failure(action, call, times, code, message)))

    def drop_response(self, action: str, call: int = 1, times: int = 1) -> None:
        """Add a dropped response: the `call`-th call of `action` from now on is carried out, its response dropped."""
        self.change_faults(failures=(*self.faults().failures, Failure(action, call, times)))

    def hold(self, action: str, call: int = 1, code: str | None = None) -> None:
        """Add a held call: the `call`-th one of `action` waits until the faults are changed; see Failure."""
        self.change_faults(failures=(*self.faults().failures, Failure(action, call, code=code, hold=True)))

    def held(self) -> int:
        """How many calls are being held now."""
        return self._request("GET", "held")

    def clear_faults(self) -> None:
        """Turn all faults off."""
        self.set_faults(Faults())

    def calls(self) -> list[LoggedCall]:
        """The logged calls, oldest first."""
        return [LoggedCall(**call) for call in self._request("GET", "calls")]

    def clear_calls(self) -> None:
        """Forget the logged calls."""
        self._request("DELETE", "calls")

    def reset(self) -> None:
        """Empty the account."""
        self._request("POST", "reset")

    def save(self) -> None:
        """Write the account to disk now."""
        self._request("POST", "save")

    def take_snapshot(self, name: str) -> None:
        """Remember the account as it is now, until the sandbox stops."""
        self._request("PUT", "snapshot", name)

    def restore_snapshot(self, name: str) -> None:
        """Bring the account back to where it was when the snapshot was taken."""
        self._request("POST", "restore", name)

    def reset_last_used(self, key_ids: list[str]) -> None:
        """Make these access keys count as never used."""
        self._request("POST", "reset-last-used", key_ids)

    def _request(self, method: str, what: str, content: Any = None) -> Any:
        body = None if content is None else json.dumps(content).encode()
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        request = urllib.request.Request(self._url + what, body, headers, method=method)
        try:
            with self._opener.open(request, timeout=TIMEOUT) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            raise ControlError(f"{method} {what}: {json.load(error)['error']}") from None
        except OSError as error:
            raise ControlError(f"the sandbox at {self._url} does not respond: {error}") from None
