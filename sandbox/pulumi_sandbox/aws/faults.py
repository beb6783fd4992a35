"""Faults at work: delays, throttling, failures and dropped responses, as the current settings demand."""

from __future__ import annotations

import threading
import time

from pulumi_sandbox.aws import clock
from pulumi_sandbox.aws.request import EC2, JSON, QUERY, REST, S3, ApiRequest
from pulumi_sandbox.aws.response import AwsError
from pulumi_sandbox.aws.settings import Failure, Faults

# The codes a service uses for "too many requests": the common error of each wire protocol.
THROTTLED = {
    QUERY: ("Throttling", "Rate exceeded", 400),
    EC2: ("RequestLimitExceeded", "Request limit exceeded.", 503),
    S3: ("SlowDown", "Please reduce your request rate.", 503),
    JSON: ("ThrottlingException", "Rate exceeded", 400),
    REST: ("ThrottlingException", "Rate exceeded", 429),
}
MESSAGES = {
    "Throttling": "Rate exceeded",
    "ThrottlingException": "Rate exceeded",
    "ServiceFailure": "The request processing has failed because of an unknown error, exception or failure.",
    "InternalFailure": "The request processing has failed because of an unknown error, exception or failure.",
    "ServiceUnavailable": "The request has failed due to a temporary failure of the server.",
}


HELD_AT_MOST = 60  # seconds


class FaultInjector:
    """Holds the settings, which may change while requests run, and what they need to remember."""

    def __init__(self, settings: Faults) -> None:
        self._lock = threading.Lock()
        self._held = 0
        self._released = threading.Event()
        self._registered: dict[str, float] = {}
        self.change(settings)

    @property
    def settings(self) -> Faults:
        return self._settings

    def change(self, settings: Faults) -> None:
        """Use `settings` from now on; counts of requests and throttling restart."""
        with self._lock:
            self._settings = settings
            self._seen = [0] * len(settings.failures)
            self._tokens: dict[str, tuple[float, float]] = {}
            clock.set_ahead(settings.clock)
            self._released.set()
            self._released = threading.Event()

    @property
    def held(self) -> int:
        """How many calls are being held."""
        return self._held

    def hold(self) -> None:
        """Return when the settings are changed, or after HELD_AT_MOST."""
        with self._lock:
            self._held += 1
            released = self._released
        released.wait(HELD_AT_MOST)
        with self._lock:
            self._held -= 1

    def register(self, name: str) -> None:
        """Note that a user (by name) or an access key (by id) was made just now."""
        self._registered[name] = time.monotonic()

    def has_propagated(self, key_id: str) -> bool:
        """Whether a key has reached all of AWS, and signs."""
        return self._is_older(key_id, self._settings.key_delay)

    def is_stale(self, name: str) -> bool:
        """Whether reads do not find a user or an access key yet."""
        return not self._is_older(name, self._settings.stale)

    def _is_older(self, name: str, seconds: float) -> bool:
        """By the real clock."""
        registered = self._registered.get(name)
        return registered is None or time.monotonic() - registered >= seconds

    def forget(self) -> None:
        """Count everything as made long ago."""
        self._registered.clear()

    def inject(self, request: ApiRequest) -> None:
        """Delay the request, raise AwsError in its place, or mark its response to be dropped."""
        settings = self._settings
        if settings.latency:
            time.sleep(settings.latency)
        if settings.throttle and not self.take_token(request.service, settings.throttle):
            raise AwsError(*THROTTLED[request.protocol])
        failure = self._due_failure(request)
        if failure is None:
            return
        if failure.code is None:
            request.hold_response, request.drop_response = failure.hold, not failure.hold
            return
        if failure.hold:
            self.hold()
        message = failure.message or MESSAGES.get(failure.code) or f"Injected failure: {failure.code}."
        raise AwsError(failure.code, message, failure.status)

    def _due_failure(self, request: ApiRequest) -> Failure | None:
        """The failure due for this request, counting it for all of them."""
        due: Failure | None = None
        names = ("*", request.action, f"{request.service}:{request.action}")
        with self._lock:
            for number, failure in enumerate(self._settings.failures):
                if failure.action in names:
                    self._seen[number] += 1
                    if failure.call <= self._seen[number] < failure.call + failure.times and due is None:
                        due = failure
        return due

    def take_token(self, service: str, rate: float) -> bool:
        """Whether a token bucket, here one per service, has a token: `rate` per second, a burst of as many (at least
        one)."""
        burst = max(1.0, rate)
        with self._lock:
            now = time.monotonic()
            tokens, then = self._tokens.get(service, (burst, now))
            tokens = min(burst, tokens + (now - then) * rate)
            taken = tokens >= 1
            self._tokens[service] = (tokens - 1 if taken else tokens, now)
            return taken
