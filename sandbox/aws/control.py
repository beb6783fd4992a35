"""The control endpoint: how tests and the command line steer a running sandbox. And its client, `Control`.

Lies under /_sandbox/ (no bucket can be named so) of the AWS endpoint and wants the sandbox's token:
GET and PUT realism, GET and DELETE calls, POST reset, POST save, POST unused; GET health needs no token.
"""

from __future__ import annotations

import hmac
import json
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from sandbox.aws.answers import Answer
from sandbox.aws.calls import LoggedCall
from sandbox.aws.options import Failure, OptionError, Realism

PREFIX = "/_sandbox/"
TIMEOUT = 30  # seconds


class ControlEndpoint:
    """Answers control requests; what they do is passed in."""

    def __init__(
        self,
        token: str,
        get_realism: Callable[[], Realism],
        set_realism: Callable[[Realism], None],
        get_calls: Callable[[], list[LoggedCall]],
        clear_calls: Callable[[], None],
        reset: Callable[[], None],
        save: Callable[[], None],
        forget_uses: Callable[[list[str]], None],
    ) -> None:
        self._token = token.encode()
        self._forget_uses = forget_uses
        self._get_realism, self._set_realism = get_realism, set_realism
        self._get_calls, self._reset = get_calls, reset
        self._actions: dict[tuple[str, str], Callable[[], None]] = {
            ("DELETE", "calls"): clear_calls,
            ("POST", "reset"): reset,
            ("POST", "save"): save,
        }

    def answer(self, method: str, path: str, authorization: str, body: bytes) -> Answer:
        """The answer to one request; 401 without the token, 404 and 400 with the reason as JSON."""
        what = path.removeprefix(PREFIX).partition("?")[0]
        if (method, what) == ("GET", "health"):
            return _json(200, {"ready": True})
        if not hmac.compare_digest(authorization.encode(), b"Bearer " + self._token):
            return _json(401, {"error": "the sandbox's token is needed: Authorization: Bearer TOKEN"})
        try:
            if (method, what) == ("PUT", "realism"):
                self._set_realism(Realism.from_json(json.loads(body)))
            if what == "realism" and method in ("GET", "PUT"):
                return _json(200, self._get_realism().to_json())
            if (method, what) == ("GET", "calls"):
                return _json(200, [asdict(call) for call in self._get_calls()])
            if (method, what) == ("POST", "unused"):
                self._forget_uses(json.loads(body))
                return _json(200, {"done": True})
            if action := self._actions.get((method, what)):
                action()
                return _json(200, {"done": True})
        except (OptionError, ValueError) as problem:
            return _json(400, {"error": str(problem)})
        except OSError as problem:
            return _json(500, {"error": f"cannot write: {problem.strerror}"})
        known = "GET|PUT realism, GET|DELETE calls, POST reset, POST save, POST unused, GET health"
        return _json(404, {"error": f"there is no {method} {what}; there are {known}"})


def _json(status: int, content: Any) -> Answer:
    return Answer(status, [("Content-Type", "application/json")], json.dumps(content).encode())


class ControlError(Exception):
    """The sandbox refused a control request, or did not answer."""


class Control:
    """A client of the control endpoint of a running sandbox."""

    def __init__(self, endpoint_url: str, token: str) -> None:
        self._url = endpoint_url.rstrip("/") + PREFIX
        self._token = token
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback: never by a proxy

    def realism(self) -> Realism:
        """The current settings."""
        return Realism.from_json(self._request("GET", "realism"))

    def set_realism(self, settings: Realism) -> None:
        """Use these settings from now on."""
        self._request("PUT", "realism", settings.to_json())

    def change_realism(self, **changes: Any) -> None:
        """Change some settings, keep the others: `change_realism(key_delay=5)`."""
        self.set_realism(replace(self.realism(), **changes))

    def fail(self, action: str, code: str, call: int = 1, times: int = 1) -> None:
        """Add a failure: the `call`-th call of `action` from now on, and those up to `times`, answer `code`."""
        self.change_realism(failures=(*self.realism().failures, Failure(action, call, times, code)))

    def lose_answer(self, action: str, call: int = 1, times: int = 1) -> None:
        """Add a lost answer: the `call`-th call of `action` from now on is carried out, its answer is lost."""
        self.change_realism(failures=(*self.realism().failures, Failure(action, call, times)))

    def behave(self) -> None:
        """Turn all realism off."""
        self.set_realism(Realism())

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

    def forget_uses(self, key_ids: list[str]) -> None:
        """Take these access keys for never used."""
        self._request("POST", "unused", key_ids)

    def _request(self, method: str, what: str, content: Any = None) -> Any:
        body = None if content is None else json.dumps(content).encode()
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        request = urllib.request.Request(self._url + what, body, headers, method=method)
        try:
            with self._opener.open(request, timeout=TIMEOUT) as response:
                return json.load(response)
        except urllib.error.HTTPError as problem:
            raise ControlError(f"{method} {what}: {json.load(problem)['error']}") from None
        except OSError as problem:
            raise ControlError(f"the sandbox at {self._url} does not answer: {problem}") from None
